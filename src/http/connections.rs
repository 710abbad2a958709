//! Connections and their bounds: how many there are, how long one may wait without a request, how long it may take
//! nothing of its answer. What goes over a bound is closed, so that the next client finds room.

mod guarded;
mod registry;

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::guarded::Guard;
pub(super) use self::registry::Connection;
use self::registry::Registry;

/// Bytes of the head of a request at most, and of an answer that wait for their reader.
const HEAD: usize = 128 << 10;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// `connections` in the sections `serve` and `http` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionSettings {
    /// Open at once at most; never more than half of the descriptors that the process may open.
    pub max: usize,
    /// Of one client address.
    pub max_per_address: usize,
    /// Longest wait for the whole head of a request, on a new connection and between two requests, in seconds.
    pub idle_seconds: u64,
    /// Longest time in which a client takes no byte of its answer, in seconds.
    pub write_seconds: u64,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self { max: 1024, max_per_address: 256, idle_seconds: 30, write_seconds: 30 }
    }
}

impl ConnectionSettings {
    /// What a worker's health checks and scrapes need.
    pub(super) const FEW: Self = Self { max: 64, max_per_address: 32, idle_seconds: 30, write_seconds: 10 };

    /// # Errors
    /// The first broken rule, with the name of the key.
    pub fn validate(&self) -> Result<(), String> {
        if self.max == 0 || self.max_per_address == 0 {
            return Err("connections.max and connections.max_per_address must be at least 1".into());
        }
        for (name, seconds) in [("idle_seconds", self.idle_seconds), ("write_seconds", self.write_seconds)] {
            if !(1..=3600).contains(&seconds) {
                return Err(format!("connections.{name} must be 1 to 3600"));
            }
        }
        Ok(())
    }
}

/// Serves until `stopping` is cancelled, then for at most `grace` until requests have ended.
///
/// # Errors
/// If the listener fails.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    settings: ConnectionSettings,
    tls: Option<RustlsConfig>,
    stopping: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    let handle = Handle::new();
    let ending = handle.clone();
    let stop = tokio::spawn(async move {
        stopping.cancelled().await;
        ending.graceful_shutdown(Some(grace));
    });
    listener.set_nonblocking(true)?;
    let guard = Guard::new(Registry::new(settings), Duration::from_secs(settings.write_seconds));
    let mut server = axum_server::from_tcp(listener)?.handle(handle);
    let idle = Duration::from_secs(settings.idle_seconds);
    // The timer of a head starts when the connection waits for one, so it bounds the wait between two requests as well.
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(HEAD);
    let service = router.layer(from_fn(counted)).into_make_service();
    // An acceptor forgets the version; without one, a connection would wait for its first byte without the timer.
    let outcome = match tls {
        Some(config) => {
            let acceptor = RustlsAcceptor::new(config).handshake_timeout(HANDSHAKE).acceptor(guard);
            server.acceptor(acceptor).http1_only().serve(service).await
        }
        None => server.acceptor(guard).http1_only().serve(service).await,
    };
    stop.abort();
    outcome
}

/// Marks a connection as busy until the whole answer was taken, or was dropped.
async fn counted(Extension(connection): Extension<Connection>, request: Request, next: Next) -> Response {
    let busy = connection.begin();
    next.run(request).await.map(|body| guarded::until_dropped(body, busy))
}
