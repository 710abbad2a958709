//! Erasing from a process that does not write: the one that does is asked, and where there is none, this process takes the
//! right to write for the moment.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;
use uuid::Uuid;

use super::fault::SqliteFault;
use super::files::WriteFiles;
use super::pool::ReadPool;
use super::requests::{ErasureRequest, PREFIX, RequestState};
use super::state::StateFile;
use super::watch::FileWatch;
use super::{SqliteSettings, blocking, erase};
use crate::domain::record::RecordKey;
use crate::domain::{Month, TenantId, TenantSet, Timestamp};
use crate::store::{Eraser, Erasure, Remains, StoreError};
use crate::telemetry::{Clock, system_clock};

/// How long the writer may take to begin: it looks for requests several times a second, between two commits.
const TO_BEGIN: Duration = Duration::from_secs(15);
/// How long it may take to end from then on, before the asker is told that it may end later.
const TO_END: Duration = Duration::from_secs(60);
/// How often an answer is looked for.
const PAUSE: Duration = Duration::from_millis(20);

/// What removes records from a directory that another process may be writing to. It can do nothing else.
#[derive(Clone)]
pub struct SqliteEraser {
    settings: SqliteSettings,
    pool: Arc<ReadPool>,
    state: StateFile,
    clock: Clock,
}

/// What has become of a request.
enum Progress {
    Waiting,
    Done(Vec<bool>),
}

impl SqliteEraser {
    /// Touches no file.
    #[must_use]
    pub fn new(settings: SqliteSettings) -> Self {
        let pool = Arc::new(ReadPool::new(settings.clone()));
        let state = StateFile::new(settings.clone());
        Self { settings, pool, state, clock: system_clock() }
    }

    /// Does work as the one process that writes, if there is no other. It begins with what others asked of the writer.
    async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut WriteFiles) -> Result<T, SqliteFault> + Send + 'static,
    ) -> Result<Option<T>, StoreError> {
        let eraser = self.clone();
        self.pool.look_after();
        blocking(move || {
            let watch = Arc::new(FileWatch::new(&eraser.settings.dir));
            let (settings, pool, state) = (eraser.settings.clone(), Arc::clone(&eraser.pool), eraser.state.clone());
            let mut files = WriteFiles::new(settings, pool, state, watch);
            if !files.try_claim()? {
                return Ok(None);
            }
            files.serve_requests((eraser.clock)())?;
            work(&mut files).map(Some)
        })
        .await
    }

    /// As [`Self::alone`]; an error that names the other process if there is one.
    async fn only_alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut WriteFiles) -> Result<T, SqliteFault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let busy = "another difylog writes to the directory of store.sqlite.dir: let it do this, or end it";
        self.alone(work).await?.ok_or_else(|| StoreError::Unavailable(busy.to_owned()))
    }

    async fn with_state<T: Send + 'static>(
        &self,
        work: impl FnOnce(&StateFile) -> Result<T, SqliteFault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let state = self.state.clone();
        blocking(move || work(&state)).await
    }

    /// Asks the process that writes, and waits for its answer.
    async fn ask(&self, erasures: &[Erasure], remains: Remains) -> Result<Vec<bool>, StoreError> {
        let now = (self.clock)().micros();
        let until = now.saturating_add(micros(TO_BEGIN));
        let key = format!("{PREFIX}{}", Uuid::new_v4());
        let value = ErasureRequest::new(erasures, remains, until).to_value();
        let asked = key.clone();
        self.with_state(move |state| state.put(&asked, &value, None)).await?;
        loop {
            sleep(PAUSE).await;
            if let Progress::Done(gone) = self.progress(&key).await? {
                return Ok(gone);
            }
            // The writer may have ended: then this process carries out what waits.
            self.alone(|_| Ok(())).await?;
        }
    }

    /// Looks at a request, and ends it when its time is over.
    async fn progress(&self, key: &str) -> Result<Progress, StoreError> {
        let (key, now) = (key.to_owned(), (self.clock)().micros());
        self.with_state(move |state| {
            let gone_away = || SqliteFault::Unavailable("the request to the writing difylog was removed; try again".to_owned());
            let entry = state.get(&key)?.ok_or_else(gone_away)?;
            let request = ErasureRequest::of(&entry.value).ok_or_else(gone_away)?;
            match request.step {
                RequestState::Asked if now > request.until && state.delete(&key, entry.version)? => {
                    let detail = "the difylog that writes the directory did not answer in time: nothing was deleted; see \
                                  whether its worker is stuck, or older than this one";
                    Err(SqliteFault::Unavailable(detail.to_owned()))
                }
                RequestState::Taken if now > request.until.saturating_add(micros(TO_END)) => {
                    let detail = "the deletion takes long: the difylog that writes the directory is still at it";
                    Err(SqliteFault::Unavailable(detail.to_owned()))
                }
                RequestState::Asked | RequestState::Taken => Ok(Progress::Waiting),
                RequestState::Answered(gone) => {
                    state.delete(&key, entry.version)?;
                    Ok(Progress::Done(gone))
                }
                RequestState::Failed(detail) => {
                    state.delete(&key, entry.version)?;
                    Err(SqliteFault::Unavailable(detail))
                }
            }
        })
        .await
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[async_trait]
impl Eraser for SqliteEraser {
    async fn erase(&self, erasures: &[Erasure], remains: Remains) -> Result<Vec<bool>, StoreError> {
        let own = erasures.to_vec();
        match self.alone(move |files| erase::erase(files, &own, remains)).await? {
            Some(gone) => Ok(gone),
            None => self.ask(erasures, remains).await,
        }
    }

    async fn erase_graphs(&self, tenant_id: TenantId, month: Month) -> Result<u64, StoreError> {
        self.only_alone(move |files| {
            let gone = files.erase(month, |rows| erase::erase_graphs(rows, tenant_id));
            gone.map(Option::unwrap_or_default)
        })
        .await
    }

    async fn lift_tombstones(&self, keys: &[RecordKey]) -> Result<u64, StoreError> {
        let keys = keys.to_vec();
        self.only_alone(move |files| files.lift_tombstones(&keys)).await
    }

    async fn purge_tombstones(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.only_alone(move |files| files.purge_tombstones(before)).await
    }

    async fn retire_month(&self, month: Month, past: &TenantSet, at: Timestamp) -> Result<Option<usize>, StoreError> {
        let past = past.clone();
        let found = self.only_alone(move |files| files.retire_month(month, &past, at)).await?;
        Ok(found.map(usize::from))
    }
}
