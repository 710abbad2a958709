//! What a question asks for. Every filter names its tenant: a question without one cannot be built.

use std::collections::BTreeSet;
use std::ops::Deref;

use super::{AppScope, Cursor};
use crate::domain::{AppId, Kind, Month, RecordId, TenantId, Timestamp};

/// Half-open span of `created_at`, exact at the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeRange {
    /// First instant inside; `None`: no lower bound.
    pub from: Option<Timestamp>,
    /// First instant after it; `None`: no upper bound.
    pub until: Option<Timestamp>,
}

impl TimeRange {
    /// Returns whether an instant lies in it.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }
}

/// Inclusive bounds of a number.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bounds<T> {
    pub min: Option<T>,
    pub max: Option<T>,
}

impl<T: PartialOrd> Bounds<T> {
    /// Returns whether a value lies within them.
    #[must_use]
    pub fn contains(&self, value: &T) -> bool {
        self.min.as_ref().is_none_or(|min| min <= value) && self.max.as_ref().is_none_or(|max| value <= max)
    }
}

/// Where a keyword is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TextField {
    Inputs,
    Outputs,
    Error,
    /// Nodes only.
    Title,
    /// Nodes only.
    ProcessData,
}

/// A keyword: a substring of the decoded text of a field, compared without regard to case (each character folded by its
/// simple lower case), in any language and of any length from one character on. Nothing in it is a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFilter {
    /// Not empty.
    pub keyword: String,
    /// Found if any of these fields holds it. Not empty.
    pub fields: Vec<TextField>,
}

/// Conditions within one tenant. The query library takes conditions and adds the tenant that its own type carries: what a
/// caller asks for cannot name another.
#[derive(Debug, Clone, PartialEq)]
pub struct Scoped<C> {
    pub tenant_id: TenantId,
    /// Records of other apps are not found, whatever the conditions say.
    pub apps: AppScope,
    pub conditions: C,
}

impl<C> Deref for Scoped<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.conditions
    }
}

/// Runs of a tenant. Conditions hold for the newest revision of a run.
pub type RunFilter = Scoped<RunQuery>;

/// Node executions of a tenant.
pub type NodeFilter = Scoped<NodeQuery>;

/// Conditions on runs; all must hold. The default finds all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunQuery {
    pub app_id: Option<AppId>,
    pub workflow_id: Option<RecordId>,
    /// Any of these; empty: any at all. So for every list here.
    pub types: Vec<Box<str>>,
    pub statuses: Vec<Box<str>>,
    pub triggered_from: Vec<Box<str>>,
    pub created: TimeRange,
    pub created_by: Option<RecordId>,
    /// Seconds.
    pub elapsed_time: Bounds<f64>,
    pub total_tokens: Bounds<i64>,
    pub text: Option<TextFilter>,
}

impl RunQuery {
    /// Returns the same conditions, within a tenant, on every app.
    #[must_use]
    pub const fn within(self, tenant_id: TenantId) -> RunFilter {
        Scoped { tenant_id, apps: AppScope::ALL, conditions: self }
    }
}

impl Scoped<RunQuery> {
    /// Returns all runs of a tenant.
    #[must_use]
    pub fn all(tenant_id: TenantId) -> Self {
        RunQuery::default().within(tenant_id)
    }
}

/// Conditions on node executions; all must hold. The default finds all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeQuery {
    pub app_id: Option<AppId>,
    pub workflow_id: Option<RecordId>,
    pub workflow_run_id: Option<RecordId>,
    /// Id within the graph.
    pub node_id: Option<Box<str>>,
    pub node_types: Vec<Box<str>>,
    pub statuses: Vec<Box<str>>,
    pub triggered_from: Vec<Box<str>>,
    pub created: TimeRange,
    pub created_by: Option<RecordId>,
    /// Seconds.
    pub elapsed_time: Bounds<f64>,
    pub text: Option<TextFilter>,
}

impl NodeQuery {
    /// Returns the same conditions, within a tenant, on every app.
    #[must_use]
    pub const fn within(self, tenant_id: TenantId) -> NodeFilter {
        Scoped { tenant_id, apps: AppScope::ALL, conditions: self }
    }
}

impl Scoped<NodeQuery> {
    /// Returns all node executions of a tenant.
    #[must_use]
    pub fn all(tenant_id: TenantId) -> Self {
        NodeQuery::default().within(tenant_id)
    }
}

/// Conditions on app logs; all must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct AppLogFilter {
    pub tenant_id: TenantId,
    /// Logs of other apps are not found, whatever `app_id` says.
    pub apps: AppScope,
    pub app_id: AppId,
    /// Of the log, not of its run.
    pub created: TimeRange,
    pub created_by_role: Option<Box<str>>,
    /// Any of these creators; empty: any at all.
    pub created_by: Vec<RecordId>,
    /// Exactly what the log itself carries of its creator: a session id or an e-mail.
    pub creator: Option<Box<str>>,
    /// Status of the log's run. A log whose run is not there has none, and is left out then.
    pub run_status: Option<Box<str>>,
    pub keyword: Option<LogKeyword>,
}

impl AppLogFilter {
    /// Returns all logs of an app.
    #[must_use]
    pub fn all(tenant_id: TenantId, app_id: AppId) -> Self {
        Self {
            tenant_id,
            apps: AppScope::ALL,
            app_id,
            created: TimeRange::default(),
            created_by_role: None,
            created_by: Vec::new(),
            creator: None,
            run_status: None,
            keyword: None,
        }
    }
}

/// What finds an app log: any of the four.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKeyword {
    /// Substring of the run's inputs or outputs, or of the log's own `creator` where its role is `end_user`; folded as in
    /// [`TextFilter`]. Not empty.
    pub keyword: String,
    /// The keyword is the id of a run.
    pub run_id: Option<RecordId>,
    /// End users that a directory found by the keyword: their logs (role `end_user`) are found.
    pub end_users: Vec<RecordId>,
}

/// Direction of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Newest, or longest, first.
    #[default]
    Descending,
    Ascending,
}

/// What a list of runs or nodes is sorted by; ties by `created_at`, then by id, in the same direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SortBy {
    #[default]
    CreatedAt,
    ElapsedTime,
}

/// A place in a list: what comes strictly after it follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    pub cursor: Cursor,
    /// Of the row at the cursor; compared only where the list is sorted by it.
    pub elapsed_time: f64,
}

/// A stretch of a list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Page {
    pub sort: SortBy,
    pub direction: Direction,
    pub after: Option<Position>,
    /// Rows wanted, at least 1.
    pub limit: usize,
}

impl Page {
    /// Returns the first `limit` rows, newest first.
    #[must_use]
    pub const fn newest(limit: usize) -> Self {
        Self { sort: SortBy::CreatedAt, direction: Direction::Descending, after: None, limit }
    }
}

/// How much of a document is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Without payloads (graph, inputs, process data, outputs, metadata, error).
    Light,
    /// Of the payloads these columns only.
    Only(&'static [&'static str]),
    /// Everything but the graph of a run.
    Payloads,
    /// Everything; the graph of a run put back.
    Full,
}

impl Content {
    /// Returns whether a payload, or `extra`, is wanted.
    #[must_use]
    pub fn has(self, payload: &str) -> bool {
        match self {
            Self::Light => false,
            Self::Only(columns) => columns.contains(&payload),
            Self::Payloads => payload != "graph",
            Self::Full => true,
        }
    }
}

/// A walk over documents, oldest first by (`created_at`, id). It is the only question that can cross tenants, and is
/// asked by administrative work only: validation, restoring, retention, export.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    pub kind: Kind,
    /// Empty: all tenants.
    pub tenants: Vec<TenantId>,
    /// Documents of other apps are left out, whatever `app_id` says.
    pub apps: AppScope,
    pub app_id: Option<AppId>,
    pub created: TimeRange,
    /// Runs and nodes: any of these; empty: any at all.
    pub statuses: Vec<Box<str>>,
    /// Only what this migration wrote and nothing has overwritten since.
    pub origin: Option<crate::domain::Origin>,
    /// What comes strictly after it in the order of the walk follows. Ids are unique per tenant only: all documents
    /// that share a cursor come in one answer.
    pub after: Option<Cursor>,
    /// Documents wanted, at least 1. Fewer may come when they are large; none means the end.
    pub limit: usize,
    pub content: Content,
    /// Every copy of a record, not the newest alone: what a month holds, whatever lies in others.
    pub superseded_too: bool,
}

impl Scan {
    /// Returns all documents of a kind, with their payloads.
    #[must_use]
    pub fn all(kind: Kind, limit: usize) -> Self {
        Self {
            kind,
            tenants: Vec::new(),
            apps: AppScope::ALL,
            app_id: None,
            created: TimeRange::default(),
            statuses: Vec::new(),
            origin: None,
            after: None,
            limit,
            content: Content::Full,
            superseded_too: false,
        }
    }
}

/// Copies of records of one tenant, by their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    pub tenant_id: TenantId,
    pub kind: Kind,
    /// In ascending order, each once.
    pub ids: Vec<RecordId>,
    /// The months in which most of them lie: what is final there need not be looked for elsewhere. Empty: none is likelier.
    pub near: BTreeSet<Month>,
    pub content: Content,
    /// Every copy of each record. Else the one that counts is enough, and what else is at hand.
    pub every_copy: bool,
}

impl Lookup {
    /// Returns the copies that count, wherever they lie.
    #[must_use]
    pub fn new(tenant_id: TenantId, kind: Kind, ids: &[RecordId], content: Content) -> Self {
        let ids: BTreeSet<_> = ids.iter().copied().collect();
        let ids = ids.into_iter().collect();
        Self { tenant_id, kind, ids, near: BTreeSet::new(), content, every_copy: false }
    }
}
