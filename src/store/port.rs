//! What a store does: it takes documents, is set up and looked after, removes, and keeps difylog's own state. What it answers
//! is [`LogReader`].

use async_trait::async_trait;

use super::capability::Capability;
use super::error::StoreError;
use super::reader::LogReader;
use crate::domain::query::{MonthCount, MonthSize};
use crate::domain::record::RecordKey;
use crate::domain::{BulkAction, Month, Revision, SinkFault, TenantId, TenantSet, Timestamp, Verdict};

/// The write port.
#[async_trait]
pub trait BulkSink: Send + Sync {
    /// Writes actions; answers one verdict per action, in their order. `Stored` means durable: it survives the crash of
    /// this process and of the store.
    ///
    /// # Errors
    /// A fault of the whole request: then no action has a verdict, and any of them may or may not be stored.
    async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault>;

    /// Returns whether the store can be reached and used. Cheap; used by readiness. That it takes documents is only
    /// proved by writing some.
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

    /// Returns once it is sure that all there is of a month can be read: what an operator has closed is in no answer. Ask it
    /// after what must not be missed was read. One small request to an engine.
    ///
    /// # Errors
    /// [`StoreError::Closed`] that names what is closed; [`StoreError`] if the store cannot be read.
    async fn ensure_open(&self, _month: Month) -> Result<(), StoreError> {
        Ok(())
    }

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

    /// Drops one month of all kinds and tenants, with its graphs. Returns how many indices or files went.
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

/// The port that removes. A store without [`Capability::Erasure`] implements nothing of it.
#[async_trait]
pub trait Eraser: Send + Sync {
    /// Removes every copy of records, in whichever months they lie. Answers per erasure, in order, whether there was a
    /// record and it is gone. Graphs and payloads stay: they may be shared.
    ///
    /// # Errors
    /// [`StoreError`]; some of it may be done then, and a second call finishes it.
    async fn erase(&self, _erasures: &[Erasure], _remains: Remains) -> Result<Vec<bool>, StoreError> {
        Err(StoreError::Unsupported(Capability::Erasure))
    }

    /// Removes the graphs of one tenant and month, after its runs. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`]; a second call continues.
    async fn erase_graphs(&self, _tenant_id: TenantId, _month: Month) -> Result<u64, StoreError> {
        Err(StoreError::Unsupported(Capability::Erasure))
    }

    /// Removes the tombstones of records, in whichever months they lie: they can be written again at once. Returns how
    /// many there were; a store that keeps none has none to remove.
    ///
    /// # Errors
    /// [`StoreError`]; a second call continues.
    async fn lift_tombstones(&self, _keys: &[RecordKey]) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// Removes tombstones older than an instant, of records and of dropped months. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`]; a second call continues.
    async fn purge_tombstones(&self, _before: Timestamp) -> Result<u64, StoreError> {
        Err(StoreError::Unsupported(Capability::Erasure))
    }

    /// Drops what a month holds of some tenants, and from `at` on answers `Superseded` to their writes into it, so that late
    /// events do not bring it back, until the mark is purged. Whole indices or files go, and only those in which nobody else
    /// has anything; others can write into the month as before. `Ok(None)`: these tenants share files with others, and
    /// nothing was dropped (then their records are erased one by one).
    ///
    /// # Errors
    /// [`StoreError`]; a second call continues.
    async fn retire_month(
        &self,
        _month: Month,
        _past: &TenantSet,
        _at: Timestamp,
    ) -> Result<Option<usize>, StoreError> {
        Err(StoreError::Unsupported(Capability::Erasure))
    }
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

    /// Returns every entry whose key begins with `prefix`, by key.
    async fn states(&self, prefix: &str) -> Result<Vec<StateEntry>, StoreError>;
}

/// The port that changes that state. On every store any process may, whichever of them writes documents.
#[async_trait]
pub trait StateStore: StateReader {
    /// Writes if the stored version is `expected` (`None`: absent). Returns the new version, or `None` if it is
    /// another.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be reached. So for every method here.
    async fn put_state(
        &self,
        key: &str,
        value: &serde_json::Value,
        expected: Option<StateVersion>,
    ) -> Result<Option<StateVersion>, StoreError>;

    /// Removes an entry if its version is `expected`. Returns whether it did.
    async fn delete_state(&self, key: &str, expected: StateVersion) -> Result<bool, StoreError>;
}

/// Everything that can be read, and nothing else: what commands and servers that only read are given. It has no way to
/// write, so it needs no right that a writer takes, and leaves no trace.
pub trait ReadStore: LogReader + StoreOverview + StateReader {}

impl<T: LogReader + StoreOverview + StateReader> ReadStore for T {}

/// Everything a store does.
pub trait Store: ReadStore + BulkSink + StoreAdmin + Eraser + StateStore {}

impl<T: ReadStore + BulkSink + StoreAdmin + Eraser + StateStore> Store for T {}
