//! Removal record by record: find every copy, then one bulk request of deletes or tombstones. Needs no script and no
//! deletion by query, so it is the same on every engine, and can be throttled by its caller.
//!
//! A tombstone is a document under the record's `_id` with the greatest version there is: the engine itself refuses every
//! later write of the record as older (`rows::TombstoneRow`).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::warn;

use super::catalog::{LENIENT, list};
use super::copies::PAGE;
use super::hit::{Hit, hits};
use super::hosts::{EngineRequest, Hosts, Method};
use super::names::{self, Family, IndexNames};
use super::reason::Words;
use super::rows;
use super::search::{EngineReader, LENIENT_COUNT};
use crate::domain::record::RecordKey;
use crate::domain::{BulkAction, FaultKind, Kind, Month, SinkFault, TenantId, Timestamp};
use crate::store::{Erasure, Remains, StoreError};

/// The version of a tombstone: no revision is greater.
const GREATEST: i64 = i64::MAX;

/// More than two ticks of the engines' cached clock, of 200 ms.
const CLOCK_TICK: Duration = Duration::from_millis(500);

/// Indices of one request: their names go into the URL, which the engines bound at 4,096 bytes.
const INDICES: usize = 30;

/// What erasing needs of the store.
pub(super) struct EngineEraser<'a> {
    pub(super) hosts: &'a Hosts,
    pub(super) names: &'a IndexNames,
    pub(super) reader: EngineReader<'a>,
}

/// One line of a bulk request and what it was for.
struct Removal {
    key: RecordKey,
    index: String,
    id: String,
    routing: Option<String>,
    /// Of the copy that was found.
    revision: i64,
    /// Only while this is the stored revision.
    is_conditional: bool,
}

/// What the engine says of one removal.
#[derive(Deserialize)]
struct Outcome {
    status: u16,
    error: Option<Box<serde_json::value::RawValue>>,
}

impl Outcome {
    fn words(&self) -> Words {
        self.error.as_deref().map(Words::of).unwrap_or_default()
    }

    fn is_blocked(&self) -> bool {
        self.words().kind == "cluster_block_exception"
    }

    /// Returns whether the document is gone, was not there, or is a newer one.
    const fn is_settled(&self) -> bool {
        matches!(self.status, 200..=299 | 404 | 409)
    }

    fn detail(&self) -> String {
        format!("a record was not removed: HTTP {}, {}", self.status, self.words().detail())
    }

    /// Returns the status of what is settled.
    fn settled(self) -> Result<u16, StoreError> {
        if self.is_settled() { Ok(self.status) } else { Err(StoreError::Unavailable(self.detail())) }
    }
}

impl EngineEraser<'_> {
    pub(super) async fn erase(&self, erasures: &[Erasure], remains: Remains) -> Result<Vec<bool>, StoreError> {
        let mut erased = HashSet::new();
        let mut by_kind = BTreeMap::<Kind, Vec<&Erasure>>::new();
        for erasure in erasures {
            by_kind.entry(erasure.key.kind).or_default().push(erasure);
        }
        for (kind, erasures) in by_kind {
            for erasures in erasures.chunks(PAGE) {
                erased.extend(self.erase_kind(kind, erasures, remains).await?);
            }
        }
        Ok(erasures.iter().map(|erasure| erased.contains(&erasure.key)).collect())
    }

    /// Returns which records were there and are gone.
    async fn erase_kind(
        &self,
        kind: Kind,
        erasures: &[&Erasure],
        remains: Remains,
    ) -> Result<HashSet<RecordKey>, StoreError> {
        let keys: BTreeSet<RecordKey> = erasures.iter().map(|erasure| erasure.key).collect();
        let mut found = self.reader.fresh_copies_of(kind, &keys).await?;
        let mut removals = Vec::new();
        for erasure in erasures {
            let copies = found.remove(&erasure.key).unwrap_or_default();
            let newest = copies.iter().map(super::copies::CopyVersion::standing).max();
            let newest = newest.map(|newest| newest.precedence.revision());
            if erasure.revision.is_some() && erasure.revision != newest {
                continue;
            }
            removals.extend(copies.into_iter().map(|copy| removal(erasure, copy.hit, copy.revision)));
        }
        let kept = match remains {
            Remains::Nothing => match self.delete(&removals).await {
                Ok(kept) => kept,
                Err(error) => {
                    // Some of it may be gone, and wanted back.
                    if let Err(error) = self.forget_versions_of(&removals).await {
                        warn!(%error, "the engine remembers versions of what was removed until the next refresh");
                    }
                    return Err(error);
                }
            },
            // What must still be the stored revision is buried just above it first: a newer one refuses that.
            Remains::Tombstone(at) => {
                let conditional: Vec<_> = removals.iter().filter(|removal| removal.is_conditional).collect();
                self.bury(&conditional, at, |removal| removal.revision.saturating_add(1)).await?
            }
        };
        let mut gone: HashSet<RecordKey> = removals.iter().map(|removal| removal.key).collect();
        for key in kept {
            gone.remove(&key);
        }
        removals.retain(|removal| gone.contains(&removal.key));
        match remains {
            Remains::Tombstone(at) => {
                self.bury(&removals.iter().collect::<Vec<_>>(), at, |_| GREATEST).await?;
            }
            Remains::Nothing => self.forget_versions_of(&removals).await?,
        }
        Ok(gone)
    }

    async fn forget_versions_of(&self, removals: &[Removal]) -> Result<(), StoreError> {
        let indices: BTreeSet<&str> = removals.iter().map(|removal| removal.index.as_str()).collect();
        let indices = indices.into_iter().collect::<Vec<_>>();
        for indices in indices.chunks(INDICES) {
            self.forget_versions(&indices.join(",")).await?;
        }
        Ok(())
    }

    /// Deletes what was found; answers the records of which a newer revision is there by now.
    async fn delete(&self, removals: &[Removal]) -> Result<Vec<RecordKey>, StoreError> {
        let mut body = Vec::new();
        for removal in removals {
            removal.action(removal.revision).write("delete", &mut body);
        }
        let outcomes = self.bulk(body, removals.len()).await?;
        let kept = removals.iter().zip(outcomes).filter(|(_, status)| *status == 409);
        Ok(kept.map(|(removal, _)| removal.key).collect())
    }

    /// Puts tombstones of a version in the place of documents; answers the records of which a newer revision is there.
    async fn bury(
        &self,
        removals: &[&Removal],
        at: Timestamp,
        version: impl Fn(&Removal) -> i64,
    ) -> Result<Vec<RecordKey>, StoreError> {
        let mut body = Vec::new();
        for removal in removals {
            removal.action(version(removal)).write("index", &mut body);
            rows::write_tombstone(at, &mut body).map_err(|error| StoreError::Corrupt(error.to_string()))?;
            body.push(b'\n');
        }
        let outcomes = self.bulk(body, removals.len()).await?;
        let kept = removals.iter().zip(outcomes).filter(|(_, status)| *status == 409);
        Ok(kept.map(|(removal, _)| removal.key).collect())
    }

    /// Sends a bulk request; answers the status of each item. A document that is not there and a conflict are answers, all
    /// else is an error: a second call finishes.
    async fn bulk(&self, body: Vec<u8>, actions: usize) -> Result<Vec<u16>, StoreError> {
        outcomes(self.hosts, body, actions).await?.into_iter().map(Outcome::settled).collect()
    }

    async fn refresh(&self, expression: &str) -> Result<(), StoreError> {
        let path = format!("/{expression}/_refresh");
        Ok(self.hosts.send(&EngineRequest::new(Method::Post, &path).query(&LENIENT)).await?.of_all_shards()?)
    }

    /// Waits until the engine has forgotten the versions of what was deleted: until then the same could not be written
    /// again. It forgets with a refresh (`index.gc_deletes`), once its clock has ticked.
    async fn forget_versions(&self, expression: &str) -> Result<(), StoreError> {
        tokio::time::sleep(CLOCK_TICK).await;
        self.refresh(expression).await
    }

    /// Removes the graphs of a tenant that lie in the shared index of a month.
    pub(super) async fn erase_graphs(&self, tenant: TenantId, month: Month) -> Result<u64, StoreError> {
        let mut removed = 0;
        for place in IndexNames::candidates(Family::Graphs, tenant, month) {
            let index = self.names.index(place);
            let query = json!({ "bool": { "filter": [{ "term": { "tenant_id": tenant.to_string() } }] } });
            removed += self.delete_all(&index, &query).await?;
        }
        Ok(removed)
    }

    /// Removes the tombstones of records. A tombstone lies under the record's `_id`, in the tenant's own indices or in those
    /// that it shares.
    pub(super) async fn lift(&self, keys: &[RecordKey]) -> Result<u64, StoreError> {
        let mut groups: BTreeMap<(Kind, TenantId), Vec<String>> = BTreeMap::new();
        for RecordKey { tenant_id, kind, id } in keys {
            let ids = groups.entry((*kind, *tenant_id)).or_default();
            ids.extend([id.to_string(), format!("{tenant_id}:{id}")]);
        }
        let mut lifted = 0;
        for ((kind, tenant), ids) in groups {
            let expression = self.names.readable(Family::Records(kind), tenant);
            for ids in ids.chunks(PAGE) {
                let query = json!({ "bool": { "filter": [
                    { "ids": { "values": ids } },
                    { "exists": { "field": "erased_at" } },
                ] } });
                lifted += self.delete_all(&expression, &query).await?;
            }
        }
        Ok(lifted)
    }

    /// Removes tombstones older than an instant. Those of an index that is blocked for writing stay until the block is
    /// lifted: they keep nobody out that matters by now.
    pub(super) async fn purge(&self, before: Timestamp) -> Result<u64, StoreError> {
        let query = json!({ "range": { "erased_at": { "lt": before.to_string() } } });
        let mut blocked = BTreeSet::new();
        let purged = self.delete_pages(&self.names.everything(), &query, Some(&mut blocked)).await?;
        for index in blocked {
            warn!(%index, "tombstones that are no longer needed stay, because the index is blocked for writing");
        }
        Ok(purged)
    }

    /// Deletes whatever a query finds, page by page.
    async fn delete_all(&self, expression: &str, query: &serde_json::Value) -> Result<u64, StoreError> {
        self.delete_pages(expression, query, None).await
    }

    /// As [`Self::delete_all`]; with a place to note them, indices that are blocked for writing are passed over.
    async fn delete_pages(
        &self,
        expression: &str,
        query: &serde_json::Value,
        mut blocked: Option<&mut BTreeSet<String>>,
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        // Indices that only an alias makes ours are found under their own names.
        list(self.hosts, self.names, expression, &LENIENT).await?;
        loop {
            self.refresh(expression).await?;
            let without = blocked.as_deref().map(|blocked| json!({ "terms": { "_index": blocked } }));
            let query = json!({ "bool": { "filter": [query], "must_not": Vec::from_iter(without) } });
            let search =
                json!({ "size": PAGE, "track_total_hits": false, "_source": false, "query": query, "sort": ["_doc"] });
            let path = format!("/{expression}/_search");
            let request = EngineRequest::new(Method::Post, &path).query(&LENIENT_COUNT).json(&search);
            let found: Vec<Hit> = self.reader.read(&request, hits).await?;
            let found: Vec<Hit> = found.into_iter().filter(|hit| self.names.parse(&hit.index).is_some()).collect();
            if found.is_empty() {
                if removed > 0 {
                    self.forget_versions(expression).await?;
                }
                return Ok(removed);
            }
            let mut body = Vec::new();
            for hit in &found {
                let is_graph = self.names.parse(&hit.index).is_some_and(|place| place.family == Family::Graphs);
                let version = (!is_graph).then_some(GREATEST);
                Action::new(&hit.index, &hit.id, hit.routing.as_deref(), version).write("delete", &mut body);
            }
            let outcomes = outcomes(self.hosts, body, found.len()).await?;
            for (hit, outcome) in found.iter().zip(outcomes) {
                match (&mut blocked, outcome) {
                    (Some(blocked), outcome) if outcome.is_blocked() => {
                        blocked.insert(hit.index.clone());
                    }
                    (_, outcome) => removed += u64::from(outcome.settled()? < 300),
                }
            }
        }
    }
}

/// Removes what actions have written, document by document. What is newer stays: whoever wrote that has to look at it.
pub(super) async fn remove_written(
    hosts: &Hosts,
    names: &IndexNames,
    actions: &[&BulkAction],
) -> Result<(), SinkFault> {
    let mut body = Vec::new();
    for action in actions {
        let place = names.place_of(action);
        let (id, version) = match action {
            BulkAction::Document(document) => {
                (names::record_id(place, document.key()), Some(document.revision.value()))
            }
            BulkAction::Graph(graph) => (names::graph_id(place, graph.tenant_id, graph.hash), None),
        };
        let routing = place.tenant.is_none().then(|| action.tenant_id().to_string());
        Action::new(&names.index(place), &id, routing.as_deref(), version).write("delete", &mut body);
    }
    let left = outcomes(hosts, body, actions.len()).await?.into_iter().find(|outcome| !outcome.is_settled());
    left.map_or(Ok(()), |outcome| Err(SinkFault::new(FaultKind::Overloaded, outcome.detail())))
}

/// Sends a bulk request; answers what the engine says of each item.
async fn outcomes(hosts: &Hosts, body: Vec<u8>, actions: usize) -> Result<Vec<Outcome>, SinkFault> {
    #[derive(Deserialize)]
    struct Answered {
        items: Vec<BTreeMap<String, Outcome>>,
    }
    if actions == 0 {
        return Ok(Vec::new());
    }
    let query = [("filter_path", "items.*.status,items.*.error.type,items.*.error.reason")];
    let answer = hosts.send(&EngineRequest::new(Method::Post, "/_bulk").query(&query).lines(body)).await?;
    let answered: Answered = answer.json()?;
    let outcomes: Vec<Outcome> = answered.items.into_iter().flat_map(BTreeMap::into_values).collect();
    if outcomes.len() != actions {
        let detail = format!("the answer has {} items for {actions} removals", outcomes.len());
        return Err(SinkFault::new(FaultKind::Malformed, detail));
    }
    Ok(outcomes)
}

impl Removal {
    fn action(&self, version: i64) -> Action<'_> {
        Action::new(&self.index, &self.id, self.routing.as_deref(), Some(version))
    }
}

fn removal(erasure: &Erasure, hit: Hit, revision: i64) -> Removal {
    Removal {
        key: erasure.key,
        index: hit.index,
        id: hit.id,
        routing: hit.routing,
        revision,
        is_conditional: erasure.revision.is_some(),
    }
}

/// The first line of a bulk action.
#[derive(Serialize)]
struct Action<'a> {
    #[serde(rename = "_index")]
    index: &'a str,
    #[serde(rename = "_id")]
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<&'a str>,
    /// Graphs have no external version.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_type: Option<&'static str>,
}

impl<'a> Action<'a> {
    fn new(index: &'a str, id: &'a str, routing: Option<&'a str>, version: Option<i64>) -> Self {
        Self { index, id, routing, version, version_type: version.map(|_| "external_gte") }
    }

    fn write(&self, operation: &str, body: &mut Vec<u8>) {
        body.extend(json!({ operation: self }).to_string().into_bytes());
        body.push(b'\n');
    }
}
