//! The numbers of one app per day: Dify's four and the error rate, each drawn and with its table.

use std::sync::OnceLock;

use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::access::PageReader;
use super::charts::columns;
use super::choose_app::choose_app;
use super::explore::View;
use super::format::{count, seconds, time};
use super::layout::{Screen, page as whole_page, path};
use super::models;
use super::state::AddressState;
use crate::domain::query::{Day, Facet, TimeRange};
use crate::domain::{AppId, RunStatus};
use crate::http::api::params::id;
use crate::http::api::problem::Problem;
use crate::query::{DailyQuery, RunQuery, interactions};

const KNOWN: [&str; 5] = ["app_id", "range", "from", "until", "triggered_from"];
/// The trigger of a published app's runs.
const PUBLISHED: &str = "app-run";
/// Days drawn.
const DAYS: usize = 400;

/// Returns the page.
pub(super) async fn page(reader: PageReader, state: AddressState) -> Result<Response, Problem> {
    let mut state = state.only(&KNOWN)?;
    let look = reader.viewer.look;
    let texts = look.texts();
    if state.get("range").is_none() && state.get("from").is_none() && state.get("until").is_none() {
        state = state.with("range", Some("30d"));
    }
    let span = state.span(look.zone, reader.viewer.now)?;
    let view = View {
        reader: &reader,
        state: &state,
        span: &span,
        screen: Screen::Statistics,
        fields: &[],
        searched: "",
        filters: &[("app_id", texts.app), ("triggered_from", texts.trigger)],
        apps: OnceLock::new(),
    };
    let heading = html! { h2 { (texts.choose_app) } p.faint { (texts.choose_app_lead) } };
    let body = match id::<AppId>("app_id", state.get("app_id"))? {
        Some(app_id) => numbers(&view, app_id).await?,
        None => choose_app(&view, &triggers(&state), whole_days(&view), Some(&heading)).await?,
    };
    let content = html! {
        div.bar { div.title { h1 { (texts.statistics) } } (view.time_bar()) }
        (view.chips())
        (body)
    };
    Ok(whole_page(StatusCode::OK, &reader.frame(texts.statistics, Screen::Statistics, &state), &content))
}

/// Returns the triggers whose runs count: by default those of the published app, as in Dify's own pages.
fn triggers(state: &AddressState) -> Vec<Box<str>> {
    vec![state.get("triggered_from").unwrap_or(PUBLISHED).into()]
}

async fn numbers(view: &View<'_>, app_id: AppId) -> Result<Markup, Problem> {
    view.learn(vec![app_id]).await;
    let texts = view.texts();
    // All numbers of the page are of one span.
    let (logs, zone, created) = (&view.reader.logs, view.reader.viewer.look.zone, whole_days(view));
    let triggered_from = triggers(view.state);
    let daily = DailyQuery { app_id, triggered_from: triggered_from.clone(), created, zone };
    let days = logs.daily(&daily).await?;
    let ended = RunQuery {
        app_id: Some(app_id),
        triggered_from,
        created,
        statuses: RunStatus::ENDED.map(Into::into).into(),
        ..RunQuery::default()
    };
    let calls = models::query(app_id, created);
    let (statuses, durations, usage) =
        tokio::try_join!(logs.facet(&ended, Facet::Status, 10), logs.durations(&ended), logs.model_usage(&calls))?;
    let of = |status: &str| statuses.iter().find(|found| &*found.value == status).map_or(0, |found| found.count);
    let (all, failed) = (statuses.iter().map(|found| found.count).sum::<u64>(), of("failed"));
    // Of the whole span, as the numbers beside them are.
    let runs: i128 = days.iter().map(|day| i128::from(day.runs)).sum();
    let tokens: i128 = days.iter().map(|day| day.tokens).sum();
    let drawn = days.get(days.len().saturating_sub(DAYS)..).unwrap_or(&days);
    if days.is_empty() {
        // Single steps call models without a run.
        let is_called = !usage.models.is_empty();
        return Ok(html! { (none(view, app_id)) @if is_called { (models::section(view, app_id, created, &usage)) } });
    }
    let card = |word: &str, sum: Option<String>, value: &dyn Fn(&Day) -> f64, shown: &dyn Fn(&Day) -> String| {
        let points: Vec<_> = drawn.iter().map(|day| (day.date.to_string(), value(day), shown(day))).collect();
        html! { section.card { h2 { (word) @if let Some(sum) = sum { strong { (sum) } } } (columns(texts, word, &points)) } }
    };
    let rate = if all == 0 { 0.0 } else { failed as f64 / all as f64 * 100.0 };
    Ok(html! {
        (view.names_note(false))
        @if let Some(from) = created.from.filter(|from| Some(*from) != view.span.created.from) {
            p.faint { (texts.whole_days) " " (time(from, zone)) }
        }
        dl.facts {
            div { dt { (texts.app) } dd { (view.app(&app_id.to_string())) } }
            div { dt { (texts.error_rate) } dd { strong { (format!("{rate:.1} %")) } " " span.faint { (count(failed.into())) " / " (count(all.into())) } } }
            @if let (Some(half), Some(most)) = (durations.percentile(50), durations.percentile(95)) {
                div { dt { (texts.duration) " p50 · p95" } dd { strong { (seconds(half)) " · " (seconds(most)) }
                    @if durations.is_cut { " " span.faint { (texts.newest_runs) " " (count(durations.count() as i128)) } } } }
            }
            div { dt { (texts.daily_runs) } dd { (count(runs)) } }
            div { dt { (texts.daily_tokens) } dd { (count(tokens)) } }
        }
        @if drawn.len() < days.len() { p.faint { (texts.days_cut) " " (count(drawn.len() as i128)) } }
        div.cards {
            (card(texts.daily_runs, Some(count(runs)), &|day| day.runs as f64, &|day| count(day.runs.into())))
            (card(texts.daily_users, None, &|day| day.users as f64, &|day| count(day.users.into())))
            (card(texts.daily_tokens, Some(count(tokens)), &|day| day.tokens as f64, &|day| count(day.tokens)))
            (card(texts.daily_interactions, None, &interactions, &|day| interactions(day).to_string()))
        }
        (models::section(view, app_id, created, &usage))
    })
}

/// Returns why an app has no numbers, and where its runs are.
fn none(view: &View<'_>, app_id: AppId) -> Markup {
    let texts = view.texts();
    let runs = view.state.with("triggered_from", None).with("app_id", Some(&app_id.to_string()));
    html! {
        section.state.none {
            h2 { (texts.none) }
            @if triggers(view.state).iter().all(|trigger| &**trigger == PUBLISHED) { p { (texts.published_only) } }
            @else { p { (texts.none_hint) } }
            p.actions {
                @if !view.span.is_all() { a.button href=(view.over("all")) { (texts.none_longer) } }
                a.button.quiet href=(runs.href(&path(view.reader.tenant_id(), Screen::Runs))) { (texts.app_runs) }
            }
        }
    }
}

/// Returns the span from the first instant of its first day: a day is counted whole or not at all.
fn whole_days(view: &View<'_>) -> TimeRange {
    let zone = view.reader.viewer.look.zone;
    let created = view.span.created;
    let from = created.from.filter(|_| view.span.preset.is_some()).and_then(|from| {
        let day = DateTime::<Utc>::from_timestamp_micros(from.micros())?.with_timezone(&zone);
        crate::query::local_instant(&day.format("%Y-%m-%d 00:00").to_string(), zone)
    });
    TimeRange { from: from.or(created.from), ..created }
}
