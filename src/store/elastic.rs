//! The store over Elasticsearch (7.17, 8, 9) and OpenSearch (2, 3).
//!
//! Documents of a kind, tenant and month lie in one index (`names`); a document's version is its revision, so that the
//! engine itself keeps the newest snapshot, and a 409 means `Superseded` (`verdicts`). The HTTP client is named under
//! this module only, in `hosts` and `wire`. Nothing here retries for the pipeline or acks.

mod admin;
mod bulk;
mod catalog;
mod census;
mod copies;
mod erase;
mod flavour;
mod folded;
mod hit;
mod hosts;
mod indices;
mod names;
mod queries;
mod reason;
mod retire;
mod retired;
mod rivals;
mod rows;
mod scan;
mod search;
pub mod settings;
mod shards;
mod snapshots;
mod state;
mod templates;
mod text;
mod texts;
mod verdicts;
mod watch;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::admin::Admin;
use self::bulk::EngineWriter;
use self::catalog::Catalog;
use self::erase::EngineEraser;
use self::hosts::Hosts;
use self::indices::Indices;
use self::names::IndexNames;
use self::retired::RetiredMonths;
use self::search::EngineReader;
pub use self::settings::{ElasticSettings, InvalidSetting, SearchedTexts, Secret, Tenancy};
pub use self::snapshots::{Repository, SnapshotCopies};
use self::state::StateAccess;
use self::watch::RetiredWatch;
use super::{
    self as store, BulkSink, Erasure, Remains, StateEntry, StateReader, StateStore, StateVersion, StoreAdmin,
    StoreError, StoreOverview,
};
use crate::domain::query::{MonthCount, MonthSize};
use crate::domain::record::RecordKey;
use crate::domain::{BulkAction, Month, SinkFault, TenantId, TenantSet, Timestamp, Verdict};

/// How long a write waits at most for a shard that is away. What it carries for others waits with it.
const SHARD_PATIENCE: Duration = Duration::from_secs(2);

/// A cluster as a store.
pub struct ElasticStore {
    hosts: Arc<Hosts>,
    names: IndexNames,
    indices: Arc<Indices>,
    watch: RetiredWatch,
    catalog: Catalog,
    retired: RetiredMonths,
    settings: ElasticSettings,
}

impl ElasticStore {
    /// Prepares connections; opens none.
    ///
    /// # Errors
    /// A setting that cannot work, by its key: also a certificate file that cannot be read.
    pub fn new(settings: ElasticSettings) -> Result<Self, InvalidSetting> {
        settings.validate()?;
        Ok(Self {
            hosts: Arc::new(Hosts::new(&settings)?),
            names: IndexNames::new(&settings),
            indices: Arc::new(Indices::new(&settings)),
            watch: RetiredWatch::default(),
            catalog: Catalog::default(),
            retired: RetiredMonths::default(),
            settings,
        })
    }

    fn writer(&self) -> EngineWriter<'_> {
        EngineWriter {
            hosts: &self.hosts,
            names: &self.names,
            indices: &self.indices,
            catalog: &self.catalog,
            retired: &self.retired,
            search: self.settings.search,
            max_request_bytes: self.settings.max_request_bytes,
            shard_timeout: format!("{}ms", (self.settings.timeout() / 2).min(SHARD_PATIENCE).as_millis()),
        }
    }

    fn admin(&self) -> Admin<'_> {
        Admin { hosts: &self.hosts, names: &self.names, catalog: &self.catalog, settings: &self.settings }
    }

    fn eraser(&self) -> EngineEraser<'_> {
        EngineEraser { hosts: &self.hosts, names: &self.names, reader: self.reader() }
    }

    fn state_index(&self) -> StateAccess<'_> {
        StateAccess { hosts: &self.hosts, names: &self.names }
    }

    fn reader(&self) -> EngineReader<'_> {
        EngineReader { hosts: &self.hosts, names: &self.names, catalog: &self.catalog, search: self.settings.search }
    }
}

#[async_trait]
impl BulkSink for ElasticStore {
    async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault> {
        self.watch.begin(&self.hosts, &self.names, &self.indices);
        self.writer().apply(actions).await
    }

    fn generation(&self) -> u64 {
        self.indices.generation()
    }

    async fn probe(&self) -> Result<(), SinkFault> {
        self.admin().probe().await
    }
}

#[async_trait]
impl StoreOverview for ElasticStore {
    async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.admin().check().await
    }

    async fn counts(&self) -> Result<Vec<MonthCount>, StoreError> {
        self.admin().counts().await
    }

    async fn sizes(&self) -> Result<Vec<MonthSize>, StoreError> {
        self.admin().sizes().await
    }

    async fn ensure_open(&self, month: Month) -> Result<(), StoreError> {
        catalog::ensure_open(&self.hosts, &self.names, month, |_| true).await
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        self.catalog.forget();
        self.admin().refresh().await
    }
}

#[async_trait]
impl StoreAdmin for ElasticStore {
    async fn install(&self) -> Result<Vec<String>, StoreError> {
        self.admin().install().await
    }

    async fn drop_month(&self, month: Month) -> Result<usize, StoreError> {
        let dropped = self.admin().drop_places(|place| place.month == month).await?;
        self.catalog.forget();
        for place in &dropped {
            self.indices.forget(*place);
        }
        Ok(dropped.len())
    }
}

#[async_trait]
impl StateReader for ElasticStore {
    async fn state(&self, key: &str) -> Result<Option<StateEntry>, StoreError> {
        Ok(self.state_index().get(key).await?)
    }

    async fn states(&self, prefix: &str) -> Result<Vec<StateEntry>, StoreError> {
        self.state_index().list(prefix).await
    }
}

#[async_trait]
impl StateStore for ElasticStore {
    async fn put_state(
        &self,
        key: &str,
        value: &serde_json::Value,
        expected: Option<StateVersion>,
    ) -> Result<Option<StateVersion>, StoreError> {
        self.state_index().put(key, value, expected).await
    }

    async fn delete_state(&self, key: &str, expected: StateVersion) -> Result<bool, StoreError> {
        self.state_index().delete(key, expected).await
    }
}

#[async_trait]
impl store::Eraser for ElasticStore {
    async fn erase(&self, erasures: &[Erasure], remains: Remains) -> Result<Vec<bool>, StoreError> {
        self.eraser().erase(erasures, remains).await
    }

    async fn erase_graphs(&self, tenant_id: TenantId, month: Month) -> Result<u64, StoreError> {
        self.eraser().erase_graphs(tenant_id, month).await
    }

    async fn lift_tombstones(&self, keys: &[RecordKey]) -> Result<u64, StoreError> {
        self.eraser().lift(keys).await
    }

    async fn purge_tombstones(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.admin().lift_blocks().await?;
        let marks = retired::purge(&self.state_index(), before).await?;
        self.retired.forget();
        Ok(marks + self.eraser().purge(before).await?)
    }

    async fn retire_month(&self, month: Month, past: &TenantSet, at: Timestamp) -> Result<Option<usize>, StoreError> {
        let Some(dropped) = self.admin().retire(&self.retired, month, past, at).await? else { return Ok(None) };
        self.catalog.forget();
        for place in &dropped {
            self.indices.forget(*place);
        }
        Ok(Some(dropped.len()))
    }
}
