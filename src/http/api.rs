//! The HTTP API over the stored logs: `/v1`, Dify's field names and shapes, keys with a scope. It answers questions of
//! [`LogService`] and knows no store; it holds no state between two requests, so that replicas need nothing of each other.

#![allow(clippy::doc_markdown, reason = "most comments here are the texts of the OpenAPI document, read by people")]

mod admin;
pub(super) mod admin_errors;
mod app_logs;
pub(super) mod audit;
pub(super) mod auth;
pub(super) mod compare;
pub(super) mod conversations;
mod csv;
pub(super) mod dead_letters;
mod delete;
mod dify;
mod dify_nodes;
pub(super) mod errors;
pub(super) mod export;
pub(super) mod extract;
pub(super) mod forward;
pub(super) mod letters;
pub(super) mod limits;
mod me;
pub(super) mod models;
pub(super) mod observe;
mod openapi;
pub(super) mod params;
pub(super) mod problem;
mod reach;
pub(super) mod search;
mod settings;
mod statistics;
mod stream;

/// Dify's shapes, for others that answer in them.
pub(in crate::http) mod views {
    pub(in crate::http) use super::app_logs::LogView;
    pub(in crate::http) use super::dify::{CountsView, RunDetail, RunItem, object, seconds};
    pub(in crate::http) use super::dify_nodes::node_items;
    pub(in crate::http) use super::statistics::{DayView, DayViews};
}

use std::io;
use std::net::TcpListener;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::compression::CompressionLayer;
use tracing::warn;

use self::audit::Refusals;
use self::auth::Keys;
use self::forward::ForwardAuth;
pub use self::forward::{AccessEntry, ForwardAuthSettings, SharedSecretSettings};
use self::problem::Problem;
pub use self::settings::{ApiKey, InvalidServe, Right, ServeSettings, TlsSettings};
use super::console::Bridge;
use super::dead_letters::DeadLetterQueue;
use super::readiness::StoreProbe;
use super::ui::{self, Sessions};
use super::{connections, headers};
use crate::amqp::AmqpSettings;
use crate::codec::mask::Mask;
use crate::domain::TenantId;
use crate::query::{LogService, TenantLogs};
use crate::store::{LogReader, StateStore};

/// How long requests may go on when a shutdown begins.
const GRACE: Duration = Duration::from_secs(20);

/// Looks at every part of a site and tells what it sees, as `difylog status --json` does.
pub type StatusSource = Arc<dyn Fn() -> BoxFuture<'static, serde_json::Value> + Send + Sync>;

/// A link that signs in to the log explorer once: its token, and the key that it stands for. Kept nowhere else.
pub struct Entry {
    pub token: String,
    pub key: String,
}

/// The API. Every layer and handler of a request has a copy of it, so that one is a handle.
#[derive(Clone)]
pub struct Api(Arc<ApiParts>);

impl Deref for Api {
    type Target = ApiParts;

    fn deref(&self) -> &ApiParts {
        &self.0
    }
}

/// What the API is made of.
#[derive(Clone)]
pub struct ApiParts {
    pub(super) service: LogService,
    pub(super) keys: Arc<Keys>,
    /// Who people are, where a proxy says it.
    forward: Option<Arc<ForwardAuth>>,
    pub(super) settings: Arc<ServeSettings>,
    /// What keys without the right to reveal do not see.
    mask: Option<Arc<Mask>>,
    permits: Arc<Semaphore>,
    /// Those under way: they go on without their requests.
    deletions: TaskTracker,
    reader: Arc<dyn LogReader>,
    metrics: PrometheusHandle,
    stopping: CancellationToken,
    probe: Arc<StoreProbe>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) status: Option<StatusSource>,
    pub(super) dead_letters: Option<DeadLetterQueue>,
    bridge: Option<Bridge>,
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
        let per_key = settings.concurrency_per_key.min(settings.concurrency);
        let keys = Arc::new(Keys::new(settings.all_keys()?, per_key));
        let forward = settings.forward_auth.as_ref().map(|forward| ForwardAuth::new(forward, per_key)).transpose();
        let forward = forward.map_err(|problem| InvalidServe(format!("forward_auth.{problem}")))?.map(Arc::new);
        let permits = Arc::new(Semaphore::new(settings.concurrency.into()));
        let mask = Mask::new(&settings.mask).map_err(|problem| InvalidServe(format!("mask.{problem}")))?.map(Arc::new);
        let (probe, refusals) = (Arc::default(), Arc::default());
        Ok(Self(Arc::new(ApiParts {
            service,
            keys,
            forward,
            settings: Arc::new(settings),
            mask,
            permits,
            deletions: TaskTracker::new(),
            reader,
            metrics,
            stopping,
            probe,
            refusals,
            sessions: Arc::default(),
            status: None,
            dead_letters: None,
            bridge: None,
        })))
    }

    fn with(mut self, change: impl FnOnce(&mut ApiParts)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Lets a link sign in to the log explorer, once.
    pub fn offer(&self, entry: &Entry) {
        self.sessions.offer(&entry.token, &entry.key);
    }

    /// Shows the state of the parts to admin keys.
    #[must_use]
    pub fn with_status(self, status: StatusSource) -> Self {
        self.with(|parts| parts.status = Some(status))
    }

    /// Works on the dead letters of this broker for keys that may operate; `state` tells other replicas of replays.
    #[must_use]
    pub fn with_dead_letters(self, settings: AmqpSettings, state: Arc<dyn StateStore>) -> Self {
        let queue = DeadLetterQueue::new(settings, state, self.service.clock(), self.stopping.clone());
        self.with(|parts| parts.dead_letters = Some(queue))
    }

    /// Returns the console of a Dify as well.
    #[must_use]
    pub fn with_bridge(self, bridge: Bridge) -> Self {
        self.with(|parts| parts.bridge = Some(bridge))
    }

    /// Returns the logs of a tenant as a caller sees them. Every answer to a key is made of these.
    fn logs_for(&self, caller: &auth::Caller, tenant_id: TenantId) -> TenantLogs {
        self.service.tenant(tenant_id).held_to(caller.apps().clone()).masked(self.mask_for(caller))
    }

    /// Returns what a caller does not see.
    fn mask_for(&self, caller: &auth::Caller) -> Option<Arc<Mask>> {
        self.mask.clone().filter(|_| !caller.may(Right::Reveal))
    }

    /// Returns every route.
    pub fn router(self) -> Router {
        // Beside the API's own layers: what Dify answers keeps its headers.
        let mut console = self.bridge.clone().map_or_else(Router::new, Bridge::router);
        if let Some(forward) = &self.forward {
            console = console.layer(from_fn_with_state(Arc::clone(forward), forward::withheld));
        }
        self.api_router().merge(console)
    }

    fn api_router(self) -> Router {
        let (v1, document) = openapi::routes();
        let guarded = v1
            .layer(from_fn_with_state(self.clone(), audit::reads))
            .layer(from_fn_with_state(self.clone(), limits::within_limits))
            .layer(from_fn_with_state(self.clone(), auth::authenticated))
            // Its size is checked while it is read, before a permit is taken.
            .layer(DefaultBodyLimit::disable());
        Router::new()
            .merge(guarded)
            .merge(openapi::pages(document))
            .merge(ui::routes(&self))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics_text))
            .fallback(async || Problem::not_found("no such path; /docs lists them all"))
            .method_not_allowed_fallback(async || Problem::method_not_allowed())
            .layer(CompressionLayer::new())
            .layer(from_fn_with_state(self.clone(), observe::observed))
            .layer(from_fn(headers::secured))
            .layer(from_fn_with_state(self.clone(), forward::told))
            .layer(from_fn(observe::identified))
            .with_state(self)
    }

    /// Serves until the shutdown begins, then lets requests and deletions end.
    ///
    /// # Errors
    /// If the listener fails, or the certificate cannot be read.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let (stopping, connections) = (self.stopping.clone(), self.settings.connections);
        let tls = self.settings.certificate().await.map_err(io::Error::other)?;
        let following = auth::follow(Arc::clone(&self.keys), Arc::clone(&self.settings), stopping.clone());
        let (dead_letters, deletions) = (self.dead_letters.clone(), self.deletions.clone());
        let stopped = stopping.clone();
        let serving = connections::serve(listener, self.router(), connections, tls, stopping, GRACE);
        let (mut serving, mut following) = (std::pin::pin!(serving), std::pin::pin!(following));
        let (mut is_following, mut grace) = (true, None);
        let served = loop {
            tokio::select! {
                served = &mut serving => break served,
                () = &mut following, if is_following => is_following = false,
                () = stopped.cancelled(), if grace.is_none() => grace = Some(Instant::now() + GRACE),
            }
        };
        // No request is left that could begin another one.
        deletions.close();
        if timeout_at(grace.unwrap_or_else(|| Instant::now() + GRACE), deletions.wait()).await.is_err() {
            warn!(deletions = deletions.len(), "deletions are cut short by the end of the process; ask for them again");
        }
        if let Some(queue) = dead_letters {
            queue.ended().await;
        }
        served
    }
}

async fn readyz(State(api): State<Api>) -> Response {
    let problem =
        if api.stopping.is_cancelled() { Some("stopping") } else { api.probe.problem(api.reader.ready()).await };
    match problem {
        None => (StatusCode::OK, "ready\n").into_response(),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")).into_response(),
    }
}

async fn metrics_text(State(api): State<Api>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.metrics.render()).into_response()
}
