//! The copies of records: a record lies in several indices when its run was resumed in a later month, or the tenancy was
//! changed meanwhile. Finds them, and tells the newest. Reads no payload.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use super::hit::{Hit, hits};
use super::hosts::{Method, Request};
use super::names::{self, Family};
use super::search::{LENIENT_SEARCH, Reader, continue_after, nanoseconds};
use crate::domain::query::{Cursor, Scan};
use crate::domain::record::RecordKey;
use crate::domain::{Kind, RecordId, SinkFault, TenantId};

/// Hits of one search, and ids of one question.
pub(super) const PAGE: usize = 1_000;

/// Tenants whose indices are named one by one; the name of an index is some 80 bytes, and a URL at most 4,096.
const NAMED_TENANTS: usize = 8;

/// A copy of a record: what is known of it without its payloads.
pub(super) struct Copy {
    pub(super) key: RecordKey,
    pub(super) revision: i64,
    pub(super) cursor: Cursor,
    pub(super) hit: Hit,
}

/// Where the newest copy of a record lies.
pub(super) struct Newest {
    revision: i64,
    index: String,
}

impl Newest {
    /// Whether a copy does not count because of it. A newer snapshot in the same index is the same document, written
    /// since the copy was found: to leave that out would be a gap in a walk.
    pub(super) fn replaces(&self, revision: i64, index: &str) -> bool {
        self.revision > revision && self.index != index
    }
}

impl Reader<'_> {
    pub(super) fn scan_path(&self, scan: &Scan) -> String {
        format!("/{}/_search", self.scan_expression(Family::Records(scan.kind), &scan.tenants))
    }

    fn scan_expression(&self, family: Family, tenants: &[TenantId]) -> String {
        if tenants.is_empty() || tenants.len() > NAMED_TENANTS {
            return self.names.pattern(family);
        }
        let stem = self.names.template(family);
        let own: Vec<_> = tenants.iter().map(|tenant| format!("{stem}-{tenant}-*")).collect();
        // All, without those that carry a tenant in their name, and then the wanted tenants' own.
        format!("{stem}-*,-{stem}-*-*,{}", own.join(","))
    }

    pub(super) async fn copies(&self, scan: &Scan, query: &Value) -> Result<Vec<Copy>, SinkFault> {
        let path = self.scan_path(scan);
        let request = Request::new(Method::Post, &path).query(&LENIENT_SEARCH).json(query);
        let found = self.read(&request, hits).await?;
        found.into_iter().filter_map(|hit| self.copy(scan.kind, hit).transpose()).collect()
    }

    /// A hit as a copy; `None` if it lies in an index that only looks like ours.
    fn copy(&self, kind: Kind, hit: Hit) -> Result<Option<Copy>, SinkFault> {
        let Some(place) = self.names.parse(&hit.index) else { return Ok(None) };
        let (id, revision) = hit.version()?;
        let tenant_id = hit.tenant()?;
        let key = RecordKey { tenant_id, kind, id };
        if hit.id != names::record_id(place, key) {
            return Ok(None);
        }
        let created_at = hit.created_at()?;
        Ok(Some(Copy { key, revision, cursor: Cursor { created_at, id }, hit }))
    }

    /// Leaves out copies that a newer one in another index replaces, and all but one of equal ones.
    pub(super) async fn only_newest(&self, kind: Kind, copies: Vec<Copy>) -> Result<Vec<Copy>, SinkFault> {
        let keys: BTreeSet<RecordKey> = copies.iter().map(|copy| copy.key).collect();
        let newest = self.newest_of(kind, &keys).await?;
        let mut seen = HashSet::new();
        let is_replaced =
            |copy: &Copy| newest.get(&copy.key).is_some_and(|newest| newest.replaces(copy.revision, &copy.hit.index));
        Ok(copies.into_iter().filter(|copy| !is_replaced(copy) && seen.insert(copy.key)).collect())
    }

    /// The newest copy of each record, over all months.
    pub(super) async fn newest_of(
        &self,
        kind: Kind,
        keys: &BTreeSet<RecordKey>,
    ) -> Result<HashMap<RecordKey, Newest>, SinkFault> {
        let mut newest: HashMap<RecordKey, Newest> = HashMap::new();
        for copy in self.copies_of(kind, keys).await? {
            let known = newest.get(&copy.key).map(|known| known.revision);
            if known.is_none_or(|known| known < copy.revision) {
                newest.insert(copy.key, Newest { revision: copy.revision, index: copy.hit.index });
            }
        }
        Ok(newest)
    }

    /// Every copy of records, as far as searches see them.
    async fn copies_of(&self, kind: Kind, keys: &BTreeSet<RecordKey>) -> Result<Vec<Copy>, SinkFault> {
        let tenants: BTreeSet<TenantId> = keys.iter().map(|key| key.tenant_id).collect();
        let ids: BTreeSet<RecordId> = keys.iter().map(|key| key.id).collect();
        let mut scan = Scan::all(kind, PAGE);
        scan.tenants = tenants.into_iter().collect();
        let mut found = Vec::new();
        for ids in ids.into_iter().collect::<Vec<_>>().chunks(PAGE) {
            let mut after = None;
            loop {
                let mut query = walk(&scan, after, PAGE);
                add_filter(&mut query, json!({ "terms": { "id": texts(ids) } }));
                let page = self.copies(&scan, &query).await?;
                after = page.last().map(|copy| copy.cursor);
                let is_last = page.len() < PAGE;
                found.extend(page.into_iter().filter(|copy| keys.contains(&copy.key)));
                if is_last {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Where every copy of records lies, with its revision; fresh.
    pub(super) async fn addresses_of(
        &self,
        kind: Kind,
        keys: &BTreeSet<RecordKey>,
    ) -> Result<HashMap<RecordKey, Vec<(Hit, i64)>>, SinkFault> {
        let tenants: BTreeSet<TenantId> = keys.iter().map(|key| key.tenant_id).collect();
        let tenants: Vec<_> = tenants.into_iter().collect();
        let path = format!("/{}/_refresh", self.scan_expression(Family::Records(kind), &tenants));
        self.hosts.send(&Request::new(Method::Post, &path).query(&super::admin::LENIENT)).await?.success()?;
        let mut addresses: HashMap<RecordKey, Vec<(Hit, i64)>> = HashMap::new();
        for copy in self.copies_of(kind, keys).await? {
            addresses.entry(copy.key).or_default().push((copy.hit, copy.revision));
        }
        Ok(addresses)
    }

    pub(super) async fn owners(&self, kind: Kind, id: RecordId) -> Result<Vec<TenantId>, SinkFault> {
        let scan = Scan::all(kind, PAGE);
        let mut query = walk(&scan, None, PAGE);
        add_filter(&mut query, json!({ "term": { "id": id.to_string() } }));
        let copies = self.copies(&scan, &query).await?;
        Ok(copies.iter().map(|copy| copy.key.tenant_id).collect::<BTreeSet<_>>().into_iter().collect())
    }

    pub(super) async fn children(&self, tenant: TenantId, runs: &[RecordId]) -> Result<Vec<RecordKey>, SinkFault> {
        let nodes = self.keys_by(Kind::NodeExecution, tenant, "workflow_run_id", runs).await?;
        let node_ids: Vec<_> = nodes.iter().map(|key| key.id).collect();
        let offloads = self.keys_by(Kind::Offload, tenant, "node_execution_id", &node_ids).await?;
        let logs = self.keys_by(Kind::AppLog, tenant, "workflow_run_id", runs).await?;
        Ok(nodes.into_iter().chain(offloads).chain(logs).collect())
    }

    /// The records of a tenant whose column holds one of the values.
    async fn keys_by(
        &self,
        kind: Kind,
        tenant: TenantId,
        column: &str,
        values: &[RecordId],
    ) -> Result<BTreeSet<RecordKey>, SinkFault> {
        let mut scan = Scan::all(kind, PAGE);
        scan.tenants = vec![tenant];
        let mut keys = BTreeSet::new();
        for values in values.chunks(PAGE) {
            let mut after = None;
            loop {
                let mut query = walk(&scan, after, PAGE);
                add_filter(&mut query, json!({ "terms": { column: texts(values) } }));
                let page = self.copies(&scan, &query).await?;
                after = page.last().map(|copy| copy.cursor);
                let is_last = page.len() < PAGE;
                keys.extend(page.into_iter().map(|copy| copy.key));
                if is_last {
                    break;
                }
            }
        }
        Ok(keys)
    }
}

/// A query for the next copies of a walk.
pub(super) fn walk(scan: &Scan, after: Option<Cursor>, size: usize) -> Value {
    let mut query = json!({
        "size": size,
        "track_total_hits": false,
        "_source": false,
        "docvalue_fields": ["id", "tenant_id", "revision", "payload_bytes"],
        "query": conditions(scan),
        "sort": [{ "created_at": "asc" }, { "id": "asc" }],
    });
    if let Some(after) = after {
        continue_after(&mut query, &json!([nanoseconds(after.created_at), after.id.to_string()]));
    }
    query
}

/// What a walk asks for.
pub(super) fn conditions(scan: &Scan) -> Value {
    let mut filters = vec![json!({ "exists": { "field": "tenant_id" } })];
    let mut terms = |field: &str, values: Vec<String>| {
        if !values.is_empty() {
            filters.push(json!({ "terms": { field: values } }));
        }
    };
    terms("tenant_id", texts(&scan.tenants));
    terms("app_id", scan.app_id.iter().map(ToString::to_string).collect());
    terms("status", scan.statuses.iter().map(ToString::to_string).collect());
    terms("origin", scan.origin.iter().map(|origin| origin.uuid().to_string()).collect());
    let mut range = serde_json::Map::new();
    if let Some(from) = scan.created.from {
        range.insert("gte".into(), from.to_string().into());
    }
    if let Some(until) = scan.created.until {
        range.insert("lt".into(), until.to_string().into());
    }
    if !range.is_empty() {
        filters.push(json!({ "range": { "created_at": range } }));
    }
    json!({ "bool": { "filter": filters } })
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// Demands one thing more of what a query finds.
pub(super) fn add_filter(query: &mut Value, filter: Value) {
    if let Some(filters) = query.pointer_mut("/query/bool/filter").and_then(Value::as_array_mut) {
        filters.push(filter);
    }
}
