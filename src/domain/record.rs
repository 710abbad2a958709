//! Any record, and what all kinds have in common: identity and place.

use std::fmt;
use std::str::FromStr;

use super::{AppId, AppLog, Month, NodeExecution, Offload, RecordId, Revision, TenantId, Timestamp, WorkflowRun};

/// The kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    WorkflowRun,
    NodeExecution,
    AppLog,
    Offload,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::WorkflowRun, Self::NodeExecution, Self::AppLog, Self::Offload];

    /// Returns the name in native events and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WorkflowRun => "workflow_run",
            Self::NodeExecution => "node_execution",
            Self::AppLog => "app_log",
            Self::Offload => "offload",
        }
    }

    /// Dify's table.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::WorkflowRun => "workflow_runs",
            Self::NodeExecution => "workflow_node_executions",
            Self::AppLog => "workflow_app_logs",
            Self::Offload => "workflow_node_execution_offload",
        }
    }

    /// Returns the part of an index name that stands for the kind.
    #[must_use]
    pub const fn index_part(self) -> &'static str {
        match self {
            Self::WorkflowRun => "workflow-runs",
            Self::NodeExecution => "workflow-node-executions",
            Self::AppLog => "workflow-app-logs",
            Self::Offload => "workflow-offloads",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no [`Kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind (expected workflow_run, node_execution, app_log or offload)")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownKind)
    }
}

/// One row of one of Dify's log tables.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    Run(Box<WorkflowRun>),
    Node(Box<NodeExecution>),
    AppLog(Box<AppLog>),
    Offload(Box<Offload>),
}

/// What makes two snapshots the same record. The tenant is part of it: a tenant cannot overwrite another's row by
/// reusing its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    pub tenant_id: TenantId,
    pub kind: Kind,
    pub id: RecordId,
}

impl Record {
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Run(_) => Kind::WorkflowRun,
            Self::Node(_) => Kind::NodeExecution,
            Self::AppLog(_) => Kind::AppLog,
            Self::Offload(_) => Kind::Offload,
        }
    }

    #[must_use]
    pub fn id(&self) -> RecordId {
        match self {
            Self::Run(run) => run.id,
            Self::Node(node) => node.id,
            Self::AppLog(log) => log.id,
            Self::Offload(offload) => offload.id,
        }
    }

    #[must_use]
    pub fn tenant_id(&self) -> TenantId {
        match self {
            Self::Run(run) => run.tenant_id,
            Self::Node(node) => node.tenant_id,
            Self::AppLog(log) => log.tenant_id,
            Self::Offload(offload) => offload.tenant_id,
        }
    }

    /// Returns the app that the record belongs to.
    #[must_use]
    pub fn app_id(&self) -> AppId {
        match self {
            Self::Run(run) => run.app_id,
            Self::Node(node) => node.app_id,
            Self::AppLog(log) => log.app_id,
            Self::Offload(offload) => offload.app_id,
        }
    }

    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        match self {
            Self::Run(run) => run.created_at,
            Self::Node(node) => node.created_at,
            Self::AppLog(log) => log.created_at,
            Self::Offload(offload) => offload.created_at,
        }
    }

    /// Returns when the snapshot was taken, as far as the record tells: its end, else its start.
    #[must_use]
    pub fn event_time(&self) -> Timestamp {
        let finished_at = match self {
            Self::Run(run) => run.finished_at,
            Self::Node(node) => node.finished_at,
            Self::AppLog(_) | Self::Offload(_) => None,
        };
        finished_at.map_or(self.created_at(), |finished| finished.max(self.created_at()))
    }

    /// Returns whether it can still change by itself: by its status, since a paused node has a finish time, too.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        Revision::of(self).has_ended()
    }

    #[must_use]
    pub fn key(&self) -> RecordKey {
        RecordKey { tenant_id: self.tenant_id(), kind: self.kind(), id: self.id() }
    }

    /// Returns the place: the UTC month of `created_at`, a pure function of the record.
    #[must_use]
    pub fn month(&self) -> Month {
        self.created_at().month()
    }
}
