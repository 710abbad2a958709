//! How long records are kept, and the guards against typing errors.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::domain::{Month, TenantId, TenantSet, Timestamp};
use crate::store::payload::REWRITE_AFTER;

/// Settings of retention.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// Days that a record is kept, counted from its `created_at`; 0: for ever.
    pub days: u32,
    /// Days per tenant, instead of `days`; 0: for ever.
    #[serde(deserialize_with = "by_tenant")]
    pub tenants: BTreeMap<TenantId, u32>,
    /// Fewer days than this, other than 0, are a typing error.
    pub min_days: u32,
    /// Largest share of all records that one run may remove, 0 to 1.
    pub max_share: f64,
    /// Only whole months go: a record is kept until the last day of its month is past, too.
    pub whole_months: bool,
    /// Days that a removed record cannot come back by a late event.
    pub tombstone_days: u32,
    /// Records erased per second at most, where a month does not go as a whole.
    pub rate: NonZeroU32,
    /// Records per request.
    pub batch: NonZeroU32,
    /// Hours that a full text stays after it was written, although no record names it: its record may be on the way.
    #[serde(default = "one_day")]
    pub sweep_min_age_hours: u32,
    /// Hours between the runs of the workers; 0: never, only by `difylog retention apply`.
    pub every_hours: u32,
}

impl RetentionSettings {
    /// Checks what can be checked without a store.
    ///
    /// # Errors
    /// Every broken rule, with the key's name.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut broken = Vec::new();
        let days = self.tenants.iter().map(|(tenant, days)| (format!("retention.tenants.{tenant}"), *days));
        for (key, days) in std::iter::once(("retention.days".to_owned(), self.days)).chain(days) {
            if days != 0 && days < self.min_days {
                broken.push(format!("{key} = {days} is less than retention.min_days = {}", self.min_days));
            }
        }
        if !(0.0..=1.0).contains(&self.max_share) {
            broken.push("retention.max_share must be between 0 and 1".to_owned());
        }
        if self.tombstone_days == 0 {
            broken.push("retention.tombstone_days must be at least 1: late events would bring records back".to_owned());
        }
        if self.every_hours > 0 && self.days == 0 && self.tenants.values().all(|days| *days == 0) {
            broken.push("retention.every_hours is set, but nothing is ever removed: set retention.days".to_owned());
        }
        if Duration::from_hours(self.sweep_min_age_hours.into()) < 2 * REWRITE_AFTER {
            broken
                .push("retention.sweep_min_age_hours must be at least 2: a record on its way may name the text".into());
        }
        if broken.is_empty() { Ok(()) } else { Err(broken) }
    }

    /// Returns the first instant that is kept: a midnight, so that a run has the same meaning all day. `None`: all are
    /// kept.
    #[must_use]
    pub fn cutoff(&self, tenant_id: TenantId, now: Timestamp) -> Option<Timestamp> {
        let days = *self.tenants.get(&tenant_id).unwrap_or(&self.days);
        Self::cutoff_after(days, now)
    }

    /// Returns the tenants of whom all that was created in a month is past its days.
    #[must_use]
    pub fn past(&self, month: Month, now: Timestamp) -> TenantSet {
        let is_past = |days: u32| Self::cutoff_after(days, now).is_some_and(|cutoff| month.end() <= cutoff);
        let default = is_past(self.days);
        let others = self.tenants.iter().filter(|(_, days)| is_past(**days) != default);
        let others: BTreeSet<TenantId> = others.map(|(tenant, _)| *tenant).collect();
        if default { TenantSet::AllBut(others) } else { TenantSet::Only(others) }
    }

    /// Returns the latest cutoff of any tenant: nothing later is ever removed.
    #[must_use]
    pub fn latest_cutoff(&self, now: Timestamp) -> Option<Timestamp> {
        let days = self.tenants.values().chain([&self.days]).filter(|days| **days > 0).min()?;
        Self::cutoff_after(*days, now)
    }

    /// Returns the first instant whose tombstones are still needed.
    #[must_use]
    pub fn tombstone_cutoff(&self, now: Timestamp) -> Timestamp {
        now.days_before(self.tombstone_days)
    }

    /// Age from which on a full text that no record names is removed.
    #[must_use]
    pub fn sweep_min_age(&self) -> Duration {
        Duration::from_hours(self.sweep_min_age_hours.into())
    }

    /// Hours between the workers' runs.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        (self.every_hours > 0).then(|| Duration::from_secs(u64::from(self.every_hours) * 3_600))
    }

    fn cutoff_after(days: u32, now: Timestamp) -> Option<Timestamp> {
        (days > 0).then(|| now.days_before(days).start_of_day())
    }
}

const fn one_day() -> u32 {
    24
}

fn by_tenant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<TenantId, u32>, D::Error> {
    let days = BTreeMap::<String, u32>::deserialize(deserializer)?;
    days.into_iter()
        .map(|(tenant, days)| tenant.parse().map(|tenant| (tenant, days)).map_err(serde::de::Error::custom))
        .collect()
}
