//! The life of the data after its migration, on a real PostgreSQL: validated, cleaned up, restored, rolled back.
//!
//! The database comes from `DIFYLOG_TEST_PG_URL`; `scripts/test` starts it.

mod cleanup;
mod commands;
mod harness;
mod migrated;
mod offloaded;
mod plans;
mod recopy;
mod redact;
mod removal;
mod restore;
mod rights;
mod rollback;
mod round_trip;
mod stops;
mod validate;
