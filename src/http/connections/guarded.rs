//! A connection that ends when it is told to, or when its client takes nothing for too long.

use std::future::{Future, Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Extension;
use axum::middleware::AddExtension;
use axum_server::accept::Accept;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use metrics::counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tower::Layer as _;

use super::registry::{Busy, Connection, ConnectionPlace, Registry};
use crate::telemetry::names;

/// Admits connections.
#[derive(Clone)]
pub(super) struct Guard {
    registry: Registry,
    write: Duration,
}

impl Guard {
    pub fn new(registry: Registry, write: Duration) -> Self {
        Self { registry, write }
    }
}

impl<S> Accept<TcpStream, S> for Guard {
    type Stream = Guarded;
    type Service = AddExtension<S, Connection>;
    type Future = Ready<io::Result<(Guarded, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        ready(self.admit(stream).map(|stream| {
            let service = Extension(stream.place.connection()).layer(service);
            (stream, service)
        }))
    }
}

impl Guard {
    fn admit(&self, stream: TcpStream) -> io::Result<Guarded> {
        let address = stream.peer_addr()?.ip();
        stream.set_nodelay(true)?;
        let (place, closing) =
            self.registry.admit(address).ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        let closing = Box::pin(closing.cancelled_owned());
        Ok(Guarded { stream, place, closing, write: self.write, stalled: None })
    }
}

/// See the module.
pub(super) struct Guarded {
    stream: TcpStream,
    place: ConnectionPlace,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    write: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    fn in_time<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let write = self.write;
        ready!(self.stalled.get_or_insert_with(|| Box::pin(sleep(write))).as_mut().poll(context));
        counter!(names::CONNECTIONS_CLOSED, "reason" => "slow").increment(1);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.closing.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.in_time(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // A socket has nothing to flush: that says nothing of the client.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Returns a body that keeps its connection busy until it was read to its end, or was dropped.
pub(super) fn until_dropped(body: Body, busy: Busy) -> Body {
    Body::new(Answer { body, _busy: busy })
}

struct Answer {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
