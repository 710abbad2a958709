//! Backups: copies of whole months, with the payloads that they refer to, and a manifest that says what they hold.
//!
//! ```text
//! create    months whose mark changed → copy → read back (counts, hashes, payloads) → manifest, last
//! restore   months, where the store has none of them, each with the payloads that it names → set-up → difylog's own state
//! verify    what the store holds beside the manifest; where they differ, every document of the copy looked up
//! ```
//!
//! A month that nothing was written into is copied once, and later backups refer to that copy. The numbers of a manifest
//! are read from the copies, never from the store: a copy that cannot be read is no backup. Nothing here knows a store's
//! files or indices ([`MonthCopies`]), and nothing is ever written over.

mod create;
pub mod manifest;
mod read;
mod restore;
mod settings;
mod verify;

use std::sync::Arc;

use self::manifest::BackupSource;
pub use self::settings::BackupSettings;
pub use self::verify::{Differences, MonthCheck, Named, VerifyOutcome};
use crate::domain::{Month, Timestamp};
use crate::store::copies::{BackupId, MonthCopies, OpenedCopy};
use crate::store::payload::{PayloadError, PayloadStore};
use crate::store::{Store, StoreError};
use crate::telemetry::Clock;

/// Why there is no backup, or no store out of one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Payloads(#[from] PayloadError),
    #[error("there is no backup {0}: `difylog backup list` shows those that are there")]
    Unknown(BackupId),
    #[error("the manifest of backup {id} cannot be used: {problem}")]
    Manifest { id: BackupId, problem: String },
    #[error("backup {0} was begun in this second: try again in the next")]
    TooSoon(BackupId),
    #[error("the note backups/vault.json of backup.dir or backup.s3 is damaged: delete it, and a new one is made")]
    Vault,
    #[error("the backup does not hold {0}")]
    NoSuchMonth(Month),
    #[error(
        "the store has months of the backup already ({0}): nothing is written over; name another store with --into, or \
         the months that are missing with --month (difylog's own state then stays as it is)"
    )]
    NotEmpty(String),
    #[error("{holder} is at work on backups (its lease lasts until {until}); one process does it at a time")]
    Busy { holder: String, until: Timestamp },
    #[error("another process took over the work on backups: this one stopped")]
    Overtaken,
}

impl BackupError {
    /// Returns whether a server or a disk has to be seen to.
    #[must_use]
    pub const fn is_of_a_server(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Payloads(_))
    }
}

/// A store and the place of its backups.
pub struct Backup {
    pub store: Arc<dyn Store>,
    pub payloads: Arc<PayloadStore>,
    pub copies: Box<dyn MonthCopies>,
    /// Manifests, and the payloads of all backups.
    pub vault: PayloadStore,
    /// What the copies are of.
    pub source: BackupSource,
    pub clock: Clock,
    /// Shown to other processes while this one is at work.
    pub holder: String,
}

impl Backup {
    /// Closes a copy, however reading it ended.
    async fn close<T>(&self, copy: OpenedCopy, read: Result<T, BackupError>) -> Result<T, BackupError> {
        let closed = self.copies.close(copy).await;
        let read = read?;
        closed?;
        Ok(read)
    }
}
