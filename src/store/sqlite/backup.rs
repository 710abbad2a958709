//! A copy of a month while writing goes on. It changes nothing in the store and knows nothing of what a backup is made of.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::fault::Fault;
use super::pool::ReadPool;
use super::{SqliteStore, months};
use crate::domain::Month;
use crate::store::StoreError;

impl SqliteStore {
    /// The months that have a file, newest first.
    ///
    /// # Errors
    /// [`StoreError`] if the directory cannot be read.
    pub async fn months(&self) -> Result<Vec<Month>, StoreError> {
        self.read(ReadPool::months).await
    }

    /// Copies a month as it is at one moment into a new file, complete and durable when this returns. Writing and reading
    /// go on; only dropping a month waits for the copy. `false`: there is no such month, and no file was made.
    ///
    /// # Errors
    /// [`StoreError`], also if `path` exists already; then nothing is at `path`, or what was there.
    pub async fn backup_month(&self, month: Month, path: PathBuf) -> Result<bool, StoreError> {
        self.read(move |pool| {
            if path.exists() {
                return Err(Fault::Unavailable(format!("{}: exists: name a new file for the copy", path.display())));
            }
            let copied = pool.read(month, |source| Ok(copy(source, &path)))?;
            copied.transpose().map(|copied| copied.is_some())
        })
        .await
    }
}

/// The copy has its name only once it is complete.
fn copy(source: &Connection, path: &Path) -> Result<(), Fault> {
    let part = part(path);
    let io = |error: &std::io::Error| Fault::of_io(error, path);
    remove(&part).map_err(|error| io(&error))?;
    let copied = copy_pages(source, &part)
        .and_then(|()| fs::File::open(&part).and_then(|file| file.sync_all()).map_err(|error| io(&error)))
        .and_then(|()| fs::rename(&part, path).map_err(|error| io(&error)));
    if copied.is_err() {
        // What is left of it is in the way of nothing: the next copy removes it.
        let _ = remove(&part);
    }
    copied?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    months::sync_dir(folder).map_err(|error| io(&error))
}

/// In one step: between steps, a write would make the copy begin again. The step reads one snapshot and holds no lock
/// that a writer needs.
fn copy_pages(source: &Connection, part: &Path) -> Result<(), Fault> {
    let fault = |error: rusqlite::Error| Fault::of(&error, part);
    let mut target = Connection::open(part).map_err(fault)?;
    let done = Backup::new(source, &mut target).and_then(|backup| backup.step(-1)).map_err(fault)?;
    if done != StepResult::Done {
        return Err(Fault::Unavailable(format!("{}: the month is locked by another program: end it", part.display())));
    }
    target.close().map_err(|(_, error)| fault(error))
}

fn part(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
