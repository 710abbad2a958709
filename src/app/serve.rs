//! Wires the read path: the store, its payloads, the names, and the API over them.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::parts::Parts;
use super::{AppError, open_payloads, upkeep};
use crate::backfill::LifeError;
use crate::backfill::names::{self, CarriedNames};
use crate::config::{Settings, StoreKind};
use crate::domain::TenantId;
use crate::http::api::{Api, Entry};
use crate::http::console::Bridge;
use crate::postgres::{Database, PostgresSettings};
use crate::query::{DifyDirectory, Directory, KeptDirectory, LogService, NoDirectory, ServicePorts};
use crate::store::elastic::ElasticStore;
use crate::store::sqlite::{SqliteEraser, SqliteReader};
use crate::store::{Eraser, ReadStore, StateStore, Store};
use crate::telemetry::{self, system_clock};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the read path over the store that the settings name, with names where `serve.names` says so. Nothing is created.
///
/// # Errors
/// Settings that cannot be used.
pub fn open_logs(settings: &Settings) -> Result<(LogService, Arc<dyn ReadStore>), AppError> {
    let directory = settings.serve.names.then(|| directory(settings)).transpose()?;
    open_logs_with(settings, directory)
}

/// Returns the read path for a command, which has names wherever the settings name a PostgreSQL. The command says itself when
/// they are missing.
///
/// # Errors
/// Settings that cannot be used.
pub fn open_named_logs(settings: &Settings) -> Result<LogService, AppError> {
    let directory = knows_postgres(settings).then(|| directory(settings)).transpose()?;
    Ok(open_logs_with(settings, directory.map(DifyDirectory::unlogged))?.0)
}

fn directory(settings: &Settings) -> Result<DifyDirectory, AppError> {
    let patience = Duration::from_millis(settings.serve.names_timeout_ms);
    Ok(DifyDirectory::new(Database::open(&settings.postgres)?).within(patience))
}

fn open_logs_with(
    settings: &Settings,
    directory: Option<DifyDirectory>,
) -> Result<(LogService, Arc<dyn ReadStore>), AppError> {
    let (store, eraser): (Arc<dyn ReadStore>, Arc<dyn Eraser>) = match settings.store.kind {
        StoreKind::Elastic => {
            let store = Arc::new(ElasticStore::new(settings.store.elastic.clone())?);
            (store.clone(), store)
        }
        StoreKind::Sqlite => {
            let settings = &settings.store.sqlite;
            (Arc::new(SqliteReader::new(settings.clone())), Arc::new(SqliteEraser::new(settings.clone())))
        }
    };
    let payloads = open_payloads(settings)?;
    let mut directory: Arc<dyn Directory> = match directory {
        Some(directory) => Arc::new(directory),
        None => Arc::new(NoDirectory),
    };
    if settings.serve.keep_names {
        directory = Arc::new(KeptDirectory::new(directory, store.clone()));
    }
    let ports = ServicePorts { logs: store.clone(), eraser, payloads, directory, clock: system_clock() };
    Ok((LogService::new(ports), store))
}

/// Returns whether the settings name a PostgreSQL, or relies on the default one.
pub fn knows_postgres(settings: &Settings) -> bool {
    settings.serve.names || settings.postgres != PostgresSettings::default()
}

/// Serves the API and the log explorer, into which `entry` signs in once, until `stop` is cancelled and the requests have ended.
///
/// # Errors
/// What keeps it from starting, or the part of it that ended by itself.
pub async fn run_serve(settings: Settings, entry: Option<Entry>, stop: CancellationToken) -> Result<(), AppError> {
    let (service, store) = open_logs(&settings)?;
    for line in store.check().await? {
        info!("{line}");
    }
    let metrics = telemetry::install_metrics().map_err(AppError::Other)?;
    let api = Api::new(service.clone(), settings.serve.clone(), store.clone(), metrics.clone(), stop.clone())?;
    let looked_at = settings.clone();
    let api = api.with_status(Arc::new(move || {
        let settings = looked_at.clone();
        Box::pin(async move {
            // Settings that cannot be used are a picture without parts.
            super::status(&settings).await.map_or(serde_json::Value::Null, |status| status.to_json())
        })
    }));
    // Read otherwise; of the store's state it writes how far replays are.
    let state = super::open_stores(&settings)?.store;
    let api = api.with_dead_letters(settings.amqp.clone(), state.clone());
    if let Some(entry) = &entry {
        api.offer(entry);
    }
    let api = match settings.serve.dify.clone() {
        None => api,
        Some(dify) => {
            let database = knows_postgres(&settings).then(|| Database::open(&settings.postgres)).transpose()?;
            let bridge = Bridge::new(service, store.clone(), database, dify, settings.serve.concurrency);
            api.with_bridge(bridge.map_err(|problem| AppError::Other(format!("serve.dify.{problem}")))?)
        }
    };
    let listen = &settings.serve.listen;
    let failed = |error: std::io::Error| AppError::Other(format!("serve.listen = {listen}: {error}"));
    let listener = TcpListener::bind(listen).map_err(failed)?;
    info!(address = %listener.local_addr().map_err(failed)?, "serving the API and the log explorer; /docs shows the one, / the other");
    let mut parts = Parts::default();
    if settings.serve.keep_names && settings.serve.names {
        parts.spawn_quiet("carrying names", keep_names(settings.clone(), state.clone(), stop.child_token()));
    }
    parts.spawn("the API", async move { api.serve(listener).await.map_err(|error| error.to_string()) });
    parts.spawn_quiet("the upkeep of metrics", upkeep(metrics, stop.child_token()));
    let died = parts.ended_before(&stop).await;
    if let Some(died) = &died {
        error!(%died, "stopping: requests that have begun are answered");
        stop.cancel();
    }
    let crashed = parts.all_ended().await;
    state.close().await;
    died.or(crashed).map_or(Ok(()), Err)
}

/// Carries the names of all workspaces into the store.
///
/// # Errors
/// A PostgreSQL or a store that cannot be used.
pub async fn carry_names(
    settings: &Settings,
    state: &dyn StateStore,
    tenants: &[TenantId],
) -> Result<CarriedNames, AppError> {
    let database = Database::open(&settings.postgres).map_err(LifeError::from)?;
    Ok(names::carry(&database, state, tenants).await?)
}

/// Carries names now and once a day, until `stop` is cancelled. A failure is logged, and tried again after an hour.
async fn keep_names(settings: Settings, state: Arc<dyn Store>, stop: CancellationToken) {
    loop {
        let pause = match carry_names(&settings, &*state, &[]).await {
            Ok(carried) => {
                info!(workspaces = carried.workspaces, renewed = carried.renewed, "names were carried into the store");
                DAY
            }
            Err(error) => {
                warn!(%error, "names could not be carried into the store (serve.keep_names)");
                DAY / 24
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_is_known_where_it_is_named() {
        let known = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            knows_postgres(&crate::config::load(None, &variables, &[]).unwrap().settings)
        };
        assert!(!known(&[]));
        assert!(known(&[("PG_URL", "postgres://reader@db:5432/dify")]));
        assert!(known(&[("DIFYLOG__SERVE__NAMES", "true")]));
    }
}
