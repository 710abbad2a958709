//! Dify's rows on a real PostgreSQL, copied into real stores by `difylog migrate`, with faults injected.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "backfill/copies.rs"]
mod copies;
#[path = "backfill/faults.rs"]
mod faults;
#[path = "backfill/live.rs"]
mod live;
#[path = "backfill/place.rs"]
mod place;
#[path = "backfill/plans.rs"]
mod plans;
#[path = "backfill/rows.rs"]
mod rows;

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/site.rs"]
mod site;
