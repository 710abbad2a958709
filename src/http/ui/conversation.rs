//! A conversation: what was asked and answered, run by run. Which runs those are is known to Dify's PostgreSQL alone.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::access::PageReader;
use super::format::{clipped, count, short, status, time, took};
use super::layout::{Screen, page as whole_page, path};
use super::state::AddressState;
use super::tree::text;
use crate::domain::query::RunSummary;
use crate::domain::{JsonText, Record, RecordId};
use crate::http::api::conversations::known;
use crate::http::api::extract::Ids;
use crate::http::api::problem::Problem;
use crate::query::{MOST_TURNS, Turn};

/// Turns of a page: each is a document that is read whole.
const PAGE: usize = 30;
/// Characters of a question or an answer.
const SHOWN: usize = 2000;
/// Payloads beyond this are not parsed for a look.
const PARSED: usize = 256 << 10;

/// Returns the address of a conversation.
pub(super) fn href(reader: &PageReader, id: RecordId) -> String {
    format!("/ui/t/{}/conversations/{id}", reader.tenant_id())
}

/// Returns the page.
pub(super) async fn page(reader: PageReader, ids: Ids, state: AddressState) -> Result<Response, Problem> {
    let state = state.only(&["page"])?;
    let id: RecordId = ids.get("conversation_id")?;
    known(&reader.logs)?;
    let number = state.get("page").unwrap_or("1").parse::<usize>().ok().filter(|page| (1..=MOST_TURNS).contains(page));
    let number = number.ok_or_else(|| Problem::param("page", "expected a number from 1 on"))?;
    let turns = reader.logs.conversation(id).await?;
    if turns.is_empty() {
        return Err(Problem::not_found("no such conversation with a run"));
    }
    let texts = reader.viewer.look.texts();
    let mut shown = Vec::new();
    for turn in turns.iter().skip((number - 1) * PAGE).take(PAGE) {
        shown.push(one(&reader, turn).await?);
    }
    let at = |page: usize| format!("{}?page={page}", href(&reader, id));
    let content = html! {
        div.title { h1 { (texts.conversation) " " code title=(id) { (short(&id.to_string())) } } }
        p.total role="status" { strong { (count(turns.len() as i128)) } " " (texts.turns) }
        @if turns.len() == MOST_TURNS { p.note { (texts.turns_cut) } }
        ol.transcript { @for turn in shown { (turn) } }
        nav.pager aria-label=(texts.page) {
            @if number > 1 { a.button.quiet rel="prev" href=(at(number - 1)) { (texts.previous) } }
            @if turns.len() > number * PAGE { a.button rel="next" href=(at(number + 1)) { (texts.next) } }
        }
    };
    Ok(whole_page(StatusCode::OK, &reader.frame(texts.conversation, Screen::Runs, &AddressState::default()), &content))
}

async fn one(reader: &PageReader, turn: &Turn) -> Result<Markup, Problem> {
    let texts = reader.viewer.look.texts();
    let Some(run) = &turn.run else {
        return Ok(
            html! { li { article { p.faint { (texts.run_gone) " " code { (short(&turn.answered.run_id.to_string())) } } } } },
        );
    };
    let document = reader.logs.run(None, run.id).await?;
    let Some(Record::Run(whole)) = document.map(|document| document.record) else {
        return Ok(html! { li { article { (head(reader, run)) p.faint { (texts.run_gone) } } } });
    };
    let (asked, answered) = (said(whole.inputs.as_ref(), &ASKED), said(whole.outputs.as_ref(), &ANSWERED));
    Ok(html! {
        li { article {
            (head(reader, run))
            @if let Some(asked) = asked { h3 { (texts.asked) } (text(&asked)) }
            @if let Some(answered) = answered { h3 { (texts.answered) } (text(&answered)) }
            @if let Some(error) = whole.error.as_deref().filter(|error| !error.is_empty()) {
                section.payload.bad { header { h3 { (texts.error) } } (text(error)) }
            }
        } }
    })
}

fn head(reader: &PageReader, run: &RunSummary) -> Markup {
    let look = reader.viewer.look;
    html! {
        header {
            h2 { a href={ (path(reader.tenant_id(), Screen::Runs)) "/" (run.id) } { (time(run.created_at, look.zone)) } }
            (status(look.texts(), run.status.as_str()))
            span.number { (took(run.elapsed_time, run.finished_at)) }
        }
    }
}

/// Names under which apps ask; Dify's own first.
pub(super) const ASKED: [&str; 4] = ["sys.query", "query", "question", "text"];
const ANSWERED: [&str; 4] = ["answer", "text", "result", "output"];

/// Returns what a payload says: the text under one of these names, else the payload itself, clipped.
pub(super) fn said(payload: Option<&JsonText>, names: &[&str]) -> Option<String> {
    let json = payload?.as_str();
    if matches!(json, "" | "null" | "{}") {
        return None;
    }
    if json.len() <= PARSED
        && let Ok(Value::Object(members)) = serde_json::from_str::<Value>(json)
        && let Some(text) = names.iter().find_map(|name| members.get(*name)?.as_str().filter(|text| !text.is_empty()))
    {
        return Some(clipped(text, SHOWN));
    }
    Some(clipped(json, SHOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_says_its_text_or_itself() {
        let of = |json: &str| said(Some(&JsonText::from_clean(json)), &ASKED);
        assert_eq!(of(r#"{"sys.user_id": "u", "sys.query": "where?"}"#).as_deref(), Some("where?"));
        assert_eq!(of(r#"{"other": 1}"#).as_deref(), Some(r#"{"other": 1}"#));
        assert_eq!(of("{}"), None);
        assert_eq!(of(&format!("{{\"query\": \"{}\"}}", "x".repeat(1_000_000))).unwrap().chars().count(), SHOWN + 1);
    }
}
