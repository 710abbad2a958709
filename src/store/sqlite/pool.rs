//! Connections that read: opened on demand, read-only, kept for the next question. They see what is committed and never
//! hold up the writer.
//!
//! A question that spans months asks [`ReadPool::ask`]: it works on one snapshot per file, so that whatever is written
//! meanwhile, a record that lies in two months is met in the same two revisions from beginning to end.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Row, params_from_iter};

use super::SqliteSettings;
use super::fault::Fault;
use super::lock::missing_directory;
use super::months::{self, FileIdentity};
use super::schema::{self, State};
use super::text;
use crate::domain::Month;
use crate::domain::query::TimeRange;

/// Idle connections kept, over all months: a year of monthly files for eight questions at once.
const IDLE: usize = 96;

/// How often a question is asked again because a file was replaced under it.
const ATTEMPTS: usize = 3;

/// Page cache of one read connection, in KiB.
const CACHE_KIB: i64 = 256;

/// The read connections of a directory.
pub struct ReadPool {
    settings: SqliteSettings,
    /// The one used last is last. `None` once closed.
    idle: Mutex<Option<Vec<OpenMonth>>>,
    /// Shared by all questions, taken alone to delete a month.
    gate: RwLock<()>,
}

/// A month's file, as a question sees it.
pub struct OpenMonth {
    pub month: Month,
    path: PathBuf,
    identity: FileIdentity,
    connection: Connection,
}

impl ReadPool {
    pub fn new(settings: SqliteSettings) -> Self {
        Self { settings, idle: Mutex::new(Some(Vec::new())), gate: RwLock::default() }
    }

    /// The months there are, newest first.
    pub fn months(&self) -> Result<Vec<Month>, Fault> {
        let dir = &self.settings.dir;
        months::newest_first(dir).map_err(|error| missing_directory(dir).unwrap_or_else(|| Fault::of_io(&error, dir)))
    }

    /// Runs a question on all months, newest first, each in one snapshot. It may run again if a file is replaced
    /// meanwhile.
    pub fn ask<T>(&self, question: impl Fn(&[OpenMonth]) -> Result<T, Fault>) -> Result<T, Fault> {
        self.attempt(Self::months, question)
    }

    /// Runs a question on one month; `None` if the month has gone, or has nothing in it yet.
    pub fn read<T>(
        &self,
        month: Month,
        question: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Fault> {
        self.attempt(|_| Ok(vec![month]), |files| files.first().map(|file| file.ask(&question)).transpose())
    }

    fn attempt<T>(
        &self,
        months: impl Fn(&Self) -> Result<Vec<Month>, Fault>,
        question: impl Fn(&[OpenMonth]) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let _shared = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..ATTEMPTS {
            let mut files = Vec::new();
            for month in months(self)? {
                files.extend(self.open(month)?);
            }
            let answer = question(&files);
            // Another process dropped a month meanwhile: what was read may be of two files.
            if !files.iter().all(OpenMonth::is_current) {
                continue;
            }
            // After an error the connections are closed: the next question meets the files as they are then.
            let answer = answer?;
            self.put_back(files)?;
            return Ok(answer);
        }
        let dir = self.settings.dir.display();
        Err(Fault::Unavailable(format!("{dir}: a file is replaced again and again")))
    }

    /// Runs work on files while no connection of this pool has one open. Deleting a file that is open here would let its
    /// name be opened a second time, and closing one of the two would take the locks of the other.
    pub fn without_readers<T>(&self, month: Month, work: impl FnOnce() -> T) -> T {
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(idle) = &mut *self.lock() {
            idle.retain(|file| file.month != month);
        }
        work()
    }

    /// Closes all idle connections, and keeps none from now on.
    pub fn close(&self) {
        self.lock().take();
    }

    /// A month with its snapshot begun.
    fn open(&self, month: Month) -> Result<Option<OpenMonth>, Fault> {
        let opened = match self.take_idle(month) {
            Some(file) => Some(file),
            None => OpenMonth::open(&self.settings, month)?,
        };
        if let Some(file) = &opened {
            // Only the first read of a transaction takes the snapshot.
            file.ask(|connection| connection.execute_batch("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1;"))?;
        }
        Ok(opened)
    }

    fn take_idle(&self, month: Month) -> Option<OpenMonth> {
        let mut guard = self.lock();
        let idle = guard.as_mut()?;
        let index = idle.iter().rposition(|file| file.month == month)?;
        // The file may have been dropped or replaced meanwhile, by this process or another.
        Some(idle.remove(index)).filter(OpenMonth::is_current)
    }

    fn put_back(&self, files: Vec<OpenMonth>) -> Result<(), Fault> {
        for file in &files {
            file.ask(|connection| connection.execute_batch("COMMIT"))?;
        }
        if let Some(idle) = &mut *self.lock() {
            idle.extend(files);
            let surplus = idle.len().saturating_sub(IDLE);
            idle.drain(..surplus);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<OpenMonth>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenMonth {
    /// Runs a part of a question on this month; its error names the file.
    pub fn ask<'m, T>(&'m self, question: impl FnOnce(&'m Connection) -> rusqlite::Result<T>) -> Result<T, Fault> {
        question(&self.connection).map_err(|error| Fault::of(&error, &self.path))
    }

    /// Goes over the rows of a statement until `each` breaks.
    pub fn each_row(
        &self,
        sql: &str,
        values: &[Value],
        mut each: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, Fault>,
    ) -> Result<(), Fault> {
        let mut statement = self.ask(|connection| connection.prepare_cached(sql))?;
        let mut rows = self.ask(|_| statement.query(params_from_iter(values)))?;
        while let Some(row) = self.ask(|_| rows.next())? {
            if each(row)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Whether the month has an instant of the range.
    pub fn overlaps(&self, range: TimeRange) -> bool {
        range.from.is_none_or(|from| from < self.month.end())
            && range.until.is_none_or(|until| self.month.start() < until)
    }

    fn open(settings: &SqliteSettings, month: Month) -> Result<Option<Self>, Fault> {
        let path = months::path(&settings.dir, month);
        let identity = match FileIdentity::of(&path) {
            Ok(identity) => identity,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Fault::of_io(&error, &path)),
        };
        let opened = connect(settings, &path)
            .map_err(|error| Fault::of(&error, &path))
            .and_then(|connection| schema::state(&connection, &path).map(|state| (connection, state)));
        match opened {
            Ok((connection, State::Current)) => Ok(Some(Self { month, path, identity, connection })),
            Ok((_, State::Empty)) => Ok(None),
            Ok((_, State::Older(version))) => {
                Err(Fault::NotSetUp(format!("{} has the older schema {version}", path.display())))
            }
            // Dropped since it was listed.
            Err(_) if !path.exists() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn is_current(&self) -> bool {
        self.identity.is_still_at(&self.path)
    }
}

fn connect(settings: &SqliteSettings, path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(settings.busy_timeout())?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    text::add_functions(&connection)?;
    Ok(connection)
}
