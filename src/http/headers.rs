//! Headers of every answer: what a browser must not do with it. Answers hold texts that strangers wrote.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

/// Nothing is loaded, run or framed.
const DATA: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// The page at `/docs` runs its own files only, and asks this server only.
const PAGE: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; \
                    base-uri 'none'; form-action 'none'; object-src 'none'";

/// Adds them. Nothing on the way keeps an answer: it is of one tenant, and records are deleted on demand; only the files of
/// `/docs` may be kept.
pub(super) async fn secured(request: Request, next: Next) -> Response {
    let is_page = request.uri().path().starts_with("/docs");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CONTENT_SECURITY_POLICY, if is_page { PAGE } else { DATA });
    if !is_page {
        set(header::CACHE_CONTROL, "no-store");
    }
    response
}
