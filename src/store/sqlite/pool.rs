//! Connections that read: opened on demand, read-only, kept for the next question. They see what is committed and never
//! hold up the writer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rusqlite::{Connection, OpenFlags};

use super::SqliteSettings;
use super::fault::Fault;
use super::lock::missing_directory;
use super::months::{self, FileIdentity};
use super::schema::{self, State};
use crate::domain::Month;
use crate::store::StoreError;

/// Idle connections kept, over all months: two years of monthly files.
const IDLE: usize = 24;

/// How often a question is asked again because its file was replaced under it.
const ATTEMPTS: usize = 3;

/// Page cache of one read connection, in KiB.
const CACHE_KIB: i64 = 512;

/// The read connections of a directory.
pub struct ReadPool {
    settings: SqliteSettings,
    /// The one used last is last. `None` once closed.
    idle: Mutex<Option<Vec<OpenMonth>>>,
    /// Shared by the readers of a month, taken alone to delete it.
    gates: Mutex<HashMap<Month, Arc<RwLock<()>>>>,
}

struct OpenMonth {
    month: Month,
    path: PathBuf,
    identity: FileIdentity,
    connection: Connection,
}

impl ReadPool {
    pub fn new(settings: SqliteSettings) -> Self {
        Self { settings, idle: Mutex::new(Some(Vec::new())), gates: Mutex::default() }
    }

    /// The months there are, newest first.
    pub fn months(&self) -> Result<Vec<Month>, StoreError> {
        let dir = &self.settings.dir;
        months::newest_first(dir)
            .map_err(|error| missing_directory(dir).unwrap_or_else(|| Fault::of_io(&error, dir)).into())
    }

    /// Runs a question on a month; `None` if the month has gone, or has nothing in it yet.
    pub fn read<T>(
        &self,
        month: Month,
        question: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let gate = self.gate(month);
        let _shared = gate.read().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..ATTEMPTS {
            let opened = match self.take_idle(month) {
                Some(file) => Some(file),
                None => OpenMonth::open(&self.settings, month)?,
            };
            let Some(file) = opened else { return Ok(None) };
            let answer = question(&file.connection).map_err(|error| Fault::of(&error, &file.path));
            // Another process dropped the month meanwhile: what was read may be of two files.
            if !file.is_current() {
                continue;
            }
            // After an error the connection is closed: the next question meets the file as it is then.
            let answer = answer?;
            self.put_back(file);
            return Ok(Some(answer));
        }
        Err(StoreError::Unavailable(format!("the file of {month} is replaced again and again")))
    }

    /// Runs work on a month's files while no connection of this pool has them open. Deleting a file that is open here
    /// would let its name be opened a second time, and closing one of the two would take the locks of the other.
    pub fn without_readers<T>(&self, month: Month, work: impl FnOnce() -> T) -> T {
        let gate = self.gate(month);
        let _alone = gate.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(idle) = &mut *self.lock() {
            idle.retain(|file| file.month != month);
        }
        work()
    }

    /// Closes all idle connections, and keeps none from now on.
    pub fn close(&self) {
        self.lock().take();
    }

    fn take_idle(&self, month: Month) -> Option<OpenMonth> {
        let mut guard = self.lock();
        let idle = guard.as_mut()?;
        let index = idle.iter().rposition(|file| file.month == month)?;
        // The file may have been dropped or replaced meanwhile, by this process or another.
        Some(idle.remove(index)).filter(OpenMonth::is_current)
    }

    fn put_back(&self, file: OpenMonth) {
        if let Some(idle) = &mut *self.lock() {
            idle.push(file);
            if idle.len() > IDLE {
                idle.remove(0);
            }
        }
    }

    /// Months are few: their gates are kept.
    fn gate(&self, month: Month) -> Arc<RwLock<()>> {
        Arc::clone(self.gates.lock().unwrap_or_else(PoisonError::into_inner).entry(month).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<OpenMonth>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenMonth {
    fn open(settings: &SqliteSettings, month: Month) -> Result<Option<Self>, StoreError> {
        let path = months::path(&settings.dir, month);
        let identity = match FileIdentity::of(&path) {
            Ok(identity) => identity,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Fault::of_io(&error, &path).into()),
        };
        let opened = connect(settings, &path)
            .map_err(|error| Fault::of(&error, &path))
            .and_then(|connection| schema::state(&connection, &path).map(|state| (connection, state)));
        match opened {
            Ok((connection, State::Current)) => Ok(Some(Self { month, path, identity, connection })),
            Ok((_, State::Empty)) => Ok(None),
            Ok((_, State::Older(version))) => {
                Err(StoreError::NotSetUp(format!("{} has the older schema {version}", path.display())))
            }
            // Dropped since it was listed.
            Err(_) if !path.exists() => Ok(None),
            Err(fault) => Err(fault.into()),
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
    Ok(connection)
}
