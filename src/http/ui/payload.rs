//! Payloads of a run or a node execution: as trees, and as whole texts to take away.

use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::access::PageReader;
use super::format::{bytes, line, seconds, status, time};
use super::i18n::PageTexts;
use super::layout::{Screen, page, path};
use super::state::AddressState;
use super::tree::{MOST_BYTES, text, tree};
use crate::domain::document::{PayloadField, Truncation};
use crate::domain::{Document, JsonText, NodeExecution, Record};
use crate::http::api::extract::{Ids, Reading};
use crate::http::api::problem::Problem;
use crate::query::{QueryError, TenantLogs};

/// Returns the payload fields of a record that a page shows, in the order in which they are read.
fn fields(record: &Record) -> Vec<(PayloadField, Option<&str>)> {
    match record {
        Record::Run(run) => vec![
            (PayloadField::Error, run.error.as_deref()),
            (PayloadField::Inputs, run.inputs.as_ref().map(JsonText::as_str)),
            (PayloadField::Outputs, run.outputs.as_ref().map(JsonText::as_str)),
        ],
        Record::Node(node) => vec![
            (PayloadField::Error, node.error.as_deref()),
            (PayloadField::Inputs, node.inputs.as_ref().map(JsonText::as_str)),
            (PayloadField::ProcessData, node.process_data.as_ref().map(JsonText::as_str)),
            (PayloadField::Outputs, node.outputs.as_ref().map(JsonText::as_str)),
            (PayloadField::ExecutionMetadata, node.execution_metadata.as_ref().map(JsonText::as_str)),
        ],
        _ => Vec::new(),
    }
}

fn word(texts: &PageTexts, field: PayloadField) -> &'static str {
    match field {
        PayloadField::Inputs => texts.inputs,
        PayloadField::Outputs => texts.outputs,
        PayloadField::ProcessData => texts.process_data,
        PayloadField::ExecutionMetadata => texts.metadata,
        PayloadField::Graph => texts.graph,
        _ => texts.error,
    }
}

/// Returns the payloads of a document. `base` is the address of its data.
pub(super) fn payloads(texts: &PageTexts, document: &Document, base: &str) -> Markup {
    html! {
        @for (field, payload) in fields(&document.record) {
            @if let Some(payload) = payload.filter(|payload| !matches!(*payload, "" | "null" | "{}" | "[]")) {
                @let mark = document.mark(field);
                (one(texts, field, payload, mark, base))
            }
        }
    }
}

fn one(texts: &PageTexts, field: PayloadField, payload: &str, mark: Option<&Truncation>, base: &str) -> Markup {
    let href = format!("{base}/text/{}{}", field.as_str(), if mark.is_some() { "?full=true" } else { "" });
    let size = payload.len() as u64;
    html! {
        section.payload.(if field == PayloadField::Error { "bad" } else { "" }) {
            header {
                h3 { (word(texts, field)) }
                span.faint { (bytes(size)) }
                @if let Some(mark) = mark { span.faint { (texts.cut) " " (bytes(mark.original_bytes)) } }
                a href=(href) { (texts.whole_text) }
                a href={ (href) (if mark.is_some() { "&" } else { "?" }) "download=true" } { (texts.download) }
                button.quiet.copy type="button" data-copy=(href) hidden { (texts.copy) }
            }
            @if payload.len() > MOST_BYTES {
                p.faint { (texts.too_large) " " a href=(href) { (texts.whole_text) } }
                (text(payload))
            } @else if field == PayloadField::Error { (text(payload)) } @else { (tree(texts, payload)) }
        }
    }
}

/// Returns the address of a node execution's data.
pub(super) fn node_data(reader: &PageReader, id: impl std::fmt::Display) -> String {
    format!("/ui/data/{}/nodes/{id}", reader.tenant_id())
}

/// One node execution: a page, or, for a script, the part that a timeline opens.
pub(super) async fn node(reader: PageReader, ids: Ids, headers: HeaderMap) -> Result<Response, Problem> {
    let found = reader.logs.node(ids.get("node_execution_id")?).await?;
    let Some(document) = found else { return Err(Problem::not_found("no such record")) };
    let Record::Node(node) = &document.record else { return Err(Problem::not_found("no such record")) };
    let texts = reader.viewer.look.texts();
    let base = node_data(&reader, node.id);
    let shown = payloads(texts, &document, &base);
    if headers.contains_key("x-part") {
        let here = format!("{}/{}", path(reader.tenant_id(), Screen::Nodes), node.id);
        let part = html! { (shown) p.take { a href=(here) { (texts.node_page) } " · " a href=(base) { "JSON" } } };
        return Ok(Html(part.into_string()).into_response());
    }
    let content = html! { (head(&reader, node)) (shown) p.take { (texts.take_away) ": " a href=(base) { "JSON" } } };
    let frame = reader.frame(&node.title, Screen::Nodes, &AddressState::default());
    Ok(page(StatusCode::OK, &frame, &content))
}

fn head(reader: &PageReader, node: &NodeExecution) -> Markup {
    let (look, texts) = (reader.viewer.look, reader.viewer.look.texts());
    html! {
        @if let Some(run_id) = node.workflow_run_id {
            p.crumbs { a href={ (path(reader.tenant_id(), Screen::Runs)) "/" (run_id) } { (texts.run) " " code { (super::format::short(&run_id.to_string())) } } }
        }
        div.title { h1 { (line(&node.title, 200)) } (status(texts, node.status.as_str())) }
        dl.facts {
            div { dt { (texts.node_type) } dd { code { (line(&node.node_type, 60)) } } }
            div { dt { (texts.started) } dd { (time(node.created_at, look.zone)) } }
            div { dt { (texts.duration) } dd { (seconds(node.elapsed_time)) } }
            div { dt { (texts.node) } dd { code { (line(&node.node_id, 80)) } } }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct TextParams {
    #[serde(default)]
    full: bool,
    #[serde(default)]
    download: bool,
}

/// Returns a payload of a run as text.
pub(super) async fn run_text(
    Reading(logs): Reading,
    ids: Ids,
    Query(params): Query<TextParams>,
) -> Result<Response, Problem> {
    let found = logs.run(None, ids.get("run_id")?).await?;
    whole_text(&logs, found, ids.text("field"), &params).await
}

/// Returns a payload of a node execution as text.
pub(super) async fn node_text(
    Reading(logs): Reading,
    ids: Ids,
    Query(params): Query<TextParams>,
) -> Result<Response, Problem> {
    let found = logs.node(ids.get("node_execution_id")?).await?;
    whole_text(&logs, found, ids.text("field"), &params).await
}

async fn whole_text(
    logs: &TenantLogs,
    found: Option<Document>,
    field: &str,
    params: &TextParams,
) -> Result<Response, Problem> {
    let missing = || Problem::not_found("no such record or field");
    let (document, field) = (found.ok_or_else(missing)?, PayloadField::from_column(field).ok_or_else(missing)?);
    let document = if params.full { full_of(logs, document, field).await? } else { document };
    let graph = match &document.record {
        Record::Run(run) => run.graph.as_ref().map(|graph| (PayloadField::Graph, Some(graph.as_str()))),
        _ => None,
    };
    let known = fields(&document.record).into_iter().chain(graph);
    let payload = known.into_iter().find(|(known, _)| *known == field).and_then(|(_, payload)| payload);
    let payload = payload.ok_or_else(missing)?.to_owned();
    // As text, whatever it holds: a browser must not take it for a page.
    let mut response = ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], payload).into_response();
    if params.download {
        let extension = if field == PayloadField::Error { "txt" } else { "json" };
        let name = format!("attachment; filename=\"{}-{}.{extension}\"", document.record.id(), field.as_str());
        if let Ok(name) = HeaderValue::from_str(&name) {
            response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
        }
    }
    Ok(response)
}

/// Returns the document with the full text of one field.
async fn full_of(logs: &TenantLogs, mut document: Document, field: PayloadField) -> Result<Document, QueryError> {
    document.truncated.retain(|mark| mark.field == field);
    logs.full(document).await
}
