//! The file of rows that could not be copied: JSON Lines with the primary key and the reason, never a value of the row.
//! A chunk's lines are on disk before its checkpoint; after a kill between the two, they come a second time.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio::fs::{self, OpenOptions};
use tokio::io::AsyncWriteExt as _;

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
}

impl RejectsFile {
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path }
    }

    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Forgets the lines of an earlier attempt that is not continued.
    pub async fn restart(&self) -> Result<(), MigrateError> {
        let Some(path) = &self.path else { return Ok(()) };
        match fs::remove_file(path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(path, &error)),
            _ => Ok(()),
        }
    }

    /// Appends lines; durable when it answers.
    pub async fn append(&self, rejects: &[Reject]) -> Result<(), MigrateError> {
        let Some(path) = self.path.as_ref().filter(|_| !rejects.is_empty()) else { return Ok(()) };
        let mut lines = Vec::new();
        for reject in rejects {
            serde_json::to_writer(&mut lines, reject).map_err(|error| failed(path, &error.into()))?;
            lines.push(b'\n');
        }
        append(path, &lines).await.map_err(|error| failed(path, &error))
    }
}

async fn append(path: &Path, lines: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).await?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path).await?;
    file.write_all(lines).await?;
    file.sync_data().await
}

fn failed(path: &Path, error: &std::io::Error) -> MigrateError {
    MigrateError::Rejects { path: path.to_owned(), said: error.to_string() }
}
