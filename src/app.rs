//! The composition root: opens what the settings name, wires it, and starts and stops it in order.
//!
//! Start: store, payloads, flow, consumers, HTTP. Stop: consumers first (nothing new comes), then the flow (what came is
//! stored and settled), then the acks, and HTTP last. Nothing here decides what becomes of a message.

mod backup;
mod check;
mod lifecycle;
mod migrate;
mod parts;
mod payloads;
mod serve;
mod status;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use self::backup::{open_backup, open_vault, settings_at};
pub use self::check::{Checked, check_places};
pub use self::lifecycle::{Lifecycle, Use, check_postgres, open_lifecycle, open_removal, removal_lease};
pub use self::migrate::{MigrationRun, open_migration};
use self::parts::Parts;
pub use self::payloads::payload_warnings;
pub use self::serve::{carry_names, knows_postgres, open_logs, open_named_logs, run_serve};
pub use self::status::{ALL_KINDS, Lag, MonthStatus, Status, StatusPart, status};
use crate::amqp::{AmqpError, Consumption};
use crate::backfill::{LifeError, MigrateError};
use crate::backup::BackupError;
use crate::codec::PayloadPolicy;
use crate::codec::mask::Mask;
use crate::config::{Settings, StoreKind};
use crate::http::{self, Watched};
use crate::pipeline::gate::gate;
use crate::pipeline::stats::PipelineStats;
use crate::pipeline::{Pipeline, PipelinePorts};
use crate::retention::{Retention, schedule};
use crate::store::elastic::{ElasticStore, InvalidSetting};
use crate::store::payload::PayloadStore;
use crate::store::sqlite::{SqliteReader, SqliteStore};
use crate::store::{ReadStore, Store, StoreError};
use crate::telemetry::{self, system_clock};

/// How long a shutdown waits for the flow before it gives deliveries back. With the settling of acks it stays under
/// the 25 seconds that operators are promised, and under the 30 that orchestrators grant.
const DRAIN: Duration = Duration::from_secs(18);
/// How long the consumers wait for the last settlements after the flow has given up.
const SETTLE: Duration = Duration::from_secs(3);
/// Deliveries between the consumers and the flow.
const HANDOVER: usize = 512;

/// Why a role could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A setting of the store; `config` checks them before.
    #[error("store.elastic.{0}")]
    Setting(#[from] InvalidSetting),
    #[error("{0}")]
    Payloads(String),
    #[error("{0}")]
    Broker(#[from] AmqpError),
    #[error("{0}")]
    Migrate(#[from] MigrateError),
    #[error("{0}")]
    Life(#[from] LifeError),
    #[error("{0}")]
    Backup(#[from] BackupError),
    #[error("{0}")]
    Postgres(#[from] crate::postgres::PostgresError),
    #[error("{0}")]
    Query(#[from] crate::query::QueryError),
    #[error("{0}")]
    Serve(#[from] crate::http::api::InvalidServe),
    #[error("http.listen = {listen}: {source}; choose another address, or \"\" for none")]
    Listen { listen: String, source: std::io::Error },
    /// A part of a running role ended although nothing told it to.
    #[error("{part} ended unexpectedly: {why}; this process ends, so that it can be started again")]
    Died { part: &'static str, why: String },
    #[error("{0}")]
    Other(String),
}

/// A store with its payloads.
#[derive(Clone)]
pub struct Stores {
    pub store: Arc<dyn Store>,
    pub payloads: Arc<PayloadStore>,
}

/// A store to be read, with its payloads.
#[derive(Clone)]
pub struct Readers {
    pub store: Arc<dyn ReadStore>,
    pub payloads: Arc<PayloadStore>,
}

/// Opens the store that the settings name, to read it and nothing else: it takes no right that a writer needs, and changes
/// nothing there.
///
/// # Errors
/// Settings that cannot be used.
pub fn open_readers(settings: &Settings) -> Result<Readers, AppError> {
    let store: Arc<dyn ReadStore> = match settings.store.kind {
        StoreKind::Elastic => Arc::new(ElasticStore::new(settings.store.elastic.clone())?),
        StoreKind::Sqlite => Arc::new(SqliteReader::new(settings.store.sqlite.clone())),
    };
    Ok(Readers { store, payloads: open_payloads(settings)? })
}

fn open_payloads(settings: &Settings) -> Result<Arc<PayloadStore>, AppError> {
    let payloads = PayloadStore::open(&settings.payloads).map_err(|error| AppError::Payloads(error.to_string()))?;
    Ok(Arc::new(payloads))
}

/// Returns what is done to payloads before they are stored.
///
/// # Errors
/// A mask that cannot be used.
pub fn payload_policy(settings: &Settings) -> Result<PayloadPolicy, AppError> {
    let redact = Mask::new(&settings.redact).map_err(|problem| AppError::Other(format!("redact.{problem}")))?;
    Ok(PayloadPolicy { truncate: settings.truncate, redact: redact.map(Arc::new) })
}

/// Opens the store and the payload store that the settings name. Nothing is created yet.
///
/// # Errors
/// Settings that cannot be used.
pub fn open_stores(settings: &Settings) -> Result<Stores, AppError> {
    let store: Arc<dyn Store> = match settings.store.kind {
        StoreKind::Elastic => Arc::new(ElasticStore::new(settings.store.elastic.clone())?),
        StoreKind::Sqlite => Arc::new(SqliteStore::new(settings.store.sqlite.clone())?),
    };
    Ok(Stores { store, payloads: open_payloads(settings)? })
}

/// Returns the removal of what is past its days, over opened stores.
#[must_use]
pub fn retention(settings: &Settings, stores: &Stores) -> Retention {
    Retention {
        store: Arc::clone(&stores.store),
        payloads: Arc::clone(&stores.payloads),
        settings: settings.retention.clone(),
        clock: system_clock(),
        holder: holder(),
    }
}

/// This process, for others that wait for it.
fn holder() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "a host".to_owned());
    format!("{host}, process {}", std::process::id())
}

/// Runs a worker until `stop` is cancelled and everything is settled, or `abort` is.
///
/// # Errors
/// What keeps it from starting, or the part of it that ended by itself; faults of the broker and the stores are held and
/// retried.
pub async fn run_worker(settings: Settings, stop: CancellationToken, abort: CancellationToken) -> Result<(), AppError> {
    let stores = open_stores(&settings)?;
    let removal = settings.retention.interval().map(|interval| (retention(&settings, &stores), interval));
    // Before anything is taken from a queue: what could not be written would be held for minutes.
    stores.store.claim().await?;
    for line in stores.store.check().await? {
        info!("{line}");
    }
    stores.payloads.probe().await.map_err(|error| AppError::Payloads(error.to_string()))?;
    for warning in payload_warnings(&settings, &stores.payloads, &*stores.store, Some(&*stores.store))
        .await
        .map_err(AppError::Payloads)?
    {
        warn!("{warning}");
    }
    let Stores { store, payloads } = stores;
    // Before the broker is connected: a process that cannot start must not take deliveries.
    let listener = bind_http(&settings).await?;
    let metrics = telemetry::install_metrics().map_err(AppError::Other)?;
    let clock = system_clock();
    let (keeper, watch) = gate();
    let stats = Arc::new(PipelineStats::default());
    let (deliveries, inbox) = mpsc::channel(HANDOVER);

    let ports = PipelinePorts {
        sink: store.clone(),
        payloads,
        gate: keeper,
        stats: Arc::clone(&stats),
        clock: Arc::clone(&clock),
        seed: rand::random(),
    };
    let abandon = abort.child_token();
    let pipeline = Pipeline::new(settings.pipeline.clone(), payload_policy(&settings)?, ports).trying_first();
    let consumption = Consumption::new(settings.amqp.clone(), clock)?;
    let (broker, sink) = (consumption.stats(), store.clone());
    let mut flow = Parts::default();
    flow.spawn_quiet("the flow", pipeline.run(inbox, abandon.clone()));
    flow.spawn("consuming", consumption.run(deliveries, watch, stop.clone(), DRAIN + SETTLE));

    let watched = Watched { pipeline: stats, broker, sink, metrics: metrics.clone(), stopping: stop.clone() };
    let http_until = CancellationToken::new();
    let mut beside = Parts::default();
    if let Some(listener) = listener {
        let served = http::serve(listener, watched, settings.http.connections, http_until.clone());
        beside.spawn("http", async move { served.await.map_err(|error| error.to_string()) });
    }
    beside.spawn_quiet("the upkeep of metrics", upkeep(metrics, http_until.clone()));
    let mut removing = Parts::default();
    let writing = store.clone();
    removing.spawn("the store", async move { Err(writing.ended().await.to_owned()) });
    if let Some((retention, interval)) = removal {
        removing.spawn_quiet("retention", schedule::run(retention, interval, stop.child_token()));
    }
    info!(store = ?settings.store.kind, "worker started");

    let died = tokio::select! {
        biased;
        () = stop.cancelled() => {
            info!("stopping: no new deliveries, settling what is here");
            None
        }
        () = abort.cancelled() => None,
        died = flow.ended() => Some(died),
        died = beside.ended() => Some(died),
        died = removing.ended() => Some(died),
    };
    if let Some(died) = &died {
        error!(%died, "stopping: what can still be settled is");
        stop.cancel();
    }
    let crashed = drain(flow, &abandon, &abort).await;
    removing.abort();
    store.close().await;
    http_until.cancel();
    let _ = beside.all_ended().await;
    info!("stopped");
    died.or(crashed).map_or(Ok(()), Err)
}

/// Consumers stop, the flow ends because nothing feeds it, the ledgers settle. Returns the part that crashed meanwhile.
async fn drain(mut flow: Parts, abandon: &CancellationToken, abort: &CancellationToken) -> Option<AppError> {
    let deadline = abandon.clone();
    let timer = tokio::spawn(async move {
        tokio::time::sleep(DRAIN).await;
        deadline.cancel();
    });
    let crashed = tokio::select! {
        crashed = flow.all_ended() => crashed,
        () = abort.cancelled() => None,
    };
    timer.abort();
    crashed
}

/// Takes the address of health, readiness and metrics; `None`: none is wanted.
async fn bind_http(settings: &Settings) -> Result<Option<TcpListener>, AppError> {
    let listen = &settings.http.listen;
    if listen.is_empty() {
        return Ok(None);
    }
    let failed = |source| AppError::Listen { listen: listen.clone(), source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    info!(%address, "serving /healthz, /readyz and /metrics");
    Ok(Some(listener))
}

/// Folds histograms from time to time, whether or not anybody scrapes.
async fn upkeep(metrics: metrics_exporter_prometheus::PrometheusHandle, until: CancellationToken) {
    loop {
        tokio::select! {
            () = until.cancelled() => return,
            () = tokio::time::sleep(telemetry::UPKEEP) => metrics.run_upkeep(),
        }
    }
}
