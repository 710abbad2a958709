//! Where backups go.

use std::path::PathBuf;

use serde::Deserialize;

use crate::store::elastic::Repository;
use crate::store::payload::{PayloadSettings, S3Settings};

/// Settings of backups.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupSettings {
    /// The directory of manifests, payloads and, of SQLite, copies of month files.
    pub dir: PathBuf,
    /// A bucket for manifests and payloads, instead of the directory; engines only.
    pub s3: Option<S3Settings>,
    /// The snapshot repository of Elasticsearch or OpenSearch.
    pub repository: String,
    /// From what the repository is made where the cluster does not have it.
    pub location: Option<String>,
}

impl BackupSettings {
    /// # Errors
    /// The broken rules, each with its key.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        if self.repository.is_empty() || self.repository.len() > 100 || !self.repository.chars().all(is_plain) {
            return Err(vec!["backup.repository: 1 to 100 of a-z 0-9 _ -".to_owned()]);
        }
        Ok(())
    }

    /// Manifests and payloads, as the payload store takes its settings.
    #[must_use]
    pub fn vault(&self) -> PayloadSettings {
        PayloadSettings { dir: self.dir.clone(), s3: self.s3.clone() }
    }

    /// Returns where SQLite's copies of months lie.
    #[must_use]
    pub fn months_dir(&self) -> PathBuf {
        self.dir.join("months")
    }

    #[must_use]
    pub fn repository(&self) -> Repository {
        Repository { name: self.repository.clone(), location: self.location.clone() }
    }
}
