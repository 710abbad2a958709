//! Questions to a store, and the light rows that answer them.

mod answer;
mod conditions;
mod filter;
pub mod fold;
pub mod keyword;
mod list;
mod scope;
mod tally;

pub use answer::{
    AppLogPage, AppLogRow, Breakdown, BreakdownCounts, Day, DocumentPage, Facet, FacetCount, Found, HistogramBucket,
    NodeSummary, TenantCount, Total,
};
pub use conditions::{Condition, Demand};
pub use filter::{
    AppLogFilter, Bounds, Content, Direction, LogKeyword, Lookup, NodeFilter, NodeQuery, Page, Position, RunFilter,
    RunQuery, Scan, Scoped, SortBy, TextField, TextFilter, TimeRange,
};
pub use keyword::Keyword;
pub use list::{ListFilter, Summary};
pub use scope::AppScope;
pub use tally::{BreakdownTally, DayTallies, MOST_SPANS, SpanCounts};

use std::ops::Deref;

use super::schema::RecordRef;
use super::{Month, RecordId, Revision, Timestamp, WorkflowRun};

/// Position in a list ordered by (`created_at`, `id`), newest first: rows strictly after it in that order follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub created_at: Timestamp,
    pub id: RecordId,
}

/// A run without its payloads: what lists show.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    /// Its payloads are left out.
    pub run: WorkflowRun,
    /// Revision of the snapshot, to answer a run that lies in two months once.
    pub revision: Revision,
}

impl Deref for RunSummary {
    type Target = WorkflowRun;

    fn deref(&self) -> &WorkflowRun {
        &self.run
    }
}

impl<'r> From<&'r RunSummary> for RecordRef<'r> {
    fn from(summary: &'r RunSummary) -> Self {
        Self::Run(&summary.run)
    }
}

impl RunSummary {
    /// Its position in a list.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        Cursor { created_at: self.run.created_at, id: self.run.id }
    }

    /// Its place in a list.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position { cursor: self.cursor(), elapsed_time: self.run.elapsed_time }
    }
}

/// How much room a month takes, over all tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthSize {
    pub month: Month,
    /// As in [`MonthCount`]; `None`: all kinds lie in the same files.
    pub kind: Option<&'static str>,
    /// On disk, copies included.
    pub bytes: u64,
    /// Shards of an engine, copies included; files of SQLite.
    pub shards: u64,
}

/// How much of one kind a month holds, over all tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthCount {
    pub month: Month,
    /// `workflow_run`, `node_execution`, `app_log`, `offload` or `graph`.
    pub kind: &'static str,
    pub documents: u64,
}
