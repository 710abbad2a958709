//! Which files there are: one per UTC month, named `difylog-2026-11.db`. Opens none of them.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::domain::Month;

const PREFIX: &str = "difylog-";
const SUFFIX: &str = ".db";

/// Returns the database of a month.
pub fn path(dir: &Path, month: Month) -> PathBuf {
    dir.join(format!("{PREFIX}{month}{SUFFIX}"))
}

/// Returns the database of a month and the files that SQLite keeps beside it, the database first: without it the others
/// mean nothing, so a deletion that is interrupted leaves no half of a month.
pub fn paths(dir: &Path, month: Month) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| dir.join(format!("{PREFIX}{month}{SUFFIX}{suffix}")))
}

/// Returns the months that have a database, newest first. Files with other names are not ours and are passed over.
pub fn newest_first(dir: &Path) -> io::Result<Vec<Month>> {
    let mut months = Vec::new();
    for entry in fs::read_dir(dir)? {
        months.extend(entry?.file_name().to_str().and_then(month_of));
    }
    months.sort_unstable_by(|a, b| b.cmp(a));
    Ok(months)
}

fn month_of(name: &str) -> Option<Month> {
    let month: Month = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()?;
    // `2026.11` parses too, but is no name of ours.
    (name == format!("{PREFIX}{month}{SUFFIX}")).then_some(month)
}

/// Makes new or deleted names in a directory durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { fs::File::open(dir)?.sync_all() } else { Ok(()) }
}

/// Which file a path named when it was opened. An open connection goes on writing into a file that was deleted, moved
/// away or replaced meanwhile; comparing identities is how that is noticed before anything is called stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
    /// When the file was made, where the file system says so: a file that takes the place of a deleted one often takes
    /// its inode, too.
    made: Option<SystemTime>,
}

impl FileIdentity {
    /// Returns the file that the path names now.
    pub fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::from_metadata(&metadata))
    }

    #[cfg(unix)]
    fn from_metadata(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self { device: metadata.dev(), inode: metadata.ino(), made: metadata.created().ok() }
    }

    /// Elsewhere an open file can be neither deleted nor moved.
    #[cfg(not(unix))]
    fn from_metadata(metadata: &Metadata) -> Self {
        Self { device: 0, inode: 0, made: metadata.created().ok() }
    }

    /// Returns whether the path still names this file.
    pub fn is_still_at(self, path: &Path) -> bool {
        Self::of(path).is_ok_and(|now| now == self)
    }
}

/// A database and the log beside it, as they were at one moment: while it stays the same, nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub identity: FileIdentity,
    database: Written,
    /// `None`: there is no log, so no process has the database open to write.
    log: Option<Written>,
}

/// Bytes of a file, and when the last of them was written.
type Written = (u64, SystemTime);

impl Stamp {
    /// Returns the files that the path names now.
    pub fn of(path: &Path) -> io::Result<Self> {
        let written = |metadata: &Metadata| metadata.modified().map(|at| (metadata.len(), at));
        let database = fs::metadata(path)?;
        let log = match fs::metadata(log_of(path)) {
            Ok(metadata) => Some(written(&metadata)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { identity: FileIdentity::from_metadata(&database), database: written(&database)?, log })
    }

    /// Returns whether no process has the database open to write: all of it lies in the one file.
    pub const fn is_tidy(&self) -> bool {
        self.log.is_none()
    }

    /// Returns whether nothing was written since.
    pub fn is_current(&self, path: &Path) -> bool {
        Self::of(path).is_ok_and(|now| now == *self)
    }
}

fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    PathBuf::from(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_only_its_own_files_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "difylog-2026-02.db",
            "difylog-2026-11.db",
            "difylog-2025-12.db",
            "difylog-2026-11.db-wal",
            "difylog-2026.10.db",
            "difylog-2026-13.db",
            "difylog-2026-10.db.bak",
            "difylog.lock",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let months: Vec<String> = newest_first(dir.path()).unwrap().iter().map(Month::to_string).collect();
        assert_eq!(months, ["2026-11", "2026-02", "2025-12"]);
    }

    #[test]
    fn notices_a_replaced_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "1").unwrap();
        let identity = FileIdentity::of(&path).unwrap();
        assert!(identity.is_still_at(&path));
        fs::write(dir.path().join("b"), "2").unwrap();
        fs::rename(dir.path().join("b"), &path).unwrap();
        assert!(!identity.is_still_at(&path));
        fs::remove_file(&path).unwrap();
        assert!(!identity.is_still_at(&path));
        // File systems give the inode of a deleted file to the next one.
        for _ in 0..10 {
            fs::write(&path, "3").unwrap();
            let identity = FileIdentity::of(&path).unwrap();
            fs::remove_file(&path).unwrap();
            fs::write(&path, "4").unwrap();
            assert!(!identity.is_still_at(&path));
        }
    }
}
