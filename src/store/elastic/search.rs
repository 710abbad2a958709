//! The read path. A record that lies in several indices (a run resumed in a later month, a tenancy changed meanwhile)
//! is answered once, in its newest revision. Every query filters by tenant, and every answer is checked for it.
//!
//! Single documents are read in real time; lists show what the engine has refreshed.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::catalog::{Catalog, LENIENT};
use super::folded::FOLDED;
use super::hit::{DocumentAddress, Hit, located, sources};
use super::hosts::{EngineAnswer, EngineRequest, Hosts, Method, not_understood};
use super::names::{self, Family, IndexNames, IndexPlace};
use super::rows::{self, payload_columns};
use super::settings::SearchedTexts;
use crate::domain::query::Content;
use crate::domain::{Document, FaultKind, GraphHash, JsonText, Kind, Month, SinkFault, TenantId, Timestamp};

/// Hits of one search.
const PAGE: usize = 1_000;

/// Payload bytes that one request asks for, as far as whole documents allow.
pub(super) const FETCH_BYTES: u64 = 8 << 20;

/// For what is sorted by time over several shards. A list with a silent gap is worse than an error.
///
/// By default an engine tells shards that it asks later what it has found already, in milliseconds, and a shard then leaves
/// out instants within the same millisecond (seen with OpenSearch 3.9: of two indices sorted by a `date_nanos` field, 4 of 10
/// answers lacked documents of the second). The other search type does not.
pub(super) const LENIENT_SEARCH: [(&str, &str); 5] = {
    let [one, two, three, four] = LENIENT_COUNT;
    [one, two, three, four, ("search_type", "dfs_query_then_fetch")]
};

/// For all else: totals, aggregations, and what one shard sorts. One round over the shards instead of two, and those that
/// hold nothing of the span are passed over.
pub(super) const LENIENT_COUNT: [(&str, &str); 4] = {
    let [one, two, three] = LENIENT;
    [one, two, three, ("allow_partial_search_results", "false")]
};

/// How long one wait for shards that are about to start may be.
const SHARD_START: &str = "2s";

/// How long a read is sent again at most, as long as shards come and go.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a read is sent again at most while nothing changes: shards that are lost do not come.
const VAIN_READS: usize = 4;

/// How much longer the pause before each further read is; there is none before the second.
const PAUSE: Duration = Duration::from_millis(20);

/// What reading needs of the store.
pub(super) struct EngineReader<'a> {
    pub(super) hosts: &'a Hosts,
    pub(super) names: &'a IndexNames,
    pub(super) catalog: &'a Catalog,
    pub(super) search: SearchedTexts,
}

impl EngineReader<'_> {
    pub(super) async fn graph(
        &self,
        tenant: TenantId,
        month: Month,
        hash: GraphHash,
    ) -> Result<Option<JsonText>, SinkFault> {
        let addresses = IndexNames::candidates(Family::Graphs, tenant, month)
            .map(|place| self.address(place, tenant, names::graph_id(place, tenant, hash)));
        for source in self.sources(&addresses, &[]).await? {
            let (owner, graph) = rows::read_graph(source.get()).map_err(|error| not_understood(&error))?;
            if owner == tenant {
                return Ok(Some(graph));
            }
        }
        Ok(None)
    }

    /// Reads the documents behind hits, in requests of bounded size.
    pub(super) async fn fetch(
        &self,
        kind: Kind,
        hits: impl Iterator<Item = Hit>,
        content: Content,
    ) -> Result<Vec<Document>, SinkFault> {
        let mut documents = Vec::new();
        for portion in portions(hits, Hit::payload_bytes) {
            let addresses: Vec<_> = portion.into_iter().map(Hit::address).collect();
            documents.extend(self.documents(kind, &addresses, content).await?);
        }
        Ok(documents)
    }

    /// Reads by address as much as is wanted, but for graphs. Tombstones are no documents.
    pub(super) async fn documents(
        &self,
        kind: Kind,
        addresses: &[DocumentAddress],
        content: Content,
    ) -> Result<Vec<Document>, SinkFault> {
        let read =
            |source: Box<RawValue>| rows::read_document(kind, source.get()).map_err(|error| not_understood(&error));
        let without: Vec<_> = payload_columns(kind).filter(|column| !content.has(column)).chain([FOLDED]).collect();
        let read = self.sources(addresses, &without).await?.into_iter().map(read);
        read.filter_map(Result::transpose).collect()
    }

    /// Reads by address, in real time; what is not there is left out.
    async fn sources(&self, addresses: &[DocumentAddress], without: &[&str]) -> Result<Vec<Box<RawValue>>, SinkFault> {
        if addresses.is_empty() {
            return Ok(Vec::new());
        }
        let docs: Vec<_> = addresses.iter().map(DocumentAddress::to_json).collect();
        let columns = without.join(",");
        let excludes = [("_source_excludes", columns.as_str())];
        let query: &[_] = if without.is_empty() { &[] } else { &excludes };
        self.read(&EngineRequest::new(Method::Post, "/_mget").query(query).json(&json!({ "docs": docs })), sources)
            .await
    }

    /// Reads some columns by address, in real time; what is not there is left out.
    pub(super) async fn columns(
        &self,
        addresses: &[DocumentAddress],
        columns: &[&str],
    ) -> Result<Vec<(DocumentAddress, Box<RawValue>)>, SinkFault> {
        if addresses.is_empty() {
            return Ok(Vec::new());
        }
        let docs: Vec<_> = addresses.iter().map(DocumentAddress::to_json).collect();
        let columns = columns.join(",");
        let includes = [("_source_includes", columns.as_str())];
        self.read(&EngineRequest::new(Method::Post, "/_mget").query(&includes).json(&json!({ "docs": docs })), located)
            .await
    }

    /// Reads, and reads again while shards come and go: those of an index that a worker created a moment ago (each month
    /// begins so) need some milliseconds, and until then the engines refuse to read; those of a month that is dropped
    /// fail the searches under way.
    pub(super) async fn read<T>(
        &self,
        request: &EngineRequest<'_>,
        parse: impl Fn(&EngineAnswer) -> Result<T, SinkFault> + Send,
    ) -> Result<T, SinkFault> {
        let give_up = Instant::now() + PATIENCE;
        let (mut repeated, mut vain) = (0, 0);
        loop {
            let answer = self.hosts.send(request).await?;
            match parse(&answer) {
                Err(fault) if is_passing(&answer, &fault) && vain < VAIN_READS && Instant::now() < give_up => {
                    if !self.wait_for_starting_shards().await? {
                        vain += 1;
                    }
                    // A cluster that waits for nothing and refuses all the same is not asked without a pause.
                    tokio::time::sleep(PAUSE * repeated).await;
                    repeated += 1;
                }
                result => return result,
            }
        }
    }

    /// Lets the engine wait, within bounds, until no shard of ours is starting; returns whether all can be read then. A
    /// colour would not do to wait for: an index that was just created is yellow already. Shards that are lost do not
    /// start, and nothing is waited for.
    async fn wait_for_starting_shards(&self) -> Result<bool, SinkFault> {
        #[derive(Deserialize)]
        struct Health {
            status: String,
        }
        let path = format!("/_cluster/health/{}", self.names.everything());
        let query = [
            ("wait_for_events", "languid"),
            ("wait_for_no_initializing_shards", "true"),
            ("timeout", SHARD_START),
            ("filter_path", "status"),
        ];
        let answer = self.hosts.send(&EngineRequest::new(Method::Get, &path).query(&query)).await?;
        // 408: not within the time.
        let health = serde_json::from_slice::<Health>(&answer.body);
        Ok(health.is_ok_and(|health| health.status != "red"))
    }

    pub(super) fn address(&self, place: IndexPlace, tenant: TenantId, id: String) -> DocumentAddress {
        let routing = place.tenant.is_none().then(|| tenant.to_string());
        DocumentAddress { index: self.names.index(place), id, routing }
    }
}

/// Returns whether an answer is a refusal that passes by itself: shards are missing. A server that has too much to do
/// (429), or says when to come again, is not asked again at once.
fn is_passing(answer: &EngineAnswer, fault: &SinkFault) -> bool {
    fault.kind == FaultKind::Overloaded && fault.retry_after.is_none() && matches!(answer.status, 200 | 400 | 404 | 503)
}

/// Cuts what is to be read into what one request asks for, by the bytes of each.
pub(super) fn portions<T>(items: impl IntoIterator<Item = T>, size: impl Fn(&T) -> u64) -> Vec<Vec<T>> {
    groups(items, size, |_, _| false)
}

/// As [`portions`], but what is one with the item before it stays with it.
pub(super) fn groups<T>(
    items: impl IntoIterator<Item = T>,
    size: impl Fn(&T) -> u64,
    is_one: impl Fn(&T, &T) -> bool,
) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let size = size(&item);
        match groups.last_mut() {
            Some(group)
                if (bytes + size <= FETCH_BYTES && group.len() < PAGE)
                    || group.last().is_some_and(|last| is_one(last, &item)) =>
            {
                bytes += size;
                group.push(item);
            }
            _ => {
                bytes = size;
                groups.push(vec![item]);
            }
        }
    }
    groups
}

pub(super) fn continue_after(query: &mut Value, position: &Value) {
    if let (Some(query), false) = (query.as_object_mut(), position.is_null()) {
        query.insert("search_after".to_owned(), position.clone());
    }
}

/// Returns an instant as `date_nanos` sorts by it; fits, as the range of [`Timestamp`] is that of `date_nanos`.
pub(super) const fn nanoseconds(timestamp: Timestamp) -> i64 {
    timestamp.micros() * 1_000
}
