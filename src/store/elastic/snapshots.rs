//! Copies of months as snapshots in a repository of the cluster: one snapshot for each copy, of all indices of its month.
//! The engine copies only segments that the repository does not have yet. A copy is read by restoring it under a prefix of
//! its own for as long as it is read.

mod opened;
mod restored;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use super::catalog::{LENIENT, ListedIndex, ensure_all_open, ensure_open, list, list_indices};
use super::hosts::{EngineAnswer, EngineRequest, Method};
use super::reason::Words;
use super::settings::{ElasticSettings, InvalidSetting};
use super::{ElasticStore, names::IndexPlace};
use crate::domain::document::ContentHash;
use crate::domain::{Month, SinkFault};
use crate::store::copies::{CopyName, Mark, MonthCopies, MonthState, OpenedCopy, VaultId};
use crate::store::{StoreAdmin as _, StoreError};

/// Longest pause between two looks at work under way.
const LOOK: Duration = Duration::from_millis(500);

/// What the engines call it when snapshots are in each other's way.
const BUSY: &str = "concurrent_snapshot_execution_exception";

/// Looks until one's turn is given up: ten minutes.
const PATIENCE: u32 = 1_200;

/// Where snapshots go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    pub name: String,
    /// The directory of a shared file system as the nodes see it, from which the repository is made where it is missing.
    pub location: Option<String>,
}

/// The copies of one prefix's months.
pub struct SnapshotCopies {
    store: ElasticStore,
    settings: ElasticSettings,
    repository: Repository,
    /// The prefix of the indices within the snapshots.
    source: String,
}

impl SnapshotCopies {
    /// `source`: the prefix under which the copies were, or are to be, made. Opens no connection.
    ///
    /// # Errors
    /// A setting that cannot work, by its key.
    pub fn new(settings: ElasticSettings, repository: Repository, source: String) -> Result<Self, InvalidSetting> {
        Ok(Self { store: ElasticStore::new(settings.clone())?, settings, repository, source })
    }

    fn repository_path(&self) -> String {
        format!("/_snapshot/{}", self.repository.name)
    }

    fn snapshot_path(&self, name: &CopyName) -> String {
        format!("{}/{}-{name}", self.repository_path(), self.source)
    }

    async fn send(&self, request: &EngineRequest<'_>) -> Result<EngineAnswer, SinkFault> {
        self.store.hosts.send(request).await
    }

    /// Sends what the cluster refuses while it still works on the same snapshots, as it does for a moment after a
    /// restoration, and for as long as another program makes or deletes some.
    async fn send_when_free(&self, request: &EngineRequest<'_>) -> Result<EngineAnswer, SinkFault> {
        let mut looks = 0;
        loop {
            let answer = self.send(request).await?;
            let is_busy = !(200..300).contains(&answer.status) && Words::of_answer(&answer.body).kind == BUSY;
            if !is_busy || looks == PATIENCE {
                return Ok(answer);
            }
            looks += 1;
            pause(looks).await;
        }
    }

    async fn places(&self, month: Month) -> Result<Vec<IndexPlace>, SinkFault> {
        let (hosts, names) = (&self.store.hosts, &self.store.names);
        let mut places = list(hosts, names, &names.everything(), &LENIENT).await?;
        places.retain(|place| place.month == month);
        Ok(places)
    }

    /// Makes the repository, or says how.
    async fn register(&self) -> Result<(), StoreError> {
        let name = &self.repository.name;
        let Some(location) = &self.repository.location else {
            return Err(StoreError::NotSetUp(format!(
                "the cluster has no snapshot repository {name}: register it there, or set backup.location to a directory \
                 that all nodes share and that their path.repo lists"
            )));
        };
        let body = json!({ "type": "fs", "settings": { "location": location, "compress": true } });
        let answer = self.send(&EngineRequest::new(Method::Put, &self.repository_path()).json(&body)).await?;
        match answer.status {
            200..=299 => Ok(()),
            401 | 403 => Err(answer.success().err().map_or(StoreError::Unauthorized(String::new()), Into::into)),
            _ => Err(StoreError::Unavailable(format!(
                "the cluster cannot make the repository {name} at {location} ({}): every node must list the directory in \
                 its path.repo, share it, and be allowed to write into it",
                Words::of_answer(&answer.body).detail()
            ))),
        }
    }

    /// Waits until a snapshot has ended.
    async fn finished(&self, name: &CopyName) -> Result<(), StoreError> {
        #[derive(Deserialize)]
        struct Snapshots {
            snapshots: Vec<Snapshot>,
        }
        #[derive(Deserialize)]
        struct Snapshot {
            state: String,
            #[serde(default)]
            failures: Vec<Value>,
        }
        let path = self.snapshot_path(name);
        let mut looks = 0;
        loop {
            looks += 1;
            let found: Snapshots = self.send(&EngineRequest::new(Method::Get, &path)).await?.json()?;
            match found.snapshots.first() {
                Some(snapshot) if snapshot.state == "SUCCESS" => return Ok(()),
                Some(snapshot) if snapshot.state == "IN_PROGRESS" => pause(looks).await,
                Some(snapshot) => {
                    let reason = snapshot.failures.first().and_then(|failure| failure.get("reason")?.as_str());
                    return Err(StoreError::Unavailable(format!(
                        "snapshot {path} ended as {}: {}",
                        snapshot.state,
                        crate::domain::verdict::bounded(reason.unwrap_or("no reason given").to_owned())
                    )));
                }
                None => return Err(StoreError::Unavailable(format!("snapshot {path} was deleted while it was made"))),
            }
        }
    }
}

/// Small work is done soon, large work is not looked at all the time.
async fn pause(looks: u32) {
    sleep((LOOK / 10).saturating_mul(looks.max(1)).min(LOOK)).await;
}

#[async_trait]
impl MonthCopies for SnapshotCopies {
    async fn prepare(&self) -> Result<(), StoreError> {
        let answer = self.send(&EngineRequest::new(Method::Get, &self.repository_path())).await?;
        if answer.status == 404 { self.register().await } else { Ok(answer.success()?) }
    }

    async fn months(&self) -> Result<Vec<MonthState>, StoreError> {
        let (hosts, names) = (&self.store.hosts, &self.store.names);
        let places = list(hosts, names, &names.everything(), &LENIENT).await?;
        let mut months: Vec<Month> = places.iter().map(|place| place.month).collect();
        months.dedup();
        let mut states = Vec::new();
        for month in months {
            let path = format!("/{}-workflow-*{}/_stats", self.settings.prefix, month.dotted());
            let mut query = LENIENT.to_vec();
            // The number of the last operation of each shard grows with every write.
            query.push(("level", "shards"));
            query.push(("filter_path", "indices.*.uuid,indices.*.shards.*.routing.primary,indices.*.shards.*.seq_no"));
            let told: Value = self.send(&EngineRequest::new(Method::Get, &path).query(&query)).await?.json()?;
            states.push(MonthState { month, mark: mark(&told) });
        }
        // A backup that lacks what nobody can read at the moment would be taken for a whole one.
        ensure_all_open(hosts, names).await?;
        Ok(states)
    }

    async fn copy(&self, name: &CopyName, vault: &VaultId) -> Result<bool, StoreError> {
        let (hosts, names) = (&self.store.hosts, &self.store.names);
        let mut listed = list_indices(hosts, names, &names.everything(), &LENIENT).await?;
        listed.retain(|found| found.place.month == name.month);
        let indices: BTreeSet<_> = listed.iter().map(|found| found.index.as_str()).collect();
        if indices.is_empty() {
            return Ok(false);
        }
        let alias = |found: &ListedIndex| (found.index.clone(), names.index(found.place));
        let aliases: BTreeMap<String, String> =
            listed.iter().map(alias).filter(|(index, alias)| index != alias).collect();
        let body = json!({
            "indices": indices,
            "metadata": { "difylog_aliases": aliases, "difylog_vault": vault.0 },
            // One that was dropped since it was listed is no fault.
            "ignore_unavailable": true,
            "include_global_state": false,
            "partial": false,
        });
        let path = self.snapshot_path(name);
        let query = [("wait_for_completion", "false")];
        self.send_when_free(&EngineRequest::new(Method::Put, &path).query(&query).json(&body)).await?.success()?;
        self.finished(name).await?;
        ensure_open(hosts, names, name.month, |_| true).await?;
        Ok(true)
    }

    async fn copies(&self) -> Result<Vec<CopyName>, StoreError> {
        #[derive(Deserialize)]
        struct Snapshots {
            snapshots: Vec<Snapshot>,
        }
        #[derive(Deserialize)]
        struct Snapshot {
            snapshot: String,
        }
        // All of the repository: a pattern that matches nothing would be an error of its own.
        let path = format!("{}/_all", self.repository_path());
        let request = EngineRequest::new(Method::Get, &path).query(&[("verbose", "false")]);
        let found: Snapshots = self.send(&request).await?.json()?;
        let own = |name: &str| name.strip_prefix(&self.source)?.strip_prefix('-')?.parse().ok();
        let mut names: Vec<CopyName> = found.snapshots.iter().filter_map(|snapshot| own(&snapshot.snapshot)).collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn is_of(&self, name: &CopyName, vault: &VaultId) -> Result<bool, StoreError> {
        Ok(self.metadata(name).await?.difylog_vault.as_ref() == Some(&vault.0))
    }

    async fn open(&self, name: &CopyName) -> Result<OpenedCopy, StoreError> {
        self.open_copy(name).await
    }

    async fn close(&self, copy: OpenedCopy) -> Result<(), StoreError> {
        self.close_copy(copy).await
    }

    async fn begin_restore(&self) -> Result<(), StoreError> {
        self.store.install().await.map(|_| ())
    }

    async fn restore(&self, name: &CopyName) -> Result<(), StoreError> {
        if !self.places(name.month).await?.is_empty() {
            let prefix = &self.settings.prefix;
            return Err(StoreError::Unavailable(format!("{prefix}: the store has the month {} already", name.month)));
        }
        self.restore_under(name, &self.settings.prefix, self.settings.replicas, &BTreeSet::new()).await
    }

    async fn resume(&self, name: &CopyName) -> Result<(), StoreError> {
        let places = self.places(name.month).await?;
        let there: BTreeSet<String> = places.into_iter().map(|place| self.store.names.index(place)).collect();
        self.restore_under(name, &self.settings.prefix, self.settings.replicas, &there).await
    }

    async fn delete(&self, name: &CopyName) -> Result<(), StoreError> {
        let path = self.snapshot_path(name);
        let answer = self.send_when_free(&EngineRequest::new(Method::Delete, &path)).await?;
        if answer.status == 404 { Ok(()) } else { Ok(answer.success()?) }
    }
}

/// Returns the identity of each index, and the number of the last operation of each of its primary shards. `None` if a
/// shard does not say.
fn mark(stats: &Value) -> Option<Mark> {
    let mut lines = Vec::new();
    for (index, told) in stats.get("indices")?.as_object()? {
        let uuid = told.get("uuid")?.as_str()?;
        for (shard, copies) in told.get("shards")?.as_object()? {
            let is_primary = |copy: &&Value| copy.pointer("/routing/primary") == Some(&Value::Bool(true));
            let primary = copies.as_array()?.iter().find(is_primary)?;
            let last = primary.pointer("/seq_no/max_seq_no")?.as_i64()?;
            lines.push(format!("{index} {uuid} {shard} {last}"));
        }
    }
    lines.sort_unstable();
    Some(Mark(ContentHash::new(Sha256::digest(lines.join("\n")).into()).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_changes_with_every_write_and_every_new_index() {
        let stats = |uuid: &str, last: i64| {
            let shards = json!({ "0": [
                { "routing": { "primary": false }, "seq_no": { "max_seq_no": 1 } },
                { "routing": { "primary": true }, "seq_no": { "max_seq_no": last } },
            ] });
            json!({ "indices": { "dify-workflow-runs-2026.11": { "uuid": uuid, "shards": shards } } })
        };
        assert_eq!(mark(&stats("a", 7)), mark(&stats("a", 7)));
        assert_ne!(mark(&stats("a", 7)), mark(&stats("a", 8)));
        assert_ne!(mark(&stats("a", 7)), mark(&stats("b", 7)));
        assert_eq!(mark(&json!({ "indices": { "a": { "uuid": "b", "shards": { "0": [] } } } })), None);
        assert_eq!(mark(&json!({})), None);
    }
}
