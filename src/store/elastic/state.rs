//! difylog's own state, in one small index: a document per entry, compared and swapped by the engine's sequence numbers.

use serde::Deserialize;
use serde_json::{Value, json};

use super::hosts::{EngineAnswer, EngineRequest, Hosts, Method, not_understood};
use super::names::IndexNames;
use super::reason::Words;
use crate::domain::{FaultKind, SinkFault};
use crate::store::{StateEntry, StateVersion, StoreError};

/// Entries of one search.
const PAGE: usize = 1_000;

/// Bits of a sequence number in a [`StateVersion`]; the primary term is above them. A term grows with each failover, so
/// that no version ever comes twice, not even after an entry was deleted and written again.
const SEQUENCE_BITS: u32 = 40;

/// Returns the index as it is created.
pub(super) fn index(replicas: u32) -> Value {
    json!({
        "settings": { "index": {
            "number_of_shards": "1", "number_of_replicas": replicas.to_string(), "hidden": true,
            "translog": { "durability": "request" },
        } },
        "mappings": { "dynamic": false, "properties": { "key": { "type": "keyword" } } },
    })
}

/// What access to the state needs of the store.
pub(super) struct StateAccess<'a> {
    pub(super) hosts: &'a Hosts,
    pub(super) names: &'a IndexNames,
}

#[derive(Deserialize)]
struct Source {
    key: String,
    /// The value's text: a mapping never sees what is in it.
    value: String,
}

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "_seq_no")]
    sequence: u64,
    #[serde(rename = "_primary_term")]
    term: u64,
    #[serde(rename = "_source")]
    source: Source,
    #[serde(default)]
    sort: Vec<Value>,
}

#[derive(Deserialize)]
struct Written {
    #[serde(rename = "_seq_no")]
    sequence: u64,
    #[serde(rename = "_primary_term")]
    term: u64,
}

impl StateAccess<'_> {
    pub(super) async fn get(&self, key: &str) -> Result<Option<StateEntry>, SinkFault> {
        let answer = self.hosts.send(&EngineRequest::new(Method::Get, &self.path("_doc", key))).await?;
        if answer.status == 404 {
            self.there(&answer)?;
            return Ok(None);
        }
        entry(answer.json()?).map(Some)
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<StateEntry>, StoreError> {
        let index = self.names.state();
        let refreshed = self.hosts.send(&EngineRequest::new(Method::Post, &format!("/{index}/_refresh"))).await?;
        self.there(&refreshed)?;
        refreshed.of_all_shards()?;
        let mut entries = Vec::new();
        let mut after = Value::Null;
        loop {
            let mut query = json!({
                "size": PAGE,
                "track_total_hits": false,
                "seq_no_primary_term": true,
                "query": { "prefix": { "key": { "value": prefix } } },
                "sort": [{ "key": "asc" }],
            });
            super::search::continue_after(&mut query, &after);
            let path = format!("/{index}/_search");
            let parameters = [("allow_partial_search_results", "false"), ("filter_path", "hits.hits")];
            let answer =
                self.hosts.send(&EngineRequest::new(Method::Post, &path).query(&parameters).json(&query)).await?;
            let page = hits(&answer)?;
            let is_last = page.len() < PAGE;
            after = page.last().map_or(Value::Null, |hit| Value::Array(hit.sort.clone()));
            for found in page {
                entries.push(entry(found)?);
            }
            if is_last {
                return Ok(entries);
            }
        }
    }

    pub(super) async fn put(
        &self,
        key: &str,
        value: &Value,
        expected: Option<StateVersion>,
    ) -> Result<Option<StateVersion>, StoreError> {
        if expected.is_some_and(is_none_of_ours) {
            return Ok(None);
        }
        let body = json!({ "key": key, "value": value.to_string() });
        let condition = expected.map(condition).unwrap_or_default();
        let condition: Vec<_> = condition.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let path = self.path(if expected.is_some() { "_doc" } else { "_create" }, key);
        let answer = self.hosts.send(&EngineRequest::new(Method::Put, &path).query(&condition).json(&body)).await?;
        match answer.status {
            // Another version is there, or none.
            409 => Ok(None),
            404 => {
                self.there(&answer)?;
                Ok(None)
            }
            _ => {
                let Written { sequence, term } = answer.json()?;
                Ok(Some(version(sequence, term)))
            }
        }
    }

    pub(super) async fn delete(&self, key: &str, expected: StateVersion) -> Result<bool, StoreError> {
        if is_none_of_ours(expected) {
            return Ok(false);
        }
        let condition = condition(expected);
        let condition: Vec<_> = condition.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer =
            self.hosts.send(&EngineRequest::new(Method::Delete, &self.path("_doc", key)).query(&condition)).await?;
        match answer.status {
            409 => Ok(false),
            404 => Ok(self.there(&answer).map(|()| false)?),
            _ => Ok(answer.success().map(|()| true)?),
        }
    }

    /// Returns the path of an entry. A slash within a key is no step of the path.
    fn path(&self, action: &str, key: &str) -> String {
        format!("/{}/{action}/{}", self.names.state(), key.replace('/', "%2F"))
    }

    /// Tells an entry that is not there from an index that is not.
    fn there(&self, answer: &EngineAnswer) -> Result<(), SinkFault> {
        if answer.status == 404 && Words::of_answer(&answer.body).kind == "index_not_found_exception" {
            let detail = format!("index {} is missing", self.names.state());
            return Err(SinkFault::new(FaultKind::NotSetUp, detail));
        }
        Ok(())
    }
}

const fn version(sequence: u64, term: u64) -> StateVersion {
    term << SEQUENCE_BITS | sequence
}

/// Returns whether the engine can never have given this version: primary terms begin at 1, and are below 2^24 for a
/// long time.
const fn is_none_of_ours(version: StateVersion) -> bool {
    version >> SEQUENCE_BITS == 0
}

fn condition(version: StateVersion) -> [(&'static str, String); 2] {
    let sequence = version & ((1 << SEQUENCE_BITS) - 1);
    [("if_seq_no", sequence.to_string()), ("if_primary_term", (version >> SEQUENCE_BITS).to_string())]
}

fn entry(found: Found) -> Result<StateEntry, SinkFault> {
    let Source { key, value } = found.source;
    let value = serde_json::from_str(&value)
        .map_err(|_| SinkFault::new(FaultKind::Malformed, format!("state {key} is not JSON any more")))?;
    Ok(StateEntry { key, value, version: version(found.sequence, found.term) })
}

fn hits(answer: &EngineAnswer) -> Result<Vec<Found>, SinkFault> {
    #[derive(Deserialize)]
    struct Outer {
        #[serde(default)]
        hits: Inner,
    }
    #[derive(Default, Deserialize)]
    struct Inner {
        #[serde(default)]
        hits: Vec<Found>,
    }
    answer.success()?;
    let outer: Outer = serde_json::from_slice(&answer.body).map_err(|error| not_understood(&error))?;
    Ok(outer.hits.hits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_holds_both_numbers() {
        let [(_, sequence), (_, term)] = condition(version(41, 7));
        assert_eq!((sequence.as_str(), term.as_str()), ("41", "7"));
        assert!(version(0, 2) > version((1 << SEQUENCE_BITS) - 1, 1));
    }
}
