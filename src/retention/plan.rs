//! What is due: a pure function of what the months hold, the settings and the clock. Removes nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::RetentionSettings;
use crate::domain::query::TenantCount;
use crate::domain::{Kind, Month, TenantId, TenantSet, Timestamp};

/// Everything that is due at an instant, oldest month first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionPlan {
    pub at: Timestamp,
    pub steps: Vec<RetentionStep>,
    /// Records in the store, due or not.
    pub stored: u64,
}

/// One removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionStep {
    pub month: Month,
    pub what: What,
    /// Records that it removes, by kind.
    pub records: BTreeMap<Kind, u64>,
}

/// How much of a month goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// All of it, with graphs and payloads: its indices or its file are dropped. Nobody had anything in it whose days are not
    /// over; what such a tenant writes since stays.
    Month,
    /// Everything of one tenant; others keep theirs.
    Tenant(TenantId),
    /// What was created before an instant within the month, of these tenants (empty: of all). Full texts go with the last
    /// record of the month that names them; graphs stay until the month is past: newer runs may name them.
    Before { until: Timestamp, tenants: Vec<TenantId> },
    /// Full texts of a tenant without any record in the month: of late events, which the store refused, and what an
    /// interrupted removal left.
    Texts { tenant: TenantId, objects: u64 },
}

/// What one month holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthContent {
    pub month: Month,
    pub counts: Vec<TenantCount>,
}

impl RetentionStep {
    /// Returns the step that removes all that one of a month's tenants has in it.
    pub(super) fn of_tenant(month: Month, tenant: TenantId, counts: &[TenantCount]) -> Self {
        let own = counts.iter().filter(|count| count.tenant_id == tenant);
        Self { month, what: What::Tenant(tenant), records: sum(own) }
    }

    /// Records of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.records.values().sum()
    }
}

impl RetentionPlan {
    /// Records that it removes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.steps.iter().map(RetentionStep::total).sum()
    }

    /// Its share of all records, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.stored == 0 { 0.0 } else { self.total() as f64 / self.stored as f64 }
    }
}

/// Returns the steps for one month. The numbers of [`What::Before`] are not known here and left empty.
#[must_use]
pub fn steps(content: &MonthContent, settings: &RetentionSettings, now: Timestamp) -> Vec<RetentionStep> {
    let month = content.month;
    let tenants: BTreeSet<TenantId> = content.counts.iter().map(|count| count.tenant_id).collect();
    let past = settings.past(month, now);
    // A month that holds graphs only belongs to no record any more: the default decides.
    let all_past = if tenants.is_empty() {
        matches!(past, TenantSet::AllBut(_))
    } else {
        tenants.iter().all(|tenant| past.contains(*tenant))
    };
    if all_past {
        return vec![RetentionStep { month, what: What::Month, records: sum(&content.counts) }];
    }
    let mut steps = Vec::new();
    let mut partial: BTreeMap<Timestamp, Vec<TenantId>> = BTreeMap::new();
    for tenant in &tenants {
        if past.contains(*tenant) {
            steps.push(RetentionStep::of_tenant(month, *tenant, &content.counts));
        } else if let Some(until) =
            settings.cutoff(*tenant, now).filter(|until| month.start() < *until && !settings.whole_months)
        {
            partial.entry(until).or_default().push(*tenant);
        }
    }
    steps.extend(partial.into_iter().map(|(until, due)| {
        // All at once where no tenant is spared, so that a question need not name ten thousand tenants.
        let tenants = if due.len() == tenants.len() { Vec::new() } else { due };
        RetentionStep { month, what: What::Before { until, tenants }, records: BTreeMap::new() }
    }));
    steps
}

/// Adds counts up, kind by kind.
pub(super) fn sum<'c>(counts: impl IntoIterator<Item = &'c TenantCount>) -> BTreeMap<Kind, u64> {
    let mut records = BTreeMap::new();
    for count in counts {
        *records.entry(count.kind).or_default() += count.documents;
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn tenant(number: u128) -> TenantId {
        TenantId::new(Uuid::from_u128(number))
    }

    fn settings(days: u32, tenants: &[(u128, u32)], whole_months: bool) -> RetentionSettings {
        let text = format!(
            "days = {days}\ntenants = {{}}\nmin_days = 1\nmax_share = 1.0\nwhole_months = {whole_months}\n\
             tombstone_days = 7\nrate = 1\nbatch = 1\nevery_hours = 0"
        );
        let tenants = tenants.iter().map(|(number, days)| (tenant(*number), *days)).collect();
        RetentionSettings { tenants, ..toml::from_str(&text).unwrap() }
    }

    fn content(month: &str, tenants: &[u128]) -> MonthContent {
        let month = month.parse().unwrap();
        let count =
            |number: &u128| TenantCount { tenant_id: tenant(*number), month, kind: Kind::WorkflowRun, documents: 10 };
        MonthContent { month, counts: tenants.iter().map(count).collect() }
    }

    const NOW: &str = "2026-11-25T02:00:00Z";

    fn whats(month: &str, tenants: &[u128], settings: &RetentionSettings) -> Vec<What> {
        let steps = steps(&content(month, tenants), settings, NOW.parse().unwrap());
        steps.into_iter().map(|step| step.what).collect()
    }

    #[test]
    fn a_month_goes_when_it_is_past_for_every_tenant() {
        let thirty = settings(30, &[], false);
        assert_eq!(whats("2026-01", &[1, 2], &thirty), [What::Month]);
        assert_eq!(whats("2026-09", &[1, 2], &thirty), [What::Month]);
        assert_eq!(whats("2026-11", &[1, 2], &thirty), []);
        assert_eq!(whats("2026-01", &[], &thirty), [What::Month], "graphs that nobody refers to");
        assert_eq!(whats("2026-01", &[1], &settings(0, &[], false)), [], "kept for ever");
    }

    #[test]
    fn a_tenant_with_longer_days_keeps_its_rows_in_a_shared_month() {
        let longer = settings(30, &[(2, 365), (3, 0)], false);
        assert_eq!(whats("2026-09", &[1, 2, 3], &longer), [What::Tenant(tenant(1))]);
        let shorter = settings(365, &[(2, 30)], false);
        assert_eq!(whats("2026-09", &[1, 2], &shorter), [What::Tenant(tenant(2))]);
    }

    #[test]
    fn the_month_of_the_cutoff_goes_in_part() {
        let until: Timestamp = "2026-10-26T00:00:00Z".parse().unwrap();
        let all = What::Before { until, tenants: Vec::new() };
        assert_eq!(whats("2026-10", &[1, 2], &settings(30, &[], false)), [all]);
        let one = What::Before { until, tenants: vec![tenant(1)] };
        assert_eq!(whats("2026-10", &[1, 2], &settings(30, &[(2, 90)], false)), [one]);
        assert_eq!(whats("2026-10", &[1, 2], &settings(30, &[], true)), []);
    }

    proptest! {
        /// Whatever the settings: nothing is due that is younger than its tenant's days, everything older is.
        #[test]
        fn a_record_is_due_exactly_when_its_days_are_over(
            days in 0_u32..400,
            own in 0_u32..400,
            age_hours in 0_i64..10_000,
            is_own in any::<bool>(),
        ) {
            let settings = settings(days, &[(2, own)], false);
            let now: Timestamp = NOW.parse().unwrap();
            let created = Timestamp::from_micros(now.micros() - age_hours * 3_600_000_000).unwrap();
            let owner = tenant(if is_own { 2 } else { 1 });
            let content = content(&created.month().to_string(), &[1, 2]);
            let due = steps(&content, &settings, now).iter().any(|step| match &step.what {
                What::Month => true,
                What::Texts { .. } => false,
                What::Tenant(tenant) => *tenant == owner,
                What::Before { until, tenants } => {
                    created < *until && (tenants.is_empty() || tenants.contains(&owner))
                }
            });
            let days = if is_own { own } else { days };
            prop_assert_eq!(due, days > 0 && created < now.days_before(days).start_of_day());
        }
    }
}
