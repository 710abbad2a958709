//! What a store answers. Every store finds records by their ids, walks over all there is, and lists runs and nodes; what else it
//! can is a matter of its capabilities; and what is the same over every store is made of that (`shared`).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use async_trait::async_trait;
use chrono_tz::Tz;

use super::capability::Capability;
use super::error::StoreError;
use super::shared::{documents, records, walks};
use crate::domain::document::ContentHash;
use crate::domain::query::{
    AppLogFilter, AppLogPage, Breakdown, BreakdownCounts, Content, Cursor, Day, DocumentPage, Facet, FacetCount, Found,
    HistogramBucket, ListFilter, Lookup, MOST_SPANS, NodeFilter, NodeSummary, Page, RunFilter, RunSummary, Scan,
    Summary, TenantCount,
};
use crate::domain::record::RecordKey;
use crate::domain::{Document, Kind, Month, RecordId, TenantId};

/// Bytes of payloads and graphs after which a stretch of documents ends.
pub const STRETCH_BYTES: usize = 8 << 20;

/// The read port. A record that lies in two months (a run resumed in a later month) counts and shows once: the copy of the
/// greatest [`Precedence`](crate::domain::Precedence), and filters look at that copy only.
///
/// What is written is seen by ids as soon as it was acknowledged, by other questions once the store has refreshed.
///
/// # Errors
/// Every method: [`StoreError`] if the store cannot be read; the same call may succeed later.
/// [`StoreError::Unsupported`] where the store lacks what the question needs.
#[async_trait]
pub trait LogReader: Send + Sync {
    // What every store answers.

    /// Returns whether a question could be answered now. Reads a little, writes nothing and takes no right that a
    /// writer needs; cheap enough to be called every second.
    async fn ready(&self) -> Result<(), StoreError>;

    /// Returns copies of records, in no order; absent records have none. At least the copy that counts of each is among
    /// them, and every copy where [`Lookup::every_copy`] says so. Sees every acknowledged write.
    async fn lookup(&self, lookup: &Lookup) -> Result<Vec<Document>, StoreError>;

    /// Returns the next copies of a walk, superseded ones too, by (`created_at`, id, tenant): at most `scan.limit` and the
    /// others that share the last one's cursor, fewer when they are large; none at the end.
    async fn walk(&self, scan: &Scan) -> Result<Vec<Document>, StoreError>;

    /// Returns a page of a list: at most `page.limit` rows, fewer only at the end. With `count_to` also how many rows there
    /// are in all, counted up to it. Where a keyword is looked for, also whether texts were cut before they were searched;
    /// else reads no payload.
    async fn page(&self, list: &ListFilter, page: &Page, count_to: Option<u64>) -> Result<Found<Summary>, StoreError>;

    /// Returns what the store can do beside that. A store that does not name [`Capability::TextSearch`] refuses keywords.
    fn capabilities(&self) -> &'static [Capability] {
        &[]
    }

    /// Refuses what the store lacks.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`], which names it.
    fn need(&self, capability: Capability) -> Result<(), StoreError> {
        if self.capabilities().contains(&capability) { Ok(()) } else { Err(StoreError::Unsupported(capability)) }
    }

    // What only a store with a capability answers.

    /// Returns a page of app logs by its offset, newest first, and the exact total.
    async fn app_logs(&self, _filter: &AppLogFilter, _offset: u64, _limit: usize) -> Result<AppLogPage, StoreError> {
        Err(StoreError::Unsupported(Capability::AppLogs))
    }

    /// Returns runs, users and tokens per day of `zone`, oldest day first; days without runs are absent.
    async fn daily(&self, _filter: &RunFilter, _zone: Tz) -> Result<Vec<Day>, StoreError> {
        Err(StoreError::Unsupported(Capability::Statistics))
    }

    /// Returns counts per value of facets and per status and span of time, exact, all of the same rows: looking at them once
    /// is most of what it costs, whatever they are counted by.
    async fn break_down(&self, _list: &ListFilter, _by: &Breakdown) -> Result<BreakdownCounts, StoreError> {
        Err(StoreError::Unsupported(Capability::Statistics))
    }

    /// Returns how many documents the walk would meet from `scan.after` on; `limit` and `content` do not matter.
    async fn scan_count(&self, _scan: &Scan) -> Result<u64, StoreError> {
        Err(StoreError::Unsupported(Capability::Inventory))
    }

    /// Returns where the walk ends today: the place of the last document, older copies too; `None`: there is none. `limit`,
    /// `content` and `after` do not matter.
    async fn scan_end(&self, _scan: &Scan) -> Result<Option<Cursor>, StoreError> {
        Err(StoreError::Unsupported(Capability::Inventory))
    }

    /// Returns the tenants that have a record of this id, each once.
    async fn owners(&self, _kind: Kind, _id: RecordId) -> Result<Vec<TenantId>, StoreError> {
        Err(StoreError::Unsupported(Capability::Inventory))
    }

    /// Returns what belongs to runs: their node executions, these nodes' offloads, and the runs' app logs; each once.
    async fn children(&self, _tenant_id: TenantId, _run_ids: &[RecordId]) -> Result<Vec<RecordKey>, StoreError> {
        Err(StoreError::Unsupported(Capability::Inventory))
    }

    /// Returns the documents per tenant and kind of a month; what is closed is not in it (`StoreOverview::ensure_open`).
    async fn tenant_counts(&self, _month: Month) -> Result<Vec<TenantCount>, StoreError> {
        Err(StoreError::Unsupported(Capability::Inventory))
    }

    /// Returns which of `hashes` some document of the tenant and month names, older copies of a record included. Sees every
    /// acknowledged write; [`StoreError::Closed`] where a part of the month is closed that may name one of the others. Costs
    /// a few requests to an engine, and a walk over the truncated documents of the month where
    /// they were written before version 3 of the index templates.
    async fn named_texts(
        &self,
        _tenant_id: TenantId,
        _month: Month,
        _hashes: &[ContentHash],
    ) -> Result<HashSet<ContentHash>, StoreError> {
        Err(StoreError::Unsupported(Capability::Inventory))
    }

    // What follows from the answers of every store. A store may have a faster way.

    /// Returns a page of a list with as much of each document as is wanted: at most `page.limit` documents, and no more of
    /// them once they hold [`STRETCH_BYTES`]. What was erased a moment ago is left out, so a page may be empty although
    /// `next` is set; without `next` the list has ended.
    async fn documents(&self, list: &ListFilter, page: &Page, content: Content) -> Result<DocumentPage, StoreError> {
        documents::page(self, list, page, content).await
    }

    /// Returns the next documents of a walk, of each record the copy that counts unless [`Scan::superseded_too`] says
    /// otherwise; else as [`Self::walk`].
    async fn scan(&self, scan: &Scan) -> Result<Vec<Document>, StoreError> {
        walks::scan(self, scan).await
    }

    /// Returns the full texts that these records name, each with the month whose copy of the record names it; in no order,
    /// each once. Sees every acknowledged write, except where another one is under way.
    async fn texts_of(
        &self,
        tenant_id: TenantId,
        kind: Kind,
        ids: &[RecordId],
    ) -> Result<Vec<(Month, ContentHash)>, StoreError> {
        let copies = self.copies(tenant_id, kind, ids).await?;
        let texts = copies.iter().flat_map(|copy| copy.truncated.iter().map(|mark| (copy.month(), mark.sha256)));
        Ok(texts.collect::<BTreeSet<_>>().into_iter().collect())
    }

    // What is the same over every store. No store has its own.

    /// Returns of each record the copy that counts, in no order; absent records are left out.
    async fn newest(&self, lookup: &Lookup) -> Result<Vec<Document>, StoreError> {
        records::newest(self, lookup).await
    }

    /// Returns one record with its payloads as stored and, for a run, its graph put back.
    async fn record(&self, key: RecordKey) -> Result<Option<Document>, StoreError> {
        Ok(self.records(key.tenant_id, key.kind, &[key.id]).await?.pop())
    }

    /// Returns records of one tenant by their ids, with payloads, graphs put back; in no order, absent ones left out.
    async fn records(&self, tenant_id: TenantId, kind: Kind, ids: &[RecordId]) -> Result<Vec<Document>, StoreError> {
        self.newest(&Lookup::new(tenant_id, kind, ids, Content::Full)).await
    }

    /// Returns runs of one tenant by their ids, without payloads; in no order, absent ones left out.
    async fn run_summaries(&self, tenant_id: TenantId, ids: &[RecordId]) -> Result<Vec<RunSummary>, StoreError> {
        let runs = self.newest(&Lookup::new(tenant_id, Kind::WorkflowRun, ids, Content::Light)).await?;
        Ok(runs.into_iter().filter_map(Summary::of).filter_map(Summary::into_run).collect())
    }

    /// Returns every copy of records of one tenant, superseded ones too: by id, the one that counts first. Reads no payload;
    /// looks into every month.
    async fn copies(&self, tenant_id: TenantId, kind: Kind, ids: &[RecordId]) -> Result<Vec<Document>, StoreError> {
        records::copies(self, tenant_id, kind, ids).await
    }

    /// Returns counts per value of a facet, most frequent first (ties by value), exact; at most `limit` values.
    async fn facet(&self, list: &ListFilter, facet: Facet, limit: usize) -> Result<Vec<FacetCount>, StoreError> {
        let by = Breakdown { facets: vec![facet], values: limit, seconds: None };
        Ok(self.break_down(list, &by).await?.facets.pop().unwrap_or_default())
    }

    /// Returns counts per span of `seconds` (spans begin at multiples of it since the epoch), oldest first, empty spans
    /// absent.
    ///
    /// # Errors
    /// [`StoreError::TooManySpans`] where more than [`MOST_SPANS`] have rows.
    async fn histogram(&self, list: &ListFilter, seconds: u32) -> Result<Vec<HistogramBucket>, StoreError> {
        let by = Breakdown { seconds: Some(seconds), ..Breakdown::default() };
        let mut spans = BTreeMap::new();
        let counts = self.break_down(list, &by).await?;
        for bucket in counts.all_spans() {
            *spans.entry(bucket.from).or_default() += bucket.count;
        }
        if counts.is_cut || spans.len() > MOST_SPANS {
            return Err(StoreError::TooManySpans);
        }
        Ok(spans.into_iter().map(|(from, count)| HistogramBucket { from, count }).collect())
    }

    /// Returns a page of a list of runs.
    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Vec<RunSummary>, StoreError> {
        Ok(self.search_runs(filter, page, None).await?.rows)
    }

    /// Returns a page of a list of node executions.
    async fn nodes(&self, filter: &NodeFilter, page: &Page) -> Result<Vec<NodeSummary>, StoreError> {
        Ok(self.search_nodes(filter, page, None).await?.rows)
    }

    /// As [`Self::page`], of runs.
    async fn search_runs(
        &self,
        filter: &RunFilter,
        page: &Page,
        count_to: Option<u64>,
    ) -> Result<Found<RunSummary>, StoreError> {
        let found = self.page(&ListFilter::Runs(filter.clone()), page, count_to).await?;
        Ok(found.map(Summary::into_run))
    }

    /// As [`Self::page`], of node executions.
    async fn search_nodes(
        &self,
        filter: &NodeFilter,
        page: &Page,
        count_to: Option<u64>,
    ) -> Result<Found<NodeSummary>, StoreError> {
        let found = self.page(&ListFilter::Nodes(filter.clone()), page, count_to).await?;
        Ok(found.map(Summary::into_node))
    }
}
