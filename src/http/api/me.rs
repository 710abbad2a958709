//! What a key is and reaches, and the apps of a tenant by name.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::Caller;
use super::extract::{Params, Reading};
use super::params::{RunConditions, most_values};
use super::problem::{Problem, Problems};
use super::settings::Right;
use crate::domain::query::Facet;
use crate::domain::{AppId, TenantId};
use crate::query::AppNames;

#[derive(Serialize, ToSchema)]
struct WorkspaceView {
    #[schema(value_type = uuid::Uuid)]
    id: String,
    /// null: not known
    name: Option<Box<str>>,
}

/// An app that a key reaches.
#[derive(Serialize, ToSchema)]
struct ReachedApp {
    #[schema(value_type = uuid::Uuid)]
    id: String,
    /// null: not known
    name: Option<Box<str>>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    /// The name of the key; of a person, `user:` and the name
    key: Box<str>,
    /// The person whom the proxy in front has signed in; null: a key asks
    user: Option<Box<str>>,
    /// Reaches every tenant
    admin: bool,
    /// read, delete, operate, reveal
    rights: Vec<&'static str>,
    /// The tenants that it reaches, by id; empty for an admin key
    tenants: Vec<WorkspaceView>,
    /// Of these tenants, the only apps that it reaches; null: every app
    apps: Option<Vec<ReachedApp>>,
    /// Only present, as "unavailable", if names could not be looked up
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<&'static str>,
}

/// Returns who the key is, and what it reaches
#[utoipa::path(get, path = "/v1/me", tag = "Records", responses((status = 200, body = Me), Problems))]
pub(super) async fn me(State(api): State<Api>, Extension(caller): Extension<Arc<Caller>>) -> Json<Me> {
    let mut ids: Vec<_> = caller.tenants().into_iter().flatten().copied().collect();
    ids.sort_unstable();
    let names = api.service.workspace_names(ids.iter().copied()).await;
    let (apps, apps_missing) = reached_apps(&api, &caller, &ids).await;
    let view =
        |id: TenantId| WorkspaceView { id: id.to_string(), name: names.get(&id).map(|found| found.name.clone()) };
    Json(Me {
        key: caller.name.clone(),
        user: caller.person.clone(),
        admin: caller.is_admin(),
        rights: caller.rights().iter().map(|right| Right::as_str(*right)).collect(),
        tenants: ids.into_iter().map(view).collect(),
        apps,
        names: (names.are_missing() || apps_missing).then_some("unavailable"),
    })
}

/// The apps that a key is limited to, with their names, and whether names are missing.
async fn reached_apps(api: &Api, caller: &Caller, tenants: &[TenantId]) -> (Option<Vec<ReachedApp>>, bool) {
    let Some(apps) = caller.apps().apps() else { return (None, false) };
    let (mut known, mut missing) = (HashMap::new(), false);
    for tenant_id in tenants {
        let names = api.logs_for(caller, *tenant_id).app_names(apps.iter().copied()).await;
        missing |= names.are_missing();
        known.extend(apps.iter().filter_map(|id| Some((*id, names.get(id)?.name.clone()))));
    }
    let view = |id: &AppId| ReachedApp { id: id.to_string(), name: known.get(id).cloned() };
    (Some(apps.iter().map(view).collect()), missing)
}

/// An app with what it is called, as far as that is known.
#[derive(Serialize, ToSchema)]
pub(super) struct AppView {
    id: Box<str>,
    name: Option<Box<str>>,
    /// workflow, advanced-chat, …
    mode: Option<Box<str>>,
    /// A character or its name; null for a picture
    icon: Option<Box<str>>,
    runs: u64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct AppViews {
    /// Most runs first
    data: Vec<AppView>,
    /// Only present, as "unavailable", if names could not be looked up
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<&'static str>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AppsParams {
    /// Apps at most, 1 to 1000
    #[param(minimum = 1, maximum = 1000, default = 100)]
    values: Option<u16>,
}

/// Apps that have runs, by name, with how many
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/apps", tag = "Search",
    params(("tenant_id" = uuid::Uuid, Path,), RunConditions, AppsParams),
    responses((status = 200, body = AppViews), Problems)
)]
pub(super) async fn apps(
    Reading(logs): Reading,
    Params(conditions, params): Params<RunConditions, AppsParams>,
) -> Result<Json<AppViews>, Problem> {
    let values = most_values(params.values, 100)?;
    let found = logs.facet(&conditions.query()?, Facet::AppId, values).await?;
    let names = logs.app_names(found.iter().filter_map(|app| app.value.parse().ok())).await;
    let data = found.into_iter().map(|app| view(&names, app.value, app.count)).collect();
    Ok(Json(AppViews { data, names: names.are_missing().then_some("unavailable") }))
}

fn view(names: &AppNames, id: Box<str>, runs: u64) -> AppView {
    let known = id.parse().ok().and_then(|id| names.get(&id)).cloned();
    let (name, mode, icon) = known.map_or((None, None, None), |app| (Some(app.name), Some(app.mode), app.icon));
    AppView { id, name, mode, icon, runs }
}
