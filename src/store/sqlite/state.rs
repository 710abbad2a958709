//! difylog's own state and the marks of retired months: one small file beside the months, `state.sqlite`. Any process
//! may read and write it, the holder of the directory's lock or not. It never holds a record.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, TransactionBehavior};

use super::SqliteSettings;
use super::fault::SqliteFault;
use super::lock::missing_directory;
use super::months::{FileIdentity, Stamp};
use super::{connect, private};
use crate::domain::{Month, TenantId, TenantSet, Timestamp};
use crate::store::{StateEntry, StateVersion};

const NAME: &str = "state.sqlite";

/// How often the file is read again because a writer came meanwhile.
const ATTEMPTS: usize = 3;

/// `dyls`: tells the file from any other.
const APPLICATION_ID: i32 = 0x6479_6c73;
const VERSION: i32 = 1;

/// How the text of a set of tenants begins.
const ALL_BUT: &str = "all but";
const ONLY: &str = "only";

/// Versions come from one counter, so that an entry that was deleted and written anew has another than before.
const TABLES: &str = "
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL, version INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE last_version (version INTEGER NOT NULL) STRICT;
INSERT INTO last_version VALUES (0);
CREATE TABLE retired_months (month TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// Whom a mark holds for, as [`encode`] says it; null: everybody. Files that are older lack it; an older difylog passes it over.
const RETIRED_TENANTS: &str = "ALTER TABLE retired_months ADD COLUMN tenants TEXT";
const HAS_RETIRED_TENANTS: &str = "SELECT 1 FROM pragma_table_info('retired_months') WHERE name = 'tenants'";

/// The file, opened when it is first needed. Clones share the connection.
#[derive(Clone)]
pub struct StateFile {
    settings: SqliteSettings,
    /// `None`: it is only read, and opened for each look.
    open: Option<Arc<Mutex<Option<Open>>>>,
}

struct Open {
    identity: FileIdentity,
    connection: Connection,
}

/// What an operation needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Where there is no file, there is nothing.
    Read,
    /// Creates the file.
    Write,
}

impl StateFile {
    pub fn new(settings: SqliteSettings) -> Self {
        Self { settings, open: Some(Arc::default()) }
    }

    /// Returns the file, to be read only.
    pub fn to_read(settings: SqliteSettings) -> Self {
        Self { settings, open: None }
    }

    /// See [`StateReader::state`](crate::store::StateReader::state).
    pub fn get(&self, key: &str) -> Result<Option<StateEntry>, SqliteFault> {
        let found = self.with(Access::Read, |connection| {
            let mut statement = connection.prepare_cached("SELECT key, value, version FROM state WHERE key = ?1")?;
            statement.query_row([key], entry).optional()
        })?;
        found.flatten().map(parsed).transpose()
    }

    /// See [`StateReader::states`](crate::store::StateReader::states).
    pub fn list(&self, prefix: &str) -> Result<Vec<StateEntry>, SqliteFault> {
        const BY_PREFIX: &str =
            "SELECT key, value, version FROM state WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key";
        let found = self.with(Access::Read, |connection| {
            let mut statement = connection.prepare_cached(BY_PREFIX)?;
            statement.query_map([prefix], entry)?.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        found.unwrap_or_default().into_iter().map(parsed).collect()
    }

    /// See [`StateStore::put_state`](crate::store::StateStore::put_state).
    pub fn put(
        &self,
        key: &str,
        value: &serde_json::Value,
        expected: Option<StateVersion>,
    ) -> Result<Option<StateVersion>, SqliteFault> {
        let text = value.to_string();
        let written = self.with(Access::Write, |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if version_of(&transaction, key)? != expected.map(to_stored) {
                return Ok(None);
            }
            let next: i64 = transaction.query_row(
                "UPDATE last_version SET version = version + 1 RETURNING version",
                (),
                |row| row.get(0),
            )?;
            let upsert = "INSERT INTO state (key, value, version) VALUES (?1, ?2, ?3) \
                          ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version";
            transaction.execute(upsert, (key, &text, next))?;
            transaction.commit()?;
            Ok(Some(next.unsigned_abs()))
        })?;
        Ok(written.flatten())
    }

    /// See [`StateStore::delete_state`](crate::store::StateStore::delete_state).
    pub fn delete(&self, key: &str, expected: StateVersion) -> Result<bool, SqliteFault> {
        let deleted = self.with(Access::Read, |connection| {
            connection.execute("DELETE FROM state WHERE key = ?1 AND version = ?2", (key, to_stored(expected)))
        })?;
        Ok(deleted.is_some_and(|rows| rows > 0))
    }

    /// Returns a number that is another one after another connection wrote to the file; `None`: there is no file.
    pub fn changes(&self) -> Result<Option<i64>, SqliteFault> {
        self.with(Access::Read, |connection| connection.pragma_query_value(None, "data_version", |row| row.get(0)))
    }

    /// Marks a month for some tenants, so that late writes of theirs do not bring it back. Replaces an earlier mark.
    pub fn retire(&self, month: Month, past: &TenantSet, at: Timestamp) -> Result<(), SqliteFault> {
        let upsert = "INSERT INTO retired_months (month, at, tenants) VALUES (?1, ?2, ?3) \
                      ON CONFLICT (month) DO UPDATE SET at = max(at, excluded.at), tenants = excluded.tenants";
        let (month, tenants) = (month.to_string(), encode(past));
        self.with(Access::Write, |connection| connection.execute(upsert, (&month, at.micros(), &tenants)))?;
        Ok(())
    }

    /// Returns the months that are marked, and for whom.
    pub fn retired(&self) -> Result<BTreeMap<Month, TenantSet>, SqliteFault> {
        let marks = self.with(Access::Read, |connection| {
            let mut statement = connection.prepare_cached("SELECT month, tenants FROM retired_months")?;
            let marks =
                statement.query_map((), |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)))?;
            marks.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let mark = |(month, tenants): (String, Option<String>)| -> Result<(Month, TenantSet), SqliteFault> {
            let month = month.parse().map_err(|_| SqliteFault::Damaged(format!("{NAME}: a marked month is none")))?;
            Ok((month, decode(tenants.as_deref())?))
        };
        marks.unwrap_or_default().into_iter().map(mark).collect()
    }

    /// Removes marks older than an instant. Returns how many.
    pub fn purge_retired(&self, before: Timestamp) -> Result<u64, SqliteFault> {
        let purged = self.with(Access::Read, |connection| {
            connection.execute("DELETE FROM retired_months WHERE at < ?1", [before.micros()])
        })?;
        Ok(purged.map_or(0, |rows| rows as u64))
    }

    /// Closes the file, so that it lies tidy.
    pub fn close(&self) {
        if let Some(open) = &self.open {
            lock(open).take();
        }
    }

    /// Runs work on the file; `None` if it is only to be read and not there.
    fn with<T>(
        &self,
        access: Access,
        work: impl Fn(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, SqliteFault> {
        let path = self.path();
        let absent = || missing_directory(&self.settings.dir).map_or(Ok(None), Err);
        let Some(open) = &self.open else {
            return if path.exists() { self.look(&path, work).map(Some) } else { absent() };
        };
        let mut open = lock(open);
        if !open.as_ref().is_some_and(|open| open.identity.is_still_at(&path)) {
            *open = None;
            if access == Access::Read && !path.exists() {
                return absent();
            }
            *open = Some(self.connect(&path)?);
        }
        let Some(Open { connection, .. }) = &mut *open else { return Ok(None) };
        work(connection).map(Some).map_err(|error| SqliteFault::of(&error, &path))
    }

    /// Reads the file without a trace.
    fn look<T>(&self, path: &Path, work: impl Fn(&mut Connection) -> rusqlite::Result<T>) -> Result<T, SqliteFault> {
        let mut answer = Err(SqliteFault::Moved);
        for _ in 0..ATTEMPTS {
            let stamp = Stamp::of(path).map_err(|error| SqliteFault::of_io(&error, path))?;
            let opened = connect::read_only(path, stamp.is_tidy(), self.settings.busy_timeout());
            answer = opened
                .map_err(|error| SqliteFault::of(&error, path))
                .and_then(|connection| refuse_foreign(&connection, path).map(|()| connection))
                .and_then(|mut connection| work(&mut connection).map_err(|error| SqliteFault::of(&error, path)));
            if !stamp.is_tidy() || stamp.is_current(path) {
                break;
            }
        }
        answer
    }

    fn connect(&self, path: &Path) -> Result<Open, SqliteFault> {
        let fault = |error: rusqlite::Error| {
            missing_directory(&self.settings.dir).unwrap_or_else(|| SqliteFault::of(&error, path))
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if self.settings.dir.exists() {
            private::create_file(path).map_err(|error| SqliteFault::of_io(&error, path))?;
        }
        let mut connection = Connection::open_with_flags(path, flags).map_err(fault)?;
        connection.busy_timeout(self.settings.busy_timeout()).map_err(fault)?;
        prepare(&mut connection, path, self.settings.synchronous.as_str())?;
        let identity = FileIdentity::of(path).map_err(|error| SqliteFault::of_io(&error, path))?;
        Ok(Open { identity, connection })
    }

    fn path(&self) -> PathBuf {
        self.settings.dir.join(NAME)
    }
}

fn lock(open: &Mutex<Option<Open>>) -> std::sync::MutexGuard<'_, Option<Open>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Refuses a file that is not ours, or of a newer version.
fn refuse_foreign(connection: &Connection, path: &Path) -> Result<(), SqliteFault> {
    let value = |pragma: &str| {
        let value = connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
        value.map_err(|error| SqliteFault::of(&error, path))
    };
    let refused = |detail: &str| Err(SqliteFault::Damaged(format!("{}: {detail}", path.display())));
    match (value("application_id")?, value("user_version")?) {
        (APPLICATION_ID, VERSION) => Ok(()),
        (APPLICATION_ID, _) => refused("written by a newer difylog: upgrade difylog"),
        _ => refused("not a file of difylog: move it away"),
    }
}

/// Creates the tables of a new file; refuses a file that is not ours.
fn prepare(connection: &mut Connection, path: &Path, synchronous: &str) -> Result<(), SqliteFault> {
    let fault = |error: rusqlite::Error| SqliteFault::of(&error, path);
    let value = |connection: &Connection, pragma: &str| {
        connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0)).map_err(fault)
    };
    if value(connection, "application_id")? == 0 && value(connection, "schema_version")? == 0 {
        connection.pragma_update(None, "journal_mode", "wal").map_err(fault)?;
    }
    connection.pragma_update(None, "synchronous", synchronous).map_err(fault)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault)?;
    // Looked at within the transaction: two processes may create the file at once.
    match (value(&transaction, "application_id")?, value(&transaction, "schema_version")?) {
        (0, 0) => {
            transaction.execute_batch(TABLES).map_err(fault)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(fault)?;
            transaction.pragma_update(None, "user_version", VERSION).map_err(fault)?;
        }
        _ => refuse_foreign(&transaction, path)?,
    }
    if !transaction.prepare(HAS_RETIRED_TENANTS).and_then(|mut has| has.exists(())).map_err(fault)? {
        transaction.execute(RETIRED_TENANTS, ()).map_err(fault)?;
    }
    transaction.commit().map_err(fault)
}

/// Returns a set of tenants as it is stored: `only` or `all but`, and their ids.
fn encode(tenants: &TenantSet) -> Option<String> {
    let (word, ids) = match tenants {
        _ if tenants.is_everybody() => return None,
        TenantSet::AllBut(others) => (ALL_BUT, others),
        TenantSet::Only(members) => (ONLY, members),
    };
    Some(ids.iter().fold(word.to_owned(), |text, id| format!("{text} {id}")))
}

/// Reads what [`encode`] wrote.
fn decode(text: Option<&str>) -> Result<TenantSet, SqliteFault> {
    let ids = |ids: &str| {
        let read: Result<BTreeSet<TenantId>, _> = ids.split_whitespace().map(str::parse).collect();
        read.map_err(|_| SqliteFault::Damaged(format!("{NAME}: the mark of a month names no tenants")))
    };
    match text {
        None => Ok(TenantSet::everybody()),
        Some(text) => match (text.strip_prefix(ALL_BUT), text.strip_prefix(ONLY)) {
            (Some(others), _) => ids(others).map(TenantSet::AllBut),
            (None, members) => ids(members.unwrap_or(text)).map(TenantSet::Only),
        },
    }
}

fn version_of(connection: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT version FROM state WHERE key = ?1", [key], |row| row.get(0)).optional()
}

/// Returns a version that no entry has where it does not fit.
fn to_stored(version: StateVersion) -> i64 {
    i64::try_from(version).unwrap_or(-1)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<(String, String, i64)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn parsed((key, value, version): (String, String, i64)) -> Result<StateEntry, SqliteFault> {
    let value = serde_json::from_str(&value)
        .map_err(|error| SqliteFault::Damaged(format!("{NAME}: the state {key} is not JSON: {error}")))?;
    Ok(StateEntry { key, value, version: version.unsigned_abs() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_holds_for_those_that_it_names() {
        let dir = tempfile::tempdir().unwrap();
        let settings = SqliteSettings { dir: dir.path().to_owned(), ..SqliteSettings::default() };
        let (month, at): (Month, _) = ("2026-01".parse().unwrap(), "2026-11-25T00:00:00Z".parse().unwrap());
        let state = StateFile::new(settings.clone());
        let some: BTreeSet<TenantId> = [1, 2].map(|id| TenantId::new(uuid::Uuid::from_u128(id))).into();
        for past in [
            TenantSet::everybody(),
            TenantSet::AllBut(some.clone()),
            TenantSet::Only(some),
            TenantSet::Only(BTreeSet::new()),
        ] {
            state.retire(month, &past, at).unwrap();
            assert_eq!(state.retired(), Ok(BTreeMap::from([(month, past)])));
        }
        // As the versions before left it: a month is marked for all.
        state.retire(month, &TenantSet::everybody(), at).unwrap();
        state.close();
        let older = Connection::open(dir.path().join(NAME)).unwrap();
        older.execute("ALTER TABLE retired_months DROP COLUMN tenants", ()).unwrap();
        drop(older);
        assert_eq!(StateFile::new(settings).retired(), Ok(BTreeMap::from([(month, TenantSet::everybody())])));
    }
}
