//! Retention: records are removed once their days are over.
//!
//! ```text
//! months in the store · what each tenant has in them · (settings, clock) → plan → guard → steps, one after the other
//! ```
//!
//! A record's age is that of its own `created_at`, never of an index or a file: a January that is migrated today goes on
//! its own schedule. Whole months are dropped; the rest is erased record by record, throttled. Either way a late event
//! does not bring a record back for `retention.tombstone_days`.
//!
//! Nothing here knows a store's files or indices, and nothing is removed that a plan does not show.

mod apply;
pub mod plan;
pub mod schedule;
mod settings;
mod sweep;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tracing::warn;

use crate::domain::query::{Scan, TenantCount};
use crate::domain::{Kind, Month, TenantId, Timestamp};
use crate::store::payload::{PayloadError, PayloadStore};
use crate::store::{Store, StoreError};
use crate::telemetry::Clock;

pub use apply::StepReport;
pub use plan::{MonthContent, RetentionPlan, RetentionStep, What};
pub use settings::RetentionSettings;
pub use sweep::{Swept, SweptMonth};

/// Name of the lease, so that one of many workers removes at a time.
const LEASE: &str = "lease/retention";

/// Why retention did not run, or not to its end. What was removed stays removed; running it again continues.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Payloads(#[from] PayloadError),
    /// The guard against typing errors.
    #[error(
        "{removed} of {stored} records would be removed, {share:.0} %, more than retention.max_share allows: check \
         retention.days, or run `difylog retention apply --max-share 1` once"
    )]
    TooMuch { removed: u64, stored: u64, share: f64 },
    #[error("{holder} is removing since less than its lease (until {until}); one process does it at a time")]
    Busy { holder: String, until: Timestamp },
    #[error("another process took over the removal: this one stopped")]
    Overtaken,
}

/// The removal of what is past its days.
pub struct Retention {
    pub store: Arc<dyn Store>,
    pub payloads: Arc<PayloadStore>,
    pub settings: RetentionSettings,
    pub clock: Clock,
    /// Shown to other processes while this one removes.
    pub holder: String,
}

impl Retention {
    /// Returns what is due now. Removes nothing. A month of which a part is closed is passed over, with a warning.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub async fn plan(&self) -> Result<RetentionPlan, RetentionError> {
        let now = (self.clock)();
        let counts = self.store.counts().await?;
        let stored = counts.iter().filter(|count| count.kind.parse::<Kind>().is_ok()).map(|count| count.documents);
        let mut plan = RetentionPlan { at: now, steps: Vec::new(), stored: stored.sum() };
        let Some(latest) = self.settings.latest_cutoff(now) else { return Ok(plan) };
        let mut texts = self.texts_past_their_days(now).await?;
        let mut months: Vec<Month> = counts.iter().map(|count| count.month).chain(texts.keys().copied()).collect();
        months.sort_unstable();
        months.dedup();
        let stored: HashSet<Month> = counts.iter().map(|count| count.month).collect();
        for month in months.into_iter().filter(|month| month.start() < latest) {
            let texts = texts.remove(&month).unwrap_or_default();
            let steps = if stored.contains(&month) {
                self.steps_of(month, texts, now).await
            } else {
                self.texts_without_records(month, &texts).await
            };
            match steps {
                Ok(steps) => plan.steps.extend(steps),
                Err(error) => pass_over(month, error)?,
            }
        }
        Ok(plan)
    }

    /// Returns what is due of a month with records. `texts`: the tenants of whom all of it is past and that have objects.
    async fn steps_of(
        &self,
        month: Month,
        mut texts: Vec<TenantId>,
        now: Timestamp,
    ) -> Result<Vec<RetentionStep>, RetentionError> {
        let content = MonthContent { month, counts: self.tenants_of(month).await? };
        texts.retain(|tenant| !content.counts.iter().any(|count| count.tenant_id == *tenant));
        let mut steps = Vec::new();
        for mut step in plan::steps(&content, &self.settings, now) {
            if let What::Before { .. } = step.what {
                step.records = self.due_in_part(&step).await?;
            }
            if step.what == What::Month || step.total() > 0 {
                steps.push(step);
            }
        }
        // A month that goes as a whole takes everybody's texts along.
        if !steps.iter().any(|step| step.what == What::Month) {
            steps.extend(self.texts_without_records(month, &texts).await?);
        }
        Ok(steps)
    }

    /// Returns what each tenant has in a month; an error where that cannot be told.
    async fn tenants_of(&self, month: Month) -> Result<Vec<TenantCount>, StoreError> {
        let counts = self.store.tenant_counts(month).await?;
        self.store.ensure_open(month).await?;
        Ok(counts)
    }

    /// Returns the months of which tenants have objects although all of it is past their days. Costs a listing of the
    /// months of each tenant.
    async fn texts_past_their_days(&self, now: Timestamp) -> Result<BTreeMap<Month, Vec<TenantId>>, RetentionError> {
        let mut texts: BTreeMap<Month, Vec<TenantId>> = BTreeMap::new();
        for tenant in self.payloads.tenants().await? {
            let Some(cutoff) = self.settings.cutoff(tenant, now) else { continue };
            for month in self.payloads.months_of(tenant).await?.into_iter().filter(|month| month.end() <= cutoff) {
                texts.entry(month).or_default().push(tenant);
            }
        }
        Ok(texts)
    }

    /// Returns a step for each tenant that has objects of the month which nothing names.
    async fn texts_without_records(
        &self,
        month: Month,
        tenants: &[TenantId],
    ) -> Result<Vec<RetentionStep>, RetentionError> {
        let mut steps = Vec::new();
        for tenant in tenants.iter().copied() {
            let found = self.sweep_texts(tenant, month, false).await?;
            if found.objects > 0 {
                let what = What::Texts { tenant, objects: found.objects };
                steps.push(RetentionStep { month, what, records: BTreeMap::new() });
            }
        }
        Ok(steps)
    }

    async fn due_in_part(&self, step: &RetentionStep) -> Result<BTreeMap<Kind, u64>, StoreError> {
        let mut records = BTreeMap::new();
        for kind in Kind::ALL {
            let count = self.store.scan_count(&step.scan(kind, 1)).await?;
            if count > 0 {
                records.insert(kind, count);
            }
        }
        Ok(records)
    }
}

/// Says that a month is left as it is because a part of it is closed; any other error is returned.
fn pass_over(month: Month, error: RetentionError) -> Result<(), RetentionError> {
    match error {
        RetentionError::Store(StoreError::Closed(why)) => {
            warn!(%month, "retention leaves this month as it is: {why}");
            Ok(())
        }
        other => Err(other),
    }
}

impl RetentionStep {
    /// Returns the walk over the records of a kind that the step removes one by one.
    fn scan(&self, kind: Kind, limit: usize) -> Scan {
        let (tenants, until) = match &self.what {
            What::Month => (Vec::new(), self.month.end()),
            What::Tenant(tenant) | What::Texts { tenant, .. } => (vec![*tenant], self.month.end()),
            What::Before { until, tenants } => (tenants.clone(), *until),
        };
        let mut scan = Scan::all(kind, limit);
        scan.tenants = tenants;
        scan.created.from = Some(self.month.start());
        scan.created.until = Some(until);
        scan.content = crate::domain::query::Content::Light;
        scan
    }
}
