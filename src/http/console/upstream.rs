//! Dify's API server: asked with the caller's own credentials, or given the whole request.
//!
//! Its answers are input from outside like any other: redirects are not followed, bodies are bounded, and anything but the
//! expected JSON is a fault. Credentials go to no other host, and into no log.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use tracing::warn;
use url::Url;

use super::settings::ConsoleSettings;

/// Largest answer that is read into memory, in bytes. A run with its graph and payloads fits.
const MAX_ANSWER: usize = 32 << 20;
const CONNECT: Duration = Duration::from_secs(2);

/// The headers that say who asks, as Dify's console and service API know them.
const CREDENTIALS: [HeaderName; 3] = [header::COOKIE, header::AUTHORIZATION, HeaderName::from_static("x-csrf-token")];

/// Headers that are of one connection, not of the message (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

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
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { client, base: settings.base()?, pass: settings.pass() })
    }

    fn url(&self, path_and_query: &str) -> Url {
        let mut url = self.base.clone();
        let (path, query) = path_and_query.split_once('?').map_or((path_and_query, None), |(p, q)| (p, Some(q)));
        url.set_path(path);
        url.set_query(query);
        url
    }

    /// Returns Dify's answer to a GET with the caller's credentials, whatever its status.
    ///
    /// # Errors
    /// [`UpstreamFault`] if there is none, or a body above [`MAX_ANSWER`].
    pub(super) async fn get(&self, path_and_query: &str, credentials: &Credentials) -> Result<Raw, UpstreamFault> {
        let request = self.client.get(self.url(path_and_query)).headers(credentials.0.clone());
        let response = request.send().await.map_err(|error| UpstreamFault::Unreachable(kind(&error)))?;
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
        let mut outgoing = self.client.request(parts.method.clone(), self.url(path_and_query));
        outgoing = outgoing.headers(end_to_end(&parts.headers));
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            outgoing = outgoing.body(reqwest::Body::wrap_stream(body.into_data_stream()));
        }
        let sent = tokio::time::timeout(self.pass, outgoing.send()).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return unreachable_dify(kind(&error)),
            Err(_) => return unreachable_dify("timeout"),
        };
        let (status, headers) = (response.status(), end_to_end(response.headers()));
        let mut answer = (status, Body::from_stream(response.bytes_stream())).into_response();
        *answer.headers_mut() = headers;
        answer
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

fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !HOP_BY_HOP.contains(name) && !named.contains(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// Dify's shape of an error.
fn unreachable_dify(kind: &'static str) -> Response {
    warn!(kind, "a request was passed on, but Dify does not answer; check serve.dify.url and Dify's API server");
    let body = r#"{"code":"bad_gateway","message":"Dify does not answer.","status":502}"#;
    let json = HeaderValue::from_static("application/json");
    (StatusCode::BAD_GATEWAY, [(header::CONTENT_TYPE, json)], body).into_response()
}
