//! The plan carried out: whole months dropped, the rest erased in throttled batches.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::info;

use super::{LEASE, Retention, RetentionError, RetentionPlan, RetentionStep, What, pass_over, plan};
use crate::domain::document::ContentHash;
use crate::domain::{Document, Kind, Month, TenantId, TenantSet};
use crate::rate::RateLimit;
use crate::store::lease::Lease;
use crate::store::payload::Younger;
use crate::store::{Erasure, LogReader, Remains, StateStore};

/// How long a process that died keeps others from removing.
pub(super) const LEASE_DURATION: Duration = Duration::from_mins(5);

/// Children before their runs: what an interrupted removal leaves is found by the next one, which starts from the runs and
/// from what is past its days. The other way round, nodes would be left that no run leads to.
const ORDER: [Kind; 4] = [Kind::Offload, Kind::NodeExecution, Kind::AppLog, Kind::WorkflowRun];

/// What became of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepReport {
    pub step: RetentionStep,
    /// Records removed, by kind.
    pub removed: BTreeMap<Kind, u64>,
    /// Payload objects removed.
    pub payloads: usize,
}

impl Retention {
    /// Carries a plan out and removes tombstones that are no longer needed. `max_share` replaces the setting's. A step whose
    /// month was closed meanwhile, or a part of it, has no report: it is passed over, with a warning.
    ///
    /// # Errors
    /// [`RetentionError`]; running it again continues.
    pub async fn apply(&self, plan: &RetentionPlan, max_share: Option<f64>) -> Result<Vec<StepReport>, RetentionError> {
        if plan.share() > max_share.unwrap_or(self.settings.max_share) {
            let share = plan.share() * 100.0;
            return Err(RetentionError::TooMuch { removed: plan.total(), stored: plan.stored, share });
        }
        let state: std::sync::Arc<dyn StateStore> = self.store.clone();
        let lease = Lease::acquire(state, LEASE, &self.holder, LEASE_DURATION, (self.clock)()).await?;
        let mut lease = lease.map_err(|held| RetentionError::Busy { holder: held.holder, until: held.until })?;
        let done = self.steps(plan, &mut lease).await;
        lease.give_back().await;
        done
    }

    async fn steps(&self, plan: &RetentionPlan, lease: &mut Lease) -> Result<Vec<StepReport>, RetentionError> {
        let mut reports = Vec::new();
        for step in &plan.steps {
            self.keep(lease).await?;
            let report = match self.step(step, lease).await {
                Ok(report) => report,
                // Closed since the plan was made.
                Err(error) => {
                    pass_over(step.month, error)?;
                    continue;
                }
            };
            let removed: u64 = report.removed.values().sum();
            info!(month = %step.month, removed, payloads = report.payloads, "retention: {}", step.what);
            reports.push(report);
        }
        let purged = self.store.purge_tombstones(self.settings.tombstone_cutoff(plan.at)).await?;
        if purged > 0 {
            info!(purged, "retention: tombstones that are no longer needed");
        }
        Ok(reports)
    }

    pub(super) async fn keep(&self, lease: &mut Lease) -> Result<(), RetentionError> {
        if lease.renew((self.clock)()).await? { Ok(()) } else { Err(RetentionError::Overtaken) }
    }

    async fn step(&self, step: &RetentionStep, lease: &mut Lease) -> Result<StepReport, RetentionError> {
        let mut report = StepReport { step: step.clone(), removed: BTreeMap::new(), payloads: 0 };
        match &step.what {
            What::Month => self.drop_month(step.month, lease, &mut report).await?,
            What::Tenant(tenant) => self.drop_tenant(*tenant, step, lease, &mut report).await?,
            What::Before { .. } => self.erase(step, lease, &mut report).await?,
            What::Texts { tenant, .. } => {
                let removed = self.sweep_texts(*tenant, step.month, true).await?;
                report.payloads = usize::try_from(removed.objects).unwrap_or(usize::MAX);
            }
        }
        Ok(report)
    }

    /// Removes all of a month whose days are over, at once if it is all there is. Somebody else may have come since the plan
    /// was made: what each has is counted once more.
    async fn drop_month(&self, month: Month, lease: &mut Lease, report: &mut StepReport) -> Result<(), RetentionError> {
        let now = (self.clock)();
        let past = self.settings.past(month, now);
        let counts = self.tenants_of(month).await?;
        if counts.iter().all(|count| past.contains(count.tenant_id))
            && self.store.retire_month(month, &past, now).await?.is_some()
        {
            report.removed = plan::sum(&counts);
            for tenant in self.payloads.tenants().await?.into_iter().filter(|tenant| past.contains(*tenant)) {
                report.payloads += self.payloads.drop_tenant_month(tenant, month).await?;
            }
            return Ok(());
        }
        let due: BTreeSet<TenantId> =
            counts.iter().map(|count| count.tenant_id).filter(|tenant| past.contains(*tenant)).collect();
        for tenant in due {
            self.drop_tenant(tenant, &RetentionStep::of_tenant(month, tenant, &counts), lease, report).await?;
        }
        Ok(())
    }

    /// Removes all that a tenant has in the month of a step.
    async fn drop_tenant(
        &self,
        tenant: TenantId,
        step: &RetentionStep,
        lease: &mut Lease,
        report: &mut StepReport,
    ) -> Result<(), RetentionError> {
        if self.store.retire_month(step.month, &TenantSet::one(tenant), (self.clock)()).await?.is_some() {
            for (kind, records) in &step.records {
                *report.removed.entry(*kind).or_default() += records;
            }
        } else {
            self.erase(step, lease, report).await?;
        }
        report.payloads += self.payloads.drop_tenant_month(tenant, step.month).await?;
        Ok(())
    }

    /// Erases record by record, at most `retention.rate` a second.
    async fn erase(
        &self,
        step: &RetentionStep,
        lease: &mut Lease,
        report: &mut StepReport,
    ) -> Result<(), RetentionError> {
        let batch = self.settings.batch.get();
        let rate = RateLimit::new(Some(self.settings.rate));
        for kind in ORDER {
            if let (Kind::WorkflowRun, What::Tenant(tenant)) = (kind, &step.what) {
                // Before the runs that lead to them: were this interrupted after the last run, no plan would find them.
                self.store.erase_graphs(*tenant, step.month).await?;
            }
            let mut scan = step.scan(kind, usize::try_from(batch).unwrap_or(usize::MAX));
            loop {
                let found = self.store.scan(&scan).await?;
                let Some(last) = found.last() else { break };
                rate.pass(found.len() as u64).await;
                scan.after = Some(last.cursor());
                let erasures: Vec<_> = found.iter().map(erasure).collect();
                let erased = self.store.erase(&erasures, Remains::Tombstone((self.clock)())).await?;
                *report.removed.entry(kind).or_default() += erased.iter().filter(|gone| **gone).count() as u64;
                report.payloads += self.erase_texts(step, &found).await?;
                self.keep(lease).await?;
            }
        }
        Ok(())
    }

    /// Removes the full texts that only erased documents named. Where all of a tenant's month goes, its folder goes later.
    async fn erase_texts(&self, step: &RetentionStep, erased: &[Document]) -> Result<usize, RetentionError> {
        let mut texts: BTreeMap<TenantId, Vec<ContentHash>> = BTreeMap::new();
        if matches!(step.what, What::Before { .. }) {
            for document in erased {
                let named = document.truncated.iter().map(|mark| mark.sha256);
                texts.entry(document.tenant_id()).or_default().extend(named);
            }
        }
        let mut removed = 0;
        for (tenant, texts) in texts.into_iter().filter(|(_, texts)| !texts.is_empty()) {
            let names: &dyn LogReader = &*self.store;
            let gone = self.payloads.remove_unnamed(names, tenant, step.month, &texts, Younger::Go).await;
            removed += gone.map_err(|error: RetentionError| error)?.objects;
        }
        Ok(usize::try_from(removed).unwrap_or(usize::MAX))
    }
}

fn erasure(document: &Document) -> Erasure {
    Erasure { key: document.key(), revision: None }
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Month => f.write_str("the whole month"),
            Self::Tenant(tenant) => write!(f, "all of tenant {tenant}"),
            Self::Before { until, tenants } if tenants.is_empty() => write!(f, "what was created before {until}"),
            Self::Before { until, tenants } => match tenants.as_slice() {
                [tenant] => write!(f, "what tenant {tenant} created before {until}"),
                _ => write!(f, "what {} tenants created before {until}", tenants.len()),
            },
            Self::Texts { tenant, objects } => {
                write!(f, "{objects} full texts of tenant {tenant} that no record names")
            }
        }
    }
}

/// The tenants of a step, for people.
impl RetentionStep {
    /// Returns the one tenant that it is about, if there is one.
    #[must_use]
    pub fn tenant(&self) -> Option<TenantId> {
        match &self.what {
            What::Tenant(tenant) | What::Texts { tenant, .. } => Some(*tenant),
            What::Before { tenants, .. } => match tenants.as_slice() {
                [tenant] => Some(*tenant),
                _ => None,
            },
            What::Month => None,
        }
    }
}
