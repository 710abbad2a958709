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
mod connect;
mod decode;
mod encode;
mod erase;
mod eraser;
mod fault;
mod files;
mod lock;
mod month_file;
mod months;
mod newest;
mod pool;
mod private;
mod queries;
mod question;
mod read;
mod reader;
mod requests;
mod scan;
mod schema;
mod search;
mod settings;
mod state;
mod tables;
mod text;
mod texts;
mod watch;
mod write;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::backup::SqliteCopies;
use self::encode::EncodedRow;
pub use self::eraser::SqliteEraser;
use self::fault::SqliteFault;
use self::files::WriteFiles;
use self::pool::ReadPool;
use self::reader::Reads;
pub use self::reader::SqliteReader;
pub use self::settings::{SqliteSettings, Synchronous};
use self::state::StateFile;
use self::watch::FileWatch;
use self::write::WriteRequest;
use self::writer::{Command, WriterHandle};
use super::{BulkSink, Eraser, Erasure, Remains, StateStore, StateVersion, StoreAdmin, StoreError};
use crate::domain::record::RecordKey;
use crate::domain::{BulkAction, Month, SinkFault, TenantId, TenantSet, Timestamp, Verdict};
use crate::telemetry::how_it_ended;

/// Below this many bytes of text, making rows takes less time than handing them to another thread.
const INLINE_BYTES: usize = 32 * 1024;

/// How long a process that has the right to write is waited for, and how often it is looked whether it still has it: a
/// server that deletes without a worker keeps it for a moment.
const CLAIM: Duration = Duration::from_secs(2);
const CLAIM_PAUSE: Duration = Duration::from_millis(50);

/// The store over one directory: the one that writes, and reads as well.
pub struct SqliteStore {
    settings: SqliteSettings,
    writer: WriterHandle,
    pool: Arc<ReadPool>,
    state: StateFile,
    reader: SqliteReader,
    watch: Arc<FileWatch>,
}

impl SqliteStore {
    /// Starts the writer thread. Touches no file.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the system gives no thread.
    pub fn new(settings: SqliteSettings) -> Result<Self, StoreError> {
        let pool = Arc::new(ReadPool::new(settings.clone()));
        let state = StateFile::new(settings.clone());
        let watch = Arc::new(FileWatch::new(&settings.dir));
        let files = WriteFiles::new(settings.clone(), Arc::clone(&pool), state.clone(), Arc::clone(&watch));
        let writer = WriterHandle::spawn(files)
            .map_err(|error| StoreError::Unavailable(format!("the sqlite writer cannot start: {error}")))?;
        let reader = SqliteReader::within(settings.clone(), Arc::clone(&pool), state.clone());
        Ok(Self { settings, writer, pool, state, reader, watch })
    }

    /// Changes the state on a thread that may wait for the disk.
    async fn with_state<T: Send + 'static>(
        &self,
        work: impl FnOnce(&StateFile) -> Result<T, SqliteFault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let state = self.state.clone();
        blocking(move || work(&state)).await
    }
}

impl Reads for SqliteStore {
    fn reader(&self) -> &SqliteReader {
        &self.reader
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SqliteFault> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => Ok(answer?),
        Err(error) => Err(StoreError::Unavailable(format!("a read ended early: {}", how_it_ended(&error)))),
    }
}

/// Compresses the texts of a request, on the caller's side of the queue: the writer thread is the bottleneck.
async fn rows(actions: &[BulkAction], weight: usize, compress: bool) -> Result<Vec<EncodedRow>, SqliteFault> {
    let actions = actions.to_vec();
    let compressed = move || actions.into_iter().map(|action| EncodedRow::new(action, compress)).collect();
    if weight <= INLINE_BYTES {
        return Ok(compressed());
    }
    let task = tokio::task::spawn_blocking(compressed);
    task.await.map_err(|error| SqliteFault::Unavailable(format!("compression ended early: {}", how_it_ended(&error))))
}

#[async_trait]
impl BulkSink for SqliteStore {
    async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault> {
        let weight = actions.iter().map(encode::weight).sum();
        let rows = rows(actions, weight, self.settings.compress).await?;
        self.writer.ask(|answer| Command::Write(WriteRequest { rows, weight, answer })).await?
    }

    async fn ended(&self) -> &'static str {
        self.writer.ended().await;
        "its writing thread has ended"
    }

    async fn probe(&self) -> Result<(), SinkFault> {
        Ok(self.writer.ask(Command::Probe).await??)
    }

    fn generation(&self) -> u64 {
        self.watch.generation()
    }
}

#[async_trait]
impl StoreAdmin for SqliteStore {
    async fn claim(&self) -> Result<(), StoreError> {
        let until = tokio::time::Instant::now() + CLAIM;
        loop {
            match self.writer.ask(Command::Claim).await? {
                Err(SqliteFault::Unavailable(_)) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(CLAIM_PAUSE).await;
                }
                claimed => return Ok(claimed?),
            }
        }
    }

    async fn install(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.writer.ask(Command::Install).await??)
    }

    async fn drop_month(&self, month: Month) -> Result<usize, StoreError> {
        let found = self.writer.ask(|answer| Command::DropMonth(month, answer)).await??;
        Ok(usize::from(found))
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

    async fn compact(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.writer.ask(Command::Compact).await??)
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        Ok(self.writer.ask(Command::CatchUp).await?)
    }
}

#[async_trait]
impl Eraser for SqliteStore {
    async fn erase(&self, erasures: &[Erasure], remains: Remains) -> Result<Vec<bool>, StoreError> {
        let erasures = erasures.to_vec();
        // The writer looks for the copies through the pool.
        self.pool.look_after();
        Ok(self.writer.ask(|answer| Command::Erase(erasures, remains, answer)).await??)
    }

    async fn erase_graphs(&self, tenant_id: TenantId, month: Month) -> Result<u64, StoreError> {
        Ok(self.writer.ask(|answer| Command::EraseGraphs(month, tenant_id, answer)).await??)
    }

    async fn lift_tombstones(&self, keys: &[RecordKey]) -> Result<u64, StoreError> {
        let keys = keys.to_vec();
        Ok(self.writer.ask(|answer| Command::LiftTombstones(keys, answer)).await??)
    }

    async fn purge_tombstones(&self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(self.writer.ask(|answer| Command::PurgeTombstones(before, answer)).await??)
    }

    async fn retire_month(&self, month: Month, past: &TenantSet, at: Timestamp) -> Result<Option<usize>, StoreError> {
        let past = past.clone();
        let found = self.writer.ask(|answer| Command::RetireMonth(month, past, at, answer)).await??;
        Ok(found.map(usize::from))
    }
}

#[async_trait]
impl StateStore for SqliteStore {
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
