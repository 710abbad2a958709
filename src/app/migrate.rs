//! Wires a migration: PostgreSQL's sessions, the flow, the store and its state; and takes it apart in order.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{AppError, Stores, open_stores};
use crate::backfill::{Migration, MigrationPorts, StoreSide, Tail, Task};
use crate::codec::PayloadPolicy;
use crate::codec::truncate::Limits;
use crate::config::{Settings, StoreKind};
use crate::pipeline::gate::gate;
use crate::pipeline::stats::PipelineStats;
use crate::pipeline::{Pipeline, PipelinePorts};
use crate::postgres::Database;
use crate::store::memory::MemoryState;
use crate::store::payload::{DifyStorage, PayloadStore};
use crate::store::{Store, StoreError};
use crate::telemetry::system_clock;

/// Prepared rows between the chunks and the flow.
const HANDOVER: usize = 512;
/// Month files that a migration keeps open: a walk by primary key goes through all months at once.
const OPEN_MONTHS: usize = 32;

/// Rows of a request to SQLite: a chunk of the walk, whole. Engines have a bound by bytes that smaller requests meet.
const BATCH_ACTIONS: usize = 8_000;

/// A migration with the flow that it feeds.
pub struct MigrationRun {
    pub migration: Migration,
    pub stats: Arc<PipelineStats>,
    /// The database and the store as reports name them.
    pub places: (String, String),
    policy: PayloadPolicy,
    storage: Option<DifyStorage>,
    flow: Option<Flow>,
}

/// The flow's task, the store below it, and what makes it give up.
struct Flow {
    task: JoinHandle<()>,
    store: Arc<dyn Store>,
    payloads: Arc<PayloadStore>,
    abandon: CancellationToken,
}

/// Opens everything and takes the lease.
///
/// # Errors
/// What keeps the migration from starting.
pub async fn open_migration(
    mut settings: Settings,
    task: Task,
    stop: CancellationToken,
    abandon: CancellationToken,
) -> Result<MigrationRun, AppError> {
    let storage = dify_storage(&settings)?;
    let of_dify = storage.clone();
    let database = Database::for_walks(&settings.postgres).map_err(crate::backfill::MigrateError::from)?;
    let stats = Arc::new(PipelineStats::default());
    let policy = super::payload_policy(&settings)?;
    let places = (database.server().to_owned(), super::lifecycle::store_name(&settings));
    let (keeper, gate) = gate();
    let mut flow = None;
    let mut ports = MigrationPorts {
        database,
        state: Arc::new(MemoryState::default()),
        tail: Tail::Nowhere,
        stored: None,
        gate,
        storage,
        clock: system_clock(),
        holder: super::holder(),
        stop,
    };
    if !task.dry_run {
        let months = &mut settings.store.sqlite.max_open_months;
        *months = (*months).max(OPEN_MONTHS.try_into().unwrap_or(*months));
        let Stores { store, payloads } = open_stores(&settings)?;
        ports.state = store.clone();
        ports.stored = Some(store.clone());
        open_for_writing(settings.store.kind, &*store).await?;
        payloads.probe().await.map_err(|error| AppError::Payloads(error.to_string()))?;
        let (deliveries, inbox) = mpsc::channel(HANDOVER);
        ports.tail = Tail::Flow(deliveries);
        let flow_ports = PipelinePorts {
            sink: store.clone(),
            payloads: Arc::clone(&payloads),
            gate: keeper,
            stats: Arc::clone(&stats),
            clock: system_clock(),
            seed: rand::random(),
        };
        let mut pipeline = settings.pipeline.clone();
        // There is no broker whose patience ends: the flow holds rows for as long as the operator is willing to wait.
        pipeline.release_seconds = settings.migrate.give_up_seconds.get();
        pipeline.refusal_limits.pause_seconds = 0;
        if settings.store.kind == StoreKind::Sqlite {
            pipeline.batch_actions = pipeline.batch_actions.max(BATCH_ACTIONS);
        }
        let flow_of_rows = Pipeline::new(pipeline, policy.clone(), flow_ports).of_one_task();
        let task = tokio::spawn(flow_of_rows.run(inbox, abandon.clone()));
        flow = Some(Flow { task, store, payloads, abandon });
    }
    let opened = Migration::prepare(task, settings.migrate, policy.clone(), ports).await;
    match opened {
        Ok(migration) => Ok(MigrationRun { migration, stats, places, policy, storage: of_dify, flow }),
        Err(error) => {
            close(flow, true).await;
            Err(error.into())
        }
    }
}

impl MigrationRun {
    /// Returns the store as a comparison needs it, and as one that can be erased from; `None` in a dry run.
    #[must_use]
    pub fn side(&self) -> Option<(StoreSide<'_>, &dyn Store)> {
        let Flow { store, payloads, .. } = self.flow.as_ref()?;
        let store = &**store;
        let redact = self.policy.redact.as_deref();
        let dify = self.storage.as_ref();
        Some((StoreSide { reader: store, overview: store, texts: &**payloads, redact, dify }, store))
    }

    /// Returns how large payloads may be before they are cut.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.policy.truncate
    }

    /// Ends the flow and leaves the store tidy. After a failure, rows that the flow still holds are dropped: they lie after
    /// the checkpoint, and are read again.
    pub async fn close(self, failed: bool) {
        drop(self.migration);
        close(self.flow, failed).await;
    }
}

async fn close(flow: Option<Flow>, failed: bool) {
    if let Some(Flow { task, store, abandon, .. }) = flow {
        if failed {
            abandon.cancel();
        }
        // Nothing feeds it any more, so it settles what it has and ends. If it crashed, its rows were given back.
        let _ = task.await;
        if !failed {
            // A site without a worker has no other process to do it.
            if let Err(error) = store.catch_up().await {
                warn!("the search index is not up to date: {error}; `difylog setup` goes on with it");
            }
        }
        store.close().await;
    }
}

/// Fails at once where a worker writes to the same folder of SQLite files: the two would wait for each other for ever.
async fn open_for_writing(kind: StoreKind, store: &dyn Store) -> Result<(), AppError> {
    let opened = async {
        match kind {
            StoreKind::Sqlite => store.install().await?,
            StoreKind::Elastic => store.check().await?,
        };
        store.claim().await?;
        store.probe().await.map_err(StoreError::from)
    };
    opened.await.map_err(|error| match (kind, error) {
        (StoreKind::Sqlite, StoreError::Unavailable(said)) => StoreError::Unavailable(format!(
            "{said}; if it is a worker, stop it while rows are moved: RabbitMQ keeps its messages"
        ))
        .into(),
        (_, error) => error.into(),
    })
}

/// Returns Dify's own storage; `None`: the settings name none.
pub(super) fn dify_storage(settings: &Settings) -> Result<Option<DifyStorage>, AppError> {
    let failed =
        |key: &str, error: crate::store::payload::PayloadError| AppError::Other(format!("migrate.{key}: {error}"));
    if let Some(s3) = &settings.migrate.dify_s3 {
        return DifyStorage::s3(s3).map(Some).map_err(|error| failed("dify_s3", error));
    }
    let Some(dir) = &settings.migrate.dify_storage_dir else { return Ok(None) };
    DifyStorage::local(dir).map(Some).map_err(|error| failed("dify_storage_dir", error))
}
