//! The state of the parts, for admin keys: what `difylog status` sees, without hosts, folders and reasons, which the
//! operator's command and log have.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::access::Viewer;
use super::format::{bytes, count, line};
use super::i18n::PageTexts;
use super::layout::page as whole_page;
use crate::http::api::Api;
use crate::http::api::extract::Everything;
use crate::http::api::problem::Problem;

/// Months shown, newest first.
const MONTHS: usize = 36;

/// Returns the page.
pub(super) async fn page(State(api): State<Api>, viewer: Viewer, _: Everything) -> Result<Response, Problem> {
    let Some(look_at) = &api.status else { return Err(Problem::not_found("no status is looked at here")) };
    let status = look_at().await;
    let texts = viewer.look.texts();
    let content = html! {
        div.title { h1 { (texts.system) } }
        p.faint { (texts.system_lead) }
        p { a href=(super::admin_errors::PATH) { (texts.errors_everywhere) } }
        (parts(texts, &status))
        section { h2 { (texts.queues) } (queues(texts, status.get("queues"))) }
        section { h2 { (texts.months) } (months(texts, status.get("months"))) }
    };
    Ok(whole_page(StatusCode::OK, &viewer.frame(texts.system), &content))
}

/// Returns the value of a part that could be seen.
fn seen(part: Option<&Value>) -> Option<&Value> {
    part.filter(|part| part.get("error").is_none() && !part.is_null())
}

fn parts(texts: &PageTexts, status: &Value) -> Markup {
    let named = [
        ("store", texts.store),
        ("payloads", texts.payload_store),
        ("broker", texts.broker),
        ("postgres", texts.database),
    ];
    let lag = seen(status.get("lag"));
    let number = |name: &str| lag.and_then(|lag| lag.get(name)).and_then(Value::as_u64);
    html! {
        dl.facts {
            @for (name, word) in named.into_iter().filter(|(name, _)| status.get(name).is_none_or(|part| !part.is_null())) {
                @let is_seen = seen(status.get(name)).is_some();
                div { dt { (word) } dd { span.status.(if is_seen { "ok" } else { "warn" }) {
                    (super::format::mark(if is_seen { "succeeded" } else { "exception" }))
                    @if is_seen { (texts.reachable) } @else { (texts.unseen) }
                } } }
            }
            div { dt { (texts.waiting) } dd { @match number("waiting") { Some(waiting) => (count(waiting.into())), None => "–" } } }
            div { dt { (texts.behind) } dd { @match number("seconds") { Some(seconds) => (super::format::seconds(seconds as f64)), None => "–" } } }
            div { dt { "difylog" } dd { (env!("CARGO_PKG_VERSION")) } }
        }
    }
}

fn rows(part: Option<&Value>) -> &[Value] {
    seen(part).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn queues(texts: &PageTexts, part: Option<&Value>) -> Markup {
    let number = |row: &Value, name: &str| {
        row.get(name).and_then(Value::as_u64).map_or("–".to_owned(), |number| count(number.into()))
    };
    html! {
        @if rows(part).is_empty() { p.faint { (texts.unseen) } } @else {
            table.framed {
                thead { tr { th scope="col" { (texts.queue) } th.number scope="col" { (texts.waiting) } th.number scope="col" { (texts.consumers) } } }
                tbody { @for row in rows(part) { tr {
                    td { code { (line(row.get("queue").and_then(Value::as_str).unwrap_or_default(), 100)) } }
                    td.number { (number(row, "ready")) }
                    td.number { (number(row, "consumers")) }
                } } }
            }
        }
    }
}

/// What a month holds.
#[derive(Default)]
struct Month<'a> {
    kinds: BTreeMap<&'a str, u64>,
    bytes: u64,
}

const KINDS: [&str; 3] = ["workflow_run", "node_execution", "app_log"];

fn months(texts: &PageTexts, part: Option<&Value>) -> Markup {
    let mut months = BTreeMap::<&str, Month<'_>>::new();
    for row in rows(part) {
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
        let month = months.entry(text("month")).or_default();
        month.bytes += row.get("bytes").and_then(Value::as_u64).unwrap_or(0);
        if let Some(documents) = row.get("documents").and_then(Value::as_u64) {
            *month.kinds.entry(text("kind")).or_default() += documents;
        }
    }
    let most = months.values().map(|month| month.bytes).max().unwrap_or(0).max(1);
    html! {
        @if months.is_empty() { p.faint { (texts.unseen) } } @else {
            table.framed {
                thead { tr {
                    th scope="col" { (texts.month) }
                    @for word in [texts.runs, texts.nodes, texts.app_logs] { th.number scope="col" { (word) } }
                    th.number scope="col" { (texts.size) }
                    th.wide scope="col" { span.sr { (texts.size) } }
                } }
                tbody { @for (name, month) in months.iter().rev().take(MONTHS) { tr {
                    th scope="row" { (line(name, 20)) }
                    @for kind in KINDS { td.number { (count(month.kinds.get(kind).copied().unwrap_or(0).into())) } }
                    td.number { (bytes(month.bytes)) }
                    td.wide { svg.amount viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
                        rect.plain height="8" width=(format!("{:.1}", month.bytes as f64 / most as f64 * 100.0)) {}
                    } }
                } } }
            }
        }
    }
}
