//! Walks of any length in constant memory, documents by stretches of bounded bytes.

use std::collections::VecDeque;

use futures::Stream;
use futures::stream::try_unfold;

use super::reader::HeldList;
use super::{QueryError, TenantLogs};
use crate::domain::query::{Content, Direction, ListFilter, Page, Scan, Scoped, SortBy, TimeRange};
use crate::domain::{AppId, Document, Kind};

/// Documents per question, at most.
const PAGE: usize = 500;

/// The state of a walk.
struct Walk {
    logs: TenantLogs,
    list: HeldList,
    content: Content,
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
            let found = self.logs.reader.documents(&self.list, &page, self.content).await?;
            self.page = found.next.map(|next| Page { after: Some(next), ..page });
            self.ready.extend(found.documents.into_iter().map(|document| self.logs.shown(document)));
        }
    }
}

impl TenantLogs {
    /// Returns every run with its graph, or every node execution, of a query with its payloads.
    pub fn export<C>(
        &self,
        query: &C,
        direction: Direction,
    ) -> impl Stream<Item = Result<Document, QueryError>> + Send + use<C>
    where
        C: Clone,
        ListFilter: From<Scoped<C>>,
    {
        self.walk(query, direction, Content::Full)
    }

    /// Returns everything that a query finds, as far as it is wanted.
    pub(super) fn walk<C>(
        &self,
        query: &C,
        direction: Direction,
        content: Content,
    ) -> impl Stream<Item = Result<Document, QueryError>> + Send + use<C>
    where
        C: Clone,
        ListFilter: From<Scoped<C>>,
    {
        let page = Some(Page { sort: SortBy::CreatedAt, direction, after: None, limit: PAGE });
        let list = self.reader.list(query);
        try_unfold(Walk { logs: self.clone(), list, content, page, ready: VecDeque::new() }, Walk::next)
    }

    /// Returns every app log of the tenant, or of one app, oldest first.
    pub fn export_app_logs(
        &self,
        app_id: Option<AppId>,
        created: TimeRange,
    ) -> impl Stream<Item = Result<Document, QueryError>> + Send + use<> {
        let scan = Scan {
            tenants: vec![self.tenant_id()],
            app_id,
            created,
            content: Content::Full,
            ..Scan::all(Kind::AppLog, PAGE)
        };
        let state = (self.clone(), scan, VecDeque::new());
        try_unfold(state, async |(logs, mut scan, mut ready): (Self, Scan, VecDeque<Document>)| {
            if ready.is_empty() {
                ready.extend(logs.reader.scan(&scan).await?);
                scan.after = ready.back().map(Document::cursor);
            }
            Ok(ready.pop_front().map(|document| (logs.shown(document), (logs, scan, ready))))
        })
    }
}
