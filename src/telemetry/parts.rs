//! The names of what runs, for messages about a task that ended: which part it was, and how, without the text of a panic,
//! which may hold a piece of a payload.

use std::future::Future;

use tokio::task::JoinError;

tokio::task_local! {
    static PART: &'static str;
}

/// Runs a part of the process under its name.
pub async fn named<T>(part: &'static str, work: impl Future<Output = T>) -> T {
    PART.scope(part, work).await
}

/// Returns the name of the part whose task is running on this thread, if it has one.
#[must_use]
pub fn current_part() -> Option<&'static str> {
    PART.try_with(|part| *part).ok()
}

/// Returns how a task ended that brought no result. Its own words would repeat the text of the panic.
#[must_use]
pub fn how_it_ended(error: &JoinError) -> &'static str {
    if error.is_panic() { "it panicked" } else { "it was cancelled" }
}
