//! Opens what comparing, cleaning up, restoring and rolling back work on: Dify's database and the store.

use super::{AppError, Stores, open_stores};
use crate::backfill::{LifeError, StoreSide};
use crate::config::{Settings, StoreKind};
use crate::postgres::Database;

/// Both sides.
pub struct Lifecycle {
    pub database: Database,
    pub stores: Stores,
    /// Which store this is, for reports.
    pub store_name: String,
}

impl Lifecycle {
    /// The store as a comparison needs it.
    #[must_use]
    pub fn side(&self) -> StoreSide<'_> {
        let store = &*self.stores.store;
        StoreSide { reader: store, walks: store, admin: store, texts: &*self.stores.payloads }
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
    let stores = open_stores(settings)?;
    stores.store.check().await?;
    Ok(Lifecycle { database, stores, store_name: store_name(settings) })
}

/// Where the settings find the store.
fn store_name(settings: &Settings) -> String {
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
