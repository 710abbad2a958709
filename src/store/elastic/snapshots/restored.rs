//! Indices out of a snapshot.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::json;

use super::super::hosts::{EngineRequest, Method};
use super::{SnapshotCopies, pause};
use crate::store::StoreError;
use crate::store::copies::CopyName;

/// Looks at which no further shard is there until a restoration is given up: an hour, for shards are large.
const STUCK: u32 = 7_200;

/// What is written beside a snapshot.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    /// The indices that an alias made ours, and the alias of each.
    pub(super) difylog_aliases: BTreeMap<String, String>,
    /// For whom it was made; earlier versions did not say.
    pub(super) difylog_vault: Option<String>,
}

impl SnapshotCopies {
    /// Restores a copy's indices under a prefix, and waits until all can be read. What was copied from behind an alias comes
    /// back under the alias' name. `there`: names that an earlier call has brought already; the engine takes a request
    /// as a whole or not at all.
    pub(super) async fn restore_under(
        &self,
        name: &CopyName,
        prefix: &str,
        replicas: u32,
        there: &BTreeSet<String>,
    ) -> Result<(), StoreError> {
        let path = format!("{}/_restore", self.snapshot_path(name));
        let body = |indices: &str, pattern: &str, replacement: &str| {
            json!({
                "indices": indices,
                "include_global_state": false,
                "include_aliases": false,
                "rename_pattern": pattern,
                "rename_replacement": replacement,
                "index_settings": { "index.number_of_replicas": replicas },
            })
        };
        let own = body(
            &format!("{}-workflow-*", self.source),
            &format!("^\\Q{}\\E-workflow-", self.source),
            &format!("{prefix}-workflow-"),
        );
        let (mut bodies, mut behind_aliases) = (Vec::new(), BTreeSet::new());
        for (index, alias) in self.metadata(name).await?.difylog_aliases {
            let Some(rest) = alias.strip_prefix(&self.source) else { continue };
            let target = format!("{prefix}{rest}");
            if !there.contains(&target) {
                bodies.push(body(&index, &format!("^\\Q{index}\\E$"), &target));
            }
            behind_aliases.insert(target);
        }
        if there.is_subset(&behind_aliases) {
            bodies.insert(0, own);
        }
        for body in bodies {
            self.send_when_free(&EngineRequest::new(Method::Post, &path).json(&body)).await?.success()?;
        }
        self.readable(&format!("{prefix}-workflow-*{}", name.month.dotted())).await
    }

    /// Returns what was written beside a copy.
    pub(super) async fn metadata(&self, name: &CopyName) -> Result<Metadata, StoreError> {
        #[derive(Deserialize)]
        struct Snapshots {
            #[serde(default)]
            snapshots: Vec<Snapshot>,
        }
        #[derive(Deserialize)]
        struct Snapshot {
            metadata: Option<Metadata>,
        }
        let path = self.snapshot_path(name);
        let answer = self.send(&EngineRequest::new(Method::Get, &path)).await?;
        if answer.status == 404 {
            return Err(StoreError::Unavailable(format!("snapshot {path} is not there: it was deleted")));
        }
        let found: Snapshots = answer.json()?;
        Ok(found.snapshots.into_iter().next().and_then(|snapshot| snapshot.metadata).unwrap_or_default())
    }

    /// A colour is no answer: a primary that is being restored counts as yellow.
    async fn readable(&self, expression: &str) -> Result<(), StoreError> {
        #[derive(Deserialize)]
        struct Health {
            #[serde(default)]
            indices: HashMap<String, Index>,
        }
        #[derive(Deserialize)]
        struct Index {
            number_of_shards: u64,
            active_primary_shards: u64,
        }
        let path = format!("/_cluster/health/{expression}");
        let shown = ("filter_path", "indices.*.number_of_shards,indices.*.active_primary_shards");
        let query = [("level", "indices"), shown];
        let (mut looks, mut active) = (0, 0);
        loop {
            let Health { indices } = self.send(&EngineRequest::new(Method::Get, &path).query(&query)).await?.json()?;
            let now: u64 = indices.values().map(|index| index.active_primary_shards).sum();
            if now == indices.values().map(|index| index.number_of_shards).sum::<u64>() {
                return Ok(());
            }
            looks = if now == active { looks + 1 } else { 0 };
            active = now;
            if looks > STUCK {
                return Err(StoreError::Unavailable(format!(
                    "shards of {expression} are not restored: GET /_cluster/allocation/explain says why"
                )));
            }
            pause(looks).await;
        }
    }
}
