//! The ports to what keeps documents. One contract, several stores.
//!
//! A store never acks, never retries for the pipeline and never decides what becomes of a delivery: it answers each
//! action with a verdict, or the whole request with a fault.

pub mod copies;
pub mod elastic;
mod error;
pub mod lease;
pub mod memory;
pub mod payload;
pub mod sqlite;
mod stored_copy;

use std::collections::HashSet;

use async_trait::async_trait;

use chrono_tz::Tz;

pub use self::error::StoreError;
pub use self::stored_copy::StoredCopy;
use crate::domain::document::ContentHash;
use crate::domain::query::{
    AppLogFilter, AppLogPage, Cursor, Day, DocumentPage, Facet, FacetCount, Found, HistogramBucket, MonthCount,
    MonthSize, NodeFilter, NodeSummary, Page, RunFilter, RunSummary, Scan, TenantCount,
};
use crate::domain::record::RecordKey;
use crate::domain::{BulkAction, Document, Kind, Month, RecordId, Revision, SinkFault, TenantId, Timestamp, Verdict};

/// The write port.
#[async_trait]
pub trait BulkSink: Send + Sync {
    /// Writes actions; answers one verdict per action, in their order. `Stored` means durable: it survives the crash of
    /// this process and of the store.
    ///
    /// # Errors
    /// A fault of the whole request: then no action has a verdict, and any of them may or may not be stored.
    async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault>;

    /// Whether the store can be reached and used. Cheap; used by readiness. That it takes documents is only proved by
    /// writing some.
    ///
    /// # Errors
    /// The fault that a request would meet.
    async fn probe(&self) -> Result<(), SinkFault>;

    /// Returns a number that changes when this process has made an index or a file, or met one that was gone: what was
    /// durable in it may be durable no more. Starts at any value; costs nothing.
    fn generation(&self) -> u64 {
        0
    }

    /// Waits until a part that the store runs by itself ends unasked, or because the store was closed, and returns what
    /// ended: nothing is written any more then, and only a new process helps. A store without such a part waits for ever.
    async fn ended(&self) -> &'static str {
        std::future::pending().await
    }
}

/// What is there, and in which state: the administrative questions, which cross tenants and change nothing.
#[async_trait]
pub trait StoreOverview: Send + Sync {
    /// Compares the store with what this version needs, changing nothing. The lines describe what was found.
    ///
    /// # Errors
    /// [`StoreError`] naming what is missing or older, and `difylog setup` where that mends it.
    async fn check(&self) -> Result<Vec<String>, StoreError>;

    /// Documents per month and kind, over all tenants, oldest month first.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    async fn counts(&self) -> Result<Vec<MonthCount>, StoreError>;

    /// Bytes and shards per month, and per kind where kinds lie apart; oldest month first.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    async fn sizes(&self) -> Result<Vec<MonthSize>, StoreError>;

    /// Makes everything written before this call visible to lists; comparisons, tests and demonstrations wait on it.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be reached.
    async fn refresh(&self) -> Result<(), StoreError>;
}

/// The administrative port that changes the store. Its calls cross tenants.
#[async_trait]
pub trait StoreAdmin: StoreOverview {
    /// Takes the right to write, where only one process may have it, and keeps it until the store is closed. Call it
    /// before anything is promised to anyone. A process that is about to let go is waited for, for a moment.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] that names the process that has it; trying again helps once that has ended.
    async fn claim(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Makes the store ready (templates, folders), or brings an older set-up to this version. Idempotent.
    ///
    /// # Errors
    /// [`StoreError`] with what to do.
    async fn install(&self) -> Result<Vec<String>, StoreError>;

    /// Gives the space of removed records back to the disk, and removes what is left of them in indices. A line for each
    /// part; none where the store sees to it by itself. Takes as much free disk as the largest part, and its time.
    ///
    /// # Errors
    /// [`StoreError`]; a second call continues.
    async fn compact(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// Drops one month of all kinds and tenants, with its graphs. Answers how many indices or files went.
    ///
    /// # Errors
    /// [`StoreError`]; some of the month may be gone then, and a second call continues.
    async fn drop_month(&self, month: Month) -> Result<usize, StoreError>;

    /// Ends writing and leaves everything tidy; later writes answer a fault. Nothing is lost without it.
    async fn close(&self) {}

    /// Waits for work that runs behind writing, such as a search index. Questions are right without it, but slower.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be reached.
    async fn catch_up(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The read port. A record that lies in two months (a run resumed in a later month) is answered once: the copy of the
/// greatest [`Precedence`](crate::domain::Precedence).
#[async_trait]
pub trait LogReader: Send + Sync {
    /// Whether a question could be answered now. Reads a little, writes nothing and takes no right that a writer needs; cheap
    /// enough to be called every second.
    ///
    /// # Errors
    /// [`StoreError`] that a question would meet.
    async fn ready(&self) -> Result<(), StoreError>;

    /// One record with its payloads as stored and, for a run, its graph put back.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    async fn record(&self, key: RecordKey) -> Result<Option<Document>, StoreError>;

    /// Records of one tenant by their ids, with payloads, graphs put back; in no order, absent ones left out. Sees every
    /// write that was acknowledged before.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    async fn records(&self, tenant_id: TenantId, kind: Kind, ids: &[RecordId]) -> Result<Vec<Document>, StoreError>;

    /// Returns every copy of records of one tenant, superseded ones too: by id, the one that counts first. Absent records
    /// have none. Sees every write that was acknowledged before. Reads no payload; looks into every month.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read; the same call may succeed later.
    async fn copies(&self, tenant_id: TenantId, kind: Kind, ids: &[RecordId]) -> Result<Vec<StoredCopy>, StoreError> {
        // Of a store that keeps one copy of each record.
        let mut documents = self.records(tenant_id, kind, ids).await?;
        documents.sort_by_key(|document| document.record.id());
        Ok(documents.iter().map(StoredCopy::of).collect())
    }
}

/// Questions about runs: a filter, or a filter on nodes.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    Runs(RunFilter),
    Nodes(NodeFilter),
}

/// Bytes of payloads and graphs after which a stretch of documents ends.
pub const STRETCH_BYTES: usize = 8 << 20;

/// The questions that Dify asks of its tables, and search. Each is within one tenant. A record that lies in two months
/// counts and shows once, in its newest revision; filters look at that revision only. Lists never read a payload, but for
/// [`LogQueries::documents`].
#[async_trait]
pub trait LogQueries: LogReader {
    /// Runs of one tenant by their ids, without payloads; in no order, absent ones left out.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read. So for every method here.
    async fn run_summaries(&self, tenant_id: TenantId, ids: &[RecordId]) -> Result<Vec<RunSummary>, StoreError>;

    /// A stretch of a list of runs; shorter than its limit only at the end.
    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Vec<RunSummary>, StoreError>;

    /// A stretch of a list of node executions.
    async fn nodes(&self, filter: &NodeFilter, page: &Page) -> Result<Vec<NodeSummary>, StoreError>;

    /// A stretch of a list with payloads and graphs: at most `page.limit` documents, and no more of them once they hold
    /// [`STRETCH_BYTES`]. What was erased a moment ago is left out, so an empty stretch is not yet the end.
    async fn documents(&self, subject: &Subject, page: &Page) -> Result<DocumentPage, StoreError>;

    /// As [`Self::runs`], with how many there are in all, counted up to `count_to`.
    async fn search_runs(
        &self,
        filter: &RunFilter,
        page: &Page,
        count_to: u64,
    ) -> Result<Found<RunSummary>, StoreError>;

    /// As [`Self::nodes`], with how many there are in all, counted up to `count_to`.
    async fn search_nodes(
        &self,
        filter: &NodeFilter,
        page: &Page,
        count_to: u64,
    ) -> Result<Found<NodeSummary>, StoreError>;

    /// A page of app logs by its offset, and the exact total.
    async fn app_logs(&self, filter: &AppLogFilter, offset: u64, limit: usize) -> Result<AppLogPage, StoreError>;

    /// Runs, users and tokens per day of `zone`, oldest day first; days without runs are absent.
    async fn daily(&self, filter: &RunFilter, zone: Tz) -> Result<Vec<Day>, StoreError>;

    /// Counts per value of a facet, most frequent first (ties by value), exact; at most `limit` values.
    async fn facet(&self, subject: &Subject, facet: Facet, limit: usize) -> Result<Vec<FacetCount>, StoreError>;

    /// Counts per span of `seconds` (spans begin at multiples of it since the epoch), oldest first, empty spans absent.
    async fn histogram(&self, subject: &Subject, seconds: u32) -> Result<Vec<HistogramBucket>, StoreError>;
}

/// Which full texts of truncated payloads documents name. What no document names any more may be removed from the
/// payload store.
#[async_trait]
pub trait TextNames: Send + Sync {
    /// Returns the full texts that these records name, each with the month whose copy of the record names it; in no order,
    /// each once. Sees every write that was acknowledged before, except where another one is under way.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read. So for every method here.
    async fn texts_of(
        &self,
        tenant_id: TenantId,
        kind: Kind,
        ids: &[RecordId],
    ) -> Result<Vec<(Month, ContentHash)>, StoreError>;

    /// Returns which of `hashes` some document of the tenant and month names, older copies of a record included. Sees
    /// every write that was acknowledged before. Costs one or two requests to an engine, and a walk over the truncated
    /// documents of the month where they were written before version 3 of the index templates.
    async fn named_texts(
        &self,
        tenant_id: TenantId,
        month: Month,
        hashes: &[ContentHash],
    ) -> Result<HashSet<ContentHash>, StoreError>;
}

/// Questions that cross tenants: for administrative work only.
#[async_trait]
pub trait LogScan: TextNames {
    /// A stretch of a walk; see [`Scan`]. Newest revisions only.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read. So for every method here.
    async fn scan(&self, scan: &Scan) -> Result<Vec<Document>, StoreError>;

    /// How many documents the walk would meet from `scan.after` on; `limit` and `content` do not matter.
    async fn scan_count(&self, scan: &Scan) -> Result<u64, StoreError>;

    /// Where the walk ends today: the place of the last document, older copies too; `None`: there is none. `limit`,
    /// `content` and `after` do not matter.
    async fn scan_end(&self, scan: &Scan) -> Result<Option<Cursor>, StoreError>;

    /// The tenants that have a record of this id.
    async fn owners(&self, kind: Kind, id: RecordId) -> Result<Vec<TenantId>, StoreError>;

    /// What belongs to runs: their node executions, these nodes' offloads, and the runs' app logs.
    async fn children(&self, tenant_id: TenantId, run_ids: &[RecordId]) -> Result<Vec<RecordKey>, StoreError>;

    /// Documents per tenant and kind of a month.
    async fn tenant_counts(&self, month: Month) -> Result<Vec<TenantCount>, StoreError>;
}

/// One record to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasure {
    pub key: RecordKey,
    /// Only while this is still the stored revision; `None`: whatever is stored.
    pub revision: Option<Revision>,
}

/// What stays in the place of an erased record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remains {
    /// A tombstone of this instant: a later write of the record is `Superseded`, in every month where a copy was erased.
    /// No question finds it, no count includes it.
    Tombstone(Timestamp),
    /// Nothing: the record can be written again.
    Nothing,
}

/// The port that removes.
#[async_trait]
pub trait Eraser: Send + Sync {
    /// Removes every copy of records, in whichever months they lie. Answers per erasure, in order, whether there was a
    /// record and it is gone. Graphs and payloads stay: they may be shared.
    ///
    /// # Errors
    /// [`StoreError`]; some of it may be done then, and a second call finishes it.
    async fn erase(&self, erasures: &[Erasure], remains: Remains) -> Result<Vec<bool>, StoreError>;

    /// Removes the graphs of one tenant and month, after its runs. Answers how many.
    ///
    /// # Errors
    /// [`StoreError`]; a second call continues.
    async fn erase_graphs(&self, tenant_id: TenantId, month: Month) -> Result<u64, StoreError>;

    /// Removes the tombstones of records, in whichever months they lie: they can be written again at once. Answers how many
    /// there were; a store that keeps none has none to remove.
    ///
    /// # Errors
    /// [`StoreError`]; a second call continues.
    async fn lift_tombstones(&self, _keys: &[RecordKey]) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// Removes tombstones older than an instant, of records and of dropped months. Answers how many.
    ///
    /// # Errors
    /// [`StoreError`]; a second call continues.
    async fn purge_tombstones(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// Drops a month as [`StoreAdmin::drop_month`], and from `at` on answers `Superseded` to writes into it, so that late
    /// events do not bring it back, until the mark is purged. `tenant_id`: only that tenant's own indices, where it has
    /// such; `Ok(None)` if the tenant shares its files with others (then its records are erased one by one).
    ///
    /// # Errors
    /// [`StoreError`]; a second call continues.
    async fn retire_month(
        &self,
        month: Month,
        tenant_id: Option<TenantId>,
        at: Timestamp,
    ) -> Result<Option<usize>, StoreError>;
}

/// Which write of a state entry: grows with each.
pub type StateVersion = u64;

/// A small named value of difylog's own: checkpoints, leases, reports.
#[derive(Debug, Clone, PartialEq)]
pub struct StateEntry {
    /// Such as `migration/{id}/runs`; `a-z`, `0-9`, `-`, `_`, `.` and `/`, at most 200 bytes.
    pub key: String,
    pub value: serde_json::Value,
    pub version: StateVersion,
}

/// What difylog remembers of its own work, beside the documents. Reads see every acknowledged write.
#[async_trait]
pub trait StateReader: Send + Sync {
    /// # Errors
    /// [`StoreError`] if the store cannot be reached. So for every method here.
    async fn state(&self, key: &str) -> Result<Option<StateEntry>, StoreError>;

    /// Every entry whose key begins with `prefix`, by key.
    async fn states(&self, prefix: &str) -> Result<Vec<StateEntry>, StoreError>;
}

/// The port that changes that state. On every store any process may, whichever of them writes documents.
#[async_trait]
pub trait StateStore: StateReader {
    /// Writes if the stored version is `expected` (`None`: absent). Answers the new version, or `None` if it is another.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be reached. So for every method here.
    async fn put_state(
        &self,
        key: &str,
        value: &serde_json::Value,
        expected: Option<StateVersion>,
    ) -> Result<Option<StateVersion>, StoreError>;

    /// Removes an entry if its version is `expected`. Answers whether it did.
    async fn delete_state(&self, key: &str, expected: StateVersion) -> Result<bool, StoreError>;
}

/// Everything that can be read, and nothing else: what commands and servers that only read are given. It has no way to
/// write, so it needs no right that a writer takes, and leaves no trace.
pub trait ReadStore: LogReader + LogQueries + LogScan + StoreOverview + StateReader {}

impl<T: LogReader + LogQueries + LogScan + StoreOverview + StateReader> ReadStore for T {}

/// Everything a store does.
pub trait Store: ReadStore + BulkSink + StoreAdmin + Eraser + StateStore {}

impl<T: ReadStore + BulkSink + StoreAdmin + Eraser + StateStore> Store for T {}
