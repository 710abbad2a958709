//! The lease of what removes on one side because the other side has it: `cleanup-pg --execute` deletes rows because of their
//! documents; `migrate --changed` and `--from-report` and `rollback --execute` erase documents because of their rows. At
//! most one of them works at a time: two at once could each remove what the other relies on.

use std::sync::Arc;
use std::time::Duration;

use super::LifeError;
use super::error::MigrateError;
use crate::store::lease::{Lease, LeaseHolder};
use crate::store::{StateStore, StoreError};
use crate::telemetry::Clock;

/// The name of the lease.
pub const LEASE: &str = "lease/removal";

/// Why a removal could not begin, or go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemovalError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error(
        "another command removes rows or documents: {holder}, until {until} at least; cleanup-pg --execute, migrate --changed \
         and --from-report, and rollback --execute run one at a time: wait for its end, then run the same command again"
    )]
    Busy { holder: String, until: String },
    #[error("another process has taken the lease of removals over; run the same command again once that has ended")]
    Overtaken,
}

/// What is needed to take the lease.
#[derive(Clone)]
pub struct RemovalLease {
    pub state: Arc<dyn StateStore>,
    pub clock: Clock,
    /// How long it keeps others away after its holder died.
    pub duration: Duration,
    /// This process, for others that wait for it.
    pub holder: String,
}

impl RemovalLease {
    /// Does work while no other process does such, and ends it should another take over. The lease of a process that died
    /// is waited for.
    ///
    /// # Errors
    /// [`RemovalError`], before anything was done or after the lease was lost; else the work's own.
    pub async fn holding<T, E: From<RemovalError>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut lease = self.take().await?;
        let done = tokio::select! {
            done = work => done,
            lost = self.keep(&mut lease) => return Err(lost.into()),
        };
        lease.give_back().await;
        done
    }

    async fn take(&self) -> Result<Lease, RemovalError> {
        let Self { state, clock, duration, holder } = self;
        let lease = Lease::acquire_or_wait(state, LEASE, holder, *duration, clock).await?;
        lease.map_err(|LeaseHolder { holder, until }| RemovalError::Busy { holder, until: until.to_string() })
    }

    /// Holds the lease for as long as this runs; ends with why it could not.
    async fn keep(&self, lease: &mut Lease) -> RemovalError {
        loop {
            tokio::time::sleep(self.duration / 3).await;
            match lease.renew((self.clock)()).await {
                Ok(true) => {}
                Ok(false) => return RemovalError::Overtaken,
                // While the store is away, no other process can take the lease either.
                Err(error) => tracing::warn!(%error, "the lease of removals could not be renewed"),
            }
        }
    }
}

impl From<RemovalError> for LifeError {
    fn from(error: RemovalError) -> Self {
        match error {
            RemovalError::Store(error) => Self::Store(error),
            other => Self::Removal(other),
        }
    }
}

impl From<RemovalError> for MigrateError {
    fn from(error: RemovalError) -> Self {
        match error {
            RemovalError::Store(error) => Self::Store(error),
            other => Self::Refused(other.to_string()),
        }
    }
}
