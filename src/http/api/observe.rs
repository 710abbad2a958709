//! What is seen of a request from outside: its id, its duration by endpoint, and a line in the log if it was slow. Never
//! a parameter, which may hold what users typed.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use metrics::histogram;
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::Api;
use crate::telemetry::names;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_ID: usize = 64;

/// Gives every request an id, the client's own if it is decent, and answers it.
pub(super) async fn identified(mut request: Request, next: Next) -> Response {
    let decent = |value: &&HeaderValue| {
        (1..=MAX_ID).contains(&value.len())
            && value.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    let id = match request.headers().get(REQUEST_ID).filter(decent) {
        Some(id) => id.clone(),
        None => HeaderValue::from_str(&Uuid::new_v4().to_string()).unwrap_or(HeaderValue::from_static("none")),
    };
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Logs are of one tenant and are deleted on demand: nothing on the way keeps an answer.
pub(super) async fn uncached(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Measures a request up to the head of its answer.
pub(super) async fn observed(State(api): State<Api>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let endpoint = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let id = request.headers().get(REQUEST_ID).cloned();
    let response = next.run(request).await;
    let taken = begun.elapsed();
    let status = response.status().as_u16();
    histogram!(
        names::REQUEST_SECONDS,
        "method" => method.to_string(), "endpoint" => endpoint.clone(), "status" => status.to_string()
    )
    .record(taken.as_secs_f64());
    let millis = taken.as_millis();
    if millis >= u128::from(api.settings.slow_query_ms) {
        let request_id = id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default();
        warn!(request_id, %method, endpoint, status, millis, "slow request");
    }
    response
}
