//! Opens what backups work on: the store, its copies, and where they are kept.

use std::sync::Arc;

use super::{AppError, Stores, holder, open_stores};
use crate::backup::Backup;
use crate::backup::manifest::BackupSource;
use crate::config::{Settings, StoreKind};
use crate::store::Capability;
use crate::store::copies::MonthCopies;
use crate::store::elastic::SnapshotCopies;
use crate::store::payload::PayloadStore;
use crate::store::sqlite::SqliteCopies;
use crate::telemetry::system_clock;

/// Opens the place of manifests and payloads alone.
///
/// # Errors
/// Settings that cannot be used.
pub fn open_vault(settings: &Settings) -> Result<PayloadStore, AppError> {
    PayloadStore::open_of("backup", &settings.backup.vault()).map_err(|error| AppError::Payloads(error.to_string()))
}

/// Opens the store that the settings name with its backups, or another of its kind: `at` is a directory of SQLite, or a
/// prefix of indices. `source`: what the copies were made of, if they were.
///
/// # Errors
/// Settings that cannot be used, and copies of another kind of store.
pub fn open_backup(settings: &Settings, at: Option<&str>, source: Option<&BackupSource>) -> Result<Backup, AppError> {
    let mut settings = settings.clone();
    if let Some(at) = at {
        match settings.store.kind {
            StoreKind::Sqlite => settings.store.sqlite.dir = at.into(),
            StoreKind::Elastic => settings.store.elastic.prefix = at.into(),
        }
    }
    let own = match settings.store.kind {
        StoreKind::Sqlite => BackupSource::Sqlite,
        StoreKind::Elastic => BackupSource::Elastic { prefix: settings.store.elastic.prefix.clone() },
    };
    let source = source.unwrap_or(&own);
    let copies: Box<dyn MonthCopies> = match (settings.store.kind, source) {
        (StoreKind::Sqlite, BackupSource::Sqlite) => {
            let (store, months) = (settings.store.sqlite.clone(), settings.backup.months_dir());
            Box::new(SqliteCopies::new(store, months, system_clock()))
        }
        (StoreKind::Elastic, BackupSource::Elastic { prefix }) => {
            let (store, repository) = (settings.store.elastic.clone(), settings.backup.repository());
            Box::new(SnapshotCopies::new(store, repository, prefix.clone())?)
        }
        (_, other) => {
            let kind = if matches!(other, BackupSource::Sqlite) { "sqlite" } else { "elastic" };
            return Err(AppError::Other(format!("the backup is of another store: set store.kind = \"{kind}\"")));
        }
    };
    let Stores { store, payloads } = open_stores(&settings)?;
    store.need(Capability::MonthCopies)?;
    Ok(Backup {
        store,
        payloads: Arc::clone(&payloads),
        copies,
        vault: open_vault(&settings)?,
        source: source.clone(),
        clock: system_clock(),
        holder: holder(),
    })
}
