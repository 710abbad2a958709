//! How much there is: of each tenant in documents, of each month in bytes. Changes nothing.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::Admin;
use super::catalog::{LENIENT, list};
use super::copies::PAGE;
use super::hosts::{EngineAnswer, EngineRequest, Method};
use super::names::Family;
use super::search::{EngineReader, LENIENT_COUNT};
use crate::domain::query::{MonthSize, TenantCount};
use crate::domain::{FaultKind, Kind, Month, SinkFault, TenantId};
use crate::store::StoreError;

impl Admin<'_> {
    /// Bytes and shards of the open indices, replicas included, oldest month first.
    pub(super) async fn sizes(&self) -> Result<Vec<MonthSize>, StoreError> {
        #[derive(Deserialize)]
        struct Row {
            index: String,
            // Absent while no shard of the index is there.
            #[serde(rename = "store.size")]
            bytes: Option<String>,
            pri: Option<String>,
            rep: Option<String>,
        }
        fn number(text: Option<&String>) -> u64 {
            text.and_then(|text| text.parse().ok()).unwrap_or(0)
        }
        // Indices that only an alias makes ours are told by their own names.
        list(self.hosts, self.names, &self.names.everything(), &LENIENT).await?;
        let path = format!("/_cat/indices/{}", self.names.everything());
        let columns = ("h", "index,store.size,pri,rep");
        let query = [("format", "json"), ("bytes", "b"), columns, ("expand_wildcards", "open")];
        let rows: Vec<Row> = self.hosts.send(&EngineRequest::new(Method::Get, &path).query(&query)).await?.json()?;
        let mut sums = BTreeMap::<(Month, Family), (u64, u64)>::new();
        for row in rows {
            if let Some(place) = self.names.parse(&row.index) {
                let (bytes, shards) = sums.entry((place.month, place.family)).or_default();
                *bytes += number(row.bytes.as_ref());
                *shards += number(row.pri.as_ref()) * (1 + number(row.rep.as_ref()));
            }
        }
        let size = |((month, family), (bytes, shards)): ((Month, Family), (u64, u64))| MonthSize {
            month,
            kind: Some(family.as_str()),
            bytes,
            shards,
        };
        Ok(sums.into_iter().map(size).collect())
    }
}

impl EngineReader<'_> {
    /// Documents per tenant and kind of a month; tombstones have no tenant and are not in it.
    pub(super) async fn tenant_counts(&self, month: Month) -> Result<Vec<TenantCount>, SinkFault> {
        let mut counts = BTreeMap::<(TenantId, Kind), u64>::new();
        for kind in Kind::ALL {
            let stem = self.names.template(Family::Records(kind));
            let path = format!("/{stem}-*{}/_search", month.dotted());
            let mut after = Value::Null;
            loop {
                let sources = json!([{ "tenant": { "terms": { "field": "tenant_id" } } }]);
                let composite = match &after {
                    Value::Null => json!({ "size": PAGE, "sources": sources }),
                    after => json!({ "size": PAGE, "sources": sources, "after": after }),
                };
                let query = json!({ "size": 0, "aggs": { "tenants": { "composite": composite } } });
                let request = EngineRequest::new(Method::Post, &path).query(&LENIENT_COUNT).json(&query);
                let Buckets { buckets, after_key } = self.read(&request, tenant_buckets).await?;
                for bucket in &buckets {
                    let tenant = bucket
                        .key
                        .tenant
                        .parse()
                        .map_err(|_| SinkFault::new(FaultKind::Malformed, "a tenant_id is no uuid"))?;
                    *counts.entry((tenant, kind)).or_default() += bucket.doc_count;
                }
                match after_key {
                    Some(key) if buckets.len() == PAGE => after = key,
                    _ => break,
                }
            }
        }
        let count = |((tenant_id, kind), documents)| TenantCount { tenant_id, month, kind, documents };
        Ok(counts.into_iter().map(count).collect())
    }
}

#[derive(Default, Deserialize)]
struct Buckets {
    buckets: Vec<Bucket>,
    after_key: Option<Value>,
}

#[derive(Deserialize)]
struct Bucket {
    key: BucketKey,
    doc_count: u64,
}

#[derive(Deserialize)]
struct BucketKey {
    tenant: String,
}

fn tenant_buckets(answer: &EngineAnswer) -> Result<Buckets, SinkFault> {
    #[derive(Deserialize)]
    struct Outer {
        // Absent where no index matches.
        aggregations: Option<Aggregations>,
    }
    #[derive(Deserialize)]
    struct Aggregations {
        tenants: Buckets,
    }
    let outer: Outer = answer.json()?;
    Ok(outer.aggregations.map(|found| found.tenants).unwrap_or_default())
}
