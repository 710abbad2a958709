//! The connections that write: opened on demand, kept for the months in use, closed before anything is done to their
//! files. Owned by the writer thread alone; knows nothing of requests and verdicts.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Transaction;
use tracing::warn;

use super::erase;
use super::fault::SqliteFault;
use super::lock::DirLock;
use super::month_file::MonthFile;
use super::months;
use super::pool::ReadPool;
use super::question::SqliteQuestion;
use super::state::StateFile;
use super::watch::FileWatch;
use super::{SqliteSettings, private, requests, schema, search};
use crate::domain::record::RecordKey;
use crate::domain::{Month, TenantSet, Timestamp};

/// Written by a probe: enough that a full disk notices.
const PROBE_BYTES: usize = 256 * 1024;

/// Microseconds after which requests are looked through although nothing was written: some may have been left behind.
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
    open: Vec<MonthFile>,
    /// Months whose search index is known to be up to date, or cannot be brought there.
    indexed: HashSet<Month>,
    /// Knows where months were written.
    watch: Arc<FileWatch>,
    /// Months whose log may still hold what was erased.
    erased: HashSet<Month>,
    /// When requests of other processes were last looked through, and what the state was then.
    swept: Option<Timestamp>,
    seen: Option<i64>,
}

impl WriteFiles {
    pub fn new(settings: SqliteSettings, readers: Arc<ReadPool>, state: StateFile, watch: Arc<FileWatch>) -> Self {
        Self {
            settings,
            readers,
            state,
            lock: None,
            open: Vec::new(),
            indexed: HashSet::new(),
            watch,
            erased: HashSet::new(),
            swept: None,
            seen: None,
        }
    }

    /// Runs `work` in one transaction on a month's file and commits it durably. After any fault the connection is
    /// closed, so that the next attempt meets the file as it is then.
    pub fn transact<T>(
        &mut self,
        month: Month,
        work: impl FnOnce(&Transaction<'_>, &Path) -> Result<T, SqliteFault>,
    ) -> Result<T, SqliteFault> {
        self.indexed.remove(&month);
        let mut file = self.take(month)?;
        let done = file.transact(work)?;
        if !file.identity.is_still_at(&file.path) {
            let detail = format!("{}: the file was moved away or replaced while it was written", file.path.display());
            return Err(SqliteFault::Unavailable(detail));
        }
        self.watch.note(month, file.identity);
        self.keep(file);
        Ok(done)
    }

    /// Takes the right to write into the directory, and keeps it.
    pub fn claim(&mut self) -> Result<(), SqliteFault> {
        self.ensure_lock()
    }

    /// As [`Self::claim`]; `false`: another process has it.
    pub fn try_claim(&mut self) -> Result<bool, SqliteFault> {
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
    pub fn serve_requests(&mut self, now: Timestamp) -> Result<(), SqliteFault> {
        let state = self.state.clone();
        requests::serve(self, &state, now)
    }

    /// Returns whether a write could succeed: the lock is ours and the disk takes a file.
    pub fn probe(&mut self) -> Result<(), SqliteFault> {
        self.ensure_lock()?;
        let path = self.settings.dir.join("difylog.probe");
        // What an earlier probe left, or a link that somebody put there: its target is not touched.
        private::remove(&path).map_err(|error| SqliteFault::of_io(&error, &path))?;
        let written = private::create_new(&path).and_then(|mut file| {
            file.write_all(&vec![0; PROBE_BYTES])?;
            file.sync_all()
        });
        // What a full disk left of it must go as well.
        let removed = private::remove(&path);
        written.and(removed).map_err(|error| SqliteFault::of_io(&error, &path))
    }

    /// Creates the directory and brings files of earlier versions up to date.
    pub fn install(&mut self) -> Result<Vec<String>, SqliteFault> {
        let dir = self.settings.dir.clone();
        let io = |error: &std::io::Error| SqliteFault::of_io(error, &dir);
        let mut done = Vec::new();
        if !dir.exists() {
            private::create_dir(&dir).map_err(|error| io(&error))?;
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
    pub fn question(&self) -> SqliteQuestion {
        SqliteQuestion::of_writer(Arc::clone(&self.readers))
    }

    /// Deletes a month. Returns whether there was one.
    pub fn drop_month(&mut self, month: Month) -> Result<bool, SqliteFault> {
        self.ensure_lock()?;
        self.open.retain(|file| file.month != month);
        self.erased.remove(&month);
        self.watch.forget(month);
        self.readers.without_readers(month, || delete(&self.settings.dir, month))
    }

    /// Marks a month as gone for good for some tenants, then deletes it. Returns whether there was one; `None`: others
    /// have something in it.
    pub fn retire_month(&mut self, month: Month, past: &TenantSet, at: Timestamp) -> Result<Option<bool>, SqliteFault> {
        self.ensure_lock()?;
        if !past.is_everybody() && self.change_if_there(month, |rows| erase::has_others(rows, past))? == Some(true) {
            return Ok(None);
        }
        self.state.retire(month, past, at)?;
        self.drop_month(month).map(Some)
    }

    /// Returns the months into which the writes of some tenants are too late: they were dropped, or are about to be.
    pub fn retired(&self) -> Result<BTreeMap<Month, TenantSet>, SqliteFault> {
        self.state.retired()
    }

    /// Changes rows of a month in one transaction.
    pub fn change<T>(
        &mut self,
        month: Month,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, SqliteFault> {
        self.transact(month, |transaction, path| work(transaction).map_err(|error| SqliteFault::of(&error, path)))
    }

    /// As [`Self::change`], but creates no month.
    pub fn change_if_there<T>(
        &mut self,
        month: Month,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, SqliteFault> {
        if self.has(month) { self.change(month, work).map(Some) } else { Ok(None) }
    }

    /// Removes rows of a month in one transaction; what is removed does not stay in the file, nor in its log once no question
    /// reads an earlier state.
    pub fn erase<T>(
        &mut self,
        month: Month,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, SqliteFault> {
        let erased = self.change_if_there(month, work)?;
        if erased.is_some() {
            self.erased.insert(month);
        }
        Ok(erased)
    }

    /// Empties the logs of months from which something was erased, and closes months whose file is not there any more.
    /// Where a question still reads an earlier state the log is left to the next call.
    pub fn tidy(&mut self) {
        self.open.retain(|file| file.identity.is_still_at(&file.path));
        let months: Vec<Month> = self.erased.iter().copied().collect();
        for month in months {
            // A month that was removed meanwhile has no log, and is not made anew for its sake.
            let emptied = if self.has(month) { self.empty_log(month) } else { Ok(true) };
            if matches!(emptied, Ok(false)) {
                continue;
            }
            self.erased.remove(&month);
            if let Err(fault) = emptied {
                warn!(%month, "the log of this month may hold what was erased: {}", fault.detail());
            }
        }
    }

    fn empty_log(&mut self, month: Month) -> Result<bool, SqliteFault> {
        let file = self.take(month)?;
        let emptied = file.empty_log()?;
        self.keep(file);
        Ok(emptied)
    }

    /// Gives the space of removed rows back to the disk. A line for each month.
    pub fn compact(&mut self) -> Result<Vec<String>, SqliteFault> {
        self.ensure_lock()?;
        let dir = self.settings.dir.clone();
        let mut lines = Vec::new();
        for month in months::newest_first(&dir).map_err(|error| SqliteFault::of_io(&error, &dir))? {
            let file = self.take(month)?;
            let freed = file.compact()?;
            lines.push(format!("{}: {} KiB given back", file.path.display(), freed / 1024));
            self.indexed.remove(&month);
            self.erased.remove(&month);
            self.keep(file);
        }
        Ok(lines)
    }

    /// Keeps the search index from falling behind further while writing does not pause: after so many rows were written,
    /// about as many are indexed in each month where more than a bound wait.
    pub fn keep_up(&mut self, rows: usize) {
        if !self.settings.search_index {
            return;
        }
        let far = |file: &MonthFile| file.behind().is_ok_and(|behind| behind > search::KEPT_UP);
        let months: Vec<Month> = self.open.iter().filter(|file| far(file)).map(|file| file.month).collect();
        for month in months {
            for _ in 0..=rows.div_ceil(search::STEP) {
                if self.indexed.contains(&month) || !self.index(month) {
                    break;
                }
            }
        }
    }

    /// Brings the search index of some month a step further, the newest month first. Returns whether there may be more
    /// to do. Does nothing before the directory was first written to, and gives a month up that cannot be indexed:
    /// questions then read its rows.
    pub fn catch_up(&mut self) -> bool {
        if !self.settings.search_index || !self.holds_lock() {
            return false;
        }
        let Ok(months) = months::newest_first(&self.settings.dir) else { return false };
        let Some(month) = months.into_iter().find(|month| !self.indexed.contains(month)) else { return false };
        self.index(month);
        true
    }

    /// Brings the search index of a month a step further. Returns whether there is more to do.
    fn index(&mut self, month: Month) -> bool {
        let more = self.transact(month, |transaction, path| {
            search::catch_up(transaction).map_err(|error| SqliteFault::of(&error, path))
        });
        match more {
            Ok(true) => return true,
            Ok(false) => {}
            Err(fault) => {
                warn!(%month, "search index: {}; keywords are looked for in the rows", fault.detail());
            }
        }
        self.indexed.insert(month);
        false
    }

    /// Removes the tombstones of records from every month. Returns how many.
    pub fn lift_tombstones(&mut self, keys: &[RecordKey]) -> Result<u64, SqliteFault> {
        let dir = self.settings.dir.clone();
        let months = months::newest_first(&dir).map_err(|error| SqliteFault::of_io(&error, &dir))?;
        let mut lifted = 0;
        for month in months {
            lifted += self.change(month, |rows| erase::lift(rows, keys))?;
        }
        Ok(lifted)
    }

    /// Removes tombstones, and marks of months, older than an instant. Returns how many.
    pub fn purge_tombstones(&mut self, before: Timestamp) -> Result<u64, SqliteFault> {
        let dir = self.settings.dir.clone();
        let months = months::newest_first(&dir).map_err(|error| SqliteFault::of_io(&error, &dir))?;
        let mut purged = self.state.purge_retired(before)?;
        for month in months {
            purged += self.change(month, |rows| erase::purge(rows, before))?;
        }
        Ok(purged)
    }

    fn has(&self, month: Month) -> bool {
        months::path(&self.settings.dir, month).exists()
    }

    /// Returns the month's file, out of the kept ones; a caller that does not [`keep`](Self::keep) it closes it.
    fn take(&mut self, month: Month) -> Result<MonthFile, SqliteFault> {
        let kept = self.open.iter().position(|file| file.month == month).map(|index| self.open.remove(index));
        if let Some(file) = kept.filter(|file| file.identity.is_still_at(&file.path)) {
            return Ok(file);
        }
        self.ensure_lock()?;
        MonthFile::open(&self.settings, month)
    }

    fn keep(&mut self, file: MonthFile) {
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
        self.erased.clear();
        self.open.clear();
        self.lock = None;
    }

    fn ensure_lock(&mut self) -> Result<(), SqliteFault> {
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
        // With a reader that has a month open, this one is not the last: its log stays, and must hold nothing erased.
        self.tidy();
        self.open.clear();
    }
}

fn delete(dir: &Path, month: Month) -> Result<bool, SqliteFault> {
    let mut found = false;
    for path in months::paths(dir, month) {
        match fs::remove_file(&path) {
            Ok(()) => found = true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(SqliteFault::of_io(&error, &path)),
        }
    }
    months::sync_dir(dir).map_err(|error| SqliteFault::of_io(&error, dir))?;
    Ok(found)
}
