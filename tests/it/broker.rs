//! Consumption, settlement, dead letters and replay on a real RabbitMQ, started for the tests by the server scripts.
//!
//! No store and no pipeline: the tests hold the receipts themselves.

pub mod harness;
mod letters;
mod loss;
mod memory;
mod publish;
mod replay;
mod settle;
mod topology;
