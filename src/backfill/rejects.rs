//! The file of rows that could not be copied: JSON Lines with the primary key and the reason, never a value of the row.
//! A chunk's lines are on disk before its checkpoint; a row that is read again, after a kill between the two or by a later
//! round, stands in it once. Only its owner may read it.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio::fs::{self, OpenOptions};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::Mutex;

use super::error::MigrateError;
use crate::domain::{Kind, Refusal};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reject {
    pub kind: &'static str,
    /// The primary key.
    pub id: String,
    /// A reason class, or `missing-object`: then the row was copied, but its full text was not.
    pub reason: &'static str,
    pub detail: String,
    pub copied: bool,
}

impl Reject {
    pub(super) fn row(kind: Kind, id: String, refusal: &Refusal) -> Self {
        let detail = match refusal.status {
            Some(status) => format!("{} (status {status})", refusal.detail),
            None => refusal.detail.clone(),
        };
        Self { kind: kind.as_str(), id, reason: refusal.class.as_str(), detail, copied: false }
    }

    pub(super) fn object(kind: Kind, id: String, detail: String) -> Self {
        Self { kind: kind.as_str(), id, reason: "missing-object", detail, copied: true }
    }
}

/// Where the lines go; created with the first.
#[derive(Debug)]
pub(super) struct RejectsFile {
    /// `None` in a dry run, which writes nothing.
    path: Option<PathBuf>,
    /// Hashes of the lines that are in it; `None`: not read yet.
    known: Mutex<Option<HashSet<u64>>>,
}

/// Lines that are remembered at most, 8 bytes each and as much again for the table; beyond them some may stand twice.
const MAX_KNOWN: usize = 1_000_000;

impl RejectsFile {
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, known: Mutex::default() }
    }

    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Forgets the lines of an earlier attempt that is not continued.
    pub async fn restart(&self) -> Result<(), MigrateError> {
        let Some(path) = &self.path else { return Ok(()) };
        *self.known.lock().await = None;
        match fs::remove_file(path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(path, &error)),
            _ => Ok(()),
        }
    }

    /// Appends lines; durable when it returns.
    pub async fn append(&self, rejects: &[Reject]) -> Result<(), MigrateError> {
        let Some(path) = self.path.as_ref().filter(|_| !rejects.is_empty()) else { return Ok(()) };
        let mut known = self.known.lock().await;
        let known = match &mut *known {
            Some(known) => known,
            unread => unread.insert(lines_of(path).await.map_err(|error| failed(path, &error))?),
        };
        let mut lines = Vec::new();
        let mut new = Vec::new();
        for reject in rejects {
            let line = serde_json::to_string(reject).map_err(|error| failed(path, &error.into()))?;
            let hash = hash_of(&line);
            if known.contains(&hash) || new.contains(&hash) {
                continue;
            }
            new.push(hash);
            lines.extend_from_slice(line.as_bytes());
            lines.push(b'\n');
        }
        append(path, &lines).await.map_err(|error| failed(path, &error))?;
        let room = MAX_KNOWN.saturating_sub(known.len());
        known.extend(new.into_iter().take(room));
        Ok(())
    }
}

/// Returns the lines that are there; one that a kill cut off is none.
async fn lines_of(path: &Path) -> std::io::Result<HashSet<u64>> {
    let file = match fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(error),
    };
    let (mut known, mut lines) = (HashSet::new(), BufReader::new(file).lines());
    while let Some(line) = lines.next_line().await? {
        if known.len() < MAX_KNOWN {
            known.insert(hash_of(&line));
        }
    }
    Ok(known)
}

fn hash_of(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    hasher.finish()
}

async fn append(path: &Path, lines: &[u8]) -> std::io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).await?;
    }
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).await?;
    file.write_all(lines).await?;
    file.sync_data().await
}

fn failed(path: &Path, error: &std::io::Error) -> MigrateError {
    MigrateError::Rejects { path: path.to_owned(), said: error.to_string() }
}
