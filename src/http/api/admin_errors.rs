//! What fails over all tenants, grouped by what the error texts have in common. It takes an admin key.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::extract::{Everything, Params};
use super::params::{encoded, most_values, span};
use super::problem::{Problem, Problems};
use super::search::{SpanCount, SpanParams};
use crate::domain::query::{SpanCounts, TimeRange};
use crate::domain::{AppId, TenantId, Timestamp};
use crate::query::{AdminErrorGroup, CrossTenantNames, TenantErrors};

/// Tenants of a group, and apps of a tenant, that are named.
pub(in crate::http) const MOST_TENANTS: usize = 20;
pub(in crate::http) const MOST_APPS: usize = 10;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct AdminErrorParams {
    /// Inclusive, ISO 8601; without an offset: UTC
    #[param(example = "2025-12-01T00:00:00Z")]
    created_at_from: Option<String>,
    /// Exclusive
    created_at_until: Option<String>,
    /// Groups at most, 1 to 1000
    #[param(minimum = 1, maximum = 1000, default = 100)]
    values: Option<u16>,
}

#[derive(Serialize, ToSchema)]
struct FailingApp {
    #[schema(value_type = uuid::Uuid)]
    id: String,
    /// null: not known
    name: Option<Box<str>>,
    runs: u64,
}

#[derive(Serialize, ToSchema)]
struct FailingTenant {
    #[schema(value_type = uuid::Uuid)]
    id: String,
    /// null: not known
    name: Option<Box<str>>,
    runs: u64,
    last_seen: String,
    #[schema(value_type = uuid::Uuid)]
    latest_run_id: String,
    /// Most runs first, 10 at most
    apps: Vec<FailingApp>,
    /// Apps that are left out
    more_apps: usize,
    /// Path that lists the runs: failed ones of the span whose errors hold the longest part of the text that does not change
    runs_path: String,
}

#[derive(Serialize, ToSchema)]
struct AdminErrorView {
    /// What the texts have in common: numbers, ids and quoted parts are left out
    fingerprint: String,
    /// The newest text, at most 600 characters
    example: String,
    runs: u64,
    first_seen: String,
    last_seen: String,
    /// Runs per span of `seconds`, oldest first; empty spans are absent
    over_time: Vec<SpanCount>,
    /// Most runs first, 20 at most
    tenants: Vec<FailingTenant>,
    /// Tenants that are left out
    more_tenants: usize,
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct AdminErrorViews {
    /// Failed runs that were looked at: the newest 2,000 of all tenants, or 64 MB of them, or as many as 10 seconds allow
    looked_at: usize,
    /// Failed runs of the span in all
    failed: u64,
    /// Only present if some were left out: each run from this instant on was looked at, those before it were not, or only some
    #[serde(skip_serializing_if = "Option::is_none")]
    cut_at: Option<String>,
    /// Groups that are left out
    more_groups: usize,
    /// Only present, as "unavailable", if names could not be looked up
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<&'static str>,
    /// Most runs first
    data: Vec<AdminErrorView>,
}

/// Returns the tenants and apps that an answer with these groups names, each tenant once.
pub(in crate::http) fn named(groups: &[AdminErrorGroup]) -> Vec<(TenantId, Vec<AppId>)> {
    let mut order = Vec::new();
    let mut apps = BTreeMap::<TenantId, BTreeSet<AppId>>::new();
    for found in groups {
        for (tenant_id, errors) in found.by_runs().into_iter().take(MOST_TENANTS) {
            let known = apps.entry(tenant_id).or_insert_with(|| {
                order.push(tenant_id);
                BTreeSet::new()
            });
            known.extend(apps_by_runs(errors).into_iter().take(MOST_APPS).map(|(app_id, _)| app_id));
        }
    }
    order.into_iter().map(|id| (id, apps.remove(&id).unwrap_or_default().into_iter().collect())).collect()
}

/// Returns the apps of a tenant's part of a group, most runs first, ties by id.
pub(in crate::http) fn apps_by_runs(errors: &TenantErrors) -> Vec<(AppId, u64)> {
    let mut apps: Vec<_> = errors.apps.iter().map(|(id, runs)| (*id, *runs)).collect();
    apps.sort_by_key(|(id, runs)| (std::cmp::Reverse(*runs), *id));
    apps
}

/// Returns the path of the API that finds the runs of a group.
fn runs_path(tenant_id: TenantId, keyword: &str, created: TimeRange) -> String {
    let mut path = format!("/v1/tenants/{tenant_id}/runs?status=failed");
    let mut add = |name: &str, value: &str| path.extend(["&", name, "=", &encoded(value)]);
    if !keyword.is_empty() {
        add("in", "error");
        add("q", keyword);
    }
    for (name, at) in [("created_at_from", created.from), ("created_at_until", created.until)] {
        if let Some(at) = at {
            add(name, &at.to_string());
        }
    }
    path
}

fn over_time(times: &[Timestamp], seconds: u32) -> Vec<SpanCount> {
    let mut spans = SpanCounts::new(seconds);
    for at in times {
        // Fewer runs are looked at than there may be spans.
        spans.add(at.micros(), 1);
    }
    // Instants begin in 1970, and so do the spans that they lie in.
    spans.finish().unwrap_or_default().into_iter().map(Into::into).collect()
}

fn tenant_view(
    (tenant_id, errors): (TenantId, &TenantErrors),
    names: &CrossTenantNames,
    runs_path: String,
) -> FailingTenant {
    let known = names.apps(tenant_id);
    let app = |(id, runs): (AppId, u64)| {
        let name = known.and_then(|apps| apps.get(&id)).map(|app| app.name.clone());
        FailingApp { id: id.to_string(), name, runs }
    };
    let apps = apps_by_runs(errors);
    FailingTenant {
        id: tenant_id.to_string(),
        name: names.workspace(tenant_id).map(Into::into),
        runs: errors.runs,
        last_seen: errors.newest.0.to_string(),
        latest_run_id: errors.newest.1.to_string(),
        more_apps: apps.len().saturating_sub(MOST_APPS),
        apps: apps.into_iter().take(MOST_APPS).map(app).collect(),
        runs_path,
    }
}

/// Failed runs of all tenants, grouped by a fingerprint of their errors
#[utoipa::path(
    get, path = "/v1/admin/errors", tag = "Admin", params(AdminErrorParams, SpanParams),
    responses((status = 200, body = AdminErrorViews), Problems)
)]
pub(in crate::http) async fn errors(
    State(api): State<Api>,
    Everything(logs): Everything,
    Params(params, spans): Params<AdminErrorParams, SpanParams>,
) -> Result<Json<AdminErrorViews>, Problem> {
    let values = most_values(params.values, 100)?;
    let seconds = spans.seconds()?;
    let created = span(params.created_at_from.as_deref(), params.created_at_until.as_deref())?;
    let mut found = logs.error_groups(created).await?;
    let more_groups = found.groups.len().saturating_sub(values);
    found.groups.truncate(values);
    let names = api.service.names_across(named(&found.groups)).await;
    let view = |found: AdminErrorGroup| {
        let keyword = found.group.keyword();
        let tenants = found.by_runs().into_iter().take(MOST_TENANTS);
        let tenants = tenants.map(|of| tenant_view(of, &names, runs_path(of.0, &keyword, created))).collect();
        AdminErrorView {
            runs: found.group.times.len() as u64,
            first_seen: found.group.oldest.to_string(),
            last_seen: found.group.newest.0.to_string(),
            over_time: over_time(&found.group.times, seconds),
            tenants,
            more_tenants: found.tenants.len().saturating_sub(MOST_TENANTS),
            fingerprint: found.group.fingerprint,
            example: found.group.example,
        }
    };
    Ok(Json(AdminErrorViews {
        looked_at: found.looked_at,
        failed: found.failed,
        cut_at: found.cut_at.map(|at| at.to_string()),
        more_groups,
        names: names.are_missing().then_some("unavailable"),
        data: found.groups.into_iter().map(view).collect(),
    }))
}
