//! What fails, grouped by a fingerprint of the error text. Computed while it is read, over a bounded number of the newest
//! failed runs; the page says how many.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::OnceLock;

use axum::http::StatusCode;
use axum::response::Response;
use futures::StreamExt as _;
use maud::{Markup, html};

use super::access::Reader;
use super::explore::View;
use super::format::{clipped, count, line, short, time};
use super::layout::{Screen, page as whole_page, path};
use super::state::{Span, State};
use crate::domain::query::Direction;
use crate::domain::{AppId, Record, RecordId, Timestamp};
use crate::http::api::params::id;
use crate::http::api::problem::Problem;
use crate::query::RunQuery;

const KNOWN: [&str; 4] = ["app_id", "range", "from", "until"];
/// Failed runs that are looked at, and bytes of their payloads, which come along.
const MOST_RUNS: usize = 1000;
const MOST_BYTES: usize = 64 << 20;
/// Apps named in a group.
const MOST_APPS: usize = 3;
/// Groups shown.
const MOST_GROUPS: usize = 100;
/// Characters of an error that tell it from others.
const TELLING: usize = 300;

/// Failed runs whose errors say the same.
struct Group {
    /// The newest text.
    example: String,
    newest: (Timestamp, RecordId),
    oldest: Timestamp,
    runs: u64,
    apps: BTreeSet<AppId>,
}

/// What of an error is the same whenever it comes again: numbers, ids and quoted parts are left out, white space and case
/// do not count.
fn fingerprint(error: &str) -> String {
    let mut shown = String::new();
    let mut characters = error.chars().peekable();
    while let Some(character) = characters.next() {
        if shown.len() >= TELLING {
            break;
        }
        if matches!(character, '"' | '\'' | '`' | '“' | '「') {
            let end = match character {
                '“' => '”',
                '「' => '」',
                same => same,
            };
            // An apostrophe within a word quotes nothing.
            let is_quote = character != '\'' || !shown.ends_with(char::is_alphanumeric);
            let rest: String = characters.clone().take(200).take_while(|next| *next != end).collect();
            let length = rest.chars().count();
            if is_quote && characters.clone().nth(length) == Some(end) {
                characters.nth(length);
                shown.push_str("“…”");
                continue;
            }
        }
        if character.is_alphanumeric() {
            let mut word = String::from(character);
            while let Some(next) = characters.next_if(|next| next.is_alphanumeric() || *next == '_') {
                word.push(next);
            }
            let is_id = word.len() >= 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            if word.contains(|c: char| c.is_ascii_digit()) || is_id {
                if !shown.ends_with('#') {
                    shown.push('#');
                }
                // The parts of an id or of a number are one.
                while characters.next_if(|next| matches!(next, '-' | '.' | ':')).is_some() {
                    while characters.next_if(|next| next.is_alphanumeric()).is_some() {}
                }
            } else {
                shown.push_str(&word.to_lowercase());
            }
        } else if character.is_whitespace() {
            if !shown.ends_with(' ') {
                shown.push(' ');
            }
        } else {
            shown.push(character);
        }
    }
    shown.trim().to_owned()
}

struct Groups {
    found: Vec<Group>,
    looked_at: usize,
    /// There are more failed runs.
    is_cut: bool,
}

async fn groups(reader: &Reader, query: &RunQuery) -> Result<Groups, Problem> {
    let mut walk = pin!(reader.logs.export(query, Direction::Descending));
    let mut groups = BTreeMap::<String, Group>::new();
    let (mut looked_at, mut bytes, mut is_cut) = (0, 0, false);
    while let Some(document) = walk.next().await {
        let document = document?;
        if looked_at == MOST_RUNS || bytes > MOST_BYTES {
            is_cut = true;
            break;
        }
        bytes += document.whole_footprint();
        let Record::Run(run) = document.record else { continue };
        looked_at += 1;
        let error = run.error.as_deref().unwrap_or_default();
        let group = groups.entry(fingerprint(error)).or_insert_with(|| Group {
            example: clipped(error, 600),
            newest: (run.created_at, run.id),
            oldest: run.created_at,
            runs: 0,
            apps: BTreeSet::new(),
        });
        group.runs += 1;
        group.oldest = group.oldest.min(run.created_at);
        group.apps.insert(run.app_id);
    }
    let mut found: Vec<_> = groups.into_values().collect();
    found.sort_by_key(|group| std::cmp::Reverse((group.runs, group.newest)));
    Ok(Groups { found, looked_at, is_cut })
}

/// The page.
pub(super) async fn page(reader: Reader, state: State) -> Result<Response, Problem> {
    let state = state.only(&KNOWN)?;
    let look = reader.viewer.look;
    let texts = look.texts();
    let span = state.span(look.zone, reader.viewer.now)?;
    let view = View {
        reader: &reader,
        state: &state,
        span: &span,
        screen: Screen::Errors,
        fields: &[],
        searched: "",
        filters: &[("app_id", texts.app)],
        apps: OnceLock::new(),
    };
    let query = RunQuery {
        app_id: id("app_id", state.get("app_id"))?,
        statuses: vec!["failed".into()],
        created: span.created,
        ..RunQuery::default()
    };
    let groups = groups(&reader, &query).await?;
    view.learn(groups.found.iter().take(MOST_GROUPS).flat_map(|group| group.apps.iter().take(MOST_APPS).copied()))
        .await;
    let content = html! {
        div.bar { div.title { h1 { (texts.errors) } } (view.time_bar()) }
        p.faint { (texts.errors_lead) }
        (view.chips())
        @if groups.found.is_empty() {
            (view.none_found(texts.no_errors, None))
        } @else { (table(&view, &span, &groups)) }
    };
    Ok(whole_page(StatusCode::OK, &reader.frame(texts.errors, Screen::Errors, &state), &content))
}

fn table(view: &View<'_>, span: &Span, groups: &Groups) -> Markup {
    let texts = view.texts();
    let zone = view.reader.viewer.look.zone;
    let runs = path(view.reader.tenant_id(), Screen::Runs);
    let bound = if groups.is_cut { texts.errors_bound } else { texts.errors_all };
    html! {
        p.(if groups.is_cut { "note" } else { "faint" }) { (bound) " " (count(groups.looked_at as i128)) }
        table.rows.groups {
            thead { tr {
                th scope="col" { (texts.error) }
                th.number scope="col" { (texts.runs) }
                th.wide scope="col" { (texts.apps) }
                th.wide scope="col" { (texts.first_seen) }
                th scope="col" { (texts.last_seen) }
            } }
            @for group in groups.found.iter().take(MOST_GROUPS) { tbody { tr {
                td { a href=(found_by(span, view.state, group).href(&runs)) {
                    @if group.example.is_empty() { (texts.no_error_text) } @else { (line(&group.example, 300)) }
                } }
                td.number { (count(group.runs.into())) }
                td.wide { @for app_id in group.apps.iter().take(MOST_APPS) { div { (view.app(&app_id.to_string())) } }
                    @if group.apps.len() > MOST_APPS { span.faint { "+" (count((group.apps.len() - MOST_APPS) as i128)) } } }
                td.wide { (time(group.oldest, zone)) }
                td { a href={ (runs) "/" (group.newest.1) } title=(texts.latest_run) { (time(group.newest.0, zone)) " " code { (short(&group.newest.1.to_string())) } } }
            } } }
        }
    }
}

/// The search that finds the runs of a group: by the longest part of its text that does not change.
fn found_by(span: &Span, state: &State, group: &Group) -> State {
    let mut found = State::default().with("status", Some("failed")).with("app_id", state.get("app_id"));
    found = match &span.preset {
        Some(preset) => found.with("range", Some(preset)),
        None => found.with("from", state.get("from")).with("until", state.get("until")),
    };
    let parts = group.example.split(|c: char| c.is_ascii_digit() || c.is_control() || matches!(c, '"' | '\'' | '`'));
    let longest = parts.map(str::trim).max_by_key(|part| part.chars().count()).unwrap_or_default();
    let keyword: String = longest.chars().take(80).collect();
    found.with("q", Some(keyword.trim())).with("in", (!keyword.trim().is_empty()).then_some("error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_say_the_same_have_one_fingerprint() {
        for (one, other) in [
            ("upstream answered 503", "Upstream answered 502"),
            ("no file \"a.txt\" in 12.5 s", "no file \"b.pdf\" in 3 s"),
            ("run b89565b5-f42d-4138-9461-0644ab17b0c9 is gone", "run 669dd85a-0949-4cda-99c9-4984b192aea0 is gone"),
            ("timeout\n at 10:00:01", "timeout at 11:22:33"),
            ("找不到文件 3", "找不到文件 77"),
        ] {
            assert_eq!(fingerprint(one), fingerprint(other));
        }
        for (one, other) in [("can't open", "can't close"), ("upstream answered 503", "upstream hung up"), ("", "x")] {
            assert_ne!(fingerprint(one), fingerprint(other));
        }
        assert!(fingerprint(&"word ".repeat(100_000)).len() <= TELLING + 10);
        assert!(fingerprint(&"'".repeat(100_000)).len() <= TELLING + 10);
    }
}
