//! Which full texts of truncated payloads the documents name. Their hashes are a column since version 3 of the templates;
//! documents that were written before have them in their source only, and are read one page after the other.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::catalog::{LENIENT, ensure_open};
use super::hit::{Hit, hits};
use super::hosts::{EngineAnswer, EngineRequest, Method};
use super::names::{Family, IndexNames, IndexPlace};
use super::rows::AsText;
use super::search::{EngineReader, LENIENT_COUNT, LENIENT_SEARCH, continue_after};
use crate::domain::document::ContentHash;
use crate::domain::{Kind, Month, SinkFault, TenantId};
use crate::store::StoreError;

/// Documents of one question: the engine loads each whole source to cut the marks out of it.
const PAGE: usize = 100;

/// Hashes of one question.
const TERMS: usize = 1_000;

/// The marks of a truncated document.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Marks {
    truncated: Vec<Mark>,
}

#[derive(Deserialize)]
struct Mark {
    sha256: AsText<ContentHash>,
}

impl EngineReader<'_> {
    pub(super) async fn named_texts(
        &self,
        tenant: TenantId,
        month: Month,
        wanted: &[ContentHash],
    ) -> Result<HashSet<ContentHash>, StoreError> {
        let wanted: HashSet<ContentHash> = wanted.iter().copied().collect();
        let mut named = HashSet::new();
        for kind in Kind::ALL {
            let indices =
                IndexNames::candidates(Family::Records(kind), tenant, month).map(|place| self.names.index(place));
            let expression = indices.join(",");
            self.refresh_some(&expression).await?;
            let missing: Vec<ContentHash> = wanted.difference(&named).copied().collect();
            for hashes in missing.chunks(TERMS) {
                named.extend(self.named_in_columns(&expression, tenant, hashes).await?);
            }
            if named.len() < wanted.len() {
                self.named_in_sources(&expression, tenant, &wanted, &mut named).await?;
            }
        }
        if named.len() < wanted.len() {
            let is_asked = |place: IndexPlace| {
                matches!(place.family, Family::Records(_)) && place.tenant.is_none_or(|owner| owner == tenant)
            };
            ensure_open(self.hosts, self.names, month, is_asked).await?;
        }
        Ok(named)
    }

    /// Looks for hashes among the documents that have them as a column.
    async fn named_in_columns(
        &self,
        expression: &str,
        tenant: TenantId,
        hashes: &[ContentHash],
    ) -> Result<Vec<ContentHash>, SinkFault> {
        let hashes: Vec<_> = hashes.iter().map(ToString::to_string).collect();
        let query = json!({
            "size": 0,
            "track_total_hits": false,
            "query": { "bool": { "filter": [
                { "term": { "tenant_id": tenant.to_string() } },
                { "terms": { "truncated.sha256": hashes } },
            ] } },
            "aggs": { "named": { "terms": { "field": "truncated.sha256", "include": hashes, "size": hashes.len() } } },
        });
        let path = format!("/{expression}/_search");
        self.read(&EngineRequest::new(Method::Post, &path).query(&LENIENT_COUNT).json(&query), named_buckets).await
    }

    /// Looks for hashes among the documents that were written before there was a column for them.
    async fn named_in_sources(
        &self,
        expression: &str,
        tenant: TenantId,
        wanted: &HashSet<ContentHash>,
        named: &mut HashSet<ContentHash>,
    ) -> Result<(), SinkFault> {
        let query = json!({ "bool": {
            "filter": [
                { "term": { "tenant_id": tenant.to_string() } },
                { "exists": { "field": "truncated.field" } },
            ],
            "must_not": [{ "exists": { "field": "truncated.sha256" } }],
        } });
        self.each_mark(expression, &query, |hash| {
            if wanted.contains(&hash) {
                named.insert(hash);
            }
            named.len() < wanted.len()
        })
        .await
    }

    /// Goes over the marks of the documents that a query finds, until `each` answers that it has enough.
    async fn each_mark(
        &self,
        expression: &str,
        query: &Value,
        mut each: impl FnMut(ContentHash) -> bool,
    ) -> Result<(), SinkFault> {
        let path = format!("/{expression}/_search");
        let mut after = Value::Null;
        loop {
            let mut search = json!({
                "size": PAGE,
                "track_total_hits": false,
                "_source": ["truncated.sha256"],
                "query": query,
                // A change of the tenancy can leave one record in two indices of a month.
                "sort": [{ "created_at": "asc" }, { "id": "asc" }, { "tenant_id": "asc" }, { "_index": "asc" }],
            });
            continue_after(&mut search, &after);
            let request = EngineRequest::new(Method::Post, &path).query(&LENIENT_SEARCH).json(&search);
            let found: Vec<Hit> = self.read(&request, hits).await?;
            for hit in &found {
                for mark in hit.columns::<Marks>()?.truncated {
                    if !each(mark.sha256.0) {
                        return Ok(());
                    }
                }
            }
            match found.last() {
                Some(last) if found.len() == PAGE => after = Value::Array(last.sort.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// Makes what was written visible to searches of some indices.
    async fn refresh_some(&self, expression: &str) -> Result<(), SinkFault> {
        let path = format!("/{expression}/_refresh");
        self.hosts.send(&EngineRequest::new(Method::Post, &path).query(&LENIENT)).await?.of_all_shards()
    }
}

fn named_buckets(answer: &EngineAnswer) -> Result<Vec<ContentHash>, SinkFault> {
    #[derive(Deserialize)]
    struct Outer {
        // Absent where no index matches.
        aggregations: Option<Aggregations>,
    }
    #[derive(Deserialize)]
    struct Aggregations {
        named: Buckets,
    }
    #[derive(Deserialize)]
    struct Buckets {
        buckets: Vec<Bucket>,
    }
    #[derive(Deserialize)]
    struct Bucket {
        key: AsText<ContentHash>,
    }
    let outer: Outer = answer.json()?;
    let buckets = outer.aggregations.map(|found| found.named.buckets).unwrap_or_default();
    Ok(buckets.into_iter().map(|bucket| bucket.key.0).collect())
}
