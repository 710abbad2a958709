//! Dify's API server: asked with the caller's own credentials, or given the whole request.
//!
//! Its answers are input from outside like any other: redirects are not followed, bodies are bounded, and anything but the
//! expected JSON is a fault. Credentials go to no other host, and into no log.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::warn;
use url::Url;

use super::relay::{Upload, end_to_end, framed, is_plain};
use super::settings::ConsoleSettings;

/// Largest answer that is read into memory, in bytes. A run with its graph and payloads fits.
const MAX_ANSWER: usize = 32 << 20;
const CONNECT: Duration = Duration::from_secs(2);
/// How long a connection is kept without a request: less than Dify's gunicorn keeps it (2 s), which closes it without a word.
const IDLE: Duration = Duration::from_secs(1);

/// The headers that say who asks, as Dify's console and service API know them.
const CREDENTIALS: [HeaderName; 3] = [header::COOKIE, header::AUTHORIZATION, HeaderName::from_static("x-csrf-token")];

/// Who asks: the headers that Dify decides by. Has no `Debug`.
#[derive(Clone)]
pub(super) struct Credentials(HeaderMap);

impl Credentials {
    /// Returns the credentials of a request; `None` if it has none, so that nobody could be asked about.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut own = HeaderMap::new();
        for name in CREDENTIALS {
            for value in headers.get_all(&name) {
                own.append(name.clone(), value.clone());
            }
        }
        (own.contains_key(header::COOKIE) || own.contains_key(header::AUTHORIZATION)).then_some(Self(own))
    }

    /// Returns those of nobody.
    pub(super) fn none() -> Self {
        Self(HeaderMap::new())
    }

    /// Returns name and value of each header, in a fixed order.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let names = ["cookie", "authorization", "x-csrf-token"];
        names.into_iter().flat_map(|name| self.0.get_all(name).iter().map(move |value| (name, value.as_bytes())))
    }
}

/// Why Dify's answer cannot be used. The texts name no credential and no payload.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamFault {
    #[error("Dify did not answer: {0}")]
    Unreachable(&'static str),
    #[error("Dify answered {0}")]
    Status(StatusCode),
    #[error("Dify's answer is larger than {MAX_ANSWER} bytes")]
    TooLarge,
    #[error("Dify's answer is not the expected JSON")]
    Unexpected,
    #[error("Dify is not asked for a path that a URL changes")]
    Path,
}

/// An answer of Dify as it came.
pub(super) struct Raw {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Raw {
    /// Returns the body as JSON of a 200.
    ///
    /// # Errors
    /// [`UpstreamFault::Status`] of any other status; otherwise as [`Self::content`].
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, UpstreamFault> {
        if self.status != StatusCode::OK {
            return Err(UpstreamFault::Status(self.status));
        }
        self.content()
    }

    /// Returns the body as JSON, whatever the status.
    ///
    /// # Errors
    /// [`UpstreamFault::Unexpected`] of a body that is not `T` in JSON.
    pub(super) fn content<T: DeserializeOwned>(&self) -> Result<T, UpstreamFault> {
        let is_json = self
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("application/json"));
        if !is_json {
            return Err(UpstreamFault::Unexpected);
        }
        serde_json::from_slice(&self.body).map_err(|_| UpstreamFault::Unexpected)
    }
}

impl IntoResponse for Raw {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        *response.headers_mut() = self.headers;
        response
    }
}

/// A Dify server.
#[derive(Clone)]
pub(super) struct Upstream {
    client: reqwest::Client,
    base: Url,
    pass: Duration,
}

impl Upstream {
    /// Opens no connection.
    ///
    /// # Errors
    /// If the TLS back end cannot be set up.
    pub(super) fn new(settings: &ConsoleSettings) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // What is passed on stays as it came, compressed or not.
            .gzip(false)
            // The environment's proxies are for the way out; Dify stands beside us.
            .no_proxy()
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { client, base: settings.base()?, pass: settings.pass() })
    }

    /// Returns whether a path can be passed on as it is.
    pub(super) fn takes(&self, uri: &Uri) -> bool {
        self.url(uri.path()).is_some()
    }

    /// Returns Dify's address of a path. `None`: a URL would make another path of it, or somebody on the way could; which
    /// paths come here was decided by the one that came.
    fn url(&self, path_and_query: &str) -> Option<Url> {
        let mut url = self.base.clone();
        let (path, query) = path_and_query.split_once('?').map_or((path_and_query, None), |(p, q)| (p, Some(q)));
        url.set_path(path);
        url.set_query(query);
        (url.path() == path && is_plain(path)).then_some(url)
    }

    /// Returns Dify's answer to a GET with the caller's credentials, whatever its status.
    ///
    /// # Errors
    /// [`UpstreamFault`] if there is none, or a body above [`MAX_ANSWER`].
    pub(super) async fn get(&self, path_and_query: &str, credentials: &Credentials) -> Result<Raw, UpstreamFault> {
        let url = self.url(path_and_query).ok_or(UpstreamFault::Path)?;
        let request = self.client.get(url).headers(credentials.0.clone());
        let response = sent(request, true).await.map_err(|error| UpstreamFault::Unreachable(kind(&error)))?;
        let status = response.status();
        let headers = end_to_end(response.headers());
        let (mut body, mut chunks) = (BytesMut::new(), response.bytes_stream());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| UpstreamFault::Unreachable(kind(&error)))?;
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(UpstreamFault::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Raw { status, headers, body: body.freeze() })
    }

    /// Gives the whole request to Dify and returns its answer as it comes, both bodies as streams.
    pub(super) async fn pass_on(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let path_and_query = parts.uri.path_and_query().map_or("/", |both| both.as_str());
        let Some(url) = self.url(path_and_query) else { return no_such_path() };
        let is_head = parts.method == Method::HEAD;
        let is_repeatable = (is_head || parts.method == Method::GET) && body.is_end_stream();
        let mut outgoing = self.client.request(parts.method, url).headers(framed(&parts.headers, &body));
        let upload = Arc::new(Upload::default());
        if !body.is_end_stream() {
            let connection = parts.extensions.get().cloned();
            let pieces = upload.pieces(body, Instant::now() + self.pass, connection);
            outgoing = outgoing.body(reqwest::Body::wrap_stream(pieces));
        }
        let response = match tokio::time::timeout(self.pass, sent(outgoing, is_repeatable)).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) if upload.is_late() => return slow_body(),
            // The body's time and that of the whole end at one moment: either may be seen first.
            Err(_) if upload.is_awaited() || upload.is_late() => return slow_body(),
            Ok(Err(error)) => return unreachable_dify(kind(&error)),
            Err(_) => return unreachable_dify("timeout"),
        };
        let came: axum::http::Response<reqwest::Body> = response.into();
        let mut headers = end_to_end(came.headers());
        if let (true, Some(length)) = (is_head, came.headers().get(header::CONTENT_LENGTH)) {
            // Of the body that a GET would have; here is none that could tell it.
            headers.insert(header::CONTENT_LENGTH, length.clone());
        }
        let (parts, body) = came.into_parts();
        // A body of no bytes would get a length, which these must not have.
        let has_none = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let body =
            if has_none { Body::from_stream(futures::stream::empty::<io::Result<Bytes>>()) } else { Body::new(body) };
        let mut answer = (parts.status, body).into_response();
        *answer.headers_mut() = headers;
        answer
    }
}

/// Sends a request; once more if its exchange breaks off before the head of an answer and it may come twice: then its connection
/// was most likely closed by Dify while the request was on its way.
async fn sent(request: RequestBuilder, is_repeatable: bool) -> Result<reqwest::Response, reqwest::Error> {
    let again = if is_repeatable { request.try_clone() } else { None };
    match (request.send().await, again) {
        (Err(error), Some(again)) if !error.is_timeout() && !error.is_connect() => again.send().await,
        (outcome, _) => outcome,
    }
}

/// Returns the kind of a client's error. Its own text would name the URL, and a URL may hold what users typed.
fn kind(error: &reqwest::Error) -> &'static str {
    match () {
        () if error.is_timeout() => "timeout",
        () if error.is_connect() => "connection failed",
        () if error.is_body() || error.is_decode() => "broken answer",
        () => "broken exchange",
    }
}

fn unreachable_dify(kind: &'static str) -> Response {
    warn!(kind, "a request was passed on, but Dify does not answer; check serve.dify.url and Dify's API server");
    refusal(StatusCode::BAD_GATEWAY, "bad_gateway", "Dify does not answer.")
}

fn slow_body() -> Response {
    let message = "The body of the request did not come in time (serve.dify.pass_seconds, 10 seconds for each piece).";
    refusal(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
}

/// Returns the refusal of a path that would be another one on its way.
pub(super) fn no_such_path() -> Response {
    refusal(StatusCode::NOT_FOUND, "not_found", "No such path.")
}

/// Dify's shape of an error.
fn refusal(status: StatusCode, code: &'static str, message: &'static str) -> Response {
    let body = serde_json::json!({ "code": code, "message": message, "status": status.as_u16() });
    (status, axum::Json(body)).into_response()
}
