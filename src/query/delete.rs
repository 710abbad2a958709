//! Deletes within one tenant. What is deleted leaves a tombstone, so that a late message does not bring it back. The full
//! texts of its truncated payloads go with it, unless another record names them.
//!
//! Walks keep a cursor instead of asking for the first rows again: a list may show a deleted row until the store's next
//! refresh.

use std::collections::BTreeMap;

use tracing::warn;

use super::reader::SeenKeys;
use super::{NodeQuery, QueryError, RunQuery, TenantLogs};
use crate::domain::document::ContentHash;
use crate::domain::query::{Direction, NodeSummary, Page, RunSummary, SortBy, TimeRange};
use crate::domain::record::RecordKey;
use crate::domain::{AppId, Kind, Month, RecordId, Timestamp};

/// Records per request of a walk.
const BATCH: usize = 500;

/// How many records of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Related {
    pub runs: u64,
    pub node_executions: u64,
    pub offloads: u64,
    pub app_logs: u64,
}

impl Related {
    fn count(&mut self, kind: Kind) {
        let counter = match kind {
            Kind::WorkflowRun => &mut self.runs,
            Kind::NodeExecution => &mut self.node_executions,
            Kind::Offload => &mut self.offloads,
            Kind::AppLog => &mut self.app_logs,
        };
        *counter += 1;
    }
}

impl TenantLogs {
    /// Returns how many of the runs there are, and what belongs to them. An id that is given twice counts once, one that is
    /// not there counts nothing. In an engine, what was written within its refresh interval may be missing.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn count_related(&self, run_ids: &[RecordId]) -> Result<Related, QueryError> {
        let mut related = Related::default();
        for ids in distinct(run_ids).chunks(BATCH) {
            related.runs += self.reader.run_summaries(ids).await?.len() as u64;
            for key in self.reader.children(ids).await?.keys() {
                related.count(key.kind);
            }
        }
        Ok(related)
    }

    /// Deletes runs; `with_related`: their node executions, offloads and app logs first. Returns what went.
    ///
    /// # Errors
    /// A store that cannot be read or written; a second call goes on.
    pub async fn delete_runs(&self, run_ids: &[RecordId], with_related: bool) -> Result<Related, QueryError> {
        let mut related = Related::default();
        for ids in distinct(run_ids).chunks(BATCH) {
            let mut keys = Vec::new();
            if with_related {
                keys = self.reader.children(ids).await?.keys().to_vec();
            }
            keys.extend(ids.iter().map(|id| self.key(Kind::WorkflowRun, *id)));
            for keys in keys.chunks(BATCH) {
                for key in self.erase(keys).await? {
                    related.count(key.kind);
                }
            }
        }
        Ok(related)
    }

    /// Deletes every run of an app, children left alone, as Dify does. Returns how many.
    ///
    /// # Errors
    /// A store that cannot be read or written; a second call goes on.
    pub async fn delete_runs_of_app(&self, app_id: AppId) -> Result<u64, QueryError> {
        let query = RunQuery { app_id: Some(app_id), ..RunQuery::default() };
        let (mut deleted, mut after) = (0, None);
        loop {
            let stretch = self.reader.runs(&query, &oldest(after, BATCH)).await?;
            let keys: Vec<_> = stretch.iter().map(|run| self.key(Kind::WorkflowRun, run.id)).collect();
            deleted += self.erase(&keys).await?.len() as u64;
            after = stretch.last().map(RunSummary::position);
            if stretch.len() < BATCH {
                return Ok(deleted);
            }
        }
    }

    /// Deletes node executions. Returns how many there were.
    ///
    /// # Errors
    /// A store that cannot be read or written; a second call goes on.
    pub async fn delete_nodes(&self, ids: &[RecordId]) -> Result<u64, QueryError> {
        let mut deleted = 0;
        for ids in ids.chunks(BATCH) {
            let keys: Vec<_> = ids.iter().map(|id| self.key(Kind::NodeExecution, *id)).collect();
            deleted += self.erase(&keys).await?.len() as u64;
        }
        Ok(deleted)
    }

    /// Deletes every node execution of an app. Returns how many.
    ///
    /// # Errors
    /// A store that cannot be read or written; a second call goes on.
    pub async fn delete_nodes_of_app(&self, app_id: AppId) -> Result<u64, QueryError> {
        self.delete_nodes_where(&NodeQuery { app_id: Some(app_id), ..NodeQuery::default() }).await
    }

    /// Deletes every node execution that started before an instant. Returns how many.
    ///
    /// # Errors
    /// A store that cannot be read or written; a second call goes on.
    pub async fn delete_nodes_before(&self, before: Timestamp) -> Result<u64, QueryError> {
        let created = TimeRange { from: None, until: Some(before) };
        self.delete_nodes_where(&NodeQuery { created, ..NodeQuery::default() }).await
    }

    async fn delete_nodes_where(&self, query: &NodeQuery) -> Result<u64, QueryError> {
        let (mut deleted, mut after) = (0, None);
        loop {
            let stretch = self.reader.nodes(query, &oldest(after, BATCH)).await?;
            let ids: Vec<_> = stretch.iter().map(|node| node.id).collect();
            deleted += self.delete_nodes(&ids).await?;
            after = stretch.last().map(NodeSummary::position);
            if stretch.len() < BATCH {
                return Ok(deleted);
            }
        }
    }

    /// Erases records that may be seen; answers those that were there.
    async fn erase(&self, keys: &[RecordKey]) -> Result<Vec<RecordKey>, QueryError> {
        let keys = self.reader.seen_keys(keys.to_vec()).await?;
        if keys.keys().is_empty() {
            return Ok(Vec::new());
        }
        let texts = self.texts_of(&keys).await?;
        let gone = self.reader.erase(&keys).await;
        // Also where only a part was erased: what is still named stays.
        for (month, texts) in texts {
            if let Err(error) = self.reader.remove_texts(month, &texts).await {
                // The records are gone, and with them what a second call could know the texts by.
                let tenant_id = self.tenant_id();
                warn!(%tenant_id, %month, %error, "full texts of deleted records stay: `difylog retention sweep` removes them");
            }
        }
        Ok(keys.keys().iter().zip(gone?).filter(|(_, gone)| *gone).map(|(key, _)| *key).collect())
    }

    /// Returns the full texts that records name, by month.
    ///
    /// # Errors
    /// A store that cannot be read. The payload store as well: nothing is erased while its texts cannot go with it.
    async fn texts_of(&self, keys: &SeenKeys) -> Result<BTreeMap<Month, Vec<ContentHash>>, QueryError> {
        let mut texts: BTreeMap<Month, Vec<ContentHash>> = BTreeMap::new();
        for (month, text) in self.reader.texts_of(keys).await? {
            texts.entry(month).or_default().push(text);
        }
        if let Some((month, text)) = texts.iter().find_map(|(month, texts)| Some((*month, *texts.first()?))) {
            self.reader.payloads().has(self.tenant_id(), month, text).await?;
        }
        Ok(texts)
    }

    fn key(&self, kind: Kind, id: RecordId) -> RecordKey {
        RecordKey { tenant_id: self.tenant_id(), kind, id }
    }
}

/// Returns each id once.
fn distinct(ids: &[RecordId]) -> Vec<RecordId> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Returns a stretch from the oldest on.
fn oldest(after: Option<crate::domain::query::Position>, limit: usize) -> Page {
    Page { sort: SortBy::CreatedAt, direction: Direction::Ascending, after, limit }
}
