//! The bridge between Dify's console and the store, over a stand-in for Dify's API server that answers as the real one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "console/dify.rs"]
mod dify;
#[path = "support/double.rs"]
mod double;
#[path = "console/place.rs"]
mod place;
#[path = "support/records.rs"]
mod records;
#[path = "console/seam.rs"]
mod seam;
#[path = "console/strangers.rs"]
mod strangers;
