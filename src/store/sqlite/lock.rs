//! One writing process per directory. Readers take no lock.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::fault::SqliteFault;
use super::months::FileIdentity;
use super::private;

const NAME: &str = "difylog.lock";

/// The right to write into a directory. The system takes it back when the process ends, however it ends, so a lock
/// file that was left behind blocks no process.
pub struct DirLock {
    // Held for its lock; the file itself stays, since deleting it would let two processes lock two files.
    _file: File,
    identity: FileIdentity,
    path: PathBuf,
}

impl DirLock {
    /// Takes the lock, or says who has it.
    pub fn acquire(dir: &Path) -> Result<Self, SqliteFault> {
        Self::take(dir)?.map_err(SqliteFault::Unavailable)
    }

    /// Takes the lock; the inner error says who has it.
    pub fn take(dir: &Path) -> Result<Result<Self, String>, SqliteFault> {
        let path = dir.join(NAME);
        let io = |error: &std::io::Error| SqliteFault::of_io(error, &path);
        let mut file = private::open(&path).map_err(|error| missing_directory(dir).unwrap_or_else(|| io(&error)))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Err(held(dir, &mut file))),
            Err(TryLockError::Error(error)) => return Err(io(&error)),
        }
        record_pid(&mut file).map_err(|error| io(&error))?;
        let identity = FileIdentity::of(&path).map_err(|error| io(&error))?;
        Ok(Ok(Self { _file: file, identity, path }))
    }

    /// Returns whether the directory is still the one that was locked: a volume may have been unmounted under us.
    pub fn holds(&self) -> bool {
        self.identity.is_still_at(&self.path)
    }
}

/// Returns the fault of a directory that is not there.
pub fn missing_directory(dir: &Path) -> Option<SqliteFault> {
    (!dir.exists()).then(|| SqliteFault::NotSetUp(format!("directory {} does not exist", dir.display())))
}

fn record_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn held(dir: &Path, file: &mut File) -> String {
    let mut pid = String::new();
    // The pid is a courtesy: without it the text still says what is wrong.
    let _ = file.take(20).read_to_string(&mut pid);
    let pid = pid.trim();
    let who = if pid.is_empty() { String::new() } else { format!(" (pid {pid})") };
    format!("another difylog{who} writes to {}: end it, or set another directory", dir.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_and_the_next_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(dir.path()).map_err(SqliteFault::detail).unwrap();
        assert!(lock.holds());
        let refused = DirLock::acquire(dir.path()).err().unwrap().detail();
        assert!(refused.contains(&format!("another difylog (pid {}) writes to", std::process::id())), "{refused}");
        drop(lock);
        assert!(DirLock::acquire(dir.path()).is_ok());
    }

    #[test]
    fn a_missing_directory_is_not_set_up() {
        let dir = tempfile::tempdir().unwrap();
        let fault = DirLock::acquire(&dir.path().join("absent")).err().unwrap();
        assert!(matches!(fault, SqliteFault::NotSetUp(_)));
    }
}
