//! One run: what it was, how it went over time, what went in and out, and its canvas.

use std::collections::HashMap;

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::access::PageReader;
use super::format::{class, count, line, seconds, short, status, time};
use super::graph;
use super::layout::{Screen, page as whole_page, path};
use super::names;
use super::payload::{node_data, payloads};
use super::person;
use super::runs::creator;
use super::state::AddressState;
use super::timeline::Timeline;
use super::transcript;
use super::{compare, conversation};
use crate::domain::query::NodeSummary;
use crate::domain::{Document, Record, RecordId, WorkflowRun};
use crate::http::api::compare::compared;
use crate::http::api::extract::Ids;
use crate::http::api::problem::Problem;

/// Failed nodes whose error texts are shown in the timeline.
const MOST_ERRORS: usize = 20;
const VIEWS: [&str; 5] = ["timeline", "transcript", "graph", "payloads", "compare"];

/// Returns the page.
pub(super) async fn page(reader: PageReader, ids: Ids, state: AddressState) -> Result<Response, Problem> {
    let state = state.only(&["view", "cursor", "with"])?;
    let run_id: RecordId = ids.get("run_id")?;
    let view = state.get("view").unwrap_or("timeline");
    if !VIEWS.contains(&view) {
        return Err(Problem::param("view", "expected timeline, transcript, graph, payloads or compare"));
    }
    let found = reader.logs.run(None, run_id).await?;
    let Some(document) = found else { return Err(Problem::not_found("no such record")) };
    let Record::Run(run) = &document.record else { return Err(Problem::not_found("no such record")) };
    let body = match view {
        "transcript" => transcript::markup(&reader, run, state.get("cursor")).await?,
        "compare" => match state.get("with") {
            None => compare::choice(&reader, run).await?,
            Some(with) => compare::differences(&reader, &compared(&reader.logs, &ids, with).await?),
        },
        "payloads" => payloads(reader.viewer.look.texts(), &document, &data(&reader, run_id)),
        _ => {
            let nodes = reader.logs.node_snapshots(None, run_id).await?;
            if view == "graph" { graph::markup(&reader, run, &nodes) } else { timeline(&reader, run, &nodes).await? }
        }
    };
    let content = html! { (head(&reader, &document, run).await) (tabs(&reader, run_id, view)) (body) (take_away(&reader, run_id)) };
    let texts = reader.viewer.look.texts();
    let title = format!("{} {}", texts.run, short(&run_id.to_string()));
    Ok(whole_page(StatusCode::OK, &reader.frame(&title, Screen::Runs, &AddressState::default()), &content))
}

fn data(reader: &PageReader, run_id: RecordId) -> String {
    format!("/ui/data/{}/runs/{run_id}", reader.tenant_id())
}

async fn timeline(reader: &PageReader, run: &WorkflowRun, nodes: &[NodeSummary]) -> Result<Markup, Problem> {
    let failed = nodes.iter().filter(|node| matches!(class(node.status.as_str()), "bad" | "warn"));
    let mut errors = HashMap::new();
    for node in failed.take(MOST_ERRORS) {
        if let Some(Document { record: Record::Node(node), .. }) = reader.logs.node(node.id).await?
            && let Some(error) = &node.error
        {
            errors.insert(node.id, error.to_string());
        }
    }
    let texts = reader.viewer.look.texts();
    let drawn = Timeline::new(texts, nodes, &errors, run.created_at).markup();
    Ok(html! { (drawn) @if nodes.len() > super::timeline::MOST { p.note { (texts.nodes_cut) } } })
}

async fn head(reader: &PageReader, document: &Document, run: &WorkflowRun) -> Markup {
    let (look, texts) = (reader.viewer.look, reader.viewer.look.texts());
    let runs = path(reader.tenant_id(), Screen::Runs);
    let creators = reader.logs.creators([(&*run.created_by_role, run.created_by)]).await;
    let apps = reader.logs.app_names([run.app_id]).await;
    // A page without it is better than none.
    let message = reader.logs.message_of_run(run.app_id, run.id).await.ok().flatten();
    let of = |name: &str, id: &str| AddressState::default().with(name, Some(id)).with("range", Some("all")).href(&runs);
    let app_id = run.app_id.to_string();
    html! {
        p.crumbs { a href=(runs) { (texts.runs) } }
        @if apps.are_missing() || creators.are_names_missing() { p.note { (texts.names_missing) } }
        div.title { h1 { (texts.run) " " code { (short(&run.id.to_string())) } } (status(texts, run.status.as_str()))
            @if let Some(href) = reader.in_dify(run) { a.button.quiet href=(href) rel="noopener" { (texts.open_in_dify) } } }
        dl.facts {
            div { dt { (texts.started) } dd { (time(run.created_at, look.zone)) } }
            div { dt { (texts.duration) } dd { @if run.finished_at.is_none() { (texts.running_since) } @else { (seconds(run.elapsed_time)) } } }
            div { dt { (texts.tokens) } dd { (count(run.total_tokens.into())) } }
            div { dt { (texts.steps) } dd { (count(run.total_steps.into())) } }
            @if run.exceptions_count > 0 { div { dt { (texts.exceptions) } dd { (count(run.exceptions_count.into())) } } }
            div { dt { (texts.trigger) } dd { (line(&run.triggered_from, 40)) } }
            div { dt { (texts.creator) } dd { a href=(person::href(reader, run.created_by)) { (creator(&creators, &run.created_by_role, run.created_by)) } } }
            div { dt { (texts.app) } dd { a href=(of("app_id", &app_id)) { (names::app(&apps, &app_id)) } } }
            @if let Some(message) = &message { div { dt { (texts.conversation) } dd {
                a href=(conversation::href(reader, message.conversation_id)) { code { (short(&message.conversation_id.to_string())) } } } } }
            div { dt { (texts.version) } dd { (line(&run.version, 40)) } }
        }
        @if let Some(error) = run.error.as_deref().filter(|error| !error.is_empty()) {
            section.payload.bad { header { h2 { (texts.error) } } (super::tree::text(error)) }
        }
        details.ids { summary { (texts.ids) } dl {
            @for (word, id) in [(texts.run, run.id.to_string()), (texts.app, app_id), (texts.workflow, run.workflow_id.to_string()),
                (texts.workspace, run.tenant_id.to_string()), (texts.creator, run.created_by.to_string())] {
                div { dt { (word) } dd { code { (id) } " " button.quiet.copy type="button" data-text=(id) hidden { (texts.copy) } } }
            }
            @if let Some(hash) = &document.graph { div { dt { (texts.graph) } dd { code { (hash) } } } }
        } }
    }
}

fn tabs(reader: &PageReader, run_id: RecordId, current: &str) -> Markup {
    let texts = reader.viewer.look.texts();
    let here = format!("{}/{run_id}", path(reader.tenant_id(), Screen::Runs));
    let words = [texts.timeline, texts.transcript, texts.graph, texts.payloads, texts.compare];
    html! {
        nav.tabs aria-label=(texts.run) {
            @for (view, word) in VIEWS.into_iter().zip(words) {
                a href={ (here) @if view != "timeline" { "?view=" (view) } } aria-current=[(view == current).then_some("page")] { (word) }
            }
        }
    }
}

fn take_away(reader: &PageReader, run_id: RecordId) -> Markup {
    let texts = reader.viewer.look.texts();
    let nodes = format!("/ui/data/{}/export/nodes?workflow_run_id={run_id}&order=asc", reader.tenant_id());
    html! {
        p.take { (texts.take_away) ": "
            a href=(data(reader, run_id)) { (texts.run) " (JSON)" } " · "
            a href=(nodes) { (texts.nodes) " (NDJSON)" } " · "
            a href={ (nodes) "&format=csv" } { (texts.nodes) " (CSV)" }
        }
    }
}

/// Returns the payloads of one node in a transcript.
pub(super) fn node_payloads(reader: &PageReader, document: &Document) -> Markup {
    payloads(reader.viewer.look.texts(), document, &node_data(reader, document.record.id()))
}
