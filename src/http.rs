//! The HTTP side of a worker: liveness, readiness and metrics. It reads states and never changes them. The API over the
//! stored logs is in [`api`].
//!
//! - `GET /healthz`: 200 while the flow makes progress. A store or a broker that is down does not make a worker unhealthy:
//!   a restart would not help.
//! - `GET /readyz`: 200 while consuming with a store that answers; otherwise 503 with the reasons. They name no host and no
//!   path: whoever reaches the port reads them.
//! - `GET /metrics`: Prometheus text.

pub mod api;
mod connections;
pub mod console;
mod dead_letters;
mod headers;
mod readiness;
mod ui;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::connections::ConnectionSettings;
use self::readiness::StoreProbe;
use crate::amqp::BrokerStats;
use crate::domain::RefusalClass;
use crate::pipeline::receipt::abandoned;
use crate::pipeline::stats::PipelineStats;
use crate::store::BulkSink;
use crate::telemetry::names;

/// The section `http` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Address and port; port 0 takes a free one, empty text: no HTTP.
    pub listen: String,
    pub connections: ConnectionSettings,
}

impl HttpSettings {
    /// # Errors
    /// The first broken rule, with the name of the key.
    pub fn validate(&self) -> Result<(), String> {
        self.connections.validate().map_err(|problem| format!("http.{problem}"))
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8088".into(), connections: ConnectionSettings::FEW }
    }
}

/// The flow turns at least every 5 seconds; a heartbeat this old means that it is stuck.
const STUCK: Duration = Duration::from_secs(30);
/// How long answers may go on when a shutdown ends.
const GRACE: Duration = Duration::from_secs(2);

/// What the answers are made of.
#[derive(Clone)]
pub struct Watched {
    pub pipeline: Arc<PipelineStats>,
    pub broker: Arc<BrokerStats>,
    pub sink: Arc<dyn BulkSink>,
    pub metrics: PrometheusHandle,
    /// Cancelled when a shutdown begins.
    pub stopping: CancellationToken,
}

/// Serves until `until` is cancelled.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    watched: Watched,
    settings: ConnectionSettings,
    until: CancellationToken,
) -> std::io::Result<()> {
    connections::serve(listener.into_std()?, router(watched), settings, None, until, GRACE).await
}

#[derive(Clone)]
struct Endpoints {
    watched: Watched,
    probe: Arc<StoreProbe>,
}

/// Returns the routes.
pub fn router(watched: Watched) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .layer(from_fn(headers::secured))
        .with_state(Endpoints { watched, probe: Arc::default() })
}

async fn healthz(State(Endpoints { watched, .. }): State<Endpoints>) -> Response {
    let age = watched.pipeline.heartbeat_age();
    if age > STUCK {
        let text = format!("the flow has not turned for {} s; restart this worker\n", age.as_secs());
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    (StatusCode::OK, "ok\n").into_response()
}

async fn readyz(State(Endpoints { watched, probe }): State<Endpoints>) -> Response {
    let mut reasons = Vec::new();
    if watched.stopping.is_cancelled() {
        reasons.push("stopping".to_owned());
    }
    let (consuming, configured) = (watched.broker.consuming(), watched.broker.consumers());
    if consuming < configured {
        reasons.push(format!("{consuming} of {configured} consumers are consuming"));
    }
    if watched.pipeline.is_gate_closed() {
        reasons.push("deliveries are given back; see the log".to_owned());
    }
    if watched.pipeline.is_breaker_open() {
        reasons.push("breaker open: the store does not take documents".to_owned());
    }
    if let Some(reason) = watched.broker.publishing_blocked() {
        let reason = crate::domain::verdict::bounded(reason);
        reasons.push(format!("the broker blocks publishers ({reason}): dead letters and forwarded messages wait"));
    }
    if watched.pipeline.is_payload_breaker_open() {
        reasons.push("the payload store does not take full texts; documents that have some wait".to_owned());
    }
    reasons.extend(probe.problem(watched.sink.probe()).await.map(str::to_owned));
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n").into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

async fn metrics_text(State(Endpoints { watched, .. }): State<Endpoints>) -> Response {
    publish_broker_stats(&watched.broker);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], watched.metrics.render()).into_response()
}

/// The broker's side counts for itself; its totals become metrics when somebody looks.
fn publish_broker_stats(broker: &BrokerStats) {
    counter!(names::RECEIVED).absolute(broker.received());
    for (outcome, total) in [
        ("acked", broker.acked()),
        ("requeued", broker.requeued()),
        ("dead_lettered", broker.dead_lettered()),
        ("lost", broker.lost()),
    ] {
        counter!(names::DELIVERIES, "outcome" => outcome).absolute(total);
    }
    for class in RefusalClass::ALL {
        counter!(names::DEAD_LETTERS, "reason" => class.as_str()).absolute(broker.letters(*class));
    }
    gauge!(names::UNSETTLED).set(broker.in_flight() as f64);
    gauge!(names::BYTES_IN_FLIGHT).set(broker.bytes_in_flight() as f64);
    gauge!(names::OLDEST_UNACKED).set(broker.oldest_unacked(Instant::now()).unwrap_or_default().as_secs_f64());
    gauge!(names::PUBLISHING_BLOCKED).set(if broker.publishing_blocked().is_some() { 1.0 } else { 0.0 });
    gauge!(names::CONSUMERS).set(broker.consuming() as f64);
    counter!(names::ABANDONED).absolute(abandoned());
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use tower::Service as _;

    use super::*;
    use crate::amqp::AmqpSettings;
    use crate::domain::{BulkAction, SinkFault, Verdict};
    use crate::telemetry::system_clock;

    struct Absent;

    #[async_trait::async_trait]
    impl BulkSink for Absent {
        async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault> {
            Ok(actions.iter().map(|_| Verdict::Stored).collect())
        }

        async fn probe(&self) -> Result<(), SinkFault> {
            Ok(())
        }
    }

    async fn health(router: &Router) -> (StatusCode, String) {
        let request = Request::get("/healthz").body(Body::empty()).unwrap();
        let answer = router.clone().call(request).await.unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 1000).await.unwrap();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// By a clock that nobody can set: it goes on here without the wall clock's.
    #[tokio::test(start_paused = true)]
    async fn a_flow_that_does_not_turn_is_unhealthy_until_it_does() {
        let pipeline = Arc::new(PipelineStats::default());
        let router = router(Watched {
            pipeline: Arc::clone(&pipeline),
            broker: crate::amqp::Consumption::new(AmqpSettings::default(), system_clock()).unwrap().stats(),
            sink: Arc::new(Absent),
            metrics: metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle(),
            stopping: CancellationToken::new(),
        });
        pipeline.beat();
        tokio::time::advance(STUCK).await;
        assert_eq!(health(&router).await, (StatusCode::OK, "ok\n".into()));
        tokio::time::advance(Duration::from_secs(1)).await;
        let (status, said) = health(&router).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(said.contains("31 s") && said.contains("restart this worker"), "{said}");
        pipeline.beat();
        assert_eq!(health(&router).await.0, StatusCode::OK);
    }
}
