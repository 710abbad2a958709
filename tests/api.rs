//! The HTTP API, asked over a real connection: Dify's recorded answers in their shapes, keys and scopes, hostile input,
//! a store that is down, exports; and the commands that read, as programs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "api/access.rs"]
mod access;
#[path = "api/commands.rs"]
mod commands;
#[path = "api/conformance.rs"]
mod conformance;
#[path = "support/double.rs"]
mod double;
#[path = "api/exports.rs"]
mod exports;
#[path = "api/golden.rs"]
mod golden;
#[path = "api/harness.rs"]
mod harness;
#[path = "api/hostile.rs"]
mod hostile;
#[path = "api/limits.rs"]
mod limits;
#[path = "golden/load.rs"]
mod load;
#[path = "api/names.rs"]
mod names;
#[path = "api/pages.rs"]
mod pages;
#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/records.rs"]
mod records;
#[path = "api/serving.rs"]
mod serving;
#[path = "support/site.rs"]
mod site;
