//! The connections that write: opened on demand, kept for the months in use, closed before anything is done to their
//! files. Owned by the writer thread alone; knows nothing of requests and verdicts.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tracing::warn;

use super::erase;
use super::fault::Fault;
use super::lock::{DirLock, missing_directory};
use super::months::{self, FileIdentity};
use super::pool::ReadPool;
use super::question::Question;
use super::state::StateFile;
use super::{SqliteSettings, requests, schema, search};
use crate::domain::{Month, Timestamp};

/// Bytes of a page, for new files. A row of a node takes 1.5 to 3 KB: pages of 4 KiB would leave half of each empty.
const PAGE_BYTES: i64 = 8_192;

/// Pages of the log after which SQLite moves them into the database: 16 MiB. Fewer would write the pages of the
/// indices, which random ids touch all over, again and again.
const CHECKPOINT_PAGES: i64 = 2_000;

/// Page cache of one write connection, in KiB: all that may be open share the second number.
const CACHE_KIB: i64 = 8_192;
const CACHES_KIB: i64 = 49_152;

/// Written by a probe: enough that a full disk notices.
const PROBE_BYTES: usize = 256 * 1024;

/// Microseconds after which requests are looked through although nobody wrote: some may have been left behind.
const SWEEP: i64 = 30_000_000;

/// The write connections of a directory.
pub struct WriteFiles {
    settings: SqliteSettings,
    /// Must let go of a month before it is deleted.
    readers: Arc<ReadPool>,
    /// Knows the months that were dropped for good.
    state: StateFile,
    lock: Option<DirLock>,
    /// The month used last is last.
    open: Vec<OpenMonth>,
    /// Months whose search index is known to be up to date, or cannot be brought there.
    indexed: HashSet<Month>,
    /// When requests of other processes were last looked through, and what the state was then.
    swept: Option<Timestamp>,
    seen: Option<i64>,
}

struct OpenMonth {
    month: Month,
    path: PathBuf,
    identity: FileIdentity,
    connection: Connection,
}

impl WriteFiles {
    pub fn new(settings: SqliteSettings, readers: Arc<ReadPool>, state: StateFile) -> Self {
        Self {
            settings,
            readers,
            state,
            lock: None,
            open: Vec::new(),
            indexed: HashSet::new(),
            swept: None,
            seen: None,
        }
    }

    /// Runs `work` in one transaction on a month's file and commits it durably. After any fault the connection is
    /// closed, so that the next attempt meets the file as it is then.
    pub fn transact<T>(
        &mut self,
        month: Month,
        work: impl FnOnce(&Transaction<'_>, &Path) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.indexed.remove(&month);
        let mut file = self.take(month)?;
        let done = file.transact(work)?;
        if !file.identity.is_still_at(&file.path) {
            let detail = format!("{}: the file was moved away or replaced while it was written", file.path.display());
            return Err(Fault::Unavailable(detail));
        }
        self.keep(file);
        Ok(done)
    }

    /// Takes the right to write into the directory, and keeps it.
    pub fn claim(&mut self) -> Result<(), Fault> {
        self.ensure_lock()
    }

    /// As [`Self::claim`]; `false`: another process has it.
    pub fn try_claim(&mut self) -> Result<bool, Fault> {
        if !self.holds_lock() {
            self.let_go();
            self.lock = DirLock::take(&self.settings.dir)?.ok();
        }
        Ok(self.lock.is_some())
    }

    /// Carries out what other processes asked of the one that writes, if that is this one and anything may have been asked
    /// since the last call.
    pub fn serve_new_requests(&mut self, now: Timestamp) {
        if !self.holds_lock() {
            return;
        }
        let is_due = self.swept.is_none_or(|swept| now.micros().saturating_sub(swept.micros()) >= SWEEP);
        let changes = self.state.changes().ok().flatten();
        if !is_due && changes == self.seen {
            return;
        }
        match self.serve_requests(now) {
            Ok(()) => (self.swept, self.seen) = (Some(now), changes),
            Err(fault) => warn!("requests of other processes cannot be answered: {}", fault.detail()),
        }
    }

    /// Carries out what other processes asked of the one that writes.
    pub fn serve_requests(&mut self, now: Timestamp) -> Result<(), Fault> {
        let state = self.state.clone();
        requests::serve(self, &state, now)
    }

    /// Whether a write could succeed: the lock is ours and the disk takes a file.
    pub fn probe(&mut self) -> Result<(), Fault> {
        self.ensure_lock()?;
        let path = self.settings.dir.join("difylog.probe");
        let written = fs::write(&path, vec![0; PROBE_BYTES]).and_then(|()| fs::File::open(&path)?.sync_all());
        // What a full disk left of it must go as well.
        let removed = fs::remove_file(&path);
        written.and(removed).map_err(|error| Fault::of_io(&error, &path))
    }

    /// Creates the directory and brings files of earlier versions up to date.
    pub fn install(&mut self) -> Result<Vec<String>, Fault> {
        let dir = self.settings.dir.clone();
        let io = |error: &std::io::Error| Fault::of_io(error, &dir);
        let mut done = Vec::new();
        if !dir.exists() {
            fs::create_dir_all(&dir).map_err(|error| io(&error))?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                months::sync_dir(parent).map_err(|error| io(&error))?;
            }
            done.push(format!("created {}", dir.display()));
        }
        self.probe()?;
        for month in months::newest_first(&dir).map_err(|error| io(&error))? {
            let file = self.take(month)?;
            done.push(format!("{}: schema {}", file.path.display(), schema::VERSION));
            self.keep(file);
        }
        Ok(done)
    }

    /// Asks about what is committed.
    pub fn question(&self) -> Question {
        Question::of_writer(Arc::clone(&self.readers))
    }

    /// Deletes a month. Answers whether there was one.
    pub fn drop_month(&mut self, month: Month) -> Result<bool, Fault> {
        self.ensure_lock()?;
        self.open.retain(|file| file.month != month);
        self.readers.without_readers(month, || delete(&self.settings.dir, month))
    }

    /// Marks a month as gone for good, then deletes it. Answers whether there was one.
    pub fn retire_month(&mut self, month: Month, at: Timestamp) -> Result<bool, Fault> {
        self.ensure_lock()?;
        self.state.retire(month, at)?;
        self.drop_month(month)
    }

    /// The months into which writes are too late: they were dropped, or are about to be.
    pub fn retired(&self) -> Result<Vec<Month>, Fault> {
        self.state.retired()
    }

    /// Changes rows of a month in one transaction.
    pub fn change<T>(
        &mut self,
        month: Month,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Fault> {
        self.transact(month, |transaction, path| work(transaction).map_err(|error| Fault::of(&error, path)))
    }

    /// As [`Self::change`], but creates no month.
    pub fn change_if_there<T>(
        &mut self,
        month: Month,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Fault> {
        if self.has(month) { self.change(month, work).map(Some) } else { Ok(None) }
    }

    /// Brings the search index of some month a step further, the newest month first. Answers whether there may be more to
    /// do. Does nothing before the directory was first written to, and gives a month up that cannot be indexed: questions
    /// then read its rows.
    pub fn catch_up(&mut self) -> bool {
        if !self.settings.search_index || !self.holds_lock() {
            return false;
        }
        let Ok(months) = months::newest_first(&self.settings.dir) else { return false };
        let Some(month) = months.into_iter().find(|month| !self.indexed.contains(month)) else { return false };
        let more = self.transact(month, |transaction, path| {
            search::catch_up(transaction).map_err(|error| Fault::of(&error, path))
        });
        match more {
            Ok(true) => {}
            Ok(false) => {
                self.indexed.insert(month);
            }
            Err(fault) => {
                warn!(%month, "search index: {}; keywords are looked for in the rows", fault.detail());
                self.indexed.insert(month);
            }
        }
        true
    }

    /// Removes tombstones, and marks of months, older than an instant. Answers how many.
    pub fn purge_tombstones(&mut self, before: Timestamp) -> Result<u64, Fault> {
        let dir = self.settings.dir.clone();
        let months = months::newest_first(&dir).map_err(|error| Fault::of_io(&error, &dir))?;
        let mut purged = self.state.purge_retired(before)?;
        for month in months {
            purged += self.change(month, |rows| erase::purge(rows, before))?;
        }
        Ok(purged)
    }

    fn has(&self, month: Month) -> bool {
        months::path(&self.settings.dir, month).exists()
    }

    /// The month's file, out of the kept ones; whoever does not [`keep`](Self::keep) it closes it.
    fn take(&mut self, month: Month) -> Result<OpenMonth, Fault> {
        let kept = self.open.iter().position(|file| file.month == month).map(|index| self.open.remove(index));
        if let Some(file) = kept.filter(|file| file.identity.is_still_at(&file.path)) {
            return Ok(file);
        }
        self.ensure_lock()?;
        OpenMonth::open(&self.settings, month)
    }

    fn keep(&mut self, file: OpenMonth) {
        self.open.push(file);
        if self.open.len() > self.settings.max_open_months.get() {
            self.open.remove(0);
        }
    }

    fn holds_lock(&self) -> bool {
        self.lock.as_ref().is_some_and(DirLock::holds)
    }

    /// Files of a directory that is gone must not be written any more, and its lock is worth nothing.
    fn let_go(&mut self) {
        self.open.clear();
        self.lock = None;
    }

    fn ensure_lock(&mut self) -> Result<(), Fault> {
        if self.holds_lock() {
            return Ok(());
        }
        self.let_go();
        self.lock = Some(DirLock::acquire(&self.settings.dir)?);
        Ok(())
    }
}

impl Drop for WriteFiles {
    /// The last connection of a file moves its log into the database as it closes; the lock goes after that.
    fn drop(&mut self) {
        self.open.clear();
    }
}

impl OpenMonth {
    fn open(settings: &SqliteSettings, month: Month) -> Result<Self, Fault> {
        let path = months::path(&settings.dir, month);
        let fault =
            |error: &rusqlite::Error| missing_directory(&settings.dir).unwrap_or_else(|| Fault::of(error, &path));
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(|error| fault(&error))?;
        connection.busy_timeout(settings.busy_timeout()).map_err(|error| fault(&error))?;
        // Looked at before anything is set: another program's file stays as it is.
        schema::state(&connection, &path)?;
        configure(&connection, settings).map_err(|error| fault(&error))?;
        schema::migrate(&mut connection, &path)?;
        let identity = FileIdentity::of(&path).map_err(|error| Fault::of_io(&error, &path))?;
        Ok(Self { month, path, identity, connection })
    }

    fn transact<T>(&mut self, work: impl FnOnce(&Transaction<'_>, &Path) -> Result<T, Fault>) -> Result<T, Fault> {
        let Self { connection, path, .. } = self;
        let fault = |error: rusqlite::Error| Fault::of(&error, path);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault)?;
        let done = work(&transaction, path)?;
        transaction.commit().map_err(fault)?;
        Ok(done)
    }
}

fn delete(dir: &Path, month: Month) -> Result<bool, Fault> {
    let mut found = false;
    for path in months::paths(dir, month) {
        match fs::remove_file(&path) {
            Ok(()) => found = true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Fault::of_io(&error, &path)),
        }
    }
    months::sync_dir(dir).map_err(|error| Fault::of_io(&error, dir))?;
    Ok(found)
}

fn configure(connection: &Connection, settings: &SqliteSettings) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", settings.synchronous.as_str())?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    let months = i64::try_from(settings.max_open_months.get()).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -(CACHES_KIB / months).min(CACHE_KIB))?;
    if let Some(bytes) = settings.max_file_bytes {
        let page: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = i64::try_from((bytes.get() / u64::from(page)).max(1)).unwrap_or(i64::MAX);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(())
}
