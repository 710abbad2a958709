//! What can be set about migrations; `config/default.toml` documents each key.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use serde::Deserialize;

use crate::store::payload::S3Settings;

/// Settings of `migrate`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MigrateSettings {
    /// Rows of a chunk.
    pub batch_size: NonZeroU32,
    /// Chunks in flight.
    pub concurrency: NonZeroUsize,
    /// Bytes of rows in flight, about.
    pub memory_budget_bytes: NonZeroU32,
    /// Folder of the files that name rows which could not be copied.
    pub rejects_dir: PathBuf,
    /// How long a migration or a removal that died keeps others away, in seconds.
    pub lease_seconds: NonZeroU32,
    /// How long PostgreSQL or the store may be away before the migration ends, in seconds.
    pub give_up_seconds: NonZeroU64,
    /// Seconds between two rounds of `--follow`, at least.
    pub follow_interval_seconds: NonZeroU64,
    /// Root of Dify's local storage.
    pub dify_storage_dir: Option<PathBuf>,
    /// Bucket of Dify's storage.
    pub dify_s3: Option<S3Settings>,
}

impl Default for MigrateSettings {
    fn default() -> Self {
        Self {
            batch_size: NonZeroU32::MIN.saturating_add(3_999),
            concurrency: NonZeroUsize::MIN.saturating_add(2),
            memory_budget_bytes: NonZeroU32::MIN.saturating_add((64 << 20) - 1),
            rejects_dir: PathBuf::from("data/rejects"),
            lease_seconds: NonZeroU32::MIN.saturating_add(59),
            give_up_seconds: NonZeroU64::MIN.saturating_add(599),
            follow_interval_seconds: NonZeroU64::MIN.saturating_add(29),
            dify_storage_dir: None,
            dify_s3: None,
        }
    }
}
