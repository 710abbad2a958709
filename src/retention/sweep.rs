//! The sweep: full texts that no record names are found and removed. Records that are erased take their texts along; what
//! is left is of late events that the store refused after their texts were put, and of removals that were interrupted.
//!
//! It goes over the payload store, tenant by tenant and month by month, and asks the store which of the texts are named.
//! A text that was written less than `retention.sweep_min_age_hours` ago stays: its record may be on the way.

use serde_json::json;
use tracing::info;

use super::apply::LEASE_DURATION;
use super::{LEASE, Retention, RetentionError, pass_over};
use crate::domain::{Month, TenantId};
use crate::store::lease::Lease;
use crate::store::payload::Removed;
use crate::store::{LogReader, StateStore, StateVersion};

/// The state entry of a sweep under way: the tenant and month that it has done last.
const PLACE: &str = "retention/sweep";

/// What was found in one tenant's month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweptMonth {
    pub tenant_id: TenantId,
    pub month: Month,
    /// Full texts that went, or would go.
    pub removed: Removed,
}

/// What a sweep did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Tenants' months that were looked at.
    pub months: u64,
    pub removed: Removed,
    /// It went to the end; otherwise the next one goes on from there.
    pub complete: bool,
}

/// Where a sweep is; kept so that one that was ended goes on.
struct Place {
    done: Option<(TenantId, Month)>,
    version: Option<StateVersion>,
}

impl Retention {
    /// Removes the full texts that no record names, or only says what it would remove. Each tenant and month is told to
    /// `each` once it is done, tenants and months in order. Asked before each, `stop` ends it there. One that was ended
    /// goes on where it was, the next time it is executed. A month of which a part is closed is passed over, with a
    /// warning: a document there may name any of its texts. Memory does not grow with the number of texts.
    ///
    /// # Errors
    /// [`RetentionError`]; what was removed stays removed, and another call goes on.
    pub async fn sweep(
        &self,
        execute: bool,
        each: &(dyn Fn(&SweptMonth) + Sync),
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Swept, RetentionError> {
        if !execute {
            return self.sweep_from(None, each, stop).await;
        }
        let state: std::sync::Arc<dyn StateStore> = self.store.clone();
        let lease = Lease::acquire(state, LEASE, &self.holder, LEASE_DURATION, (self.clock)()).await?;
        let mut lease = lease.map_err(|held| RetentionError::Busy { holder: held.holder, until: held.until })?;
        let done = self.sweep_from(Some(&mut lease), each, stop).await;
        lease.give_back().await;
        done
    }

    /// `lease`: it is executed.
    async fn sweep_from(
        &self,
        mut lease: Option<&mut Lease>,
        each: &(dyn Fn(&SweptMonth) + Sync),
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Swept, RetentionError> {
        let mut place = if lease.is_some() { self.place().await? } else { Place { done: None, version: None } };
        let mut swept = Swept::default();
        for tenant_id in self.payloads.tenants().await? {
            if place.done.is_some_and(|(done, _)| tenant_id < done) {
                continue;
            }
            for month in self.payloads.months_of(tenant_id).await? {
                if place.done.is_some_and(|done| (tenant_id, month) <= done) {
                    continue;
                }
                if stop() {
                    return Ok(swept);
                }
                match self.sweep_texts(tenant_id, month, lease.is_some()).await {
                    Ok(removed) => {
                        swept.months += 1;
                        swept.removed += removed;
                        each(&SweptMonth { tenant_id, month, removed });
                    }
                    Err(error) => pass_over(month, error)?,
                }
                if let Some(lease) = lease.as_deref_mut() {
                    self.keep(lease).await?;
                    place = self.note(tenant_id, month, place.version).await?;
                }
            }
        }
        if let Some(version) = place.version {
            self.store.delete_state(PLACE, version).await?;
        }
        swept.complete = true;
        Ok(swept)
    }

    /// Returns the full texts of one tenant's month that no record names.
    pub(super) async fn sweep_texts(
        &self,
        tenant_id: TenantId,
        month: Month,
        execute: bool,
    ) -> Result<Removed, RetentionError> {
        let names: &dyn LogReader = &*self.store;
        let min_age = self.settings.sweep_min_age();
        let removed = self.payloads.sweep_month::<RetentionError>(names, tenant_id, month, min_age, execute).await?;
        if execute && removed.objects > 0 {
            info!(%tenant_id, %month, objects = removed.objects, bytes = removed.bytes, "full texts that no record names");
        }
        Ok(removed)
    }

    async fn place(&self) -> Result<Place, RetentionError> {
        let Some(found) = self.store.state(PLACE).await? else { return Ok(Place { done: None, version: None }) };
        let text = |name| found.value.get(name).and_then(serde_json::Value::as_str);
        let done =
            text("tenant").and_then(|tenant| tenant.parse().ok()).zip(text("month").and_then(|m| m.parse().ok()));
        Ok(Place { done, version: Some(found.version) })
    }

    async fn note(
        &self,
        tenant_id: TenantId,
        month: Month,
        known: Option<StateVersion>,
    ) -> Result<Place, RetentionError> {
        let at = (self.clock)().to_string();
        let value = json!({ "tenant": tenant_id.to_string(), "month": month.to_string(), "at": at, "by": self.holder });
        match self.store.put_state(PLACE, &value, known).await? {
            Some(version) => Ok(Place { done: Some((tenant_id, month)), version: Some(version) }),
            None => Err(RetentionError::Overtaken),
        }
    }
}
