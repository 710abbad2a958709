//! difylog takes workflow logs off Dify's PostgreSQL.
//!
//! Everything on the write path follows one sentence:
//!
//! ```text
//! delivery → event → record → document → bulk action → bulk request → verdict → disposition → ack
//! ```
//!
//! Modules have ranks, and name only modules of a lower rank (`tests/it/structure.rs` enforces it):
//! `domain` (the vocabulary), `codec` (bytes to records), `store` (ports and stores), `pipeline` (the flow),
//! `amqp` (the broker), `query` (the read path), `http` (the API, health and metrics), `backup`, and on top `config`, `app`, `cli`. `ARCHITECTURE.md` walks one
//! message through them.

#![forbid(unsafe_code)]

pub mod amqp;
pub mod app;
pub mod backfill;
pub mod backoff;
pub mod backup;
pub mod cli;
pub mod codec;
pub mod config;
pub mod domain;
pub mod http;
pub mod pipeline;
pub mod postgres;
pub mod query;
pub mod rate;
pub mod retention;
pub mod store;
pub mod synthetic;
pub mod telemetry;
