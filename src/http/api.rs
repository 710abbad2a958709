//! The HTTP API over the stored logs: `/v1`, Dify's field names and shapes, keys with a scope. It answers questions of
//! [`LogService`] and knows no store; it holds no state between two requests, so that replicas need nothing of each other.

#![allow(clippy::doc_markdown, reason = "most comments here are the texts of the OpenAPI document, read by people")]

mod admin;
mod app_logs;
mod auth;
mod delete;
mod dify;
mod dify_nodes;
mod export;
mod extract;
mod limits;
mod observe;
mod openapi;
mod params;
mod problem;
mod search;
mod settings;
mod statistics;
mod stream;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;

use self::auth::Keys;
use self::problem::Problem;
pub use self::settings::{ApiKey, InvalidServe, Right, ServeSettings, TlsSettings};
use crate::query::LogService;
use crate::store::LogReader;

/// A store that needs longer to answer a probe is not ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long requests may go on when a shutdown begins.
const GRACE: Duration = Duration::from_secs(20);

/// What the API is made of.
#[derive(Clone)]
pub struct Api {
    service: LogService,
    keys: Arc<Keys>,
    settings: Arc<ServeSettings>,
    permits: Arc<Semaphore>,
    reader: Arc<dyn LogReader>,
    metrics: PrometheusHandle,
    stopping: CancellationToken,
}

impl Api {
    /// Reads the keys.
    ///
    /// # Errors
    /// [`InvalidServe`] that names the key of the configuration.
    pub fn new(
        service: LogService,
        settings: ServeSettings,
        reader: Arc<dyn LogReader>,
        metrics: PrometheusHandle,
        stopping: CancellationToken,
    ) -> Result<Self, InvalidServe> {
        let keys = Arc::new(Keys::new(settings.all_keys()?));
        let permits = Arc::new(Semaphore::new(settings.concurrency.into()));
        Ok(Self { service, keys, settings: Arc::new(settings), permits, reader, metrics, stopping })
    }

    /// Every route.
    pub fn router(self) -> Router {
        let (v1, document) = openapi::routes();
        let guarded = v1
            .layer(from_fn_with_state(self.clone(), limits::within_limits))
            .layer(from_fn_with_state(self.clone(), auth::authenticated))
            .layer(DefaultBodyLimit::max(self.settings.max_body_bytes))
            .layer(from_fn(observe::uncached));
        Router::new()
            .merge(guarded)
            .merge(openapi::pages(document))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics_text))
            .fallback(async || Problem::not_found("no such path; /docs lists them all"))
            .method_not_allowed_fallback(async || Problem::method_not_allowed())
            .layer(CompressionLayer::new())
            .layer(from_fn_with_state(self.clone(), observe::observed))
            .layer(from_fn(observe::identified))
            .with_state(self)
    }

    /// Serves until the shutdown begins, then lets requests end.
    ///
    /// # Errors
    /// If the listener fails, or the certificate cannot be read.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let handle = Handle::new();
        let (stopping, ending) = (self.stopping.clone(), handle.clone());
        let stop = tokio::spawn(async move {
            stopping.cancelled().await;
            ending.graceful_shutdown(Some(GRACE));
        });
        listener.set_nonblocking(true)?;
        let tls = self.settings.tls.clone();
        let service = self.router().into_make_service();
        let served = match tls {
            Some(TlsSettings { cert_file, key_file }) => {
                let config = RustlsConfig::from_pem_file(cert_file, key_file).await?;
                axum_server::from_tcp_rustls(listener, config)?.handle(handle).serve(service).await
            }
            None => axum_server::from_tcp(listener)?.handle(handle).serve(service).await,
        };
        stop.abort();
        served
    }
}

async fn readyz(State(api): State<Api>) -> Response {
    let problem = if api.stopping.is_cancelled() {
        Some("stopping".to_owned())
    } else {
        match tokio::time::timeout(PROBE_TIMEOUT, api.reader.ready()).await {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(fault.to_string()),
            Err(_) => Some(format!("store did not answer within {} s", PROBE_TIMEOUT.as_secs())),
        }
    };
    match problem {
        None => (StatusCode::OK, "ready\n").into_response(),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, problem + "\n").into_response(),
    }
}

async fn metrics_text(State(api): State<Api>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.metrics.render()).into_response()
}
