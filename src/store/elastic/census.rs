//! How much there is of each tenant. Counts only.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::copies::PAGE;
use super::hosts::{Answer, Method, Request};
use super::names::Family;
use super::search::{LENIENT_SEARCH, Reader};
use crate::domain::query::TenantCount;
use crate::domain::{FaultKind, Kind, Month, SinkFault, TenantId};

impl Reader<'_> {
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
                let request = Request::new(Method::Post, &path).query(&LENIENT_SEARCH).json(&query);
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

fn tenant_buckets(answer: &Answer) -> Result<Buckets, SinkFault> {
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
