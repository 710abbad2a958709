//! What reads a folder, and only reads: it has no writer thread, takes no lock, creates no file. The store that also writes
//! reads through one as well.

use std::sync::Arc;

use async_trait::async_trait;

use super::fault::SqliteFault;
use super::pool::ReadPool;
use super::question::{GivenUp, SqliteQuestion};
use super::state::StateFile;
use super::{SqliteSettings, admin, blocking};
use crate::domain::query::{MonthCount, MonthSize};
use crate::store::{StateEntry, StateReader, StoreError, StoreOverview};

/// The files of one directory, to be read. A question whose asker goes away ends soon, and waits its turn while many others
/// are being answered.
pub struct SqliteReader {
    settings: SqliteSettings,
    pool: Arc<ReadPool>,
    state: StateFile,
}

/// What answers questions through a reader: the reader itself, and the store that also writes.
pub trait Reads: Send + Sync {
    fn reader(&self) -> &SqliteReader;
}

impl Reads for SqliteReader {
    fn reader(&self) -> &SqliteReader {
        self
    }
}

/// Gives a question up when its asker goes away.
struct Asker(GivenUp);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.set();
    }
}

impl SqliteReader {
    /// Touches no file.
    #[must_use]
    pub fn new(settings: SqliteSettings) -> Self {
        let pool = Arc::new(ReadPool::new(settings.clone()));
        let state = StateFile::to_read(settings.clone());
        Self { settings, pool, state }
    }

    /// Of a store that also writes, and shares its state.
    pub(super) fn within(settings: SqliteSettings, pool: Arc<ReadPool>, state: StateFile) -> Self {
        Self { settings, pool, state }
    }

    /// Runs a question on a thread that may wait for the disk.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        answer: impl FnOnce(&SqliteQuestion) -> Result<T, SqliteFault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.pool.permit().await?;
        let asker = Asker(GivenUp::default());
        let question = SqliteQuestion::new(Arc::clone(&self.pool), asker.0.clone(), permit);
        let answered = blocking(move || answer(&question)).await;
        self.pool.look_after();
        answered
    }

    /// Reads the state on a thread that may wait for the disk.
    async fn remembered<T: Send + 'static>(
        &self,
        work: impl FnOnce(&StateFile) -> Result<T, SqliteFault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let state = self.state.clone();
        blocking(move || work(&state)).await
    }
}

#[async_trait]
impl<R: Reads> StoreOverview for R {
    async fn check(&self) -> Result<Vec<String>, StoreError> {
        let settings = self.reader().settings.clone();
        self.reader().read(move |question| admin::check(&settings, question)).await
    }

    async fn counts(&self) -> Result<Vec<MonthCount>, StoreError> {
        self.reader().read(admin::counts).await
    }

    async fn sizes(&self) -> Result<Vec<MonthSize>, StoreError> {
        let settings = self.reader().settings.clone();
        self.reader().read(move |question| admin::sizes(&settings, question)).await
    }

    /// Nothing to do: what is committed is visible.
    async fn refresh(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl<R: Reads> StateReader for R {
    async fn state(&self, key: &str) -> Result<Option<StateEntry>, StoreError> {
        let key = key.to_owned();
        self.reader().remembered(move |state| state.get(&key)).await
    }

    async fn states(&self, prefix: &str) -> Result<Vec<StateEntry>, StoreError> {
        let prefix = prefix.to_owned();
        self.reader().remembered(move |state| state.list(&prefix)).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::domain::BulkAction;
    use crate::store::sqlite::SqliteStore;
    use crate::store::{BulkSink as _, StoreAdmin as _};
    use crate::synthetic::{Generator, Shape};

    /// A statement that ends only when it is interrupted.
    const ENDLESS: &str = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_question_whose_asker_goes_away_ends_and_only_then_lets_the_next_begin() {
        let dir = tempfile::tempdir().unwrap();
        let settings = SqliteSettings { dir: dir.path().to_owned(), ..SqliteSettings::default() };
        let store = SqliteStore::new(settings.clone()).unwrap();
        store.install().await.unwrap();
        let records = Generator::new(3, "2026-11-01T00:00:00".parse().unwrap(), Shape::default()).run();
        let prepared = records.into_iter().map(|record| {
            let document = crate::domain::Document {
                revision: crate::domain::Revision::of(&record),
                record,
                graph: None,
                truncated: Vec::new(),
                origin: None,
                extra: None,
            };
            BulkAction::Document(Arc::new(document))
        });
        store.apply(&prepared.collect::<Vec<_>>()).await.unwrap();
        let reader = SqliteReader::new(settings);
        let all = reader.pool.free_questions();
        let (begun, begins) = std::sync::mpsc::channel();
        let endless = move |question: &SqliteQuestion| {
            question.ask(|months| {
                begun.send(()).unwrap();
                months.first().unwrap().ask(|connection| connection.query_row(ENDLESS, (), |row| row.get::<_, i64>(0)))
            })
        };
        let asked =
            tokio::spawn(
                async move { (timeout(Duration::from_millis(50), reader.read(endless)).await.is_err(), reader) },
            );
        begins.recv_timeout(Duration::from_secs(60)).unwrap();
        let (is_given_up, reader) = asked.await.unwrap();
        assert!(is_given_up, "it has no end of its own");
        // All of them are free only once the thread has ended.
        let freed = timeout(Duration::from_secs(60), reader.pool.free(all)).await;
        assert!(freed.is_ok(), "the question goes on although nobody waits for it");
    }
}
