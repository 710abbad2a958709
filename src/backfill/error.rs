//! Why a migration stopped, as far as the reaction differs.

use std::path::PathBuf;

use super::LifeError;
use crate::postgres::PostgresError;
use crate::store::StoreError;
use crate::store::payload::PayloadError;

/// A migration could not start or go on. What was kept stays, and the same command goes on from there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MigrateError {
    #[error("{0}")]
    Postgres(#[from] PostgresError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Payloads(PayloadError),
    #[error("Dify's storage: {0}; check migrate.dify_storage_dir or migrate.dify_s3")]
    Storage(PayloadError),
    /// The flow gave rows back; they are read again.
    #[error("the store did not take every row of a chunk")]
    GivenBack,
    /// The flow takes nothing any more, and says why.
    #[error("{0}; nothing is lost: mend it and run the same command again")]
    Closed(String),
    /// Nothing was settled for longer than the operator is willing to wait.
    #[error(
        "nothing was copied for {0} seconds (migrate.give_up_seconds); the log says what the store or PostgreSQL waits for; \
         nothing is lost: mend it and run the same command again"
    )]
    Stalled(u64),
    #[error("rejects file {}: {said}; check migrate.rejects_dir", path.display())]
    Rejects { path: PathBuf, said: String },
    /// Another migration works on these rows.
    #[error(
        "migration {id} works on some of these rows, by {holder}, until {until} at least: wait for it, or end it; the lease of \
         one that died ends by itself"
    )]
    Busy { id: String, holder: String, until: String },
    /// Another process has taken this migration over.
    #[error("another process has taken this migration over")]
    Overtaken,
    #[error("{0}")]
    Refused(String),
}

impl From<LifeError> for MigrateError {
    /// A comparison that is part of a migration.
    fn from(error: LifeError) -> Self {
        match error {
            LifeError::Postgres(error) => Self::Postgres(error),
            LifeError::Store(error) => Self::Store(error),
            LifeError::Payloads(error) => Self::Payloads(error),
            other @ (LifeError::Running(_) | LifeError::Removal(_)) => Self::Refused(other.to_string()),
        }
    }
}

impl MigrateError {
    /// Returns whether a server cannot be reached, refuses access, or is not set up.
    #[must_use]
    pub const fn is_of_a_server(&self) -> bool {
        matches!(
            self,
            Self::Postgres(_)
                | Self::Store(_)
                | Self::Storage(_)
                | Self::Payloads(_)
                | Self::GivenBack
                | Self::Closed(_)
                | Self::Stalled(_)
        )
    }

    pub(super) const fn is_retriable(&self) -> bool {
        match self {
            Self::Postgres(error) => error.is_retriable(),
            Self::Store(StoreError::Unavailable(_)) | Self::GivenBack => true,
            Self::Storage(error) => error.is_retriable(),
            _ => false,
        }
    }
}
