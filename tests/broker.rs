//! Consumption, settlement, dead letters and replay on a real RabbitMQ, started for the tests by the server scripts.
//!
//! No store and no pipeline: the tests hold the receipts themselves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

#[path = "broker/harness.rs"]
mod harness;
#[path = "broker/letters.rs"]
mod letters;
#[path = "broker/loss.rs"]
mod loss;
#[path = "broker/memory.rs"]
mod memory;
#[path = "broker/publish.rs"]
mod publish;
#[path = "support/rabbit.rs"]
mod rabbit;
#[path = "broker/replay.rs"]
mod replay;
#[path = "broker/settle.rs"]
mod settle;
#[path = "broker/topology.rs"]
mod topology;
