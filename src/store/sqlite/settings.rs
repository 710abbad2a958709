//! What can be turned.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Settings of the SQLite store. Every field has a default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SqliteSettings {
    /// The directory of the month files.
    pub dir: PathBuf,
    /// How far a commit reaches before it counts.
    pub synchronous: Synchronous,
    /// How long a statement waits for another program that holds the file, in milliseconds.
    pub busy_timeout_ms: u32,
    /// Month files kept open for writing; the one unused longest is closed.
    pub max_open_months: NonZeroUsize,
    /// Whether long texts are compressed. Graphs always are; both forms can be read at any time.
    pub compress: bool,
    /// Whether an index for keywords is kept, for about as many bytes as the compressed texts. Without it a keyword is
    /// looked for in every row; the answers are the same.
    pub search_index: bool,
    /// Largest month file, in bytes. None: as large as the disk allows. Beyond it writing waits, as on a full disk.
    pub max_file_bytes: Option<NonZeroU64>,
}

/// `PRAGMA synchronous`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// A commit survives a power cut.
    Full,
    /// A commit survives the end of the process; the last ones may not survive a power cut, though they were acked.
    Normal,
}

impl Synchronous {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
        }
    }
}

impl Default for SqliteSettings {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("data/sqlite"),
            synchronous: Synchronous::Full,
            busy_timeout_ms: 5_000,
            max_open_months: NonZeroUsize::MIN.saturating_add(3),
            compress: true,
            search_index: true,
            max_file_bytes: None,
        }
    }
}

impl SqliteSettings {
    pub(super) fn busy_timeout(&self) -> Duration {
        Duration::from_millis(self.busy_timeout_ms.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_named() {
        let settings: SqliteSettings = serde_json::from_str(r#"{"synchronous": "normal"}"#).unwrap();
        assert_eq!(settings, SqliteSettings { synchronous: Synchronous::Normal, ..SqliteSettings::default() });
        let error = serde_json::from_str::<SqliteSettings>(r#"{"sync": "normal"}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `sync`"), "{error}");
    }
}
