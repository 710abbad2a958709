//! A message on its way between two connections: which headers go on, how its body is framed there, and how long it is
//! waited for.
//!
//! Framing is made of the body that is sent, never of a header that came. Where the two differ, the server behind takes the
//! rest of one request for the beginning of the next one, which is another caller's.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use futures::StreamExt as _;
use futures::stream::{self, Stream};
use percent_encoding::percent_decode_str;
use tokio::time::{Instant, timeout_at};

use crate::http::connections::Connection;

/// Longest wait for the next piece of a body.
const PIECE: Duration = Duration::from_secs(10);

/// Headers that are of one connection, not of the message (RFC 9110, 7.6.1), and those that each connection makes anew.
const OF_ONE_CONNECTION: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::CONTENT_LENGTH,
];

/// Returns the headers that go on: those of the message, without its framing.
pub(super) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !OF_ONE_CONNECTION.contains(name) && !named.contains(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// Returns the headers of a request that goes on with this body, framed by what the body is.
pub(super) fn framed(came: &HeaderMap, body: &Body) -> HeaderMap {
    let mut headers = end_to_end(came);
    match body.size_hint().exact() {
        // Nothing is said of no body, unless the caller said so: some servers want a length with each POST.
        Some(0) if !came.contains_key(header::CONTENT_LENGTH) => {}
        Some(length) => drop(headers.insert(header::CONTENT_LENGTH, length.into())),
        // Without it, the client would send no body with a GET.
        None => drop(headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))),
    }
    headers
}

/// Returns whether a path leads where it says, to whoever reads it: no segment is `.` or `..` and no backslash stands for a
/// slash, also after its escapes are read.
pub(super) fn is_plain(path: &str) -> bool {
    let read: Vec<u8> = percent_decode_str(path).collect();
    !read.contains(&b'\\') && !read.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"." | b".."))
}

/// How far the body of a request has come.
#[derive(Default)]
pub(super) struct Upload {
    is_awaited: AtomicBool,
    is_late: AtomicBool,
}

impl Upload {
    /// Returns whether the client is waited for at this moment.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::Relaxed)
    }

    /// Returns whether the client was waited for too long.
    pub(super) fn is_late(&self) -> bool {
        self.is_late.load(Ordering::Relaxed)
    }

    /// Returns the pieces of a body as they come, until an instant at the latest. While one is awaited, the connection may
    /// be closed for another client.
    ///
    /// # Errors
    /// The stream ends with one where the body breaks off, or does not come in time.
    pub(super) fn pieces(
        self: &Arc<Self>,
        body: Body,
        until: Instant,
        connection: Option<Connection>,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let upload = Arc::clone(self);
        stream::try_unfold(body.into_data_stream(), move |mut pieces| {
            let (upload, connection) = (Arc::clone(&upload), connection.clone());
            async move {
                let resting = connection.as_ref().map(Connection::rest);
                upload.is_awaited.store(true, Ordering::Relaxed);
                let next = timeout_at(until.min(Instant::now() + PIECE), pieces.next()).await;
                upload.is_late.store(next.is_err(), Ordering::Relaxed);
                upload.is_awaited.store(false, Ordering::Relaxed);
                drop(resting);
                let piece = next.map_err(io::Error::from)?.transpose().map_err(io::Error::other)?;
                Ok(piece.map(|piece| (piece, pieces)))
            }
        })
    }
}
