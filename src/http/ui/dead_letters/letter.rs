//! One dead letter: why it is here, what it says of itself, and its body with every text masked.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::PATH;
use super::act::under_way;
use crate::amqp::dead_letter::{masked, masked_header};
use crate::amqp::{LetterSummary, Shown};
use crate::domain::Kind;
use crate::http::api::dead_letters::hash;
use crate::http::api::extract::{Ids, Operating};
use crate::http::api::problem::Problem;
use crate::http::ui::access::Viewer;
use crate::http::ui::format::{bytes, count, line, short, time};
use crate::http::ui::layout::page as whole_page;
use crate::http::ui::tree::text;

/// Returns the page.
pub(in crate::http::ui) async fn letter(
    viewer: Viewer,
    Operating(queue, _): Operating,
    ids: Ids,
) -> Result<Response, Problem> {
    let shown = match queue.letter(hash(&ids)?).await {
        Ok(shown) => shown,
        Err(error) => return under_way(error),
    };
    let shown = shown.ok_or_else(|| Problem::not_found("no such letter among the first of the queue"))?;
    let texts = viewer.look.texts();
    let content = html! {
        p.crumbs { a href=(PATH) { (texts.dead_letters) } }
        div.title { h1 { (texts.letter) " " code { (short(&shown.found.hash.to_string())) } } }
        (facts(&viewer, &shown.found))
        form.actions method="post" action={ (PATH) "/act" } {
            input type="hidden" name="sha256" value=(shown.found.hash);
            button.quiet type="submit" name="act" value="dry" { (texts.dry_run) }
            button type="submit" name="act" value="replay" { (texts.replay) }
        }
        (headers(&viewer, &shown))
        section { h2 { (texts.body_masked) } (text(&masked(&shown.body))) }
    };
    Ok(whole_page(StatusCode::OK, &viewer.frame(texts.letter), &content))
}

fn facts(viewer: &Viewer, found: &LetterSummary) -> Markup {
    let texts = viewer.look.texts();
    let heading = &found.heading;
    html! {
        section.payload.bad {
            header { h2 { (line(&heading.reason, 60)) } }
            p { (texts.reason(&heading.reason).unwrap_or(texts.reason_unknown)) }
            @if let Some(detail) = heading.detail.as_deref().filter(|detail| !detail.is_empty()) { (text(detail)) }
            @if let Some(doubt) = &found.doubt { p { (texts.doubt) ": " (line(doubt, 300)) } }
        }
        dl.facts {
            div { dt { (texts.at) } dd { @if let Some(at) = heading.at { (time(at, viewer.look.zone)) } @else { "–" } } }
            div { dt { (texts.attempts_made) } dd { (count(heading.attempts.into())) } }
            @if let Some(status) = heading.status { div { dt { (texts.status) } dd { (count(status.into())) } } }
            div { dt { (texts.queue) } dd { code { (line(heading.queue.as_deref().unwrap_or("–"), 100)) } } }
            div { dt { (texts.kind) } dd { (found.kind.map_or(texts.unreadable_letter, Kind::as_str)) } }
            div { dt { (texts.workspace) } dd { @if let Some(tenant) = found.tenant { code { (tenant) } } @else { "–" } } }
            div { dt { (texts.size) } dd { (bytes(found.body_bytes as u64)) } }
        }
    }
}

fn headers(viewer: &Viewer, shown: &Shown) -> Markup {
    let texts = viewer.look.texts();
    html! {
        details.behind { summary { (texts.headers) } table {
            tbody { @for (name, value) in shown.headers.iter().take(200) { tr {
                th scope="row" { (line(name, 100)) }
                td { (line(&masked_header(name, value), 600)) }
            } } }
        } }
    }
}
