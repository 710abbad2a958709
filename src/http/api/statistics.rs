//! The four daily statistics of Dify's overview page.

use axum::Json;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Ids, Params, Reading};
use super::params::{RunConditions, list};
use super::problem::{Problem, Problems};
use crate::domain::Timestamp;
use crate::domain::query::{Day, TimeRange};
use crate::query::{DailyQuery, interactions, local_instant};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatisticsParams {
    /// YYYY-MM-DD HH:MM in `timezone`, inclusive
    #[param(example = "2025-12-01 00:00")]
    start: Option<String>,
    /// Exclusive
    #[param(example = "2025-12-31 23:59")]
    end: Option<String>,
    /// IANA name
    #[param(example = "Asia/Shanghai", default = "UTC")]
    timezone: Option<String>,
    /// Any of these, by commas
    #[param(default = "app-run")]
    triggered_from: Option<String>,
}

/// What is counted per day.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
#[allow(dead_code, reason = "it describes a part of the path")]
pub(super) enum Statistic {
    DailyConversations,
    DailyTerminals,
    TokenCosts,
    AverageAppInteractions,
}

/// One local day. Only the asked number is there.
#[derive(Serialize, ToSchema, Default)]
pub(in crate::http) struct DayView {
    date: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terminal_count: Option<u64>,
    /// An integer as text: it may exceed what a JSON number can hold
    #[serde(skip_serializing_if = "Option::is_none")]
    token_count: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interactions: Option<f64>,
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DayViews {
    data: Vec<DayView>,
}

/// What a statistic shows of a day.
pub(in crate::http) type DayShape = fn(&Day, String) -> DayView;

impl DayView {
    /// Returns what a statistic shows of a day; `None` for a name that is none of Dify's four.
    pub(in crate::http) fn of(statistic: &str) -> Option<DayShape> {
        Some(match statistic {
            "daily-conversations" => |day, date| Self { date, runs: Some(day.runs), ..Self::default() },
            "daily-terminals" => |day, date| Self { date, terminal_count: Some(day.users), ..Self::default() },
            "token-costs" => |day, date| Self { date, token_count: Some(day.tokens.to_string()), ..Self::default() },
            "average-app-interactions" => {
                |day, date| Self { date, interactions: Some(interactions(day)), ..Self::default() }
            }
            _ => return None,
        })
    }
}

impl DayViews {
    pub(in crate::http) fn new(days: &[Day], shape: DayShape) -> Self {
        Self { data: days.iter().map(|day| shape(day, day.date.to_string())).collect() }
    }
}

/// A number per local day; days without runs are absent
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/apps/{app_id}/workflow/statistics/{statistic}", tag = "Dify",
    params(
        ("tenant_id" = uuid::Uuid, Path,), ("app_id" = uuid::Uuid, Path,),
        ("statistic" = inline(Statistic), Path,),
        StatisticsParams
    ),
    responses((status = 200, body = DayViews), Problems)
)]
pub(super) async fn statistics(
    Reading(logs): Reading,
    ids: Ids,
    Params(params, _): Params<StatisticsParams>,
) -> Result<Json<DayViews>, Problem> {
    let view = DayView::of(ids.text("statistic")).ok_or_else(|| {
        Problem::not_found(
            "no such statistic; there are daily-conversations, daily-terminals, token-costs and \
             average-app-interactions",
        )
    })?;
    let zone: Tz = params
        .timezone
        .as_deref()
        .unwrap_or("UTC")
        .parse()
        .map_err(|_| Problem::param("timezone", "expected an IANA name such as Asia/Shanghai"))?;
    let created = TimeRange { from: local("start", params.start, zone)?, until: local("end", params.end, zone)? };
    if let (Some(from), Some(until)) = (created.from, created.until)
        && from > until
    {
        return Err(Problem::param("start", "must not be after end"));
    }
    let triggered_from = list(Some(params.triggered_from.as_deref().unwrap_or("app-run")));
    let days = logs.daily(&DailyQuery { app_id: ids.get("app_id")?, triggered_from, created, zone }).await?;
    Ok(Json(DayViews::new(&days, view)))
}

/// How long runs took.
#[derive(Serialize, ToSchema)]
pub(super) struct DurationsView {
    /// Ended runs that were looked at: the newest 10,000 of the query
    runs: usize,
    /// true: there are older ones
    cut: bool,
    /// Seconds, by nearest rank; null without runs
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

/// Percentiles of the time that ended runs took; `status` does not count
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/runs/durations", tag = "Search",
    params(("tenant_id" = uuid::Uuid, Path,), RunConditions),
    responses((status = 200, body = DurationsView), Problems)
)]
pub(super) async fn durations(
    Reading(logs): Reading,
    Params(conditions, _): Params<RunConditions>,
) -> Result<Json<DurationsView>, Problem> {
    let found = logs.durations(&conditions.query()?).await?;
    let of = |percent| found.percentile(percent);
    Ok(Json(DurationsView { runs: found.count(), cut: found.is_cut, p50: of(50), p95: of(95), p99: of(99) }))
}

fn local(name: &str, text: Option<String>, zone: Tz) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    let instant = local_instant(&text, zone);
    instant.map(Some).ok_or_else(|| Problem::param(name, "expected YYYY-MM-DD HH:MM"))
}
