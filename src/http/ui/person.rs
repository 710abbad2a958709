//! All that one end user or account did: the apps, how their runs ended, and the newest of them.

use std::sync::OnceLock;

use axum::http::StatusCode;
use axum::response::Response;
use futures::TryFutureExt as _;
use maud::{Markup, html};

use super::access::PageReader;
use super::conversation::said;
use super::explore::{Counted, View, apps_of};
use super::format::{line, short, status, time, took};
use super::layout::{Screen, page as whole_page, path};
use super::state::AddressState;
use crate::domain::query::{Direction, Facet, RunSummary, SortBy};
use crate::domain::{Record, RecordId};
use crate::http::api::extract::Ids;
use crate::http::api::problem::Problem;
use crate::query::{Creator, RunQuery, SearchPage};

const KNOWN: [&str; 3] = ["range", "from", "until"];
/// Runs shown; the rest is in the explorer.
const ROWS: usize = 30;

/// Returns the address of a creator's page.
pub(super) fn href(reader: &PageReader, id: RecordId) -> String {
    format!("/ui/t/{}/people/{id}", reader.tenant_id())
}

/// Returns the page.
pub(super) async fn page(reader: PageReader, ids: Ids, state: AddressState) -> Result<Response, Problem> {
    let mut state = state.only(&KNOWN)?;
    let id: RecordId = ids.get("person_id")?;
    if state.pairs().next().is_none() {
        state = state.with("range", Some("all"));
    }
    let (look, logs) = (reader.viewer.look, &reader.logs);
    let texts = look.texts();
    let span = state.span(look.zone, reader.viewer.now)?;
    let within = state.with("created_by", Some(&id.to_string()));
    let view = View {
        reader: &reader,
        state: &within,
        span: &span,
        screen: Screen::Runs,
        fields: &[],
        searched: "",
        filters: &[],
        apps: OnceLock::new(),
    };
    let query = RunQuery { created_by: Some(id), created: span.created, ..RunQuery::default() };
    let (sort, direction) = (SortBy::CreatedAt, Direction::Descending);
    let newest = SearchPage { sort, direction, cursor: None, limit: ROWS, count_to: None };
    let oldest = SearchPage { direction: Direction::Ascending, limit: 1, ..newest.clone() };
    let (found, first, counts) = tokio::try_join!(
        logs.search_runs(&query, &newest).map_err(Problem::from),
        logs.search_runs(&query, &oldest).map_err(Problem::from),
        view.counts(&query, [Counted::shown(Facet::AppId), Counted::shown(Facet::Status)]),
    )?;
    let [apps, statuses] = &counts.facets;
    view.learn(apps_of(apps)).await;
    let creators = logs.person(id).await?;
    let mut rows = Vec::new();
    for hit in &found.hits {
        rows.push(row(&view, &hit.row).await?);
    }
    let runs = path(reader.tenant_id(), Screen::Runs);
    let content = html! {
        div.bar { div.title { h1 { (name(creators.get(id), id)) } } (times(&view, id)) }
        (view.names_note(creators.are_names_missing()))
        @if found.hits.is_empty() { (super::states::nothing(look, texts.none, Some(format!("{}?range=all", href(&reader, id)).as_str()), None)) } @else {
            (facts(&view, creators.get(id), id, &found.hits, first.hits.first().map(|hit| &hit.row)))
            div.explorer {
                aside { details.facets open { summary { (texts.filters) }
                    (view.facet("status", texts.status, statuses))
                    (view.facet("app_id", texts.app, apps))
                } }
                div.results {
                    div.above { (super::explore::total(texts, counts.total)) p.take { a href=(within.href(&runs)) { (texts.all_runs) } } }
                    table.rows.runs {
                        thead { tr {
                            th scope="col" { (texts.status) } th scope="col" { (texts.started) } th.wide scope="col" { (texts.app) }
                            th.number scope="col" { (texts.duration) } th.wide scope="col" { (texts.asked) }
                        } }
                        @for row in rows { (row) }
                    }
                }
            }
        }
    };
    Ok(whole_page(StatusCode::OK, &reader.frame(texts.person, Screen::Runs, &AddressState::default()), &content))
}

fn name(creator: Option<&Creator>, id: RecordId) -> Markup {
    let name = match creator {
        Some(Creator::Account(account)) => account.name.as_deref().or(account.email.as_deref()),
        Some(Creator::EndUser(user)) => user.session_id.as_deref(),
        None => None,
    };
    html! { @match name { Some(name) => (line(name, 80)), None => code { (short(&id.to_string())) } } }
}

fn times(view: &View<'_>, id: RecordId) -> Markup {
    let texts = view.texts();
    html! {
        div.times { div.presets role="group" aria-label=(texts.time) {
            @for range in super::state::RANGES {
                a href={ (href(view.reader, id)) "?range=" (range) } aria-current=[(view.span.preset.as_deref() == Some(range)).then_some("true")] {
                    @if range == "all" { (texts.all_time) } @else { (range) }
                }
            }
        } }
    }
}

fn facts(
    view: &View<'_>,
    creator: Option<&Creator>,
    id: RecordId,
    newest: &[crate::query::SearchHit<RunSummary>],
    oldest: Option<&RunSummary>,
) -> Markup {
    let (texts, zone) = (view.texts(), view.reader.viewer.look.zone);
    let role = newest.first().map_or("", |hit| &*hit.row.created_by_role);
    html! {
        dl.facts {
            div { dt { (texts.kind) } dd { (line(role, 40)) @if let Some(Creator::EndUser(user)) = creator {
                @if let Some(kind) = &user.r#type { " · " (line(kind, 40)) } } } }
            @if let Some(Creator::Account(account)) = creator { @if let Some(email) = &account.email {
                div { dt { (texts.email) } dd { (line(email, 80)) } } } }
            @if let Some(run) = oldest { div { dt { (texts.first_seen) } dd { (time(run.created_at, zone)) } } }
            @if let Some(hit) = newest.first() { div { dt { (texts.last_seen) } dd { (time(hit.row.created_at, zone)) } } }
            div { dt { (texts.ids) } dd { code { (id) } } }
        }
    }
}

async fn row(view: &View<'_>, run: &RunSummary) -> Result<Markup, Problem> {
    let (texts, zone) = (view.texts(), view.reader.viewer.look.zone);
    let document = view.reader.logs.run(None, run.id).await?;
    let asked = match document.map(|document| document.record) {
        Some(Record::Run(whole)) => said(whole.inputs.as_ref(), &super::conversation::ASKED),
        _ => None,
    };
    Ok(html! {
        tbody.linked { tr {
            td { (status(texts, run.status.as_str())) }
            td { a.whole href={ (view.path()) "/" (run.id) } { (time(run.created_at, zone)) } }
            td.wide { (view.app(&run.app_id.to_string())) }
            td.number { (took(run.elapsed_time, run.finished_at)) }
            td.wide { (line(asked.as_deref().unwrap_or_default(), 80)) }
        } }
    })
}
