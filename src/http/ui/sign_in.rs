//! Signing in and out, the cookie of every request, and the choices of a viewer.

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::{Extension, Form};
use maud::html;
use serde::Deserialize;

use super::i18n::Lang;
use super::layout::{PageFrame, page};
use super::session::{SESSION, seal, unseal};
use super::states::SignedIn;
use super::viewer::{Look, Theme, cookie};
use crate::http::api::Api;
use crate::http::api::audit::Refused;
use crate::http::api::auth::Caller;
use crate::http::api::forward::ForwardedPerson;
use crate::http::api::params::encoded;
use crate::http::api::problem::Problem;
use crate::http::connections::Connection;
use crate::http::headers::is_own;

/// A browser takes the first name over HTTPS alone, and from this host alone.
const SECURE: &str = "__Host-difylog";
const PLAIN: &str = "difylog";
/// Longest address that is gone back to.
const MAX_NEXT: usize = 2048;

/// Returns whether the request came to this machine's own address, without a proxy's name: there is no TLS to wait for
/// then.
fn is_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.strip_suffix(']').unwrap_or_else(|| host.rsplit_once(':').map_or(host, |(name, _)| name));
    matches!(name.trim_matches(['[', ']']), "localhost" | "::1") || name.starts_with("127.")
}

fn session_cookie(api: &Api, headers: &HeaderMap, value: &str, seconds: u64) -> String {
    let behind_tls = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let plain = api.settings.tls.is_none() && !behind_tls && is_loopback(headers);
    let (name, secure) = if plain { (PLAIN, "") } else { (SECURE, "; Secure") };
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// Returns the caller of a request's cookie, if its key is still one.
pub(super) fn caller(api: &Api, headers: &HeaderMap) -> Option<Arc<Caller>> {
    let sealed = cookie(headers, SECURE).or_else(|| cookie(headers, PLAIN))?;
    let now = api.service.now();
    let key = unseal(sealed, api.keys.hashes(), now)?;
    api.keys.caller(&key, now)
}

/// Lets a request pass with its caller, or shows where to sign in.
pub(super) async fn signed_in(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    // Whom the proxy names needs no cookie, and who reaches nothing must not meet the form instead.
    let found = match request.extensions().get::<ForwardedPerson>().map(ForwardedPerson::caller) {
        Some(Err(problem)) => return problem.into_response(),
        Some(Ok(person)) => Some(person),
        None => caller(&api, request.headers()),
    };
    if let Some(caller) = found {
        let signed_in = SignedIn { person: caller.person.clone() };
        request.extensions_mut().insert(caller);
        let mut response = next.run(request).await;
        response.extensions_mut().insert(signed_in);
        return response;
    }
    let path = request.uri().path_and_query().map_or("/ui/", |path| path.as_str());
    // A link to data is followed as a link to a page is; a script reads the status.
    let is_followed = request.headers().get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
    if (path.starts_with("/ui/data/") && !is_followed) || request.headers().contains_key("x-part") {
        return Problem::unauthorized().into_response();
    }
    // A strict cookie does not come along with the first step from another site. The second step is ours.
    if request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        let again = html! { meta http-equiv="refresh" content={ "0;url=" (path) }; a href=(path) { "difylog" } };
        return Html(again.into_string()).into_response();
    }
    Redirect::to(&format!("/ui/sign-in?next={}", encoded(path))).into_response()
}

#[derive(Deserialize, Default)]
pub(super) struct SignInForm {
    #[serde(default)]
    next: String,
    #[serde(default)]
    problem: String,
}

/// Returns an address of these pages, and no other.
fn local(next: &str) -> &str {
    let is_local = next.len() <= MAX_NEXT
        && next.starts_with("/ui/")
        && !next.contains("/..")
        && !next.contains(['\\', '\r', '\n', '\t'])
        && next.parse::<Uri>().is_ok();
    if is_local { next } else { "/ui/" }
}

fn form(look: Look, next: &str, problem: Option<&str>, status: StatusCode) -> Response {
    let texts = look.texts();
    let content = html! {
        section.sign-in {
            h1 { (texts.sign_in) }
            p { (texts.sign_in_lead) }
            @if let Some(problem) = problem { p.alert role="alert" { (problem) } }
            form method="post" action="/ui/sign-in" {
                input type="hidden" name="next" value=(local(next));
                // Password managers want a name to keep the key under.
                input type="text" name="user" value="difylog" autocomplete="username" hidden;
                label for="key" { (texts.key) }
                input #key type="password" name="key" required autofocus autocomplete="current-password" maxlength="512";
                button type="submit" { (texts.sign_in) }
            }
            p.faint { (texts.key_where) }
        }
    };
    let here = format!("/ui/sign-in?next={}", encoded(local(next)));
    page(status, &PageFrame::plain(look, texts.sign_in, &here), &content)
}

/// Returns the form. Whom a proxy has signed in goes on to the page.
pub(super) async fn show(
    look: Look,
    person: Option<Extension<ForwardedPerson>>,
    Query(asked): Query<SignInForm>,
) -> Response {
    if person.is_some() {
        return Redirect::to(local(&asked.next)).into_response();
    }
    let texts = look.texts();
    let problem = match asked.problem.as_str() {
        "link" => Some(texts.link_used),
        "cookie" => Some(texts.cookie_lost),
        "form" => Some(texts.foreign_form),
        _ => None,
    };
    form(look, &asked.next, problem, StatusCode::OK)
}

#[derive(Deserialize)]
pub(super) struct KeyForm {
    key: String,
    #[serde(default)]
    next: String,
}

/// Takes a key.
pub(super) async fn sign_in(
    State(api): State<Api>,
    look: Look,
    connection: Option<Extension<Connection>>,
    headers: HeaderMap,
    Form(asked): Form<KeyForm>,
) -> Response {
    let address = connection.map(|connection| connection.0.address());
    if api.sessions.is_limited(address) {
        return form(look, &asked.next, Some(look.texts().attempts), StatusCode::TOO_MANY_REQUESTS);
    }
    let key = asked.key.trim();
    let now = api.service.now();
    let sealed = api.keys.caller(key, now).and_then(|_| seal(key, now));
    let Some(sealed) = sealed else {
        api.sessions.note_wrong(address);
        let refused = Refused { key: None, tenant_id: None, reason: "an unknown key at the sign-in" };
        api.refusals.note(&refused, &axum::http::Extensions::new());
        return form(look, &asked.next, Some(look.texts().key_unknown), StatusCode::FORBIDDEN);
    };
    entered(&api, &headers, &sealed, local(&asked.next))
}

fn entered(api: &Api, headers: &HeaderMap, sealed: &str, next: &str) -> Response {
    let cookie = session_cookie(api, headers, sealed, SESSION.as_secs());
    let next = format!("/ui/entered?next={}", encoded(next));
    ([(header::SET_COOKIE, cookie)], Redirect::to(&next)).into_response()
}

/// Returns where a sign-in leads: it sees whether the browser kept the cookie.
pub(super) async fn kept(State(api): State<Api>, headers: HeaderMap, Query(asked): Query<SignInForm>) -> Redirect {
    match caller(&api, &headers) {
        Some(_) => Redirect::to(local(&asked.next)),
        None => Redirect::to("/ui/sign-in?problem=cookie"),
    }
}

#[derive(Deserialize)]
pub(super) struct EntryToken {
    token: String,
}

/// Returns the link that `difylog dev` prints. It signs in once, and from this machine only.
pub(super) async fn enter(
    State(api): State<Api>,
    connection: Option<Extension<Connection>>,
    headers: HeaderMap,
    Query(asked): Query<EntryToken>,
) -> Response {
    let here = connection.is_some_and(|connection| connection.0.address().to_canonical().is_loopback());
    let key = if here && is_loopback(&headers) { api.sessions.redeem(&asked.token) } else { None };
    match key.and_then(|key| seal(&key, api.service.now())) {
        Some(sealed) => entered(&api, &headers, &sealed, "/ui/"),
        // Who is in already stays in.
        None if caller(&api, &headers).is_some() => Redirect::to("/ui/").into_response(),
        None => Redirect::to("/ui/sign-in?problem=link").into_response(),
    }
}

/// Forgets the cookie.
pub(super) async fn sign_out(State(api): State<Api>, headers: HeaderMap) -> Response {
    let gone = session_cookie(&api, &headers, "", 0);
    ([(header::SET_COOKIE, gone)], Redirect::to("/ui/sign-in")).into_response()
}

#[derive(Deserialize)]
pub(super) struct LookForm {
    lang: Option<String>,
    theme: Option<String>,
    #[serde(default)]
    next: String,
}

/// Keeps a choice of language or colours for a year.
pub(super) async fn look(Form(asked): Form<LookForm>) -> Response {
    let mut response = Redirect::to(local(&asked.next)).into_response();
    let lang = asked.lang.as_deref().and_then(Lang::of_code).map(|lang| ("lang", lang.code()));
    let theme = asked.theme.as_deref().and_then(Theme::of_code).map(|theme| ("theme", theme.code()));
    for (name, value) in [lang, theme].into_iter().flatten() {
        let cookie = format!("{name}={value}; Path=/ui; Max-Age=31536000; SameSite=Lax");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    response
}

/// Refuses a form that another site's page sends: what a browser says of where it comes from must fit.
pub(super) async fn own_forms(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    if is_own(request.headers()).unwrap_or(false) {
        return next.run(request).await;
    }
    if request.extensions().get::<ForwardedPerson>().is_some() {
        // There is no form to sign in with that could say it.
        return Problem::forbidden(Look::of(request.headers()).texts().foreign_form).into_response();
    }
    Redirect::to("/ui/sign-in?problem=form").into_response()
}
