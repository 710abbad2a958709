//! Answers of any length: documents as they come, in constant memory. The first is awaited before the answer begins, so
//! that a store that is down is a 503 and not half an answer; a later fault breaks the connection off, so that no
//! client takes a part for the whole.

use std::pin::Pin;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tracing::warn;

use super::limits::Permit;
use super::problem::Problem;
use crate::query::QueryError;
use crate::store::StoreError;

/// Returns what is wrong with a record that has no text: it is told of rather than left out.
pub(super) fn unwritable(error: &serde_json::Error) -> QueryError {
    StoreError::Corrupt(format!("a record that cannot be written as JSON: {error}")).into()
}

type Lines = Pin<Box<dyn Stream<Item = Result<String, QueryError>> + Send>>;

/// A stream whose first item has come.
struct Begun {
    first: Option<String>,
    rest: Lines,
}

async fn begin(lines: impl Stream<Item = Result<String, QueryError>> + Send + 'static) -> Result<Begun, Problem> {
    let mut rest: Lines = Box::pin(lines);
    let first = rest.next().await.transpose()?;
    Ok(Begun { first, rest })
}

/// Breaks an answer off: the client sees that it is not whole, the log says why.
fn broken(permit: &Permit, error: &QueryError) -> std::io::Error {
    warn!(request_id = permit.request_id.as_str(), %error, "an answer broke off");
    std::io::Error::other("broken off")
}

/// One JSON text a line.
pub(super) async fn ndjson(
    permit: Permit,
    lines: impl Stream<Item = Result<String, QueryError>> + Send + 'static,
) -> Result<Response, Problem> {
    by_lines(permit, "application/x-ndjson", None, lines).await
}

/// Lines of this type, after a first one that comes even where there are no others.
pub(super) async fn by_lines(
    permit: Permit,
    content_type: &'static str,
    head: Option<String>,
    lines: impl Stream<Item = Result<String, QueryError>> + Send + 'static,
) -> Result<Response, Problem> {
    let Begun { first, rest } = begin(lines).await?;
    // The permit is held to the end of the stream.
    let lines = futures::stream::iter(head.into_iter().chain(first).map(Ok))
        .chain(rest)
        .map(move |line| line.map(|line| Bytes::from(line + "\n")).map_err(|error| broken(&permit, &error)));
    Ok(([(header::CONTENT_TYPE, content_type)], Body::from_stream(lines)).into_response())
}

/// `{"data":[…]}`
pub(super) async fn data(
    permit: Permit,
    items: impl Stream<Item = Result<String, QueryError>> + Send + 'static,
) -> Result<Response, Problem> {
    let Begun { first, rest } = begin(items).await?;
    let head = format!("{{\"data\":[{}", first.unwrap_or_default());
    let rest =
        rest.map(move |item| item.map(|item| Bytes::from(format!(",{item}"))).map_err(|error| broken(&permit, &error)));
    let whole = futures::stream::iter([Ok(Bytes::from(head))])
        .chain(rest)
        .chain(futures::stream::iter([Ok(Bytes::from_static(b"]}"))]));
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(whole)).into_response())
}
