//! Dify's own lists as it answers them, and what their parameters may say.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::merge::RowPlace;
use super::upstream::UpstreamFault;
use crate::domain::{RecordId, RunStatus};

/// Dify's largest page.
pub(super) const LARGEST: usize = 100;
/// Statuses that Dify's lists of runs are filtered by.
pub(super) const STATUSES: [&str; 5] = ["running", "succeeded", "failed", "stopped", "partial-succeeded"];
/// What Dify's lists of runs are told apart by.
pub(super) const TRIGGERS: [&str; 2] = ["debugging", "app-run"];

/// A row as Dify answers it.
pub(super) type DifyRow = Map<String, Value>;

/// A page of a list.
#[derive(Deserialize)]
pub(super) struct DifyPage {
    pub has_more: bool,
    pub data: Vec<DifyRow>,
}

/// Returns the id of a row and the second that it was created in.
///
/// # Errors
/// [`UpstreamFault::Unexpected`] if it has none.
pub(super) fn place_of(row: &DifyRow) -> Result<(RecordId, RowPlace), UpstreamFault> {
    let id = row.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok());
    let second = row.get("created_at").and_then(Value::as_i64).map(RowPlace::Second);
    id.zip(second).ok_or(UpstreamFault::Unexpected)
}

/// Returns whether a run of a list has ended.
pub(super) fn has_ended(row: &DifyRow) -> bool {
    let status = row.get("status").and_then(Value::as_str).unwrap_or_default();
    RunStatus::ENDED.contains(&status)
}
