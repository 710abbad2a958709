//! Under which conditions a migration works: while it has its leases, nobody told it to stop, and rows are settled.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::warn;

use super::Migration;
use crate::backfill::error::MigrateError;
use crate::backfill::removal::to_end;
use crate::backfill::tally::Progress;
use crate::domain::Record;
use crate::postgres::RowSelection;

impl Migration {
    /// Does work for as long as the lease is held, and gives it back. Ends it at once should the lease be lost: whoever took
    /// it over goes on from the checkpoint.
    pub(super) async fn holding<T>(
        &self,
        work: impl Future<Output = Result<T, MigrateError>>,
    ) -> Result<T, MigrateError> {
        let done = tokio::select! {
            done = work => done,
            lost = self.state.keep() => return Err(lost),
        };
        self.give_back().await;
        done
    }

    /// Does work that erases before it copies while no other process removes rows or documents. Should one of the leases be
    /// lost, the work is stopped and comes to its own end.
    pub(in crate::backfill) async fn removing<T>(
        &self,
        work: impl Future<Output = Result<T, MigrateError>>,
    ) -> Result<T, MigrateError> {
        let alone = Box::pin(self.removal.holding_to_end(&self.stop, work));
        let done = to_end(&self.stop, alone, self.state.keep()).await;
        self.give_back().await;
        done
    }

    async fn give_back(&self) {
        if let Err(error) = self.state.release().await {
            warn!(%error, "the lease was not given back; it ends by itself");
        }
    }

    pub(in crate::backfill) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until it is told to stop.
    pub(in crate::backfill) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Returns whether a row is among those that it was asked for; its kind aside.
    pub(in crate::backfill) fn selects(&self, record: &Record) -> bool {
        let RowSelection { tenants, created, .. } = &self.task.selection;
        (tenants.is_empty() || tenants.contains(&record.tenant_id())) && created.contains(record.created_at())
    }

    /// Waits for as long as rows are settled from time to time. Some of them may be held for ever: a month of SQLite that is
    /// full does not keep the flow from storing the others.
    pub(super) async fn unless_stalled<T>(
        &self,
        waiting: impl Future<Output = T>,
        progress: &Progress,
    ) -> Result<T, MigrateError> {
        let patience = self.settings.give_up_seconds.get();
        let settled = || progress.done.load(Ordering::Relaxed) + progress.rejected.load(Ordering::Relaxed);
        let mut waiting = std::pin::pin!(waiting);
        loop {
            let before = settled();
            match tokio::time::timeout(Duration::from_secs(patience), &mut waiting).await {
                Ok(done) => return Ok(done),
                Err(_) if settled() == before => return Err(MigrateError::Stalled(patience)),
                Err(_) => {}
            }
        }
    }
}
