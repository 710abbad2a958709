//! What is seen of a request from outside: its id, its duration by endpoint, and a line in the log if it was slow. Never
//! a parameter, which may hold what users typed.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use metrics::histogram;
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::Api;
use super::problem::Problem;
use crate::telemetry::names;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_ID: usize = 64;

/// The id of a request: visible ASCII without spaces, at most [`MAX_ID`] bytes.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct RequestId(Box<str>);

impl RequestId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a request failed, for the log; the client gets words without hosts and paths.
#[derive(Debug, Clone)]
pub(in crate::http) struct RefusalCause(pub String);

/// Returns the methods that are told apart; any other text of a client is one.
fn label(method: &Method) -> Option<&'static str> {
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    let names = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.iter().zip(names).find(|(known, _)| *known == method).map(|(_, name)| name)
}

/// Gives every request an id, the client's own if it is decent, and answers it.
pub(in crate::http) async fn identified(mut request: Request, next: Next) -> Response {
    let decent = |value: &&HeaderValue| {
        (1..=MAX_ID).contains(&value.len())
            && value.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    let id = match request.headers().get(REQUEST_ID).filter(decent) {
        Some(id) => id.clone(),
        None => HeaderValue::from_str(&Uuid::new_v4().to_string()).unwrap_or(HeaderValue::from_static("none")),
    };
    request.extensions_mut().insert(RequestId(id.to_str().unwrap_or_default().into()));
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Measures a request up to the head of its answer. Every label is of a closed list: the method, the route as it is
/// written in the code, the status.
pub(in crate::http) async fn observed(State(api): State<Api>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let endpoint = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = label(request.method());
    let id = request.extensions().get::<RequestId>().cloned().unwrap_or_default();
    let mut response = match method {
        Some(_) => next.run(request).await,
        None => Problem::method_not_allowed().into_response(),
    };
    let taken = begun.elapsed();
    let (method, status) = (method.unwrap_or("other"), response.status().as_u16());
    histogram!(
        names::REQUEST_SECONDS,
        "method" => method, "endpoint" => endpoint.clone(), "status" => status.to_string()
    )
    .record(taken.as_secs_f64());
    let (request_id, millis) = (id.as_str(), taken.as_millis());
    if let Some(RefusalCause(cause)) = response.extensions_mut().remove() {
        warn!(request_id, method, endpoint, status, cause, "request failed");
    }
    if millis >= u128::from(api.settings.slow_query_ms) {
        warn!(request_id, method, endpoint, status, millis, "slow request");
    }
    response
}
