//! Walks of any length in constant memory: light rows by pages, documents by batches that shrink when payloads are large.

use std::collections::{HashMap, VecDeque};

use futures::Stream;
use futures::stream::try_unfold;

use super::{NodeQuery, QueryError, RunQuery, TenantLogs};
use crate::domain::query::{
    Content, Cursor, Direction, NodeFilter, NodeSummary, Page, RunFilter, RunSummary, Scan, SortBy, TimeRange,
};
use crate::domain::{AppId, Document, Kind, RecordId};

/// Light rows per question.
const PAGE: usize = 500;
/// Bytes of payloads that a batch should hold. One document may hold more.
const BATCH_BYTES: usize = 4 << 20;
const MAX_BATCH: usize = 128;

/// Which list is walked.
enum List {
    Runs(RunFilter),
    Nodes(NodeFilter),
}

/// The state of a walk.
struct Walk {
    logs: TenantLogs,
    list: List,
    /// `None`: the list has ended.
    page: Option<Page>,
    documents: Documents,
}

/// Documents by their ids, in the order of the ids.
pub(super) struct Documents {
    kind: Kind,
    pending: VecDeque<RecordId>,
    ready: VecDeque<Document>,
    batch: usize,
}

impl Documents {
    pub(super) fn new(kind: Kind, ids: impl IntoIterator<Item = RecordId>) -> Self {
        Self { kind, pending: ids.into_iter().collect(), ready: VecDeque::new(), batch: 8 }
    }

    /// The next document; `None` when all ids are through. Ids that were deleted meanwhile are skipped.
    pub(super) async fn next(&mut self, logs: &TenantLogs) -> Result<Option<Document>, QueryError> {
        while self.ready.is_empty() && !self.pending.is_empty() {
            let batch = self.batch.min(self.pending.len());
            let ids: Vec<_> = self.pending.drain(..batch).collect();
            let found = logs.ports.queries.records(logs.tenant_id, self.kind, &ids).await?;
            let bytes: usize = found.iter().map(Document::footprint).sum();
            let fitting = BATCH_BYTES.saturating_mul(batch) / bytes.max(1);
            self.batch = fitting.clamp(1, batch.saturating_mul(2).min(MAX_BATCH));
            let mut found: HashMap<_, _> = found.into_iter().map(|document| (document.record.id(), document)).collect();
            self.ready.extend(ids.iter().filter_map(|id| found.remove(id)));
        }
        Ok(self.ready.pop_front())
    }
}

impl Walk {
    async fn next(mut self) -> Result<Option<(Document, Self)>, QueryError> {
        loop {
            if let Some(document) = self.documents.next(&self.logs).await? {
                return Ok(Some((document, self)));
            }
            let Some(page) = self.page else { return Ok(None) };
            let queries = &self.logs.ports.queries;
            let (ids, last): (Vec<_>, _) = match &self.list {
                List::Runs(filter) => {
                    let rows = queries.runs(filter, &page).await?;
                    (rows.iter().map(|run| run.id).collect(), rows.last().map(RunSummary::position))
                }
                List::Nodes(filter) => {
                    let rows = queries.nodes(filter, &page).await?;
                    (rows.iter().map(|node| node.id).collect(), rows.last().map(NodeSummary::position))
                }
            };
            self.page = (ids.len() == page.limit).then_some(Page { after: last, ..page });
            self.documents.pending.extend(ids);
        }
    }
}

impl TenantLogs {
    /// Every run of a query with its payloads.
    pub fn export_runs(
        &self,
        query: &RunQuery,
        direction: Direction,
    ) -> impl Stream<Item = Result<Document, QueryError>> + Send + use<> {
        self.walk(List::Runs(query.within(self.tenant_id)), Kind::WorkflowRun, direction)
    }

    /// Every node execution of a query with its payloads.
    pub fn export_nodes(
        &self,
        query: &NodeQuery,
        direction: Direction,
    ) -> impl Stream<Item = Result<Document, QueryError>> + Send + use<> {
        self.walk(List::Nodes(query.within(self.tenant_id)), Kind::NodeExecution, direction)
    }

    fn walk(
        &self,
        list: List,
        kind: Kind,
        direction: Direction,
    ) -> impl Stream<Item = Result<Document, QueryError>> + Send + use<> {
        let page = Page { sort: SortBy::CreatedAt, direction, after: None, limit: PAGE };
        let documents = Documents::new(kind, []);
        try_unfold(Walk { logs: self.clone(), list, page: Some(page), documents }, Walk::next)
    }

    /// Every app log of the tenant, or of one app, oldest first.
    pub fn export_app_logs(
        &self,
        app_id: Option<AppId>,
        created: TimeRange,
    ) -> impl Stream<Item = Result<Document, QueryError>> + Send + use<> {
        let scan = Scan {
            tenants: vec![self.tenant_id],
            app_id,
            created,
            content: Content::Full,
            ..Scan::all(Kind::AppLog, PAGE)
        };
        let state = (self.clone(), scan, VecDeque::new());
        try_unfold(state, async |(logs, mut scan, mut ready): (Self, Scan, VecDeque<Document>)| {
            if ready.is_empty() {
                ready.extend(logs.ports.scan.scan(&scan).await?);
                scan.after = ready.back().map(|document: &Document| Cursor {
                    created_at: document.record.created_at(),
                    id: document.record.id(),
                });
            }
            Ok(ready.pop_front().map(|document| (document, (logs, scan, ready))))
        })
    }
}
