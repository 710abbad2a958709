//! Runs: the list with its cursors, one run, counts.

use super::cursor::List;
use super::{QueryError, RunQuery, TenantLogs};
use crate::domain::query::{Direction, Facet, Page, Position, RunFilter, RunSummary, SortBy, TimeRange};
use crate::domain::{AppId, Document, Kind, Record, RecordId, Timestamp};

/// Statuses that a count is broken down into. Dify has seven; old rows hold others.
const MAX_STATUSES: usize = 1000;

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum After {
    #[default]
    Start,
    /// After this run, which must be in the list itself. Dify's `last_id`.
    LastId(RecordId),
    /// What the page before answered.
    Cursor(String),
}

/// A page of Dify's list of runs, newest first, ties by descending id.
#[derive(Debug, Clone, PartialEq)]
pub struct RunList {
    pub app_id: AppId,
    /// Any of these; empty: any at all.
    pub triggered_from: Vec<Box<str>>,
    pub status: Option<Box<str>>,
    pub after: After,
    /// At least 1.
    pub limit: usize,
}

/// The page.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPage {
    pub runs: Vec<RunSummary>,
    pub has_more: bool,
    /// For the next page, if there is more.
    pub next: Option<String>,
}

/// Runs by status. `total` counts every status, those that are not listed too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunCounts {
    pub total: u64,
    pub running: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub stopped: u64,
    pub partial_succeeded: u64,
}

/// Returns the span of a `time_range` such as `7d`, `12h`, `30m`, `0s` before `now`. As in Dify, any other text is no
/// filter; [`last`] says whether it is one.
fn since(time_range: Option<&str>, now: Timestamp) -> TimeRange {
    let from = time_range.and_then(last).map(|micros| now.micros().saturating_sub(micros).max(0));
    TimeRange { from: from.and_then(|micros| Timestamp::from_micros(micros).ok()), until: None }
}

/// Microseconds of a `time_range`: digits and one of `d`, `h`, `m`, `s`, in any case. Longer than 292,000 years is that.
#[must_use]
pub fn last(time_range: &str) -> Option<i64> {
    let unit = time_range.chars().next_back()?;
    let digits = time_range.strip_suffix(unit)?;
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = match unit.to_ascii_lowercase() {
        'd' => 86_400,
        'h' => 3600,
        'm' => 60,
        's' => 1,
        _ => return None,
    };
    let count = digits.parse::<i64>().unwrap_or(i64::MAX);
    Some(count.saturating_mul(seconds).saturating_mul(1_000_000))
}

impl TenantLogs {
    /// Returns a page of the runs of an app.
    ///
    /// # Errors
    /// [`QueryError::LastRunNotExists`], [`QueryError::Cursor`], or a store that cannot be read.
    pub async fn run_page(&self, list: &RunList) -> Result<RunPage, QueryError> {
        let query = RunQuery {
            app_id: Some(list.app_id),
            triggered_from: list.triggered_from.clone(),
            statuses: list.status.iter().cloned().collect(),
            ..RunQuery::default()
        };
        let filter = self.reader.scoped(&query);
        let identity = List::of(&filter, SortBy::CreatedAt, Direction::Descending);
        let after = match &list.after {
            After::Start => None,
            After::LastId(id) => Some(self.last_run(&filter, *id).await?),
            After::Cursor(cursor) => Some(identity.position(cursor)?),
        };
        let page = Page { after, ..Page::newest(list.limit.saturating_add(1)) };
        let mut runs = self.reader.runs(&query, &page).await?;
        let has_more = runs.len() > list.limit;
        runs.truncate(list.limit);
        let next = runs.last().filter(|_| has_more).map(|run| identity.cursor(run.position()));
        Ok(RunPage { runs, has_more, next })
    }

    /// Returns the place of a run in a list that it must be in.
    async fn last_run(&self, filter: &RunFilter, id: RecordId) -> Result<Position, QueryError> {
        let found = self.reader.run_summaries(&[id]).await?;
        let holds = |values: &[Box<str>], value: &str| values.is_empty() || values.iter().any(|one| **one == *value);
        let in_list = found.into_iter().find(|run| {
            filter.app_id.is_none_or(|app_id| app_id == run.app_id)
                && holds(&filter.triggered_from, &run.triggered_from)
                && holds(&filter.statuses, run.status.as_str())
        });
        in_list.map(|run| run.position()).ok_or(QueryError::LastRunNotExists)
    }

    /// One run with its payloads and its graph; of `app_id` only, if given. Sees every acknowledged write.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn run(&self, app_id: Option<AppId>, id: RecordId) -> Result<Option<Document>, QueryError> {
        let found = self.reader.record(Kind::WorkflowRun, id).await?;
        let found = found.filter(|document| match &document.record {
            Record::Run(run) => app_id.is_none_or(|app_id| app_id == run.app_id),
            _ => false,
        });
        Ok(found.map(|document| self.shown(document)))
    }

    /// Counts of an app's runs, over all or since a while; see Dify's `get_workflow_runs_count`.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn run_counts(
        &self,
        app_id: AppId,
        triggered_from: Vec<Box<str>>,
        status: Option<Box<str>>,
        time_range: Option<&str>,
    ) -> Result<RunCounts, QueryError> {
        let query = RunQuery {
            app_id: Some(app_id),
            triggered_from,
            statuses: status.into_iter().collect(),
            created: since(time_range, self.reader.now()),
            ..RunQuery::default()
        };
        let list = self.reader.list(&query);
        let mut counts = RunCounts::default();
        for found in self.reader.facet(&list, Facet::Status, MAX_STATUSES).await? {
            counts.total += found.count;
            match &*found.value {
                "running" => counts.running = found.count,
                "succeeded" => counts.succeeded = found.count,
                "failed" => counts.failed = found.count,
                "stopped" => counts.stopped = found.count,
                "partial-succeeded" => counts.partial_succeeded = found.count,
                _ => {}
            }
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_ranges() {
        for (text, seconds) in [("7d", 604_800), ("12H", 43_200), ("30m", 1800), ("0s", 0), ("007s", 7)] {
            assert_eq!(last(text), Some(seconds * 1_000_000), "{text}");
        }
        for text in ["", "d", "-1d", "1w", "1.5h", " 7d", "7 d", "7d\n", "٣d", "7ｄ", "d7"] {
            assert_eq!(last(text), None, "{text:?}");
        }
        assert_eq!(last(&format!("{}d", "9".repeat(300))), Some(i64::MAX));
        let now = "2025-12-20T12:00:00Z".parse().unwrap();
        assert_eq!(since(Some("1h"), now).from, "2025-12-20T11:00:00Z".parse().ok());
        assert_eq!(since(Some("soon"), now), TimeRange::default());
        assert_eq!(since(Some("99999999999999999999d"), now).from, Some(Timestamp::MIN));
    }
}
