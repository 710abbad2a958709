//! What answers a question: light rows and numbers. None holds a payload, but for the documents of a list.

use std::ops::Deref;

use super::{Cursor, Position, RunSummary};
use crate::domain::schema::RecordRef;
use crate::domain::{AppLog, Document, Kind, NodeExecution, Revision, Timestamp};

/// A node execution without its payloads.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSummary {
    /// Its payloads are left out.
    pub node: NodeExecution,
    /// `iteration_id` and `loop_id` of the execution metadata, where it has them as texts.
    pub iteration_id: Option<Box<str>>,
    pub loop_id: Option<Box<str>>,
    pub revision: Revision,
}

impl Deref for NodeSummary {
    type Target = NodeExecution;

    fn deref(&self) -> &NodeExecution {
        &self.node
    }
}

impl<'r> From<&'r NodeSummary> for RecordRef<'r> {
    fn from(summary: &'r NodeSummary) -> Self {
        Self::Node(&summary.node)
    }
}

impl NodeSummary {
    /// Its place in a list.
    #[must_use]
    pub const fn position(&self) -> Position {
        let cursor = Cursor { created_at: self.node.created_at, id: self.node.id };
        Position { cursor, elapsed_time: self.node.elapsed_time }
    }
}

/// Documents of a stretch of a list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DocumentPage {
    pub documents: Vec<Document>,
    /// After which place the list goes on; `None`: it has ended.
    pub next: Option<Position>,
}

/// An app log with the run it stands for; `None` if that run is not there.
#[derive(Debug, Clone, PartialEq)]
pub struct AppLogRow {
    pub log: AppLog,
    pub run: Option<RunSummary>,
}

/// A page of app logs, newest first, ties by descending id.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AppLogPage {
    pub rows: Vec<AppLogRow>,
    /// How many logs the filter finds in all.
    pub total: u64,
}

/// How many rows a search finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Total {
    pub value: u64,
    /// `false`: at least so many.
    pub exact: bool,
}

/// What a search found of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<T> {
    pub rows: Vec<T>,
    pub total: Total,
    /// Some text was longer than what is searched of a field: there may be more.
    pub text_truncated: bool,
}

/// Runs of one local day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    pub date: chrono::NaiveDate,
    pub runs: u64,
    /// Distinct `created_by`, exact.
    pub users: u64,
    /// Sum of `total_tokens`, exact beyond 64 bits.
    pub tokens: i128,
}

/// What rows are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Facet {
    Status,
    AppId,
    TriggeredFrom,
    CreatedBy,
    /// Nodes only.
    NodeType,
}

impl Facet {
    /// Returns the column that has its values; `None`: the kind has no such values.
    #[must_use]
    pub fn column(self, kind: Kind) -> Option<&'static str> {
        match self {
            Self::Status => Some("status"),
            Self::AppId => Some("app_id"),
            Self::TriggeredFrom => Some("triggered_from"),
            Self::CreatedBy => Some("created_by"),
            Self::NodeType => (kind == Kind::NodeExecution).then_some("node_type"),
        }
    }
}

/// What rows are counted by, all in one pass over them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breakdown {
    pub facets: Vec<Facet>,
    /// Values of each facet at most, the most frequent ones.
    pub values: usize,
    /// Seconds of a span of time; `None`: rows are not counted by time.
    pub seconds: Option<u32>,
}

/// Rows by the values of facets and by time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BreakdownCounts {
    /// Of each facet, in the order of the question: its values, most frequent first, ties by value. A facet that the kind does
    /// not have has none.
    pub facets: Vec<Vec<FacetCount>>,
    /// Of each status, by its name: its spans that have rows, oldest first. They begin at multiples of their length since the
    /// epoch. At most 64 statuses, some of them where there are more.
    pub spans: Vec<(Box<str>, Vec<HistogramBucket>)>,
    /// The spans of all other statuses together.
    pub other_spans: Vec<HistogramBucket>,
    /// Whether some status has more spans than [`MOST_SPANS`](super::MOST_SPANS), which are absent.
    pub is_cut: bool,
}

impl BreakdownCounts {
    /// Returns every span of every status; a span of several statuses comes several times.
    pub fn all_spans(&self) -> impl Iterator<Item = &HistogramBucket> {
        self.spans.iter().flat_map(|(_, spans)| spans).chain(&self.other_spans)
    }
}

/// Rows of one value of a facet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FacetCount {
    pub value: Box<str>,
    pub count: u64,
}

/// Rows of one span of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistogramBucket {
    /// First instant of the span.
    pub from: Timestamp,
    pub count: u64,
}

/// Documents of one tenant, kind and month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantCount {
    pub tenant_id: crate::domain::TenantId,
    pub month: crate::domain::Month,
    pub kind: Kind,
    pub documents: u64,
}
