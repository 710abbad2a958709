//! Whether the store holds all of a tenant's past. Totals of a part would be wrong numbers, so they are answered only where
//! a migration has copied everything; lists are merged with Dify's and need none.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::answer::PassOnReason;
use crate::backfill::state::migrations;
use crate::domain::{Kind, TenantId};
use crate::store::ReadStore;
use crate::telemetry::system_clock;

const REMEMBERED: usize = 10_000;
/// A migration that has just ended counts this much later.
const AGE: Duration = Duration::from_secs(30);

/// Knows which tenants were migrated whole.
pub(super) struct Coverage {
    state: Arc<dyn ReadStore>,
    known: Cache<TenantId, (Instant, bool)>,
}

impl Coverage {
    pub(super) fn new(state: Arc<dyn ReadStore>) -> Self {
        Self { state, known: Cache::new(REMEMBERED) }
    }

    /// Goes on where [`Self::is_whole`].
    ///
    /// # Errors
    /// [`PassOnReason::Dify`] elsewhere.
    pub(super) async fn need(&self, tenant_id: TenantId) -> Result<(), PassOnReason> {
        let fault = PassOnReason::Dify("the store does not hold all of the tenant's past yet; see `difylog migrate`");
        if self.is_whole(tenant_id).await { Ok(()) } else { Err(fault) }
    }

    /// Returns whether a migration without a span has copied all runs and app logs of the tenant. A state that cannot be
    /// read is no coverage.
    async fn is_whole(&self, tenant_id: TenantId) -> bool {
        if let Some((until, whole)) = self.known.get(&tenant_id)
            && Instant::now() < until
        {
            return whole;
        }
        let whole = match migrations(&*self.state, system_clock()()).await {
            Ok(found) => {
                let tenant = tenant_id.to_string();
                found.iter().any(|migration| {
                    let scope = &migration.entry.scope;
                    let reaches = scope.tenants.is_empty() || scope.tenants.contains(&tenant);
                    let done = |kind: Kind| migration.kinds.get(kind.as_str()).is_some_and(|kind| kind.done);
                    let is_whole = scope.from.is_none() && scope.until.is_none();
                    reaches && is_whole && done(Kind::WorkflowRun) && done(Kind::AppLog)
                })
            }
            Err(error) => {
                tracing::warn!(%error, "the state of migrations cannot be read; totals are asked of Dify");
                false
            }
        };
        self.known.insert(tenant_id, (Instant::now() + AGE, whole));
        whole
    }
}
