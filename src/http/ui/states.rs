//! Pages for what went wrong: nothing there, no right, the store away, too slow. They say what to do next.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::layout::{PageFrame, Screen, page, path};
use super::viewer::Look;
use crate::domain::TenantId;
use crate::http::api::Api;
use crate::http::api::observe::{RefusalCause, RequestId};
use crate::http::api::problem::{Faced, Problem};

/// Returns a problem as a page. The parts of a page that a script asks for stay as they are.
pub(super) async fn faced(State(_): State<Api>, request: Request, next: Next) -> Response {
    let look = Look::of(request.headers());
    let here = request.uri().path_and_query().map_or_else(|| "/ui/".to_owned(), ToString::to_string);
    let tenant_id = here.strip_prefix("/ui/t/").and_then(|rest| rest.get(..36)?.parse::<TenantId>().ok());
    let request_id = request.extensions().get::<RequestId>().cloned().unwrap_or_default();
    let is_part = request.uri().path().starts_with("/ui/data/") || request.headers().contains_key("x-part");
    let response = next.run(request).await;
    let Some(faced) = response.extensions().get::<Faced>().cloned().filter(|_| !is_part) else { return response };
    let signed_in = response.extensions().get::<SignedIn>().cloned();
    let cause = response.extensions().get::<RefusalCause>().cloned();
    let reachable = tenant_id.filter(|_| signed_in.is_some() && faced.status != StatusCode::NOT_FOUND);
    let mut answer = problem_page(look, &here, signed_in, reachable, &faced, request_id.as_str());
    if let Some(cause) = cause {
        answer.extensions_mut().insert(cause);
    }
    for (name, value) in response.headers() {
        if name == axum::http::header::RETRY_AFTER || name == axum::http::header::SET_COOKIE {
            answer.headers_mut().append(name.clone(), value.clone());
        }
    }
    answer
}

/// Marks an answer to somebody who is signed in.
#[derive(Clone)]
pub(super) struct SignedIn {
    /// Whom a proxy has signed in; `None`: a key.
    pub person: Option<Box<str>>,
}

fn problem_page(
    look: Look,
    here: &str,
    signed_in: Option<SignedIn>,
    tenant_id: Option<TenantId>,
    faced: &Faced,
    request_id: &str,
) -> Response {
    let texts = look.texts();
    let (title, hint) = match (faced.status, faced.code) {
        (StatusCode::NOT_FOUND, _) => (texts.not_found, texts.not_found_hint),
        (_, "no_access") => (texts.no_access, texts.no_access_hint),
        (StatusCode::FORBIDDEN, _) => (texts.no_right, ""),
        (StatusCode::TOO_MANY_REQUESTS, _) => (texts.too_many, texts.too_many_hint),
        (StatusCode::BAD_REQUEST, _) => (texts.wrong_address, ""),
        (_, "query_timeout") => (texts.too_slow, texts.too_slow_hint),
        (_, "broker_unavailable") => (texts.broker_down, texts.broker_down_hint),
        (StatusCode::CONFLICT, _) => (texts.conflict, ""),
        (StatusCode::SERVICE_UNAVAILABLE, _) => (texts.store_down, texts.store_down_hint),
        (_, "unreadable") => (texts.unreadable, ""),
        _ => (texts.problem, ""),
    };
    let is_passing = faced.status == StatusCode::SERVICE_UNAVAILABLE || faced.status == StatusCode::TOO_MANY_REQUESTS;
    let (is_in, person) = (signed_in.is_some(), signed_in.and_then(|signed_in| signed_in.person));
    let frame = PageFrame { signed_in: is_in, person, tenant_id, ..PageFrame::plain(look, title, here) };
    let runs = tenant_id.map_or_else(|| "/ui/".to_owned(), |tenant_id| path(tenant_id, Screen::Runs));
    let content = html! {
        section.state.(if is_passing { "wait" } else { "stop" }) {
            h1 { (title) }
            @if !hint.is_empty() { p { (hint) } }
            // The detail names parameters and settings in English, as the API does.
            @if faced.status != StatusCode::NOT_FOUND { p.detail lang="en" { (faced.detail) } }
            p.actions {
                @if is_passing { a.button href=(here) { (texts.try_again) } }
                a.button.quiet href=(runs) { (texts.back) }
            }
            @if !request_id.is_empty() { p.faint { (texts.request) " " code { (request_id) } } }
        }
    };
    page(faced.status, &frame, &content)
}

/// Nothing fits the filters.
pub(super) fn nothing(look: Look, title: &str, longer: Option<&str>, reset: Option<&str>) -> Markup {
    let texts = look.texts();
    html! {
        section.state.none {
            h2 { (title) }
            p { (texts.none_hint) }
            p.actions {
                @if let Some(longer) = longer { a.button href=(longer) { (texts.none_longer) } }
                @if let Some(reset) = reset { a.button.quiet href=(reset) { (texts.reset) } }
            }
        }
    }
}

/// Returns a path below `/ui` that is none.
pub(super) async fn no_such_page() -> Response {
    Problem::not_found("no such page").into_response()
}
