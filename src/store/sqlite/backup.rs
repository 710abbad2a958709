//! Copies of months as files: a folder for each copy, with the month's database in it under its own name. So a copy is a
//! store of one month, and is read as one. It changes nothing in the store but what [`MonthCopies::restore`] adds.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use tracing::warn;

use super::fault::SqliteFault;
use super::lock::DirLock;
use super::question::SqliteQuestion;
use super::{SqliteReader, SqliteSettings, blocking, months, private};
use crate::domain::Month;
use crate::store::StoreError;
use crate::store::copies::{CopyName, Mark, MonthCopies, MonthState, OpenedCopy, VaultId};
use crate::telemetry::Clock;

/// A file that was written to less than this ago may be written to again without its times showing it.
const SETTLED: Duration = Duration::from_secs(60);

/// The copies of one directory's months, in a folder of their own.
pub struct SqliteCopies {
    reader: SqliteReader,
    settings: SqliteSettings,
    folder: PathBuf,
    clock: Clock,
}

impl SqliteCopies {
    /// Touches no file yet.
    #[must_use]
    pub fn new(settings: SqliteSettings, folder: PathBuf, clock: Clock) -> Self {
        Self { reader: SqliteReader::new(settings.clone()), settings, folder, clock }
    }

    fn folder_of(&self, name: &CopyName) -> PathBuf {
        self.folder.join(name.to_string())
    }

    fn file_of(&self, name: &CopyName) -> PathBuf {
        months::path(&self.folder_of(name), name.month)
    }
}

#[async_trait]
impl MonthCopies for SqliteCopies {
    async fn prepare(&self) -> Result<(), StoreError> {
        let folder = self.folder.clone();
        blocking(move || private::create_dir(&folder).map_err(|error| SqliteFault::of_io(&error, &folder))).await
    }

    async fn months(&self) -> Result<Vec<MonthState>, StoreError> {
        let settings = self.settings.clone();
        let now = u64::try_from((self.clock)().micros())
            .map_or(UNIX_EPOCH, |micros| UNIX_EPOCH.checked_add(Duration::from_micros(micros)).unwrap_or(UNIX_EPOCH));
        let states = move |question: &SqliteQuestion| {
            let mut states = Vec::new();
            for month in question.months()?.into_iter().rev() {
                let mark =
                    mark(&settings.dir, month, now).map_err(|error| SqliteFault::of_io(&error, &settings.dir))?;
                states.push(MonthState { month, mark });
            }
            Ok(states)
        };
        self.reader.read(states).await
    }

    async fn copy(&self, name: &CopyName, _: &VaultId) -> Result<bool, StoreError> {
        let month = name.month;
        let (folder, file) = (self.folder_of(name), self.file_of(name));
        let copying = move |question: &SqliteQuestion| {
            let io = |error: &io::Error| SqliteFault::of_io(error, &folder);
            private::create_dir(&folder).map_err(|error| io(&error))?;
            let copied = question.read(month, |source| Ok(copy(source, &file)))?.transpose()?;
            if copied.is_none() {
                fs::remove_dir(&folder).map_err(|error| io(&error))?;
            }
            months::sync_dir(folder.parent().unwrap_or(&folder)).map_err(|error| io(&error))?;
            Ok(copied.is_some())
        };
        self.reader.read(copying).await
    }

    async fn copies(&self) -> Result<Vec<CopyName>, StoreError> {
        let folder = self.folder.clone();
        blocking(move || list(&folder).map_err(|error| SqliteFault::of_io(&error, &folder))).await
    }

    /// The folder of the copies lies in the vault, and holds no other's.
    async fn is_of(&self, _: &CopyName, _: &VaultId) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// A copy is read where it lies.
    async fn open(&self, name: &CopyName) -> Result<OpenedCopy, StoreError> {
        let (file, folder) = (self.file_of(name), self.folder_of(name));
        present(&file)?;
        let settings = SqliteSettings { dir: folder.clone(), ..self.settings.clone() };
        Ok(OpenedCopy {
            name: name.clone(),
            reader: Box::new(SqliteReader::new(settings)),
            place: folder.display().to_string(),
            parts: BTreeSet::from([file.display().to_string()]),
        })
    }

    async fn close(&self, copy: OpenedCopy) -> Result<(), StoreError> {
        present(&self.file_of(&copy.name))
    }

    async fn begin_restore(&self) -> Result<(), StoreError> {
        let dir = self.settings.dir.clone();
        blocking(move || private::create_dir(&dir).map_err(|error| SqliteFault::of_io(&error, &dir))).await
    }

    async fn restore(&self, name: &CopyName) -> Result<(), StoreError> {
        let (dir, source, month) = (self.settings.dir.clone(), self.file_of(name), name.month);
        blocking(move || restore(&dir, &source, month)).await
    }

    /// A month has its name only once it is whole.
    async fn resume(&self, name: &CopyName) -> Result<(), StoreError> {
        if months::path(&self.settings.dir, name.month).exists() { Ok(()) } else { self.restore(name).await }
    }

    async fn delete(&self, name: &CopyName) -> Result<(), StoreError> {
        let folder = self.folder_of(name);
        blocking(move || match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SqliteFault::of_io(&error, &folder)),
            _ => Ok(()),
        })
        .await
    }
}

fn present(file: &Path) -> Result<(), StoreError> {
    if file.exists() {
        return Ok(());
    }
    Err(StoreError::Unavailable(format!("{} is not there: the copy was moved or deleted", file.display())))
}

/// Sizes and times of the database and its log: every commit appends to the log or begins it anew.
fn mark(dir: &Path, month: Month, now: SystemTime) -> io::Result<Option<Mark>> {
    let [database, log, _] = months::paths(dir, month);
    let mut parts = Vec::new();
    for path in [database, log] {
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let written = metadata.modified()?;
        if now.duration_since(written).is_ok_and(|age| age >= SETTLED) {
            let nanos = written.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
            parts.push(format!("{}@{nanos}", metadata.len()));
        } else {
            return Ok(None);
        }
    }
    Ok(Some(Mark(parts.join("+"))))
}

fn list(folder: &Path) -> io::Result<Vec<CopyName>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().to_str().and_then(|name| name.parse().ok()));
    }
    names.sort_unstable();
    Ok(names)
}

/// The copy has its name only once it is complete.
fn copy(source: &Connection, path: &Path) -> Result<(), SqliteFault> {
    let part = part(path);
    private::remove(&part).map_err(|error| SqliteFault::of_io(&error, path))?;
    let copied = copy_pages(source, &part).and_then(|()| name_durably(&part, path));
    if copied.is_err() {
        // What is left of it is in the way of nothing: the next copy removes it.
        let _ = private::remove(&part);
    }
    copied
}

/// In one step: between steps, a write would make the copy begin again. The step reads one snapshot and holds no lock
/// that a writer needs.
fn copy_pages(source: &Connection, part: &Path) -> Result<(), SqliteFault> {
    let fault = |error: rusqlite::Error| SqliteFault::of(&error, part);
    private::create_file(part).map_err(|error| SqliteFault::of_io(&error, part))?;
    let mut target = Connection::open(part).map_err(fault)?;
    let done = Backup::new(source, &mut target).and_then(|backup| backup.step(-1)).map_err(fault)?;
    if done != StepResult::Done {
        return Err(SqliteFault::Unavailable(format!(
            "{}: the month is locked by another program: end it",
            part.display()
        )));
    }
    // One tidy file, which can be read from a medium that cannot be written to.
    target.pragma_update(None, "journal_mode", "delete").map_err(fault)?;
    target.close().map_err(|(_, error)| fault(error))
}

/// Takes the lock of the directory: another writer could make the month anew at the same moment.
fn restore(dir: &Path, source: &Path, month: Month) -> Result<(), SqliteFault> {
    private::create_dir(dir).map_err(|error| SqliteFault::of_io(&error, dir))?;
    let _lock = DirLock::acquire(dir)?;
    let path = months::path(dir, month);
    if path.exists() {
        return Err(SqliteFault::Unavailable(format!("{}: the store has this month already", path.display())));
    }
    let part = part(&path);
    private::remove(&part).map_err(|error| SqliteFault::of_io(&error, &part))?;
    let copied = File::open(source).and_then(|mut from| io::copy(&mut from, &mut private::create_new(&part)?));
    copied.map_err(|error| SqliteFault::of_io(&error, source))?;
    remove_log(dir, month)?;
    name_durably(&part, &path)
}

/// SQLite reads a log beside a database into it, also one that another database of that name left: it must be gone for
/// good before there is a database again.
fn remove_log(dir: &Path, month: Month) -> Result<(), SqliteFault> {
    let [_, log, index] = months::paths(dir, month);
    if log.exists() {
        warn!(log = %log.display(), "the database of this log is gone: it is removed, and what only it held is lost");
    }
    for path in [log, index] {
        private::remove(&path).map_err(|error| SqliteFault::of_io(&error, &path))?;
    }
    months::sync_dir(dir).map_err(|error| SqliteFault::of_io(&error, dir))
}

/// Gives a finished file its name; durable when it answers.
fn name_durably(part: &Path, path: &Path) -> Result<(), SqliteFault> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(part)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(part, path))
        .and_then(|()| months::sync_dir(folder))
        .map_err(|error| SqliteFault::of_io(&error, path))
}

fn part(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}
