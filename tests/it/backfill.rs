//! Dify's rows on a real PostgreSQL, copied into real stores by `difylog migrate`, with faults injected.

mod copies;
mod faults;
mod live;
pub mod place;
mod plans;
mod poolers;
mod rows;
mod tls;
