//! The connections that read a folder: opened on demand, kept for the next question, bounded in number whatever the number
//! of months and of askers, and closed when they have not been used for a while.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::SqliteSettings;
use super::connect::{Connected, ConnectionSlot};
use super::fault::SqliteFault;
use super::lock::missing_directory;
use super::months;
use crate::domain::Month;

/// Connections at most, over all questions and idle ones: a year of months for 20 questions at once. With its page cache and
/// its schema each takes about 300 KB.
const CONNECTIONS: usize = 256;

/// Files that one connection may have open: the database, its log, and the memory that the log shares.
const FILES: u64 = 3;

/// Questions at once, per core; more wait for their turn. They compute as much as they wait for the disk.
const QUESTIONS_PER_CORE: usize = 8;

/// Connections that a question is sure of. It reads one month and looks into another; more of them save opening again.
const CONNECTIONS_PER_QUESTION: usize = 8;

/// How long an idle connection is kept. It holds its file open, also after the file was deleted.
const IDLE: Duration = Duration::from_secs(30);

/// The read connections of a directory.
pub struct ReadPool {
    settings: SqliteSettings,
    connections: usize,
    /// Connections that are open.
    taken: Arc<AtomicUsize>,
    questions: Arc<Semaphore>,
    /// The one used last is last. `None` once closed.
    idle: Mutex<Option<Vec<Connected>>>,
    /// Whether a task looks after the idle ones.
    is_swept: AtomicBool,
    /// Shared by all questions, taken alone to delete a month.
    gate: RwLock<()>,
}

impl ReadPool {
    pub fn new(settings: SqliteSettings) -> Self {
        let connections = connections(open_files());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let questions = (connections / CONNECTIONS_PER_QUESTION).min(cores * QUESTIONS_PER_CORE).max(1);
        Self {
            settings,
            connections,
            taken: Arc::default(),
            questions: Arc::new(Semaphore::new(questions)),
            idle: Mutex::new(Some(Vec::new())),
            is_swept: AtomicBool::new(false),
            gate: RwLock::default(),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.settings.dir
    }

    pub fn path(&self, month: Month) -> PathBuf {
        months::path(&self.settings.dir, month)
    }

    /// Returns the months there are, newest first.
    pub fn months(&self) -> Result<Vec<Month>, SqliteFault> {
        let dir = &self.settings.dir;
        months::newest_first(dir)
            .map_err(|error| missing_directory(dir).unwrap_or_else(|| SqliteFault::of_io(&error, dir)))
    }

    /// Waits for the right to ask a question.
    pub async fn permit(&self) -> Result<OwnedSemaphorePermit, SqliteFault> {
        let permit = Arc::clone(&self.questions).acquire_owned().await;
        permit.map_err(|_| SqliteFault::Unavailable(String::from("the sqlite store is closed")))
    }

    /// Questions that could begin now.
    #[cfg(test)]
    pub fn free_questions(&self) -> u32 {
        u32::try_from(self.questions.available_permits()).unwrap_or(u32::MAX)
    }

    /// Waits until so many questions could begin.
    #[cfg(test)]
    pub async fn free(&self, questions: u32) {
        drop(self.questions.acquire_many(questions).await.unwrap());
    }

    /// As long as it is held, no month is deleted by this process.
    pub fn share(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a connection to a month; `None` if there is nothing in it. Where connections are short an idle one of
    /// another month is closed, then `let_go` is asked to close one of the question's own. A question that has none to
    /// spare gets one more than the bound: at most two of them does each question read at once.
    ///
    /// `through_log`: reads a month as if a writer had it open, whether or not one has.
    pub fn open(
        &self,
        month: Month,
        through_log: bool,
        let_go: impl Fn() -> bool,
    ) -> Result<Option<Connected>, SqliteFault> {
        if let Some(connected) = self.take_idle(month).filter(|connected| !(connected.is_tidy && through_log)) {
            return Ok(Some(connected));
        }
        let slot = loop {
            if let Some(slot) = ConnectionSlot::take(&self.taken, self.connections) {
                break slot;
            }
            if !self.close_oldest() && !let_go() {
                match ConnectionSlot::take(&self.taken, usize::MAX) {
                    Some(slot) => break slot,
                    None => return Err(SqliteFault::Unavailable(String::from("too many open files"))),
                }
            }
        };
        Connected::open(&self.path(month), month, self.settings.busy_timeout(), through_log, slot)
    }

    /// Keeps a connection for the next question.
    pub fn put_back(&self, connected: Connected) {
        if let Some(idle) = &mut *self.lock() {
            idle.push(connected);
        }
    }

    /// Runs work on files while no connection of this pool has one open. Deleting a file that is open here would let its
    /// name be opened a second time, and closing one of the two would take the locks of the other.
    pub fn without_readers<T>(&self, month: Month, work: impl FnOnce() -> T) -> T {
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(idle) = &mut *self.lock() {
            idle.retain(|connected| connected.month != month);
        }
        work()
    }

    /// Closes all idle connections, and keeps none from now on.
    pub fn close(&self) {
        self.lock().take();
    }

    /// Sees to it that idle connections are closed in time. Called within a runtime.
    pub fn look_after(self: &Arc<Self>) {
        if self.is_swept.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(IDLE / 2).await;
                let Some(pool) = pool.upgrade() else { return };
                if pool.sweep(IDLE) == 0 && pool.taken.load(Ordering::Acquire) == 0 {
                    pool.is_swept.store(false, Ordering::Release);
                    return;
                }
            }
        });
    }

    /// Closes idle connections that have not been used for a while, or whose file is another one now. Returns how many
    /// stay.
    fn sweep(&self, age: Duration) -> usize {
        let mut guard = self.lock();
        let Some(idle) = guard.as_mut() else { return 0 };
        idle.retain(|connected| {
            connected.idle_since.elapsed() < age && connected.is_current(&self.path(connected.month))
        });
        idle.len()
    }

    fn take_idle(&self, month: Month) -> Option<Connected> {
        let mut guard = self.lock();
        let idle = guard.as_mut()?;
        let index = idle.iter().rposition(|connected| connected.month == month)?;
        // The file may have been written, dropped or replaced meanwhile, by this process or another.
        Some(idle.remove(index)).filter(|connected| connected.is_current(&self.path(month)))
    }

    fn close_oldest(&self) -> bool {
        let mut guard = self.lock();
        let Some(idle) = guard.as_mut().filter(|idle| !idle.is_empty()) else { return false };
        let oldest = idle.remove(0);
        drop(guard);
        drop(oldest);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Connected>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files that the process may have open.
fn open_files() -> u64 {
    rlimit::Resource::NOFILE.get().map_or(1_024, |(soft, _)| soft)
}

/// Half of the files are for reading; the rest is for clients, the writer and the servers.
fn connections(files: u64) -> usize {
    usize::try_from(files / 2 / FILES).unwrap_or(usize::MAX).clamp(2 * CONNECTIONS_PER_QUESTION, CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_keep_within_the_limit_of_files() {
        assert_eq!(connections(1_024), 170);
        assert_eq!(connections(64), 16);
        assert_eq!(connections(u64::MAX), CONNECTIONS);
    }
}
