//! Numbers over all runs of an app: counts by status and the four daily statistics. Answered only where the store holds all
//! of the tenant's past, since a number over a part would be wrong. As fresh as lists are.

use axum::response::Response;

use super::access::Access;
use super::answer::{PassOnReason, json};
use super::coverage::Coverage;
use super::pages::{STATUSES, TRIGGERS};
use super::query::{JUDGE, Query};
use crate::domain::Timestamp;
use crate::domain::query::TimeRange;
use crate::http::api::views::{CountsView, DayView, DayViews};
use crate::query::{DailyQuery, TenantLogs, last, local_instant};

/// Returns how many runs an app has, by status.
///
/// # Errors
/// [`PassOnReason`] where Dify should answer.
pub(super) async fn counts(
    query: &Query,
    access: &Access,
    logs: &TenantLogs,
    coverage: &Coverage,
) -> Result<Response, PassOnReason> {
    query.only(&["status", "time_range", "triggered_from"])?;
    let status = query.one_of("status", &STATUSES)?;
    let triggered_from = query.one_of("triggered_from", &TRIGGERS)?.unwrap_or("debugging");
    let range = query.text("time_range");
    if range.is_some_and(|range| last(range).is_none()) {
        return Err(JUDGE);
    }
    coverage.need(access.tenant_id).await?;
    let triggers = vec![triggered_from.into()];
    let counted = logs.run_counts(access.app_id, triggers, status.map(Into::into), range).await?;
    Ok(json(&CountsView::from(counted)))
}

/// Returns a number per local day of the caller's time zone.
///
/// # Errors
/// [`PassOnReason`] where Dify should answer.
pub(super) async fn statistics(
    name: &str,
    query: &Query,
    access: &Access,
    logs: &TenantLogs,
    coverage: &Coverage,
) -> Result<Response, PassOnReason> {
    query.only(&["start", "end"])?;
    let view = DayView::of(name).ok_or(PassOnReason::Dify("a statistic that Dify knows"))?;
    let zone = access.zone.ok_or(PassOnReason::Dify("the caller has no time zone that is known"))?;
    let instant = |name: &str| -> Result<Option<Timestamp>, PassOnReason> {
        let Some(text) = query.text(name).filter(|text| !text.trim().is_empty()) else { return Ok(None) };
        local_instant(text, zone).map(Some).ok_or(JUDGE)
    };
    let created = TimeRange { from: instant("start")?, until: instant("end")? };
    if created.from.zip(created.until).is_some_and(|(from, until)| from > until) {
        return Err(JUDGE);
    }
    coverage.need(access.tenant_id).await?;
    // Dify's page counts published runs only.
    let triggered_from = vec!["app-run".into()];
    let days = logs.daily(&DailyQuery { app_id: access.app_id, triggered_from, created, zone }).await?;
    Ok(json(&DayViews::new(&days, view)))
}
