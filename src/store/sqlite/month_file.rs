//! One month's file, open to be written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::fault::SqliteFault;
use super::lock::missing_directory;
use super::months::{self, FileIdentity};
use super::{SqliteSettings, private, schema, search};
use crate::domain::Month;

/// Bytes of a page, for new files. A row of a node takes 1.5 to 3 KB: pages of 4 KiB would leave half of each empty.
const PAGE_BYTES: i64 = 8_192;

/// Pages of the log after which SQLite moves them into the database: 16 MiB. Fewer would write the pages of the
/// indices, which random ids touch all over, again and again.
const CHECKPOINT_PAGES: i64 = 2_000;

/// Page cache of one write connection, in KiB: all that may be open share the second number.
const CACHE_KIB: i64 = 8_192;
const CACHES_KIB: i64 = 49_152;

/// The write connection of a month.
pub struct MonthFile {
    pub month: Month,
    pub path: PathBuf,
    pub identity: FileIdentity,
    connection: Connection,
}

impl MonthFile {
    /// Opens the file, or creates it.
    pub fn open(settings: &SqliteSettings, month: Month) -> Result<Self, SqliteFault> {
        let path = months::path(&settings.dir, month);
        let fault =
            |error: &rusqlite::Error| missing_directory(&settings.dir).unwrap_or_else(|| SqliteFault::of(error, &path));
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if settings.dir.exists() {
            private::create_file(&path).map_err(|error| SqliteFault::of_io(&error, &path))?;
        }
        let mut connection = Connection::open_with_flags(&path, flags).map_err(|error| fault(&error))?;
        connection.busy_timeout(settings.busy_timeout()).map_err(|error| fault(&error))?;
        // Looked at before anything is set: another program's file stays as it is.
        schema::state(&connection, &path)?;
        configure(&connection, settings).map_err(|error| fault(&error))?;
        schema::migrate(&mut connection, &path, month)?;
        let identity = FileIdentity::of(&path).map_err(|error| SqliteFault::of_io(&error, &path))?;
        let file = Self { month, path, identity, connection };
        // A writer that died may have left a log with what was erased since.
        file.empty_log()?;
        Ok(file)
    }

    /// Runs work in one transaction, and commits it.
    pub fn transact<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &Path) -> Result<T, SqliteFault>,
    ) -> Result<T, SqliteFault> {
        let Self { connection, path, .. } = self;
        let fault = |error: rusqlite::Error| SqliteFault::of(&error, path);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault)?;
        let done = work(&transaction, path)?;
        transaction.commit().map_err(fault)?;
        Ok(done)
    }

    /// Moves the log into the database and empties it, so that it holds nothing that was changed since. `false`: a question
    /// still reads an earlier state; it is not waited for.
    pub fn empty_log(&self) -> Result<bool, SqliteFault> {
        let fault = |error: rusqlite::Error| SqliteFault::of(&error, &self.path);
        let waits: i64 = self.connection.pragma_query_value(None, "busy_timeout", |row| row.get(0)).map_err(fault)?;
        self.connection.busy_timeout(Duration::ZERO).map_err(fault)?;
        let emptied = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get::<_, i64>(0));
        let waits = Duration::from_millis(u64::try_from(waits).unwrap_or_default());
        self.connection.busy_timeout(waits).map_err(fault)?;
        Ok(emptied.map_err(fault)? == 0)
    }

    /// Rows that the search index does not know as they are now.
    pub fn behind(&self) -> Result<i64, SqliteFault> {
        search::behind(&self.connection).map_err(|error| SqliteFault::of(&error, &self.path))
    }

    /// Gives the space of removed rows back to the disk, and makes the search index anew: it refers to rows by numbers
    /// that may be others afterwards, and holds what it knew of removed rows until then. Returns the bytes given back.
    pub fn compact(&self) -> Result<u64, SqliteFault> {
        let path = &self.path;
        let size =
            || std::fs::metadata(path).map(|found| found.len()).map_err(|error| SqliteFault::of_io(&error, path));
        let before = size()?;
        let compacted = self.connection.execute_batch(search::CLEAR);
        let compacted = compacted.and_then(|()| self.connection.execute_batch("VACUUM"));
        compacted.map_err(|error| SqliteFault::of(&error, path))?;
        if !self.empty_log()? {
            return Err(SqliteFault::Unavailable(format!("{}: a reader holds the file: try again", path.display())));
        }
        Ok(before.saturating_sub(size()?))
    }
}

fn configure(connection: &Connection, settings: &SqliteSettings) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", settings.synchronous.as_str())?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    // What is erased or replaced is overwritten with zeros, in rows, overflow pages and the search index alike.
    connection.pragma_update(None, "secure_delete", true)?;
    let months = i64::try_from(settings.max_open_months.get()).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -(CACHES_KIB / months).min(CACHE_KIB))?;
    if let Some(bytes) = settings.max_file_bytes {
        let page: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = i64::try_from((bytes.get() / u64::from(page)).max(1)).unwrap_or(i64::MAX);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(())
}
