//! The logs of an app, as Dify's own page lists them.

use std::sync::OnceLock;

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::access::PageReader;
use super::choose_app::choose_app;
use super::explore::View;
use super::format::{count, line, short, status, time, took};
use super::layout::{Screen, page as whole_page, path};
use super::person;
use super::runs::creator;
use super::state::AddressState;
use crate::domain::{AppId, Timestamp};
use crate::http::api::params::id;
use crate::http::api::problem::Problem;
use crate::query::{AppLogList, AppLogQuery};

const KNOWN: [&str; 7] = ["q", "app_id", "status", "range", "from", "until", "page"];
const ROWS: usize = 50;
/// Pages are by offset, as Dify's are: far ones cost what lies before them.
const MOST_PAGES: u64 = 10_000;

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
        screen: Screen::AppLogs,
        fields: &[],
        searched: "",
        filters: &[("app_id", texts.app), ("status", texts.status)],
        apps: OnceLock::new(),
    };
    let app_id = id::<AppId>("app_id", state.get("app_id"))?;
    let body = match app_id {
        Some(app_id) => logs(&view, app_id).await?,
        None => choose_app(&view, &[], span.created, None).await?,
    };
    let content = html! {
        h1.sr { (texts.app_logs) }
        div.bar { @if app_id.is_some() { (view.search_bar(texts.search_hint)) } @else { div.title { h2 { (texts.choose_app) } } } (view.time_bar()) }
        (view.chips())
        (body)
    };
    Ok(whole_page(StatusCode::OK, &reader.frame(texts.app_logs, Screen::AppLogs, &state), &content))
}

async fn logs(view: &View<'_>, app_id: AppId) -> Result<Markup, Problem> {
    let texts = view.texts();
    let page = view.state.get("page").unwrap_or("1").parse().ok().filter(|page| (1..=MOST_PAGES).contains(page));
    let page = page.ok_or_else(|| Problem::param("page", "expected 1 to 10000"))?;
    let created = view.span.created;
    // Inclusive, and an instant before the first one is none: nothing was created before that.
    let created_at_before = created.until.map(|until| Timestamp::from_micros(until.micros() - 1)).transpose();
    let Ok(created_at_before) = created_at_before else { return Ok(view.none_found(texts.none, None)) };
    let query = AppLogQuery {
        app_id,
        keyword: view.state.owned("q"),
        status: view.state.get("status").map(Into::into),
        created_at_after: created.from,
        created_at_before,
        session_id: None,
        account: None,
        page,
        limit: ROWS,
    };
    let found = view.reader.logs.app_logs(&query).await?;
    view.learn(vec![app_id]).await;
    if found.rows.is_empty() && page > 1 {
        return Ok(html! { section.state.none {
            h2 { (texts.no_such_page) }
            p.actions { a.button href=(view.href(&view.state.with("page", None))) { (texts.first) } }
        } });
    }
    if found.rows.is_empty() {
        return Ok(view.none_found(texts.none, None));
    }
    let at = |page: u64| view.href(&view.state.with("page", Some(&page.to_string())));
    Ok(html! {
        (view.names_note(found.creators.are_names_missing()))
        @if found.incomplete { p.note { (texts.incomplete) } }
        div.above { p.total role="status" { strong { (count(found.total.into())) } " " (texts.found) } }
        (table(view, &found))
        nav.pager aria-label=(texts.page) {
            @if page > 1 { a.button.quiet rel="prev" href=(at(page - 1)) { (texts.previous) } }
            span.faint { (texts.page) " " (count(page.into())) " / " (count(found.total.div_ceil(ROWS as u64).into())) }
            @if found.has_more { a.button rel="next" href=(at(page + 1)) { (texts.next) } }
        }
    })
}

fn table(view: &View<'_>, found: &AppLogList) -> Markup {
    let texts = view.texts();
    let runs = path(view.reader.tenant_id(), Screen::Runs);
    let zone = view.reader.viewer.look.zone;
    html! {
        table.rows {
            thead { tr {
                th scope="col" { (texts.started) }
                th scope="col" { (texts.status) }
                th.number scope="col" { (texts.duration) }
                th.number.wide scope="col" { (texts.tokens) }
                th.wide scope="col" { (texts.creator) }
                th.wide scope="col" { (texts.source) }
                th.wide scope="col" { (texts.run) }
            } }
            @for row in &found.rows { tbody.linked { tr {
                td { a.whole href={ (runs) "/" (row.log.workflow_run_id) } { (time(row.log.created_at, zone)) } }
                @match &row.run {
                    Some(run) => {
                        td { (status(texts, run.status.as_str())) }
                        td.number { (took(run.elapsed_time, run.finished_at)) }
                        td.number.wide { (count(run.total_tokens.into())) }
                    }
                    None => { td.faint colspan="3" { (texts.run_gone) } }
                }
                td.wide.above-link { a href=(person::href(view.reader, row.log.created_by)) { (creator(&found.creators, &row.log.created_by_role, row.log.created_by)) } }
                td.wide { (line(&row.log.created_from, 40)) }
                td.wide { code { (short(&row.log.workflow_run_id.to_string())) } }
            } } }
        }
    }
}
