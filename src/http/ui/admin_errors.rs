//! What fails now over all workspaces, for admin keys: the errors of a bounded number of the newest failed runs, each with the
//! workspaces and apps concerned and a link to the runs of each. The page says how many runs it is of.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::access::Viewer;
use super::errors::{bounds, found_by, small_chart};
use super::format::{count, line, short, time};
use super::layout::{Screen, page as whole_page, path};
use super::names;
use super::state::{AddressState, Span};
use super::states::nothing;
use super::times::time_bar;
use crate::domain::TenantId;
use crate::http::api::Api;
use crate::http::api::admin_errors::{apps_by_runs, named};
use crate::http::api::extract::Everything;
use crate::http::api::params::encoded;
use crate::http::api::problem::Problem;
use crate::query::{AdminErrorGroup, AdminErrors, AppNames, CrossTenantNames, TenantErrors};

pub(super) const PATH: &str = "/ui/errors";
const KNOWN: [&str; 3] = ["range", "from", "until"];
/// Groups shown, workspaces of a group, and apps of a workspace.
const MOST_GROUPS: usize = 100;
const MOST_TENANTS: usize = 5;
const MOST_APPS: usize = 3;

/// What the table is drawn from.
struct Drawn<'a> {
    viewer: &'a Viewer,
    span: &'a Span,
    state: &'a AddressState,
    names: &'a CrossTenantNames,
}

/// Returns the page.
pub(super) async fn page(
    State(api): State<Api>,
    viewer: Viewer,
    Everything(logs): Everything,
    state: AddressState,
) -> Result<Response, Problem> {
    let state = state.only(&KNOWN)?;
    let look = viewer.look;
    let texts = look.texts();
    let span = state.span(look.zone, viewer.now)?;
    let mut found = logs.error_groups(span.created).await?;
    let more = found.groups.len().saturating_sub(MOST_GROUPS);
    found.groups.truncate(MOST_GROUPS);
    let names = api.service.names_across(named(&found.groups)).await;
    let drawn = Drawn { viewer: &viewer, span: &span, state: &state, names: &names };
    let content = html! {
        div.bar { div.title { h1 { (texts.errors_everywhere) } } (time_bar(look, &state, &span, PATH)) }
        p.faint { (texts.errors_lead) }
        @if names.are_missing() { p.note { (texts.names_missing) } }
        @if found.groups.is_empty() {
            (nothing(look, texts.no_errors, (!span.is_all()).then(|| state.over("all").href(PATH)).as_deref(), None))
        } @else {
            (looked_at(&viewer, &found))
            p.take { (texts.take_away) ": " a href={ "/ui/data/errors" (parameters(&span)) } { "JSON" } }
            (drawn.table(&found))
            @if more > 0 { p.note { "+" (count(more as i128)) " " (texts.error_groups) } }
        }
    };
    Ok(whole_page(StatusCode::OK, &viewer.frame(texts.errors_everywhere), &content))
}

/// Returns how many runs the page is of.
fn looked_at(viewer: &Viewer, found: &AdminErrors) -> Markup {
    let texts = viewer.look.texts();
    let numbers = html! { (count(found.looked_at as i128)) " / " (count(found.failed.into())) };
    html! {
        @match found.cut_at {
            None => { p.faint { (texts.errors_all_looked_at) " " (numbers) } }
            Some(at) => { p.note { (texts.errors_newest_looked_at) " " (numbers) ". " (texts.errors_cut_at) " " (time(at, viewer.look.zone)) } }
        }
    }
}

/// Returns the same span by the parameters of the API.
fn parameters(span: &Span) -> String {
    let named = [("created_at_from", span.created.from), ("created_at_until", span.created.until)];
    let given = named.into_iter().filter_map(|(name, at)| Some(format!("{name}={}", encoded(&at?.to_string()))));
    let joined = given.collect::<Vec<_>>().join("&");
    if joined.is_empty() { joined } else { format!("?{joined}") }
}

impl Drawn<'_> {
    fn table(&self, found: &AdminErrors) -> Markup {
        let texts = self.viewer.look.texts();
        let zone = self.viewer.look.zone;
        let (begin, end) = bounds(self.span, self.viewer.now, found.groups.iter().map(|found| &found.group));
        html! {
            table.rows.groups {
                thead { tr {
                    th scope="col" { (texts.error) }
                    th.number scope="col" { (texts.runs) }
                    th scope="col" { (texts.workspaces) }
                    th.wide scope="col" { (texts.over_time) }
                    th.wide scope="col" { (texts.first_seen) }
                    th scope="col" { (texts.last_seen) }
                } }
                @for found @ AdminErrorGroup { group, .. } in &found.groups { tbody { tr {
                    td { @if group.example.is_empty() { (texts.no_error_text) } @else { (line(&group.example, 300)) } }
                    td.number { (count(group.times.len() as i128)) }
                    td { (self.tenants(found)) }
                    td.wide { (small_chart(group, begin, end)) }
                    td.wide { (time(group.oldest, zone)) }
                    td { (time(group.newest.0, zone)) }
                } } }
            }
        }
    }

    /// Returns the workspaces of a group, each a link to its runs there.
    fn tenants(&self, found: &AdminErrorGroup) -> Markup {
        let more = found.tenants.len().saturating_sub(MOST_TENANTS);
        let state = found_by(self.span, self.state, &found.group);
        html! {
            ul.tenants {
                @for (tenant_id, errors) in found.by_runs().into_iter().take(MOST_TENANTS) {
                    li {
                        a href=(state.href(&path(tenant_id, Screen::Runs))) title=(tenant_id) {
                            @match self.names.workspace(tenant_id) { Some(name) => (line(name, 40)), None => code { (short(&tenant_id.to_string())) } }
                        } " " span.number { (count(errors.runs.into())) }
                        (self.apps(tenant_id, errors))
                    }
                }
            }
            @if more > 0 { span.faint { "+" (count(more as i128)) } }
        }
    }

    fn apps(&self, tenant_id: TenantId, errors: &TenantErrors) -> Markup {
        let unknown = AppNames::default();
        let known = self.names.apps(tenant_id).unwrap_or(&unknown);
        let more = errors.apps.len().saturating_sub(MOST_APPS);
        html! {
            p.faint {
                @for (place, (app_id, _)) in apps_by_runs(errors).into_iter().take(MOST_APPS).enumerate() {
                    @if place > 0 { ", " } (names::app(known, &app_id.to_string()))
                }
                @if more > 0 { " +" (count(more as i128)) }
            }
        }
    }
}
