//! The explorer of node executions: the same as of runs, over all runs.

use std::sync::OnceLock;

use axum::http::StatusCode;
use axum::response::Response;
use futures::TryFutureExt as _;
use maud::{Markup, html};

use super::access::PageReader;
use super::explore::{Counted, ListCounts, Results, View, apps_of, snippet};
use super::format::{line, short, status, time, took};
use super::layout::{Screen, page as whole_page, path};
use super::runs::field_word;
use super::state::AddressState;
use crate::domain::query::{Facet, NodeSummary};
use crate::http::api::params::{NodeConditions, field_name};
use crate::http::api::problem::Problem;
use crate::query::{Hits, NodeQuery};

const KNOWN: [&str; 15] = [
    "q",
    "in",
    "app_id",
    "workflow_id",
    "workflow_run_id",
    "node_id",
    "node_type",
    "created_by",
    "status",
    "range",
    "from",
    "until",
    "sort",
    "order",
    "cursor",
];

/// What the page is made of.
struct Found {
    hits: Hits<NodeSummary>,
    counts: ListCounts<3>,
}

fn query(view: &View<'_>) -> Result<NodeQuery, Problem> {
    let state = view.state;
    let conditions = NodeConditions {
        q: state.owned("q"),
        r#in: Some(view.within()),
        app_id: state.owned("app_id"),
        workflow_id: state.owned("workflow_id"),
        workflow_run_id: state.owned("workflow_run_id"),
        node_id: state.owned("node_id"),
        node_type: state.owned("node_type"),
        created_by: state.owned("created_by"),
        status: state.owned("status"),
        ..NodeConditions::default()
    };
    Ok(NodeQuery { created: view.span.created, ..conditions.query()? })
}

async fn find(view: &View<'_>, query: &NodeQuery) -> Result<Found, Problem> {
    let page = view.search_page()?;
    let counted = [
        Counted::filtered(Facet::Status, query, |query| query.statuses.clear()),
        Counted::filtered(Facet::NodeType, query, |query| query.node_types.clear()),
        Counted::filtered(Facet::AppId, query, |query| query.app_id = None),
    ];
    let hits = view.reader.logs.search_nodes(query, &page).map_err(Problem::from);
    let (hits, counts) = tokio::try_join!(hits, view.counts(query, counted))?;
    let [_, _, apps] = &counts.facets;
    let mut shown = apps_of(apps);
    shown.extend(hits.hits.iter().map(|hit| hit.row.app_id));
    view.learn(shown).await;
    Ok(Found { hits, counts })
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
        screen: Screen::Nodes,
        fields: &[
            ("title", texts.title),
            ("error", texts.error),
            ("inputs", texts.inputs),
            ("outputs", texts.outputs),
            ("process_data", texts.process_data),
        ],
        searched: "title,error",
        filters: &[
            ("status", texts.status),
            ("node_type", texts.node_type),
            ("app_id", texts.app),
            ("workflow_id", texts.workflow),
            ("workflow_run_id", texts.run),
            ("node_id", texts.node),
            ("created_by", texts.creator),
        ],
        apps: OnceLock::new(),
    };
    let query = query(&view)?;
    let found = find(&view, &query).await?;
    let [statuses, types, apps] = &found.counts.facets;
    let facets = html! {
        (view.facet("status", texts.status, statuses))
        (view.facet("node_type", texts.node_type, types))
        (view.facet("app_id", texts.app, apps))
    };
    let results = (!found.hits.hits.is_empty()).then(|| Results {
        bars: &found.counts.bars,
        per_span: texts.nodes_per_span,
        total: found.counts.total,
        list: "nodes",
        table: table(&view, &found),
        next: found.hits.next.as_deref(),
    });
    let content = html! {
        h1.sr { (texts.nodes) }
        div.bar { (view.search_bar(texts.search_nodes_hint)) (view.time_bar()) }
        (view.chips())
        (view.names_note(false))
        @if found.hits.text_truncated { p.note { (texts.cut_search) } }
        (view.explorer(&facets, results.as_ref()))
    };
    Ok(whole_page(StatusCode::OK, &reader.frame(texts.nodes, Screen::Nodes, &state), &content))
}

fn table(view: &View<'_>, found: &Found) -> Markup {
    let texts = view.texts();
    let runs = path(view.reader.tenant_id(), Screen::Runs);
    html! {
        table.rows.nodes {
            thead { tr {
                th scope="col" { (texts.status) }
                th scope="col" { (texts.title) }
                (view.sorted("created_at", texts.started, "wide"))
                th.wide scope="col" { (texts.app) }
                (view.sorted("elapsed_time", texts.duration, "number"))
                th.wide scope="col" { (texts.run) }
            } }
            @for hit in &found.hits.hits {
                @let node = &hit.row;
                tbody.linked {
                    tr {
                        td { (status(texts, node.status.as_str())) }
                        td { a.whole href={ (view.path()) "/" (node.id) } { (line(&node.title, 80)) } " " small { (line(&node.node_type, 40)) } }
                        td.wide { (time(node.created_at, view.reader.viewer.look.zone)) }
                        td.wide { (view.app(&node.app_id.to_string())) }
                        td.number { (took(node.elapsed_time, node.finished_at)) }
                        td.wide.above-link { @if let Some(run_id) = node.workflow_run_id { a href={ (runs) "/" (run_id) } { code { (short(&run_id.to_string())) } } } }
                    }
                    @if !hit.snippets.is_empty() { tr.hits { td colspan="6" { @for found in &hit.snippets {
                        (snippet(found, field_word(view, field_name(found.field))))
                    } } } }
                }
            }
        }
    }
}
