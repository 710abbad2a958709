//! What fails, grouped by a fingerprint of the error text, over a bounded number of the newest failed runs; the page says
//! how many.

use std::sync::OnceLock;

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::access::PageReader;
use super::explore::View;
use super::format::{count, line, short, time};
use super::layout::{Screen, page as whole_page, path};
use super::state::{AddressState, Span};
use crate::domain::Timestamp;
use crate::http::api::params::id;
use crate::http::api::problem::Problem;
use crate::query::{ErrorGroup, ErrorGroups, RunQuery};

const KNOWN: [&str; 4] = ["app_id", "range", "from", "until"];
/// Apps named in a group.
const MOST_APPS: usize = 3;
/// Groups shown.
const MOST_GROUPS: usize = 100;
/// Bars of a group's small chart.
const BARS: usize = 24;

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
        screen: Screen::Errors,
        fields: &[],
        searched: "",
        filters: &[("app_id", texts.app)],
        apps: OnceLock::new(),
    };
    let query = RunQuery { app_id: id("app_id", state.get("app_id"))?, created: span.created, ..RunQuery::default() };
    let groups = reader.logs.error_groups(&query).await?;
    let named = groups.groups.iter().take(MOST_GROUPS).flat_map(|group| group.apps.keys().take(MOST_APPS));
    view.learn(named.copied().collect()).await;
    let content = html! {
        div.bar { div.title { h1 { (texts.errors) } } (view.time_bar()) }
        p.faint { (texts.errors_lead) }
        (view.chips())
        (view.names_note(false))
        @if groups.groups.is_empty() {
            (view.none_found(texts.no_errors, None))
        } @else { (table(&view, &span, &groups)) }
    };
    Ok(whole_page(StatusCode::OK, &reader.frame(texts.errors, Screen::Errors, &state), &content))
}

fn table(view: &View<'_>, span: &Span, groups: &ErrorGroups) -> Markup {
    let texts = view.texts();
    let zone = view.reader.viewer.look.zone;
    let runs = path(view.reader.tenant_id(), Screen::Runs);
    let (begin, end) = bounds(span, view.reader.viewer.now, groups.groups.iter());
    let bound = if groups.is_cut { texts.errors_bound } else { texts.errors_all };
    html! {
        p.(if groups.is_cut { "note" } else { "faint" }) { (bound) " " (count(groups.looked_at as i128)) }
        p.take { (texts.take_away) ": " a href={ "/ui/data/" (view.reader.tenant_id()) "/errors" (view.parameters(false)) } { "JSON" } }
        table.rows.groups {
            thead { tr {
                th scope="col" { (texts.error) }
                th.number scope="col" { (texts.runs) }
                th.wide scope="col" { (texts.apps) }
                th.wide scope="col" { (texts.over_time) }
                th.wide scope="col" { (texts.first_seen) }
                th scope="col" { (texts.last_seen) }
            } }
            @for group in groups.groups.iter().take(MOST_GROUPS) { tbody { tr {
                td { a href=(found_by(span, view.state, group).href(&runs)) {
                    @if group.example.is_empty() { (texts.no_error_text) } @else { (line(&group.example, 300)) }
                } }
                td.number { (count(group.times.len() as i128)) }
                td.wide { @for app_id in group.apps.keys().take(MOST_APPS) { div { (view.app(&app_id.to_string())) } }
                    @if group.apps.len() > MOST_APPS { span.faint { "+" (count((group.apps.len() - MOST_APPS) as i128)) } } }
                td.wide { (small_chart(group, begin, end)) }
                td.wide { (time(group.oldest, zone)) }
                td { a href={ (runs) "/" (group.newest.1) } title=(texts.latest_run) { (time(group.newest.0, zone)) " " code { (short(&group.newest.1.to_string())) } } }
            } } }
        }
    }
}

/// Returns the span of the small charts in microseconds: one for all groups, so that they can be compared.
pub(super) fn bounds<'a>(span: &Span, now: Timestamp, groups: impl Iterator<Item = &'a ErrorGroup>) -> (i64, i64) {
    let begin = groups.map(|group| group.oldest.micros()).min().unwrap_or(0);
    let end = now.micros().max(begin + 1);
    let begin = span.created.from.map_or(begin, Timestamp::micros);
    (begin, span.created.until.map_or(end, |until| until.micros().min(end)))
}

/// Returns how many runs of each stretch of the span failed so.
pub(super) fn small_chart(group: &ErrorGroup, begin: i64, end: i64) -> Markup {
    let mut counts = [0_u32; BARS];
    let width = ((end - begin) / i64::try_from(BARS).unwrap_or(1)).max(1);
    for at in &group.times {
        let place = usize::try_from((at.micros() - begin) / width).unwrap_or(0).min(BARS - 1);
        if let Some(count) = counts.get_mut(place) {
            *count += 1;
        }
    }
    let highest = counts.iter().copied().max().unwrap_or(0).max(1);
    html! {
        svg.small-chart viewBox={ "0 0 " (BARS * 4) " 20" } preserveAspectRatio="none" aria-hidden="true" {
            @for (place, number) in counts.iter().enumerate().filter(|(_, number)| **number > 0) {
                @let height = f64::from(*number) / f64::from(highest) * 20.0;
                rect.bad x=(place * 4) width="3" y=(format!("{:.1}", 20.0 - height)) height=(format!("{height:.1}")) {}
            }
        }
    }
}

/// Returns the search that finds the runs of a group: by the longest part of its text that does not change.
pub(super) fn found_by(span: &Span, state: &AddressState, group: &ErrorGroup) -> AddressState {
    let mut found = AddressState::default().with("status", Some("failed")).with("app_id", state.get("app_id"));
    found = match &span.preset {
        Some(preset) => found.with("range", Some(preset)),
        None => found.with("from", state.get("from")).with("until", state.get("until")),
    };
    let keyword = group.keyword();
    found.with("q", Some(&keyword)).with("in", (!keyword.is_empty()).then_some("error"))
}
