//! Opens what comparing, cleaning up, restoring and rolling back work on: Dify's database and the store.

use std::sync::Arc;
use std::time::Duration;

use super::{AppError, Readers, Stores, open_readers, open_stores};
use crate::backfill::removal::RemovalLease;
use crate::backfill::{LifeError, StoreSide};
use crate::codec::PayloadPolicy;
use crate::config::{Settings, StoreKind};
use crate::postgres::{Database, lookup};
use crate::store::Store;
use crate::store::payload::DifyStorage;
use crate::telemetry::system_clock;

/// Both sides; the store is only read.
pub struct Lifecycle {
    pub database: Database,
    pub readers: Readers,
    /// By which the documents were made.
    pub policy: PayloadPolicy,
    /// Where Dify keeps the full texts of payloads that it truncated.
    storage: Option<DifyStorage>,
    /// Which store this is, for reports.
    pub store_name: String,
}

impl Lifecycle {
    /// Returns the store as a comparison needs it.
    #[must_use]
    pub fn side(&self) -> StoreSide<'_> {
        let store = &*self.readers.store;
        StoreSide {
            reader: store,
            overview: store,
            texts: &*self.readers.payloads,
            redact: self.policy.redact.as_deref(),
            dify: self.storage.as_ref(),
        }
    }
}

/// What a command does with Dify's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Reads it whole: sessions are read-only, their plans keep to the indexes.
    Walk,
    /// Looks rows up, deletes or inserts them.
    Change,
}

/// Opens both sides, and sees that the store is set up.
///
/// # Errors
/// Settings that cannot be used, and a store that is not set up or cannot be reached.
pub async fn open_lifecycle(settings: &Settings, r#use: Use) -> Result<Lifecycle, AppError> {
    let database = match r#use {
        Use::Walk => Database::for_walks(&settings.postgres),
        Use::Change => Database::open(&settings.postgres),
    };
    let database = database.map_err(LifeError::from)?;
    let readers = open_readers(settings)?;
    readers.store.check().await?;
    let policy = super::payload_policy(settings)?;
    let storage = super::migrate::dify_storage(settings)?;
    Ok(Lifecycle { database, readers, policy, storage, store_name: store_name(settings) })
}

/// Returns the lease of what removes on one side because the other has it.
#[must_use]
pub fn removal_lease(settings: &Settings, store: &Arc<dyn Store>) -> RemovalLease {
    RemovalLease {
        state: store.clone(),
        clock: system_clock(),
        duration: Duration::from_secs(settings.migrate.lease_seconds.get().into()),
        holder: super::holder(),
    }
}

/// Opens the store to remove from it. Where one process writes, that is this one until the store is closed, or it says which
/// one is.
///
/// # Errors
/// Settings that cannot be used, and a store that is not set up, cannot be reached, or is written by another process.
pub async fn open_removal(settings: &Settings) -> Result<Stores, AppError> {
    let stores = open_stores(settings)?;
    stores.store.claim().await?;
    Ok(stores)
}

/// Tries PostgreSQL: a session, and the rights to read what difylog reads. The lines say what was found.
///
/// # Errors
/// Why it cannot be used, with what to grant.
pub async fn check_postgres(settings: &Settings) -> Result<Vec<String>, String> {
    let said = |error: crate::postgres::PostgresError| error.to_string();
    let database = Database::open(&settings.postgres).map_err(said)?;
    let client = database.client().await.map_err(said)?;
    // A pooler of transactions shows itself when a second session is opened beside the first.
    let another = Database::open(&settings.postgres).map_err(said)?;
    let _beside = another.client().await.map_err(said)?;
    let mut more = Vec::new();
    if settings.serve.names || settings.serve.dify.is_some() {
        more.extend(lookup::NAMES);
    }
    if settings.serve.dify.is_some() {
        more.extend([lookup::API_TOKENS, lookup::TRIGGER_LOGS]);
    }
    let missing = lookup::missing_rights(&client, &more).await.map_err(said)?;
    if missing.is_empty() {
        return Ok(vec![format!("{}: every table that is read can be read", database.server())]);
    }
    Err(format!("{}: {}", database.server(), missing.join("; ")))
}

/// Returns where the settings find the store.
pub(super) fn store_name(settings: &Settings) -> String {
    match settings.store.kind {
        StoreKind::Sqlite => {
            let dir = &settings.store.sqlite.dir;
            format!("sqlite {}", dir.canonicalize().unwrap_or_else(|_| dir.clone()).display())
        }
        StoreKind::Elastic => {
            let elastic = &settings.store.elastic;
            let mut hosts = elastic.hosts.clone();
            hosts.sort();
            format!("elastic {} at {}", elastic.prefix, hosts.join(" "))
        }
    }
}
