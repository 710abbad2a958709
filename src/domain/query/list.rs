//! Lists of runs and of node executions: which records a list, a count or a chart covers, and its rows.

use std::cmp::Ordering;

use super::{
    Condition, Direction, Found, NodeFilter, NodeSummary, Page, Position, RunFilter, RunSummary, SortBy, TextFilter,
    TimeRange,
};
use crate::domain::{Document, Kind, NodeExecution, Record, RecordId, Revision, TenantId, WorkflowRun};

/// Which records of one tenant a list, a count or a chart covers.
#[derive(Debug, Clone, PartialEq)]
pub enum ListFilter {
    Runs(RunFilter),
    Nodes(NodeFilter),
}

impl From<RunFilter> for ListFilter {
    fn from(filter: RunFilter) -> Self {
        Self::Runs(filter)
    }
}

impl From<NodeFilter> for ListFilter {
    fn from(filter: NodeFilter) -> Self {
        Self::Nodes(filter)
    }
}

impl ListFilter {
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Runs(_) => Kind::WorkflowRun,
            Self::Nodes(_) => Kind::NodeExecution,
        }
    }

    #[must_use]
    pub const fn tenant_id(&self) -> TenantId {
        match self {
            Self::Runs(filter) => filter.tenant_id,
            Self::Nodes(filter) => filter.tenant_id,
        }
    }

    #[must_use]
    pub const fn created(&self) -> TimeRange {
        match self {
            Self::Runs(filter) => filter.conditions.created,
            Self::Nodes(filter) => filter.conditions.created,
        }
    }

    /// Returns the keyword that is looked for.
    #[must_use]
    pub const fn text(&self) -> Option<&TextFilter> {
        match self {
            Self::Runs(filter) => filter.conditions.text.as_ref(),
            Self::Nodes(filter) => filter.conditions.text.as_ref(),
        }
    }

    /// Returns all but the keyword; the apps included.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition<'_>> {
        match self {
            Self::Runs(filter) => filter.demands(),
            Self::Nodes(filter) => filter.demands(),
        }
    }
}

/// A row of a list.
#[derive(Debug, Clone, PartialEq)]
pub enum Summary {
    Run(Box<RunSummary>),
    Node(Box<NodeSummary>),
}

impl Summary {
    /// Returns the row of a document; `None`: of its kind there are no lists.
    #[must_use]
    pub fn of(document: Document) -> Option<Self> {
        let revision = document.revision;
        match document.record {
            Record::Run(run) => {
                let run = WorkflowRun { graph: None, inputs: None, outputs: None, error: None, ..*run };
                Some(Self::Run(Box::new(RunSummary { run, revision })))
            }
            Record::Node(node) => {
                let [iteration_id, loop_id] = node.enclosing();
                let node = NodeExecution {
                    inputs: None,
                    process_data: None,
                    outputs: None,
                    error: None,
                    execution_metadata: None,
                    ..*node
                };
                Some(Self::Node(Box::new(NodeSummary { node, iteration_id, loop_id, revision })))
            }
            Record::AppLog(_) | Record::Offload(_) => None,
        }
    }

    /// Its place in a list.
    #[must_use]
    pub const fn position(&self) -> Position {
        match self {
            Self::Run(run) => run.position(),
            Self::Node(node) => node.position(),
        }
    }

    #[must_use]
    pub const fn id(&self) -> RecordId {
        self.position().cursor.id
    }

    #[must_use]
    pub const fn revision(&self) -> Revision {
        match self {
            Self::Run(run) => run.revision,
            Self::Node(node) => node.revision,
        }
    }

    #[must_use]
    pub fn into_run(self) -> Option<RunSummary> {
        if let Self::Run(run) = self { Some(*run) } else { None }
    }

    #[must_use]
    pub fn into_node(self) -> Option<NodeSummary> {
        if let Self::Node(node) = self { Some(*node) } else { None }
    }
}

impl<T> Found<T> {
    /// Returns the same with other rows.
    pub fn map<U>(self, row: impl FnMut(T) -> Option<U>) -> Found<U> {
        Found {
            rows: self.rows.into_iter().filter_map(row).collect(),
            total: self.total,
            text_truncated: self.text_truncated,
        }
    }
}

impl Page {
    /// Returns how two places stand in the list that the page is of.
    #[must_use]
    pub fn compare(&self, one: &Position, other: &Position) -> Ordering {
        let elapsed = match self.sort {
            SortBy::CreatedAt => Ordering::Equal,
            SortBy::ElapsedTime => one.elapsed_time.total_cmp(&other.elapsed_time),
        };
        let ascending = elapsed.then_with(|| one.cursor.cmp(&other.cursor));
        if self.direction == Direction::Ascending { ascending } else { ascending.reverse() }
    }
}
