//! What fails, grouped by a fingerprint of the error text. Computed while it is read, over a bounded number of the newest
//! failed runs; an answer says how many were looked at.

mod fingerprint;

use std::collections::BTreeMap;
use std::pin::pin;

use futures::StreamExt as _;

use self::fingerprint::CommonPieces;
pub(super) use self::fingerprint::Fingerprint;
use super::{QueryError, RunQuery, TenantLogs};
use crate::domain::query::{Content, Direction};
use crate::domain::{AppId, Record, RecordId, Timestamp, WorkflowRun};

/// Failed runs that are looked at, and bytes of what is read of them.
const MOST_RUNS: usize = 1000;
const MOST_BYTES: usize = 64 << 20;
/// What of a run is read.
pub(super) const ERRORS: Content = Content::Only(&["error"]);
/// Characters of the newest text that are kept.
const EXAMPLE: usize = 600;

/// Failed runs whose errors say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorGroup {
    /// What of the text is the same whenever it comes again.
    pub fingerprint: String,
    /// The newest text, clipped.
    pub example: String,
    pub newest: (Timestamp, RecordId),
    pub oldest: Timestamp,
    /// Runs per app.
    pub apps: BTreeMap<AppId, u64>,
    /// When each run began.
    pub times: Vec<Timestamp>,
    /// What the texts that were counted have in common.
    pieces: CommonPieces,
}

impl ErrorGroup {
    /// Returns the group of a run's error, without the run.
    pub(super) fn of(run: &WorkflowRun, found: &Fingerprint) -> Self {
        Self {
            fingerprint: found.text.clone(),
            example: clipped(error_of(run)),
            newest: (run.created_at, run.id),
            oldest: run.created_at,
            apps: BTreeMap::new(),
            times: Vec::new(),
            pieces: CommonPieces::new(&found.pieces),
        }
    }

    /// Counts a run whose error has this fingerprint.
    pub(super) fn count(&mut self, run: &WorkflowRun, found: &Fingerprint) {
        if (run.created_at, run.id) > self.newest {
            self.newest = (run.created_at, run.id);
            self.example = clipped(error_of(run));
        }
        self.oldest = self.oldest.min(run.created_at);
        *self.apps.entry(run.app_id).or_default() += 1;
        self.times.push(run.created_at);
        self.pieces.narrow(&found.pieces);
    }

    /// Returns the longest part that is the same in the texts of all runs that were counted, at most 80 characters: a search for it
    /// in errors finds them. Empty where the texts have none.
    #[must_use]
    pub fn keyword(&self) -> String {
        self.pieces.keyword()
    }
}

/// Returns the error text of a run.
pub(super) fn error_of(run: &WorkflowRun) -> &str {
    run.error.as_deref().unwrap_or_default()
}

fn clipped(error: &str) -> String {
    error.chars().take(EXAMPLE).collect()
}

/// Groups of a span, most runs first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorGroups {
    pub groups: Vec<ErrorGroup>,
    /// Failed runs that were looked at, the newest.
    pub looked_at: usize,
    /// There are more failed runs.
    pub is_cut: bool,
}

impl TenantLogs {
    /// Returns the failed runs of a query by what their errors have in common; `query.statuses` does not count.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn error_groups(&self, query: &RunQuery) -> Result<ErrorGroups, QueryError> {
        let query = RunQuery { statuses: vec!["failed".into()], ..query.clone() };
        let mut walk = pin!(self.walk(&query, Direction::Descending, ERRORS));
        let mut groups = BTreeMap::<String, ErrorGroup>::new();
        let (mut looked_at, mut bytes, mut is_cut) = (0, 0, false);
        while let Some(document) = walk.next().await {
            let document = document?;
            if looked_at == MOST_RUNS || bytes > MOST_BYTES {
                is_cut = true;
                break;
            }
            bytes += document.whole_footprint();
            let Record::Run(run) = document.record else { continue };
            looked_at += 1;
            let found = Fingerprint::of(error_of(&run));
            groups.entry(found.text.clone()).or_insert_with(|| ErrorGroup::of(&run, &found)).count(&run, &found);
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse((group.times.len(), group.newest)));
        Ok(ErrorGroups { groups, looked_at, is_cut })
    }
}
