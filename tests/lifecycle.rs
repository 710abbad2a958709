//! The life of the data after its migration, on a real PostgreSQL: validated, cleaned up, restored, rolled back.
//!
//! The database comes from `DIFYLOG_TEST_PG_URL`; `scripts/test` starts it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/site.rs"]
mod site;

#[path = "lifecycle/cleanup.rs"]
mod cleanup;
#[path = "lifecycle/commands.rs"]
mod commands;
#[path = "lifecycle/double.rs"]
mod double;
#[path = "lifecycle/harness.rs"]
mod harness;
#[path = "lifecycle/plans.rs"]
mod plans;
#[path = "lifecycle/recopy.rs"]
mod recopy;
#[path = "lifecycle/restore.rs"]
mod restore;
#[path = "lifecycle/rollback.rs"]
mod rollback;
#[path = "lifecycle/round_trip.rs"]
mod round_trip;
#[path = "lifecycle/validate.rs"]
mod validate;
