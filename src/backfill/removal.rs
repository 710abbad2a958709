//! The lease of what removes on one side because the other side has it: `cleanup-pg --execute` deletes rows because of their
//! documents; `migrate --changed` and `--from-report` and `rollback --execute` erase documents because of their rows. At
//! most one of them works at a time: two at once could each remove what the other relies on.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

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
    #[error("another process has taken a lease of this command over; run the same command again once that has ended")]
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
    /// Does work while no other process does such, and ends it at once should another take over: what is not committed by
    /// then must be as if it had not been. The lease of a process that died is waited for.
    ///
    /// # Errors
    /// [`RemovalError`], before anything was done or after the lease was lost; else the work's own.
    pub async fn holding<T, E: From<RemovalError>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut lease = self.take(LEASE).await?.map_err(busy)?;
        let done = tokio::select! {
            done = work => done,
            lost = self.keep(&mut lease) => return Err(lost.into()),
        };
        lease.give_back().await;
        done
    }

    /// As [`Self::holding`], for work that takes away before it puts something else there: should another process take
    /// over, `stop` is cancelled, and the work comes to its own end.
    ///
    /// # Errors
    /// As there.
    pub async fn holding_to_end<T, E: From<RemovalError>>(
        &self,
        stop: &CancellationToken,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut lease = self.take(LEASE).await?.map_err(busy)?;
        let done = to_end(stop, work, async { self.keep(&mut lease).await.into() }).await;
        lease.give_back().await;
        done
    }

    /// Takes a lease; answers its holder if he is at work.
    pub(super) async fn take(&self, name: &str) -> Result<Result<Lease, LeaseHolder>, RemovalError> {
        let Self { state, clock, duration, holder } = self;
        Ok(Lease::acquire_or_wait(state, name, holder, *duration, clock).await?)
    }

    /// Holds a lease for as long as this runs; ends with why it could not.
    pub(super) async fn keep(&self, lease: &mut Lease) -> RemovalError {
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

fn busy(LeaseHolder { holder, until }: LeaseHolder) -> RemovalError {
    RemovalError::Busy { holder, until: until.to_string() }
}

/// Does work to its end. Should `lost` come first, `stop` is cancelled, which makes the work end where nothing is missing;
/// then why it was stopped is the error, unless the work has one of its own.
pub(super) async fn to_end<T, E>(
    stop: &CancellationToken,
    work: impl Future<Output = Result<T, E>>,
    lost: impl Future<Output = E>,
) -> Result<T, E> {
    let mut work = std::pin::pin!(work);
    let lost = tokio::select! {
        done = &mut work => return done,
        lost = lost => lost,
    };
    tracing::warn!("a lease was lost: stopping after what is in flight");
    stop.cancel();
    work.await?;
    Err(lost)
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
