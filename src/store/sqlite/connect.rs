//! Connections that only read. A database that no process writes to is read as it lies: no lock, no file beside it, and no
//! right to write into the folder is needed. One that a writer has open is read through the writer's log.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::fault::SqliteFault;
use super::months::Stamp;
use super::question::GivenUp;
use super::schema::{self, FileState};
use super::text;
use crate::domain::Month;

/// Page cache of one read connection, in KiB.
const CACHE_KIB: i64 = 256;

/// Steps of SQLite's machine between two looks at whether the question is still wanted: well under a millisecond.
const STEPS: std::ffi::c_int = 10_000;

/// Opens a database to read it. `is_tidy`: no log lies beside it; the caller looks at the [`Stamp`] again afterwards, since
/// a writer may have come meanwhile.
pub fn read_only(path: &Path, is_tidy: bool, busy: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if is_tidy {
        Connection::open_with_flags(immutable(path), flags | OpenFlags::SQLITE_OPEN_URI)?
    } else {
        Connection::open_with_flags(path, flags)?
    };
    connection.busy_timeout(busy)?;
    Ok(connection)
}

/// Returns the path as a URI that says that the file does not change.
fn immutable(path: &Path) -> String {
    // Two slashes begin the part before a host's name, which is empty.
    let mut uri = String::from(if path.is_absolute() { "file://" } else { "file:" });
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/.-_".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            // Writing into a text cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri + "?immutable=1"
}

/// The right to have one more connection open.
pub struct ConnectionSlot(Arc<AtomicUsize>);

impl ConnectionSlot {
    /// Returns a slot while fewer than `limit` are taken.
    pub fn take(taken: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let more = |count| (count < limit).then_some(count + 1);
        taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A month's file, open to be read.
pub struct Connected {
    pub month: Month,
    pub stamp: Stamp,
    /// Whether no process had the file open to write when it was opened.
    pub is_tidy: bool,
    pub connection: Connection,
    pub idle_since: Instant,
    _slot: ConnectionSlot,
}

impl Connected {
    /// `None`: the file is not there, or has no tables yet. `through_log`: as if a writer had it open.
    pub fn open(
        path: &Path,
        month: Month,
        busy: Duration,
        through_log: bool,
        slot: ConnectionSlot,
    ) -> Result<Option<Self>, SqliteFault> {
        let stamp = match Stamp::of(path) {
            Ok(stamp) => stamp,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SqliteFault::of_io(&error, path)),
        };
        let is_tidy = stamp.is_tidy() && !through_log;
        let opened = configured(path, is_tidy, busy)
            .map_err(|error| SqliteFault::of(&error, path))
            .and_then(|connection| schema::state(&connection, path).map(|state| (connection, state)));
        match opened {
            Ok((connection, FileState::Current)) => {
                Ok(Some(Self { month, stamp, is_tidy, connection, idle_since: Instant::now(), _slot: slot }))
            }
            Ok((_, FileState::Empty)) => Ok(None),
            Ok((_, FileState::Older(version))) => {
                Err(SqliteFault::NotSetUp(format!("{} has the older schema {version}", path.display())))
            }
            // Dropped since it was listed, or a writer came.
            Err(_) if !path.exists() => Ok(None),
            Err(_) if is_tidy && !stamp.is_current(path) => Err(SqliteFault::Moved),
            Err(fault) => Err(fault),
        }
    }

    /// Returns whether what is read is what lies there.
    pub fn is_current(&self, path: &Path) -> bool {
        if self.is_tidy { self.stamp.is_current(path) } else { self.stamp.identity.is_still_at(path) }
    }

    /// Begins the snapshot of a question, which ends the connection's work once it is given up.
    pub fn begin(&mut self, path: &Path, given_up: &GivenUp) -> Result<(), SqliteFault> {
        if !self.is_tidy {
            self.stamp = Stamp::of(path).map_err(|error| SqliteFault::of_io(&error, path))?;
        }
        let given_up = given_up.clone();
        let begun = self.connection.progress_handler(STEPS, Some(move || given_up.is_set()));
        // Only the first read of a transaction takes the snapshot.
        let begun = begun.and_then(|()| self.connection.execute_batch("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1;"));
        begun.map_err(|error| SqliteFault::of(&error, path))
    }

    /// Ends the snapshot: an idle connection holds up no checkpoint.
    pub fn end(&mut self) -> rusqlite::Result<()> {
        self.connection.progress_handler(0, None::<fn() -> bool>)?;
        self.connection.execute_batch("COMMIT")?;
        self.idle_since = Instant::now();
        Ok(())
    }
}

fn configured(path: &Path, is_tidy: bool, busy: Duration) -> rusqlite::Result<Connection> {
    let connection = read_only(path, is_tidy, busy)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    text::add_functions(&connection)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_can_be_a_uri() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a b#c?d=e%20&日本");
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("x.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (7)").unwrap();
        let connection = read_only(&path, true, Duration::ZERO).unwrap();
        let value: i64 = connection.query_row("SELECT a FROM t", (), |row| row.get(0)).unwrap();
        assert_eq!(value, 7);
        assert!(immutable(Path::new("data/x.db")).starts_with("file:data/x.db?"));
    }
}
