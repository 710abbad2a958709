//! Search: any conditions, any order, totals, snippets, facets and a histogram.

use std::collections::{HashMap, VecDeque};

use super::cursor::List;
use super::snippet::{Snippet, snippets};
use super::{NodeQuery, QueryError, RunQuery, TenantLogs};
use crate::domain::query::{
    Breakdown, BreakdownCounts, Content, Cursor, Direction, Facet, FacetCount, Found, HistogramBucket, ListFilter,
    Lookup, NodeSummary, Page, Position, RunSummary, Scoped, SortBy, TextFilter, Total,
};
use crate::domain::{Document, Kind};
use crate::store::StoreError;

/// How far the total of a search is counted; beyond it the answer says "at least".
pub const COUNT_TO: u64 = 10_000;

/// A stretch of what is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPage {
    pub sort: SortBy,
    pub direction: Direction,
    /// What the page before answered.
    pub cursor: Option<String>,
    /// At least 1.
    pub limit: usize,
    /// How far the total is counted: [`COUNT_TO`]; `None`: not at all.
    pub count_to: Option<u64>,
}

/// One row, and where its texts hold the keyword.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchHit<T> {
    pub row: T,
    /// Empty without a keyword.
    pub snippets: Vec<Snippet>,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hits<T> {
    pub hits: Vec<SearchHit<T>>,
    pub total: Total,
    /// Some text was longer than what is searched of a field: there may be more.
    pub text_truncated: bool,
    /// For the next page, if there is more.
    pub next: Option<String>,
}

/// Bytes of payloads that a batch of documents should hold. One document may hold more.
const BATCH_BYTES: usize = 4 << 20;
const MAX_BATCH: usize = 128;

/// Documents without their graphs, in the order of their places in a list.
struct Documents {
    kind: Kind,
    pending: VecDeque<Cursor>,
    ready: VecDeque<Document>,
    batch: usize,
}

impl Documents {
    fn new(kind: Kind, places: impl IntoIterator<Item = Cursor>) -> Self {
        Self { kind, pending: places.into_iter().collect(), ready: VecDeque::new(), batch: 8 }
    }

    /// Returns the next document; `None` when all places are through. What was deleted meanwhile is skipped.
    async fn next(&mut self, logs: &TenantLogs) -> Result<Option<Document>, QueryError> {
        while self.ready.is_empty() && !self.pending.is_empty() {
            let batch = self.batch.min(self.pending.len());
            let places: Vec<_> = self.pending.drain(..batch).collect();
            let ids: Vec<_> = places.iter().map(|place| place.id).collect();
            let near = places.iter().map(|place| place.created_at.month()).collect();
            let lookup = Lookup { near, ..Lookup::new(logs.tenant_id(), self.kind, &ids, Content::Payloads) };
            let found = logs.reader.newest(&lookup).await?;
            let bytes: usize = found.iter().map(Document::footprint).sum();
            let fitting = BATCH_BYTES.saturating_mul(batch) / bytes.max(1);
            self.batch = fitting.clamp(1, batch.saturating_mul(2).min(MAX_BATCH));
            let mut found: HashMap<_, _> = found.into_iter().map(|document| (document.record.id(), document)).collect();
            self.ready.extend(ids.iter().filter_map(|id| found.remove(id)));
        }
        Ok(self.ready.pop_front().map(|document| logs.shown(document)))
    }
}

impl TenantLogs {
    /// Runs.
    ///
    /// # Errors
    /// [`QueryError::Cursor`], or a store that cannot be read.
    pub async fn search_runs(&self, query: &RunQuery, page: &SearchPage) -> Result<Hits<RunSummary>, QueryError> {
        let list = List::of(&self.reader.scoped(query), page.sort, page.direction);
        let stretch = stretch(&list, page)?;
        let found = self.reader.search_runs(query, &stretch, page.count_to).await?;
        let next = next(&list, &found.rows, page.limit, RunSummary::position);
        self.hits(found, page.limit, next, Kind::WorkflowRun, query.text.as_ref(), RunSummary::position).await
    }

    /// Node executions.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn search_nodes(&self, query: &NodeQuery, page: &SearchPage) -> Result<Hits<NodeSummary>, QueryError> {
        let list = List::of(&self.reader.scoped(query), page.sort, page.direction);
        let stretch = stretch(&list, page)?;
        let found = self.reader.search_nodes(query, &stretch, page.count_to).await?;
        let next = next(&list, &found.rows, page.limit, NodeSummary::position);
        self.hits(found, page.limit, next, Kind::NodeExecution, query.text.as_ref(), NodeSummary::position).await
    }

    async fn hits<T>(
        &self,
        found: Found<T>,
        limit: usize,
        next: Option<String>,
        kind: Kind,
        text: Option<&TextFilter>,
        position: impl Fn(&T) -> Position,
    ) -> Result<Hits<T>, QueryError> {
        let mut hits: Vec<_> =
            found.rows.into_iter().take(limit).map(|row| SearchHit { row, snippets: Vec::new() }).collect();
        if let Some(text) = text {
            let mut documents = Documents::new(kind, hits.iter().map(|hit| position(&hit.row).cursor));
            let mut rest = hits.iter_mut();
            while let Some(document) = documents.next(self).await? {
                let found = document.record.id();
                if let Some(hit) = rest.find(|hit| position(&hit.row).cursor.id == found) {
                    hit.snippets = snippets(&document.record, text);
                }
            }
        }
        Ok(Hits { hits, total: found.total, text_truncated: found.text_truncated, next })
    }

    /// Returns how many runs or node executions there are by several facets and by time, for the price of one of them.
    ///
    /// # Errors
    /// A store that cannot be read; [`StoreError::TooManySpans`].
    pub async fn break_down<C>(&self, query: &C, by: &Breakdown) -> Result<BreakdownCounts, QueryError>
    where
        C: Clone,
        ListFilter: From<Scoped<C>>,
    {
        let counts = self.reader.break_down(&self.reader.list(query), by).await?;
        if counts.is_cut { Err(StoreError::TooManySpans.into()) } else { Ok(counts) }
    }

    /// Returns how many runs or node executions there are per value of a facet, most frequent first.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn facet<C>(&self, query: &C, facet: Facet, limit: usize) -> Result<Vec<FacetCount>, QueryError>
    where
        C: Clone,
        ListFilter: From<Scoped<C>>,
    {
        Ok(self.reader.facet(&self.reader.list(query), facet, limit).await?)
    }

    /// Returns how many runs or node executions there are per span of `seconds`.
    ///
    /// # Errors
    /// A store that cannot be read; [`StoreError::TooManySpans`].
    pub async fn histogram<C>(&self, query: &C, seconds: u32) -> Result<Vec<HistogramBucket>, QueryError>
    where
        C: Clone,
        ListFilter: From<Scoped<C>>,
    {
        Ok(self.reader.histogram(&self.reader.list(query), seconds).await?)
    }
}

/// Returns the stretch with one row more than wanted, which tells whether there is a next page.
fn stretch(list: &List, page: &SearchPage) -> Result<Page, QueryError> {
    let after = page.cursor.as_deref().map(|cursor| list.position(cursor)).transpose()?;
    Ok(Page { sort: page.sort, direction: page.direction, after, limit: page.limit.saturating_add(1) })
}

fn next<T>(list: &List, rows: &[T], limit: usize, position: impl Fn(&T) -> Position) -> Option<String> {
    let end = limit.checked_sub(1).and_then(|end| rows.get(end));
    end.filter(|_| rows.len() > limit).map(|row| list.cursor(position(row)))
}
