//! The store over Elasticsearch (7.17, 8, 9) and OpenSearch (2, 3).
//!
//! Documents of a kind, tenant and month lie in one index (`names`); a document's version is its revision, so that the
//! engine itself keeps the newest snapshot, and a 409 means `Superseded` (`verdicts`). The client library is named
//! under this module only, and in `hosts` only. Nothing here retries for the pipeline or acks.

mod admin;
mod bulk;
mod flavour;
mod hosts;
mod indices;
mod names;
mod reason;
mod rows;
mod search;
pub mod settings;
mod shards;
mod templates;
mod verdicts;

use async_trait::async_trait;

use self::admin::Admin;
use self::bulk::Writer;
use self::hosts::Hosts;
use self::indices::Indices;
use self::names::Names;
use self::search::Reader;
pub use self::settings::{ElasticSettings, InvalidSetting, Secret, Tenancy};
use super::{BulkSink, LogReader, StoreAdmin, StoreError};
use crate::domain::query::{MonthCount, NewestRuns, RunSummary};
use crate::domain::record::RecordKey;
use crate::domain::{BulkAction, Document, Month, RecordId, SinkFault, TenantId, Verdict};

/// A cluster as a store.
pub struct ElasticStore {
    hosts: Hosts,
    names: Names,
    indices: Indices,
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
            hosts: Hosts::new(&settings)?,
            names: Names::new(&settings),
            indices: Indices::new(&settings),
            settings,
        })
    }

    fn writer(&self) -> Writer<'_> {
        Writer {
            hosts: &self.hosts,
            names: &self.names,
            indices: &self.indices,
            max_request_bytes: self.settings.max_request_bytes,
            shard_timeout: format!("{}ms", self.settings.timeout().as_millis() / 2),
        }
    }

    const fn admin(&self) -> Admin<'_> {
        Admin { hosts: &self.hosts, names: &self.names, settings: &self.settings }
    }

    const fn reader(&self) -> Reader<'_> {
        Reader { hosts: &self.hosts, names: &self.names }
    }
}

#[async_trait]
impl BulkSink for ElasticStore {
    async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault> {
        self.writer().apply(actions).await
    }

    async fn probe(&self) -> Result<(), SinkFault> {
        self.admin().probe().await
    }
}

#[async_trait]
impl StoreAdmin for ElasticStore {
    async fn install(&self) -> Result<Vec<String>, StoreError> {
        self.admin().install().await
    }

    async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.admin().check().await
    }

    async fn drop_month(&self, month: Month) -> Result<usize, StoreError> {
        let dropped = self.admin().drop_month(month).await?;
        for place in &dropped {
            self.indices.forget(*place);
        }
        Ok(dropped.len())
    }

    async fn counts(&self) -> Result<Vec<MonthCount>, StoreError> {
        self.admin().counts().await
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        self.admin().refresh().await
    }
}

#[async_trait]
impl LogReader for ElasticStore {
    async fn record(&self, key: RecordKey) -> Result<Option<Document>, StoreError> {
        Ok(self.reader().record(key).await?)
    }

    async fn nodes_of_run(&self, tenant_id: TenantId, run_id: RecordId) -> Result<Vec<Document>, StoreError> {
        Ok(self.reader().nodes_of_run(tenant_id, run_id).await?)
    }

    async fn newest_runs(&self, query: NewestRuns) -> Result<Vec<RunSummary>, StoreError> {
        Ok(self.reader().newest_runs(query).await?)
    }
}
