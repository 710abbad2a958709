//! The embedded store: SQLite files in one directory, one per UTC month, with all tenants in it. It alone names
//! rusqlite.
//!
//! ```text
//! apply → rows (compressed here) → queue → writer thread → group → one transaction per month → verdicts
//! ```
//!
//! - One thread writes. It takes all requests that wait into one group, so the cost of making a commit durable is
//!   shared. A verdict leaves after the commit.
//! - An older snapshot changes nothing: the comparison of revisions is part of the statement.
//! - A damaged month holds only its own actions; a full disk or a lock holds the request. Nothing is lost: what has no
//!   `Stored` is sent again.
//! - Long texts are compressed. Measured with nodes of 2.6 KB of mixed words (they compress badly), 500 a request, four
//!   requests in flight, every commit synced, 2 cores (release build):
//!
//!   | texts | bytes of file per record | CPU per record |
//!   |---|---|---|
//!   | plain | 2,830 | 17 µs |
//!   | zstd level 1 | 1,736 | 38 µs |
//!   | zstd level 3 | 1,736 | 44–51 µs |
//!   | zstd level 1, pages of 4 KiB | 2,149 | 48 µs |
//!
//!   Either way more than 10,000 records a second: the file is worth more than the CPU, so level 1 is the default.
//! - Reading takes no lock and never waits for the writer. One process writes (`difylog.lock`), any number read.

mod admin;
mod backup;
mod conditions;
mod decode;
mod encode;
mod erase;
mod fault;
mod files;
mod lock;
mod months;
mod newest;
mod pool;
mod queries;
mod read;
mod scan;
mod schema;
mod search;
mod settings;
mod state;
mod tables;
mod text;
mod write;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::backup::SqliteCopies;
use self::encode::Row;
use self::fault::Fault;
use self::files::WriteFiles;
use self::pool::ReadPool;
pub use self::settings::{SqliteSettings, Synchronous};
use self::state::StateFile;
use self::write::Request;
use self::writer::{Command, Writer};
use super::{
    BulkSink, Eraser, Erasure, LogReader, LogScan, Remains, StateEntry, StateStore, StateVersion, StoreAdmin,
    StoreError,
};
use crate::domain::query::{Cursor, MonthCount, MonthSize, Scan, TenantCount};
use crate::domain::record::RecordKey;
use crate::domain::{BulkAction, Document, Kind, Month, RecordId, SinkFault, TenantId, Timestamp, Verdict};

/// Below this many bytes of text, making rows takes less time than handing them to another thread.
const INLINE_BYTES: usize = 32 * 1024;

/// The store over one directory.
pub struct SqliteStore {
    settings: SqliteSettings,
    writer: Writer,
    pool: Arc<ReadPool>,
    state: StateFile,
}

impl SqliteStore {
    /// Starts the writer thread. Touches no file: a store that is only read from leaves no trace.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the system gives no thread.
    pub fn new(settings: SqliteSettings) -> Result<Self, StoreError> {
        let pool = Arc::new(ReadPool::new(settings.clone()));
        let state = StateFile::new(settings.clone());
        let writer = Writer::spawn(WriteFiles::new(settings.clone(), Arc::clone(&pool), state.clone()))
            .map_err(|error| StoreError::Unavailable(format!("the sqlite writer cannot start: {error}")))?;
        Ok(Self { settings, writer, pool, state })
    }

    /// Runs a question on a thread that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&ReadPool) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let pool = Arc::clone(&self.pool);
        blocking(move || question(&pool)).await
    }

    /// Works with the state on a thread that may wait for the disk.
    async fn with_state<T: Send + 'static>(
        &self,
        work: impl FnOnce(&StateFile) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let state = self.state.clone();
        blocking(move || work(&state)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => Ok(answer?),
        Err(error) => Err(StoreError::Unavailable(format!("a read ended early: {error}"))),
    }
}

/// Compresses the texts of a request, on the caller's side of the queue: the writer thread is the bottleneck.
async fn rows(actions: &[BulkAction], weight: usize, compress: bool) -> Result<Vec<Row>, Fault> {
    let actions = actions.to_vec();
    let compressed = move || actions.into_iter().map(|action| Row::new(action, compress)).collect();
    if weight <= INLINE_BYTES {
        return Ok(compressed());
    }
    let task = tokio::task::spawn_blocking(compressed);
    task.await.map_err(|error| Fault::Unavailable(format!("compression ended early: {error}")))
}

#[async_trait]
impl BulkSink for SqliteStore {
    async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault> {
        let weight = actions.iter().map(encode::weight).sum();
        let rows = rows(actions, weight, self.settings.compress).await?;
        self.writer.ask(|answer| Command::Write(Request { rows, weight, answer })).await?
    }

    async fn probe(&self) -> Result<(), SinkFault> {
        Ok(self.writer.ask(Command::Probe).await??)
    }
}

#[async_trait]
impl StoreAdmin for SqliteStore {
    async fn install(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.writer.ask(Command::Install).await??)
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        let settings = self.settings.clone();
        self.read(move |pool| admin::check(&settings, pool)).await
    }

    async fn drop_month(&self, month: Month) -> Result<usize, StoreError> {
        let found = self.writer.ask(|answer| Command::DropMonth(month, answer)).await??;
        Ok(usize::from(found))
    }

    async fn counts(&self) -> Result<Vec<MonthCount>, StoreError> {
        self.read(admin::counts).await
    }

    async fn sizes(&self) -> Result<Vec<MonthSize>, StoreError> {
        let settings = self.settings.clone();
        self.read(move |pool| admin::sizes(&settings, pool)).await
    }

    /// Ends writing and leaves the files tidy: each month's log is moved into its database. Later calls of `apply`
    /// answer a fault.
    async fn close(&self) {
        // The last connection to close tidies up; idle readers must not be it.
        self.pool.close();
        self.state.close();
        // A writer that has ended already has closed its files.
        let _ = self.writer.ask(Command::Close).await;
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        Ok(self.writer.ask(Command::CatchUp).await?)
    }

    /// Nothing to do: what is committed is visible.
    async fn refresh(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl LogReader for SqliteStore {
    async fn record(&self, key: RecordKey) -> Result<Option<Document>, StoreError> {
        self.read(move |pool| read::record(pool, key)).await
    }

    async fn records(&self, tenant_id: TenantId, kind: Kind, ids: &[RecordId]) -> Result<Vec<Document>, StoreError> {
        let ids = ids.to_vec();
        self.read(move |pool| read::records(pool, tenant_id, kind, &ids)).await
    }
}

#[async_trait]
impl LogScan for SqliteStore {
    async fn scan(&self, scan: &Scan) -> Result<Vec<Document>, StoreError> {
        let scan = scan.clone();
        self.read(move |pool| scan::scan(pool, &scan)).await
    }

    async fn scan_count(&self, scan: &Scan) -> Result<u64, StoreError> {
        let scan = scan.clone();
        self.read(move |pool| scan::count(pool, &scan)).await
    }

    async fn scan_end(&self, scan: &Scan) -> Result<Option<Cursor>, StoreError> {
        let scan = scan.clone();
        self.read(move |pool| scan::end(pool, &scan)).await
    }

    async fn owners(&self, kind: Kind, id: RecordId) -> Result<Vec<TenantId>, StoreError> {
        self.read(move |pool| scan::owners(pool, kind, id)).await
    }

    async fn children(&self, tenant_id: TenantId, run_ids: &[RecordId]) -> Result<Vec<RecordKey>, StoreError> {
        let runs = run_ids.to_vec();
        self.read(move |pool| scan::children(pool, tenant_id, &runs)).await
    }

    async fn tenant_counts(&self, month: Month) -> Result<Vec<TenantCount>, StoreError> {
        self.read(move |pool| scan::tenant_counts(pool, month)).await
    }
}

#[async_trait]
impl Eraser for SqliteStore {
    async fn erase(&self, erasures: &[Erasure], remains: Remains) -> Result<Vec<bool>, StoreError> {
        let erasures = erasures.to_vec();
        Ok(self.writer.ask(|answer| Command::Erase(erasures, remains, answer)).await??)
    }

    async fn erase_graphs(&self, tenant_id: TenantId, month: Month) -> Result<u64, StoreError> {
        Ok(self.writer.ask(|answer| Command::EraseGraphs(month, tenant_id, answer)).await??)
    }

    async fn purge_tombstones(&self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(self.writer.ask(|answer| Command::PurgeTombstones(before, answer)).await??)
    }

    /// A month's file holds all tenants: one of them has nothing of its own to drop.
    async fn retire_month(
        &self,
        month: Month,
        tenant_id: Option<TenantId>,
        at: Timestamp,
    ) -> Result<Option<usize>, StoreError> {
        if tenant_id.is_some() {
            return Ok(None);
        }
        let found = self.writer.ask(|answer| Command::RetireMonth(month, at, answer)).await??;
        Ok(Some(usize::from(found)))
    }
}

#[async_trait]
impl StateStore for SqliteStore {
    async fn state(&self, key: &str) -> Result<Option<StateEntry>, StoreError> {
        let key = key.to_owned();
        self.with_state(move |state| state.get(&key)).await
    }

    async fn states(&self, prefix: &str) -> Result<Vec<StateEntry>, StoreError> {
        let prefix = prefix.to_owned();
        self.with_state(move |state| state.list(&prefix)).await
    }

    async fn put_state(
        &self,
        key: &str,
        value: &serde_json::Value,
        expected: Option<StateVersion>,
    ) -> Result<Option<StateVersion>, StoreError> {
        let (key, value) = (key.to_owned(), value.clone());
        self.with_state(move |state| state.put(&key, &value, expected)).await
    }

    async fn delete_state(&self, key: &str, expected: StateVersion) -> Result<bool, StoreError> {
        let key = key.to_owned();
        self.with_state(move |state| state.delete(&key, expected)).await
    }
}
