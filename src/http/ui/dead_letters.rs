//! Dead letters: what was refused and why, and what can be done about it. For admin keys that may operate.

mod act;
mod letter;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};

pub(super) use self::act::{act, acted, progress, stop, stopped};
pub(super) use self::letter::letter;
use super::access::Viewer;
use super::format::{count, line, short, time};
use super::i18n::PageTexts;
use super::layout::page as whole_page;
use super::state::AddressState;
use crate::amqp::{LetterSelection, LetterSummary};
use crate::domain::Kind;
use crate::http::api::extract::Operating;
use crate::http::api::letters::LetterConditions;
use crate::http::api::problem::Problem;
use crate::http::dead_letters::LetterPage;

const PATH: &str = "/ui/dead-letters";
const KNOWN: [&str; 8] = ["reason", "tenant_id", "kind", "since", "until", "doubtful", "cursor", "purged"];
/// Letters of a page. Their hashes fit into a form.
const ROWS: usize = 100;
/// Values of a facet.
const VALUES: usize = 12;

fn selection(state: &AddressState) -> Result<LetterSelection, Problem> {
    let conditions = LetterConditions {
        tenant_id: state.owned("tenant_id"),
        kind: state.owned("kind"),
        reason: state.owned("reason"),
        since: state.owned("since"),
        until: state.owned("until"),
        doubtful: state.get("doubtful").map(|text| text == "true"),
        sha256: None,
    };
    conditions.selection()
}

/// Returns the page. While a replay holds the letters, its progress.
pub(super) async fn page(
    viewer: Viewer,
    Operating(queue, _): Operating,
    state: AddressState,
) -> Result<Response, Problem> {
    let state = state.only(&KNOWN)?;
    if let Some(job) = queue.under_way().await? {
        return Ok(Redirect::to(&act::path(job.id)).into_response());
    }
    let after =
        state.get("cursor").unwrap_or("0").parse().map_err(|_| Problem::param("cursor", "expected a number"))?;
    let found = match queue.list(&selection(&state)?, after, ROWS).await {
        Ok(found) => found,
        Err(error) => return act::under_way(error),
    };
    let texts = viewer.look.texts();
    let purged = state.get("purged").and_then(|number| number.parse::<u64>().ok());
    let state = state.with("purged", None).with("cursor", state.get("cursor"));
    let content = html! {
        div.title { h1 { (texts.dead_letters) } }
        p.faint { (texts.dead_letters_lead) }
        @if let Some(purged) = purged { p.note role="status" { (count(purged.into())) " " (texts.purged) } }
        (chips(texts, &state))
        @if found.left > 0 { p.note { (texts.letters_walked) " " (count(found.left.into())) } }
        @if found.selected == 0 { (none(texts, &found)) } @else {
            div.explorer {
                aside { details.facets open { summary { (texts.filters) }
                    (facet(texts, &state, "reason", texts.reason, &found.reasons))
                    (facet(texts, &state, "tenant_id", texts.workspace, &found.tenants))
                    (facet(texts, &state, "kind", texts.kind, &found.kinds))
                } }
                div.results { (results(&viewer, &state, &found)) }
            }
        }
    };
    Ok(whole_page(StatusCode::OK, &viewer.frame(texts.dead_letters), &content))
}

fn none(texts: &PageTexts, found: &LetterPage) -> Markup {
    let is_empty = found.walked == 0;
    html! {
        section.state.none {
            h2 { (texts.no_letters) }
            p { @if is_empty { (texts.no_letters_hint) } @else { (texts.no_letters_view) } }
            @if !is_empty { p.actions { a.button.quiet href=(PATH) { (texts.reset) } } }
        }
    }
}

fn chips(texts: &PageTexts, state: &AddressState) -> Markup {
    let names = [
        ("reason", texts.reason),
        ("tenant_id", texts.workspace),
        ("kind", texts.kind),
        ("since", texts.from),
        ("until", texts.until),
        ("doubtful", texts.doubt),
    ];
    let set: Vec<_> = names.into_iter().filter_map(|(name, word)| Some((name, word, state.get(name)?))).collect();
    html! {
        @if !set.is_empty() {
            ul.chips aria-label=(texts.filters) { @for (name, word, value) in set {
                li { span { (word) ": " } (line(value, 60)) " "
                    a href=(state.with(name, None).href(PATH)) aria-label={ (texts.remove) ": " (word) } { "×" } }
            } }
        }
    }
}

fn facet(texts: &PageTexts, state: &AddressState, name: &str, word: &str, found: &[(String, u64)]) -> Markup {
    html! {
        section.facet {
            h2 { (word) }
            ul { @for (value, number) in found.iter().take(VALUES) {
                @let chosen = state.get(name) == Some(value);
                @let next = state.with(name, (!chosen).then_some(value.as_str()));
                li { @if value.is_empty() {
                    // What cannot be read has no tenant and no kind to ask for.
                    span.flat { span.value { (texts.unreadable_letter) } span.number { (count((*number).into())) } }
                } @else {
                    a href=(next.href(PATH)) aria-current=[chosen.then_some("true")] title=[texts.reason(value)] {
                        span.value { @if name == "tenant_id" { code title=(value) { (short(value)) } } @else { (line(value, 40)) } }
                        span.number { (count((*number).into())) }
                    }
                } }
            } }
        }
    }
}

fn results(viewer: &Viewer, state: &AddressState, found: &LetterPage) -> Markup {
    let texts = viewer.look.texts();
    html! {
        div.above { p.total role="status" { strong { (count(found.selected.into())) } " " (texts.letters_found) } }
        form method="post" action={ (PATH) "/act" } {
            @for (name, value) in state.pairs().filter(|(name, _)| *name != "cursor") { input type="hidden" name=(name) value=(value); }
            table.rows.letters {
                thead { tr {
                    th scope="col" { span.sr { (texts.choose) } }
                    th scope="col" { (texts.reason) }
                    th.wide scope="col" { (texts.kind) }
                    th.wide scope="col" { (texts.workspace) }
                    th.wide scope="col" { (texts.queue) }
                    th scope="col" { (texts.at) }
                } }
                @for letter in &found.letters { (row(viewer, letter)) }
            }
            (controls(texts, found.selected))
        }
        nav.pager aria-label=(texts.page) {
            @if state.get("cursor").is_some() { a.button.quiet href=(state.with("cursor", None).href(PATH)) { (texts.first) } }
            @if let Some(next) = found.next { a.button rel="next" href=(state.with("cursor", Some(&next.to_string())).href(PATH)) { (texts.next) } }
        }
    }
}

fn row(viewer: &Viewer, letter: &LetterSummary) -> Markup {
    let texts = viewer.look.texts();
    let heading = &letter.heading;
    html! {
        tbody { tr {
            td { input type="checkbox" name="sha256" value=(letter.hash) aria-label={ (texts.choose) " " (texts.letter) " " (letter.position) }; }
            td {
                a href={ (PATH) "/" (letter.hash) } { (line(&heading.reason, 60)) }
                p.why-short { (texts.reason(&heading.reason).unwrap_or(texts.reason_unknown)) }
                @if let Some(doubt) = &letter.doubt { p.why-short { span.status.warn { (super::format::mark("exception")) (texts.doubt) } ": " (line(doubt, 200)) } }
            }
            td.wide { @match letter.kind.map(Kind::as_str) { Some(kind) => (kind), None => { span.faint { (texts.unreadable_letter) } } } }
            td.wide { @if let Some(tenant) = letter.tenant { code title=(tenant) { (short(&tenant.to_string())) } } @else { "–" } }
            td.wide { code { (line(heading.queue.as_deref().unwrap_or("–"), 60)) } }
            td { @if let Some(at) = heading.at { (time(at, viewer.look.zone)) } @else { "–" } }
        } }
    }
}

/// Returns what can be done to the chosen letters, or to all of a view.
fn controls(texts: &PageTexts, selected: u64) -> Markup {
    html! {
        div.controls {
            p { (texts.chosen_or_all) " " strong { (count(selected.into())) } }
            label { (texts.rate) " " input type="number" name="rate" min="1" max="100000" value="100"; }
            button.quiet type="submit" name="act" value="dry" { (texts.dry_run) }
            button type="submit" name="act" value="replay" { (texts.replay) }
            details { summary { (texts.purge) }
                label { (texts.purge_number) " " input type="number" name="number" min="1"; }
                button.danger type="submit" name="act" value="purge" { (texts.purge) }
            }
        }
    }
}
