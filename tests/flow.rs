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
#[path = "flow/outages.rs"]
mod outages;
#[path = "flow/poison.rs"]
mod poison;
#[path = "flow/restarts.rs"]
mod restarts;
#[path = "flow/seeds.rs"]
mod seeds;

#[path = "support/corpus.rs"]
mod captured;
#[path = "support/engine_proxy.rs"]
mod engine_proxy;
#[path = "support/expected_rows.rs"]
mod expected_rows;
#[path = "support/load.rs"]
mod load;
#[path = "support/nodes.rs"]
mod nodes;
#[path = "support/rabbit.rs"]
mod rabbit;
#[path = "support/site.rs"]
mod site;
