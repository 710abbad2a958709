//! Which workspace: those that the key names, or, for an admin key, those that have runs.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::html;
use serde::Deserialize;

use super::access::Viewer;
use super::format::{count, line};
use super::layout::{Screen, page, path};
use crate::domain::TenantId;
use crate::http::api::Api;
use crate::http::api::problem::Problem;

/// Months before this one in which workspaces are looked for.
const MONTHS: i64 = 2;
/// Workspaces shown at most.
const MOST: usize = 500;

/// Returns the workspaces of a viewer, with their runs where they were counted.
async fn known(api: &Api, viewer: &Viewer) -> Result<Vec<(TenantId, Option<u64>)>, Problem> {
    if let Some(tenants) = viewer.caller.tenants() {
        let mut tenants: Vec<_> = tenants.iter().map(|tenant_id| (*tenant_id, None)).collect();
        tenants.sort_unstable();
        return Ok(tenants);
    }
    let found = api.service.admin().tenants(MONTHS).await?;
    Ok(found.into_iter().take(MOST).map(|(tenant_id, runs)| (tenant_id, Some(runs))).collect())
}

/// Leads to the runs of the only workspace, or to the choice.
pub(super) async fn home(State(api): State<Api>, viewer: Viewer) -> Result<Response, Problem> {
    let workspaces = known(&api, &viewer).await?;
    match workspaces.as_slice() {
        [(tenant_id, _)] => Ok(Redirect::to(&path(*tenant_id, Screen::Runs)).into_response()),
        _ => list_of(&api, &viewer, &workspaces).await,
    }
}

/// Returns the choice.
pub(super) async fn list(State(api): State<Api>, viewer: Viewer) -> Result<Response, Problem> {
    let workspaces = known(&api, &viewer).await?;
    list_of(&api, &viewer, &workspaces).await
}

async fn list_of(api: &Api, viewer: &Viewer, workspaces: &[(TenantId, Option<u64>)]) -> Result<Response, Problem> {
    let names = api.service.workspace_names(workspaces.iter().map(|(tenant_id, _)| *tenant_id)).await;
    let texts = viewer.look.texts();
    let is_admin = viewer.caller.is_admin();
    let content = html! {
        section.workspaces {
            h1 { (texts.workspaces) }
            p.lead { (texts.workspaces_lead) }
            @if viewer.may_read_all() { p { a href=(super::admin_errors::PATH) { (texts.errors_everywhere) } } }
            @if names.are_missing() { p.note { (texts.names_missing) } }
            @if is_admin { p.faint { @if workspaces.is_empty() { (texts.workspaces_none) } @else { (texts.workspaces_bound) } } }
            @if !workspaces.is_empty() {
                table {
                    thead { tr { th scope="col" { (texts.workspace) } @if is_admin { th.number scope="col" { (texts.runs) } } } }
                    tbody {
                        @for (tenant_id, runs) in workspaces {
                            tr.linked {
                                td { a.whole href=(path(*tenant_id, Screen::Runs)) {
                                    @match names.get(tenant_id) { Some(found) => (line(&found.name, 80)), None => code { (tenant_id) } }
                                } }
                                @if let Some(runs) = runs { td.number { (count((*runs).into())) } }
                            }
                        }
                    }
                }
            }
            @if is_admin {
                form.row method="get" action="/ui/t" {
                    label for="workspace" { (texts.workspace_id) }
                    input #workspace name="tenant_id" required pattern="[0-9a-fA-F-]{32,36}" size="36" autocomplete="off";
                    button type="submit" { (texts.open) }
                }
            }
        }
    };
    Ok(page(StatusCode::OK, &viewer.frame(texts.workspaces), &content))
}

#[derive(Deserialize)]
pub(super) struct ChosenWorkspace {
    #[serde(default)]
    tenant_id: String,
}

/// Opens a workspace by its id.
pub(super) async fn open(Query(chosen): Query<ChosenWorkspace>) -> Result<Redirect, Problem> {
    let tenant_id = chosen.tenant_id.trim().parse::<TenantId>();
    let tenant_id = tenant_id.map_err(|_| Problem::param("tenant_id", "expected a uuid"))?;
    Ok(Redirect::to(&path(tenant_id, Screen::Runs)))
}
