//! Months that were dropped and must not come back by late events: marks in difylog's own state, which every writer
//! looks at every few seconds. Deletes no index.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::rows::AsText;
use super::state::StateAccess;
use crate::domain::{FaultKind, Month, SinkFault, TenantId, TenantSet, Timestamp};
use crate::store::StoreError;

/// How old a writer's knowledge may be.
const FRESH: Duration = Duration::from_secs(3);

/// How long after its mark a month may be dropped: every writer knows by then, and requests that it had sent are over.
pub(super) const SETTLED: Duration = Duration::from_secs(4);

/// The state entry that holds all marks.
const KEY: &str = "retired-months";

/// How often a mark is written again because another process wrote meanwhile.
const ATTEMPTS: usize = 10;

/// One mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    month: AsText<Month>,
    /// `None`: the month of all tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<AsText<TenantId>>,
    /// Those of all tenants that it does not hold for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    but: Vec<AsText<TenantId>>,
    at: AsText<Timestamp>,
}

impl Mark {
    fn covers(&self, month: Month, tenant_id: TenantId) -> bool {
        self.month.0 == month
            && self.tenant_id.is_none_or(|own| own.0 == tenant_id)
            && !self.but.iter().any(|spared| spared.0 == tenant_id)
    }
}

/// What this process knows of the marks.
#[derive(Default)]
pub(super) struct RetiredMonths(Mutex<Known>);

#[derive(Default)]
struct Known {
    marks: Vec<Mark>,
    read_at: Option<Instant>,
}

/// Marks as they are at one moment.
pub(super) struct Marks(Vec<Mark>);

impl Marks {
    /// Returns whether a tenant's documents of a month must not be written any more.
    pub(super) fn cover(&self, month: Month, tenant_id: TenantId) -> bool {
        self.0.iter().any(|mark| mark.covers(month, tenant_id))
    }

    /// Returns whether nobody's documents of a month may be written any more.
    pub(super) fn cover_everybody(&self, month: Month) -> bool {
        self.0.iter().any(|mark| mark.month.0 == month && mark.tenant_id.is_none() && mark.but.is_empty())
    }
}

impl RetiredMonths {
    /// Returns the marks, read again if they are not fresh.
    pub(super) async fn marks(&self, state: &StateAccess<'_>) -> Result<Marks, SinkFault> {
        let now = Instant::now();
        if let Some(marks) = self.fresh(now) {
            return Ok(Marks(marks));
        }
        let marks = match state.get(KEY).await {
            Ok(entry) => entry.map(|entry| read(&entry.value)).transpose()?.unwrap_or_default(),
            // Without an index for state nothing was ever retired.
            Err(fault) if fault.kind == FaultKind::NotSetUp => Vec::new(),
            Err(fault) => return Err(fault),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Known { marks: marks.clone(), read_at: Some(now) };
        Ok(Marks(marks))
    }

    /// Reads them again before the next write: this process has changed them.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read_at = None;
    }

    fn fresh(&self, now: Instant) -> Option<Vec<Mark>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.read_at.filter(|at| now.duration_since(*at) < FRESH).map(|_| known.marks.clone())
    }
}

/// Marks a month for some tenants.
pub(super) async fn mark(
    state: &StateAccess<'_>,
    month: Month,
    past: &TenantSet,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mark = |tenant_id: Option<TenantId>, but: Vec<AsText<TenantId>>| Mark {
        month: AsText(month),
        tenant_id: tenant_id.map(AsText),
        but,
        at: AsText(at),
    };
    let new: Vec<Mark> = match past {
        TenantSet::AllBut(others) => vec![mark(None, others.iter().copied().map(AsText).collect())],
        TenantSet::Only(tenants) => tenants.iter().map(|tenant| mark(Some(*tenant), Vec::new())).collect(),
    };
    change(state, |marks| {
        marks.retain(|mark| !new.iter().any(|new| (mark.month, mark.tenant_id) == (new.month, new.tenant_id)));
        marks.extend(new.iter().cloned());
    })
    .await
    .map(|_| ())
}

/// Removes marks older than an instant. Returns how many.
pub(super) async fn purge(state: &StateAccess<'_>, before: Timestamp) -> Result<u64, StoreError> {
    change(state, |marks| marks.retain(|mark| mark.at.0 >= before)).await
}

/// Changes the marks; returns how many fewer there are. Writes nothing if nothing changes.
async fn change(state: &StateAccess<'_>, change: impl Fn(&mut Vec<Mark>)) -> Result<u64, StoreError> {
    for _ in 0..ATTEMPTS {
        let entry = state.get(KEY).await?;
        let before = entry.as_ref().map(|entry| read(&entry.value)).transpose()?.unwrap_or_default();
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(0);
        }
        let value = serde_json::to_value(&after).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        if state.put(KEY, &value, entry.map(|entry| entry.version)).await?.is_some() {
            return Ok(before.len().saturating_sub(after.len()) as u64);
        }
    }
    Err(StoreError::Unavailable(format!("state {KEY} is written by others all the time")))
}

fn read(value: &Value) -> Result<Vec<Mark>, SinkFault> {
    Vec::deserialize(value)
        .map_err(|_| SinkFault::new(FaultKind::Malformed, format!("state {KEY} is not what difylog writes")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn marks_of_every_version_hold_for_those_that_they_name() {
        let [one, other] = ["669dd85a-0949-4cda-99c9-4984b192aea0", "00000000-0000-0000-0000-000000000001"];
        let at = "2026-11-25T00:00:00Z";
        let held = |mark: Value| -> (bool, bool, bool) {
            let marks = Marks(read(&json!([mark])).unwrap());
            let month = "2026-01".parse().unwrap();
            let cover = |tenant: &str| marks.cover(month, tenant.parse().unwrap());
            (cover(one), cover(other), marks.cover_everybody(month))
        };
        assert_eq!(held(json!({ "month": "2026-01", "at": at })), (true, true, true));
        assert_eq!(held(json!({ "month": "2026-02", "at": at })), (false, false, false));
        assert_eq!(held(json!({ "month": "2026-01", "tenant_id": one, "at": at })), (true, false, false));
        assert_eq!(held(json!({ "month": "2026-01", "but": [one], "at": at })), (false, true, false));
    }
}
