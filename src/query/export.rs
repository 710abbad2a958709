//! Walks of any length in constant memory, documents by stretches of bounded bytes.

use std::collections::VecDeque;

use futures::Stream;
use futures::stream::try_unfold;

use super::{NodeQuery, QueryError, RunQuery, TenantLogs};
use crate::domain::query::{Content, Cursor, Direction, Page, Scan, SortBy, TimeRange};
use crate::domain::{AppId, Document, Kind};
use crate::store::Subject;

/// Documents per question, at most.
const PAGE: usize = 500;

/// The state of a walk.
struct Walk {
    logs: TenantLogs,
    subject: Subject,
    /// `None`: the list has ended.
    page: Option<Page>,
    ready: VecDeque<Document>,
}

impl Walk {
    async fn next(mut self) -> Result<Option<(Document, Self)>, QueryError> {
        loop {
            if let Some(document) = self.ready.pop_front() {
                return Ok(Some((document, self)));
            }
            let Some(page) = self.page else { return Ok(None) };
            let found = self.logs.ports.queries.documents(&self.subject, &page).await?;
            self.page = found.next.map(|next| Page { after: Some(next), ..page });
            self.ready.extend(found.documents);
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
        self.walk(Subject::Runs(query.within(self.tenant_id)), direction)
    }

    /// Every node execution of a query with its payloads.
    pub fn export_nodes(
        &self,
        query: &NodeQuery,
        direction: Direction,
    ) -> impl Stream<Item = Result<Document, QueryError>> + Send + use<> {
        self.walk(Subject::Nodes(query.within(self.tenant_id)), direction)
    }

    fn walk(
        &self,
        subject: Subject,
        direction: Direction,
    ) -> impl Stream<Item = Result<Document, QueryError>> + Send + use<> {
        let page = Page { sort: SortBy::CreatedAt, direction, after: None, limit: PAGE };
        try_unfold(Walk { logs: self.clone(), subject, page: Some(page), ready: VecDeque::new() }, Walk::next)
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
