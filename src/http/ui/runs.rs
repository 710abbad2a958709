//! The explorer of runs.

use std::sync::OnceLock;

use axum::http::StatusCode;
use axum::response::Response;
use futures::TryFutureExt as _;
use maud::{Markup, html};

use super::access::PageReader;
use super::explore::{Counted, ListCounts, Results, View, apps_of, snippet};
use super::format::{clipped, count, line, short, status, time, took};
use super::layout::{Screen, page as whole_page};
use super::state::AddressState;
use crate::domain::query::{Facet, RunSummary};
use crate::domain::{RecordId, printable};
use crate::http::api::params::{RunConditions, field_name};
use crate::http::api::problem::Problem;
use crate::query::{Creator, Creators, Hits, RunQuery};

const KNOWN: [&str; 15] = [
    "q",
    "in",
    "app_id",
    "workflow_id",
    "created_by",
    "status",
    "triggered_from",
    "type",
    "range",
    "from",
    "until",
    "sort",
    "order",
    "cursor",
    "version",
];

/// What the page is made of.
struct Found {
    hits: Hits<RunSummary>,
    creators: Creators,
    counts: ListCounts<3>,
}

fn query(view: &View<'_>) -> Result<RunQuery, Problem> {
    let state = view.state;
    let conditions = RunConditions {
        q: state.owned("q"),
        r#in: Some(view.within()),
        app_id: state.owned("app_id"),
        workflow_id: state.owned("workflow_id"),
        created_by: state.owned("created_by"),
        status: state.owned("status"),
        triggered_from: state.owned("triggered_from"),
        r#type: state.owned("type"),
        ..RunConditions::default()
    };
    Ok(RunQuery { created: view.span.created, ..conditions.query()? })
}

async fn find(view: &View<'_>, query: &RunQuery) -> Result<Found, Problem> {
    let logs = &view.reader.logs;
    let page = view.search_page()?;
    let counted = [
        Counted::filtered(Facet::Status, query, |query| query.statuses.clear()),
        Counted::filtered(Facet::AppId, query, |query| query.app_id = None),
        Counted::filtered(Facet::TriggeredFrom, query, |query| query.triggered_from.clear()),
    ];
    let (hits, counts) =
        tokio::try_join!(logs.search_runs(query, &page).map_err(Problem::from), view.counts(query, counted))?;
    let [_, apps, _] = &counts.facets;
    let mut shown = apps_of(apps);
    shown.extend(hits.hits.iter().map(|hit| hit.row.app_id));
    view.learn(shown).await;
    let creators = logs.creators(hits.hits.iter().map(|hit| (&*hit.row.created_by_role, hit.row.created_by))).await;
    Ok(Found { hits, creators, counts })
}

/// Returns the page.
pub(super) async fn page(reader: PageReader, state: AddressState) -> Result<Response, Problem> {
    let state = state.only(&KNOWN)?;
    let look = reader.viewer.look;
    let texts = look.texts();
    let span = state.span(look.zone, reader.viewer.now)?;
    let view = View {
        reader: &reader,
        state: &state,
        span: &span,
        screen: Screen::Runs,
        fields: &[("inputs", texts.inputs), ("outputs", texts.outputs), ("error", texts.error)],
        searched: "inputs,outputs,error",
        filters: &[
            ("status", texts.status),
            ("app_id", texts.app),
            ("triggered_from", texts.trigger),
            ("workflow_id", texts.workflow),
            ("created_by", texts.creator),
            ("type", texts.node_type),
        ],
        apps: OnceLock::new(),
    };
    let query = query(&view)?;
    let found = find(&view, &query).await?;
    let [statuses, apps, triggers] = &found.counts.facets;
    let facets = html! {
        (view.facet("status", texts.status, statuses))
        (view.facet("app_id", texts.app, apps))
        (view.facet("triggered_from", texts.trigger, triggers))
    };
    let results = (!found.hits.hits.is_empty()).then(|| Results {
        bars: &found.counts.bars,
        per_span: texts.per_span,
        total: found.counts.total,
        list: "runs",
        table: table(&view, &found),
        next: found.hits.next.as_deref(),
    });
    let content = html! {
        h1.sr { (texts.runs) }
        div.bar { (view.search_bar(texts.search_hint)) (view.time_bar()) }
        (view.chips())
        (view.names_note(found.creators.are_names_missing()))
        @if found.hits.text_truncated { p.note { (texts.cut_search) } }
        (view.explorer(&facets, results.as_ref()))
    };
    Ok(whole_page(StatusCode::OK, &reader.frame(texts.runs, Screen::Runs, &state), &content))
}

fn table(view: &View<'_>, found: &Found) -> Markup {
    let texts = view.texts();
    html! {
        table.rows.runs {
            thead { tr {
                th scope="col" { (texts.status) }
                (view.sorted("created_at", texts.started, ""))
                th.wide scope="col" { (texts.app) }
                (view.sorted("elapsed_time", texts.duration, "number"))
                th.number.wide scope="col" { (texts.tokens) }
                th.number.wide scope="col" { (texts.steps) }
                th.wide scope="col" { (texts.creator) }
            } }
            @for hit in &found.hits.hits {
                @let run = &hit.row;
                tbody.linked {
                    tr {
                        td { (status(texts, run.status.as_str())) }
                        td { a.whole href={ (view.path()) "/" (run.id) } { (time(run.created_at, view.reader.viewer.look.zone)) } }
                        td.wide { (view.app(&run.app_id.to_string())) }
                        td.number { (took(run.elapsed_time, run.finished_at)) }
                        td.number.wide { (count(run.total_tokens.into())) }
                        td.number.wide { (count(run.total_steps.into())) }
                        td.wide { (creator(&found.creators, &run.created_by_role, run.created_by)) }
                    }
                    @if !hit.snippets.is_empty() { tr.hits { td colspan="7" { @for found in &hit.snippets {
                        (snippet(found, field_word(view, field_name(found.field))))
                    } } } }
                }
            }
        }
    }
}

pub(super) fn field_word<'a>(view: &View<'a>, name: &'static str) -> &'a str {
    view.fields.iter().find(|(known, _)| *known == name).map_or(name, |(_, word)| word)
}

/// Returns who made a record: by name where it is known, else by id.
pub(super) fn creator(creators: &Creators, role: &str, id: RecordId) -> Markup {
    let name = match creators.get(id) {
        Some(Creator::Account(account)) => account.name.as_deref().or(account.email.as_deref()),
        Some(Creator::EndUser(user)) => user.session_id.as_deref(),
        None => None,
    };
    html! { span title={ (printable(&clipped(role, 40))) " " (id) } { @match name {
        Some(name) => { (line(name, 40)) }
        None => { code { (short(&id.to_string())) } }
    } } }
}
