//! Every integration test, in one program: it is linked once. `scripts/test` names a suite by its module (`codec::`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(clippy::float_cmp, reason = "decoding must answer the very number, and metrics are counts")]

mod api;
mod backfill;
mod backup;
mod broker;
mod codec;
mod console;
mod contract;
mod elastic;
mod flow;
mod golden;
mod lifecycle;
mod retention;
mod structure;
mod support;
mod ui;
