//! The composition root: opens what the settings name, wires it, and starts and stops it in order.
//!
//! Start: store, payloads, flow, consumers, HTTP. Stop: consumers first (nothing new comes), then the flow (what came is
//! stored and settled), then the acks, and HTTP last. Nothing here decides what becomes of a message.

mod backup;
mod check;
mod lifecycle;
mod migrate;
mod payloads;
mod serve;
mod status;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use self::backup::{open_backup, open_vault};
pub use self::check::{Checked, check_places};
pub use self::lifecycle::{Lifecycle, Use, open_lifecycle, open_removal};
pub use self::migrate::{MigrationRun, open_migration};
pub use self::payloads::payload_warnings;
pub use self::serve::{open_logs, run_serve};
pub use self::status::{ALL_KINDS, Lag, MonthStatus, Part, Status, status};
use crate::amqp::{AmqpError, Consumption};
use crate::backfill::{LifeError, MigrateError};
use crate::backup::BackupError;
use crate::config::{Settings, StoreKind};
use crate::http::{self, Watched};
use crate::pipeline::gate::gate;
use crate::pipeline::stats::PipelineStats;
use crate::pipeline::{Pipeline, Ports};
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

/// The removal of what is past its days, over opened stores.
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
/// What keeps it from starting; once it runs, faults are held and retried.
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
    let metrics = telemetry::install_metrics().map_err(AppError::Other)?;
    let clock = system_clock();
    let (keeper, watch) = gate();
    let stats = Arc::new(PipelineStats::default());
    let (deliveries, inbox) = mpsc::channel(HANDOVER);

    let ports = Ports {
        sink: store.clone(),
        payloads,
        gate: keeper,
        stats: Arc::clone(&stats),
        clock: Arc::clone(&clock),
        seed: rand::random(),
    };
    let abandon = abort.child_token();
    let pipeline = Pipeline::new(settings.pipeline.clone(), settings.truncate, ports);
    let flow = tokio::spawn(pipeline.run(inbox, abandon.clone()));
    let consumption = Consumption::new(settings.amqp.clone(), Arc::clone(&clock))?;
    let broker = consumption.stats();
    let consuming = tokio::spawn(consumption.run(deliveries, watch, stop.clone(), DRAIN + SETTLE));

    let watched = Watched {
        pipeline: stats,
        broker,
        sink: store.clone(),
        metrics: metrics.clone(),
        clock,
        stopping: stop.clone(),
    };
    let http_until = CancellationToken::new();
    let server = start_http(&settings, watched, http_until.clone()).await?;
    let upkeep = tokio::spawn(upkeep(metrics, http_until.clone()));
    let removing =
        removal.map(|(retention, interval)| tokio::spawn(schedule::run(retention, interval, stop.child_token())));
    info!(store = ?settings.store.kind, "worker started");

    tokio::select! {
        () = stop.cancelled() => info!("stopping: no new deliveries, settling what is here"),
        () = abort.cancelled() => {}
    }
    drain(consuming, flow, &abandon, &abort).await;
    if let Some(removing) = removing {
        removing.abort();
    }
    store.close().await;
    http_until.cancel();
    let _ = upkeep.await;
    if let Some(server) = server {
        let _ = server.await;
    }
    info!("stopped");
    Ok(())
}

/// Consumers stop, the flow ends because nobody feeds it, the ledgers settle.
async fn drain(
    consuming: JoinHandle<()>,
    flow: JoinHandle<()>,
    abandon: &CancellationToken,
    abort: &CancellationToken,
) {
    let deadline = abandon.clone();
    let timer = tokio::spawn(async move {
        tokio::time::sleep(DRAIN).await;
        deadline.cancel();
    });
    let both = async {
        for task in [flow, consuming] {
            if let Err(crash) = task.await {
                error!(%crash, "a part of the worker died; its deliveries are requeued");
            }
        }
    };
    tokio::select! {
        () = both => {}
        () = abort.cancelled() => {}
    }
    timer.abort();
}

async fn start_http(
    settings: &Settings,
    watched: Watched,
    until: CancellationToken,
) -> Result<Option<JoinHandle<std::io::Result<()>>>, AppError> {
    let listen = &settings.http.listen;
    if listen.is_empty() {
        return Ok(None);
    }
    let failed = |source| AppError::Listen { listen: listen.clone(), source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    info!(%address, "serving /healthz, /readyz and /metrics");
    Ok(Some(tokio::spawn(http::serve(listener, watched, settings.http.connections, until))))
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
