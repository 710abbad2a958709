//! Headers of every answer: what a browser must not do with it. Answers hold texts that strangers wrote. And what a browser
//! says in its headers of where a request comes from.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

/// Nothing is loaded, run or framed.
const DATA: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// The page at `/docs` runs its own files only, and asks this server only.
const PAGE: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; \
                    base-uri 'none'; form-action 'none'; object-src 'none'";
/// The log explorer runs and loads its own files only, and sends its forms here.
const EXPLORER: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                        form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Returns whether a browser says that a page of this host sent the request; `None`: nothing says which page did.
pub(super) fn is_own(headers: &HeaderMap) -> Option<bool> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let own_site = text("sec-fetch-site").map(|site| matches!(site, "same-origin" | "none"));
    let own_origin = text("origin").map(|origin| {
        let host = origin.split_once("://").map(|(_, host)| host);
        host.is_some() && host == text("host")
    });
    // A proxy may change the host; no page can change what the browser says of the site.
    own_site.or(own_origin)
}

/// Adds them. Nothing on the way keeps an answer: it is of one tenant, and records are deleted on demand; only the files of
/// `/docs` and of the log explorer may be kept.
pub(super) async fn secured(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let (is_page, is_explorer) = (path.starts_with("/docs"), path.starts_with("/ui"));
    // What it answers beside pages is data.
    let is_data = path.starts_with("/ui/data/");
    let is_kept = is_page || path.starts_with("/ui/assets/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    // Without a referrer, a browser would not say either which page a form comes from.
    set(header::REFERRER_POLICY, if is_explorer { "same-origin" } else { "no-referrer" });
    let policy = match (is_page, is_explorer && !is_data) {
        (true, _) => PAGE,
        (_, true) => EXPLORER,
        _ => DATA,
    };
    set(header::CONTENT_SECURITY_POLICY, policy);
    if !is_kept {
        set(header::CACHE_CONTROL, "no-store");
    }
    response
}
