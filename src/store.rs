//! The ports to what keeps documents. One contract, several stores.
//!
//! A store never acks, never retries for the pipeline and never decides what becomes of a delivery: it answers each
//! action with a verdict, or the whole request with a fault.

pub mod elastic;
pub mod memory;
pub mod payload;
pub mod sqlite;

use async_trait::async_trait;

use crate::domain::query::{MonthCount, NewestRuns, RunSummary};
use crate::domain::record::RecordKey;
use crate::domain::{BulkAction, Document, FaultKind, Month, RecordId, SinkFault, TenantId, Verdict};

/// The write port.
#[async_trait]
pub trait BulkSink: Send + Sync {
    /// Writes actions; answers one verdict per action, in their order. `Stored` means durable: it survives the crash of
    /// this process and of the store.
    ///
    /// # Errors
    /// A fault of the whole request: then no action has a verdict, and any of them may or may not be stored.
    async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault>;

    /// Whether a request could succeed now. Cheap; used to probe while the breaker is open and by readiness.
    ///
    /// # Errors
    /// The fault that a request would meet.
    async fn probe(&self) -> Result<(), SinkFault>;
}

/// The administrative port. Its calls cross tenants.
#[async_trait]
pub trait StoreAdmin: Send + Sync {
    /// Makes the store ready (templates, folders), or brings an older set-up to this version. Idempotent.
    ///
    /// # Errors
    /// [`StoreError`] with what to do.
    async fn install(&self) -> Result<Vec<String>, StoreError>;

    /// Compares the store with what this version needs, changing nothing. The lines describe what was found.
    ///
    /// # Errors
    /// [`StoreError`] naming what is missing or older, and `difylog setup` where that mends it.
    async fn check(&self) -> Result<Vec<String>, StoreError>;

    /// Drops one month of all kinds and tenants, with its graphs. Answers how many indices or files went.
    ///
    /// # Errors
    /// [`StoreError`]; some of the month may be gone then, and a second call continues.
    async fn drop_month(&self, month: Month) -> Result<usize, StoreError>;

    /// Documents per month and kind, over all tenants, oldest month first.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    async fn counts(&self) -> Result<Vec<MonthCount>, StoreError>;

    /// Ends writing and leaves everything tidy; later writes answer a fault. Nothing is lost without it.
    async fn close(&self) {}

    /// Makes everything written before this call visible to lists; tests and demonstrations wait on it.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be reached.
    async fn refresh(&self) -> Result<(), StoreError>;
}

/// The read port. A record that lies in two months (a run resumed in a later month) is answered once, in its newest
/// revision.
#[async_trait]
pub trait LogReader: Send + Sync {
    /// One record with its payloads as stored and, for a run, its graph put back.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    async fn record(&self, key: RecordKey) -> Result<Option<Document>, StoreError>;

    /// All nodes of a run, by `created_at`, then `id`.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    async fn nodes_of_run(&self, tenant_id: TenantId, run_id: RecordId) -> Result<Vec<Document>, StoreError>;

    /// The newest runs of an app, without payloads, newest first.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    async fn newest_runs(&self, query: NewestRuns) -> Result<Vec<RunSummary>, StoreError>;
}

/// Everything a store does.
pub trait Store: BulkSink + StoreAdmin + LogReader {}

impl<T: BulkSink + StoreAdmin + LogReader> Store for T {}

/// A read or an administrative call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The same call may succeed later.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// Credentials or rights are not enough.
    #[error("store refused access: {0}")]
    Unauthorized(String),
    /// The store lacks what `difylog setup` installs, or has an older version of it.
    #[error("store is not set up: {0}; run `difylog setup`")]
    NotSetUp(String),
    /// What the store holds or answers cannot be understood.
    #[error("store holds or answers something unreadable: {0}")]
    Corrupt(String),
}

impl From<SinkFault> for StoreError {
    /// A read or an administrative call meets the same faults as a write.
    fn from(fault: SinkFault) -> Self {
        let detail = fault.to_string();
        match fault.kind {
            FaultKind::Unreachable | FaultKind::Overloaded | FaultKind::TooLarge | FaultKind::Storage => {
                Self::Unavailable(detail)
            }
            FaultKind::Unauthorized => Self::Unauthorized(fault.detail),
            FaultKind::NotSetUp => Self::NotSetUp(fault.detail),
            FaultKind::Malformed => Self::Corrupt(detail),
        }
    }
}
