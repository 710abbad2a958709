//! The whole way as an operator runs it: a real RabbitMQ, a real store, `difylog` as a process, faults injected.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(clippy::float_cmp, reason = "metrics are counts")]

#[path = "flow/beside.rs"]
mod beside;
#[path = "flow/corpus.rs"]
mod corpus;
#[path = "flow/crashes.rs"]
mod crashes;
#[path = "flow/letters.rs"]
mod letters;
#[path = "flow/operations.rs"]
mod operations;
#[path = "flow/restarts.rs"]
mod restarts;
#[path = "flow/seeds.rs"]
mod seeds;

#[path = "support/corpus.rs"]
mod captured;
#[path = "support/expected_rows.rs"]
mod expected_rows;
#[path = "support/load.rs"]
mod load;
#[path = "support/nodes.rs"]
mod nodes;
#[path = "support/site.rs"]
mod site;
