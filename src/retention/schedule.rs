//! Retention by the workers themselves: one of many, at intervals that the store remembers.

use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Retention, RetentionError};
use crate::domain::Timestamp;

/// The state entry of the last run, whichever worker ran it.
pub const LAST: &str = "retention/last";

/// How often a worker looks whether it is time.
const LOOK: Duration = Duration::from_mins(5);

/// Runs whenever the interval since the last run of any worker is over, until `stop`. A run that fails is logged and
/// tried again at the next look; it never disturbs the worker.
pub async fn run(retention: Retention, interval: Duration, stop: CancellationToken) {
    loop {
        // A removal that is cut short goes on at the next look of any worker, once its lease is over.
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = tick(&retention, interval) => looked,
        };
        match looked {
            Ok(Some(removed)) => info!(removed, "retention is done"),
            Ok(None) | Err(RetentionError::Busy { .. }) => {}
            Err(error) => warn!(%error, "retention failed; it is tried again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// One look. Returns how many records went, if it was time.
///
/// # Errors
/// [`RetentionError`] of the run.
pub async fn tick(retention: &Retention, interval: Duration) -> Result<Option<u64>, RetentionError> {
    let now = (retention.clock)();
    let last = retention.store.state(LAST).await?;
    let at = last.as_ref().and_then(|entry| entry.value.get("at")?.as_str()?.parse::<Timestamp>().ok());
    let interval = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX);
    if at.is_some_and(|at| at <= now && now.micros() - at.micros() < interval) {
        return Ok(None);
    }
    let plan = retention.plan().await?;
    let reports = retention.apply(&plan, None).await?;
    // Cut short, it goes on at the next run.
    retention.sweep(true, &|_| {}, &|| false).await?;
    let removed = reports.iter().flat_map(|report| report.removed.values()).sum();
    let value = json!({ "at": now.to_string(), "by": retention.holder, "removed": removed });
    // A process that wrote meanwhile has run meanwhile, which does as well.
    retention.store.put_state(LAST, &value, last.map(|entry| entry.version)).await?;
    Ok(Some(removed))
}
