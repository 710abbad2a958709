//! The copies of records: a record lies in several indices when its run was resumed in a later month, or the tenancy was
//! changed meanwhile. Finds them, and tells the one that counts: by [`Precedence`], then by the place (of one month, the
//! tenant's own index). Reads no payload.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use super::catalog::{self, LENIENT, NAMES_BYTES, Target, list};
use super::hit::{Hit, hits};
use super::hosts::{EngineRequest, Method};
use super::names::{self, Family, IndexPlace};
use super::queries::demanded;
use super::search::{EngineReader, LENIENT_SEARCH, continue_after, nanoseconds};
use crate::domain::query::{Cursor, Scan, TimeRange};
use crate::domain::record::RecordKey;
use crate::domain::{Kind, Month, NodeStatus, Precedence, RecordId, Revision, RunStatus, SinkFault, TenantId};

/// Hits of one search, and ids of one question.
pub(super) const PAGE: usize = 1_000;

/// Months that a condition tells apart; the engines take 1,024 clauses. With more, whatever has ended is looked up.
const MONTHS: usize = 500;

/// Tenants whose indices are named one by one; the name of an index is some 80 bytes, and a URL at most 4,096.
const NAMED_TENANTS: usize = 8;

/// Months that are named one by one.
const NAMED_MONTHS: usize = 4;

/// A copy of a record: what is known of it without its payloads.
pub(super) struct CopyVersion {
    pub(super) key: RecordKey,
    pub(super) revision: i64,
    pub(super) place: IndexPlace,
    pub(super) cursor: Cursor,
    pub(super) hit: Hit,
}

impl CopyVersion {
    /// Its rank among the copies of its record: the greatest counts.
    pub(super) fn standing(&self) -> CopyRank {
        CopyRank::new(self.revision, self.place)
    }
}

/// The order of a record's copies over all indices: months and revisions first, then which index of the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CopyRank {
    pub(super) precedence: Precedence,
    pub(super) place: IndexPlace,
}

impl CopyRank {
    pub(super) fn new(revision: i64, place: IndexPlace) -> Self {
        Self { precedence: Precedence::new(Revision::from_stored(revision), place.month), place }
    }

    /// Returns whether a copy does not count because of this one. A newer snapshot in the same index is the same
    /// document, written since the copy was found: to leave that out would be a gap in a walk.
    pub(super) fn replaces(self, copy: Self) -> bool {
        self.place != copy.place && self > copy
    }
}

/// A walk over copies in pages of one size. Copies of one record share a cursor, so the order is one that tells them apart:
/// a page may end between two of them.
pub(super) struct CopyPages {
    /// `None`: at the end.
    target: Option<Target>,
    kind: Kind,
    query: Value,
}

impl CopyPages {
    /// Begins a walk over what meets all of `filters`, too.
    pub(super) fn new(
        target: Option<Target>,
        scan: &Scan,
        size: usize,
        filters: impl IntoIterator<Item = Value>,
    ) -> Self {
        let mut query = walk(scan, None, size);
        filters.into_iter().for_each(|filter| add_filter(&mut query, filter));
        tell_copies_apart(&mut query, "asc");
        Self { target, kind: scan.kind, query }
    }
}

/// What one search of a walk found.
#[derive(Default)]
pub(super) struct CopyPage {
    pub(super) copies: Vec<CopyVersion>,
    /// Where the last hit is sorted, if the page is full: the walk goes on behind it. Hits in indices that only look like ours
    /// count in both.
    pub(super) next: Option<Vec<Value>>,
}

impl EngineReader<'_> {
    /// Returns the indices that a walk meets: those of the months of its span. `None`: there are none.
    pub(super) async fn scan_target(&self, scan: &Scan) -> Result<Option<Target>, SinkFault> {
        let family = Family::Records(scan.kind);
        let from = scan.created.from.max(scan.after.map(|after| after.created_at));
        let wanted = TimeRange { from, until: scan.created.until };
        if let [tenant] = scan.tenants.as_slice() {
            let places = self.places_within(scan.kind, *tenant, wanted).await?;
            return Ok(catalog::target(self.names, family, *tenant, &places));
        }
        Ok(Some(Target { expression: self.expression(family, &scan.tenants, wanted), routing: None }))
    }

    /// Covers the indices of tenants (of all, if there are none or many) and months (of all, if the span is long or open).
    fn expression(&self, family: Family, tenants: &[TenantId], span: TimeRange) -> String {
        let stem = self.names.template(family);
        let is_of_all = tenants.is_empty() || tenants.len() > NAMED_TENANTS;
        let of_month = |month: &Month| -> Vec<String> {
            if is_of_all {
                return vec![format!("{stem}-*{}", month.dotted())];
            }
            let places = std::iter::once(None).chain(tenants.iter().copied().map(Some));
            places.map(|tenant| self.names.index(IndexPlace { family, tenant, month: *month })).collect()
        };
        let named = months_of(span).map(|months| months.iter().flat_map(of_month).collect::<Vec<_>>().join(","));
        if let Some(named) = named.filter(|named| named.len() <= NAMES_BYTES) {
            return named;
        }
        if is_of_all {
            return self.names.pattern(family);
        }
        let own: Vec<_> = tenants.iter().map(|tenant| format!("{stem}-{tenant}-*")).collect();
        // All, without those that carry a tenant in their name, and then the wanted tenants' own.
        format!("{stem}-*,-{stem}-*-*,{}", own.join(","))
    }

    pub(super) async fn copies(&self, scan: &Scan, query: &Value) -> Result<CopyPage, SinkFault> {
        match self.scan_target(scan).await? {
            Some(target) => self.copies_in(&target, scan.kind, query).await,
            None => Ok(CopyPage::default()),
        }
    }

    pub(super) async fn copies_in(&self, target: &Target, kind: Kind, query: &Value) -> Result<CopyPage, SinkFault> {
        let path = format!("/{}/_search", target.expression);
        let options = target.options(&LENIENT_SEARCH);
        let found = self.read(&EngineRequest::new(Method::Post, &path).query(&options).json(query), hits).await?;
        if found.iter().any(|hit| !self.names.is_known(&hit.index)) {
            // An index behind an alias, or one that only looks like ours: the list tells, and is remembered.
            list(self.hosts, self.names, &target.expression, &LENIENT).await?;
        }
        let is_full = query.get("size").and_then(Value::as_u64).is_some_and(|size| found.len() as u64 >= size);
        let next = found.last().filter(|_| is_full).map(|last| last.sort.clone());
        let copies = found.into_iter().filter_map(|hit| self.copy(kind, hit).transpose());
        Ok(CopyPage { copies: copies.collect::<Result<_, _>>()?, next })
    }

    /// Returns the copies of one tenant's records in other indices than those where they were found: the one of each
    /// that counts most. What lies in one index only, as most does, is in no answer.
    pub(super) async fn elsewhere(
        &self,
        kind: Kind,
        tenant: TenantId,
        found: &[CopyVersion],
    ) -> Result<HashMap<RecordKey, CopyRank>, SinkFault> {
        let mut by_index: HashMap<&str, Vec<RecordId>> = HashMap::new();
        for copy in found {
            by_index.entry(&copy.hit.index).or_default().push(copy.key.id);
        }
        let other = |(index, ids): (&&str, &Vec<RecordId>)| {
            let ids = json!({ "terms": { "id": texts(ids) } });
            json!({ "bool": { "filter": [ids], "must_not": [{ "term": { "_index": index } }] } })
        };
        let others: Vec<_> = by_index.iter().map(other).collect();
        let mut standings: HashMap<RecordKey, CopyRank> = HashMap::new();
        if others.is_empty() {
            return Ok(standings);
        }
        let scan = Scan { tenants: vec![tenant], ..Scan::all(kind, PAGE) };
        let either = json!({ "bool": { "should": &others, "minimum_should_match": 1 } });
        let mut pages = CopyPages::new(self.scan_target(&scan).await?, &scan, PAGE, [either]);
        while let Some(page) = self.next_page(&mut pages).await? {
            for copy in &page {
                let standing = copy.standing();
                standings.entry(copy.key).and_modify(|known| *known = standing.max(*known)).or_insert(standing);
            }
        }
        Ok(standings)
    }

    /// Returns the next copies of a walk, whose copies of one record may come in two pages; `None` at the end.
    pub(super) async fn next_page(&self, pages: &mut CopyPages) -> Result<Option<Vec<CopyVersion>>, SinkFault> {
        let Some(target) = &pages.target else { return Ok(None) };
        let page = self.copies_in(target, pages.kind, &pages.query).await?;
        match page.next {
            Some(place) => continue_after(&mut pages.query, &Value::Array(place)),
            None => pages.target = None,
        }
        Ok(Some(page.copies))
    }

    /// Returns a hit as a copy; `None` if it lies in an index that only looks like ours.
    fn copy(&self, kind: Kind, hit: Hit) -> Result<Option<CopyVersion>, SinkFault> {
        let Some(place) = self.names.parse(&hit.index) else { return Ok(None) };
        let (id, revision) = hit.version()?;
        let tenant_id = hit.tenant()?;
        let key = RecordKey { tenant_id, kind, id };
        if hit.id != names::record_id(place, key) {
            return Ok(None);
        }
        let created_at = hit.created_at()?;
        Ok(Some(CopyVersion { key, revision, place, cursor: Cursor { created_at, id }, hit }))
    }

    /// Leaves out copies that a newer one in another index replaces, and all but one of equal ones.
    pub(super) async fn only_newest(
        &self,
        kind: Kind,
        copies: Vec<CopyVersion>,
    ) -> Result<Vec<CopyVersion>, SinkFault> {
        let keys: BTreeSet<RecordKey> = copies.iter().map(|copy| copy.key).collect();
        let newest = self.newest_of(kind, &keys).await?;
        let mut seen = HashSet::new();
        let is_replaced =
            |copy: &CopyVersion| newest.get(&copy.key).is_some_and(|newest| newest.replaces(copy.standing()));
        Ok(copies.into_iter().filter(|copy| !is_replaced(copy) && seen.insert(copy.key)).collect())
    }

    /// Returns the newest copy of each record, over all months.
    pub(super) async fn newest_of(
        &self,
        kind: Kind,
        keys: &BTreeSet<RecordKey>,
    ) -> Result<HashMap<RecordKey, CopyRank>, SinkFault> {
        let mut newest: HashMap<RecordKey, CopyRank> = HashMap::new();
        for copy in self.copies_of(kind, keys).await? {
            let standing = copy.standing();
            newest.entry(copy.key).and_modify(|known| *known = standing.max(*known)).or_insert(standing);
        }
        Ok(newest)
    }

    /// Returns every copy of records, as far as searches see them.
    async fn copies_of(&self, kind: Kind, keys: &BTreeSet<RecordKey>) -> Result<Vec<CopyVersion>, SinkFault> {
        let tenants: BTreeSet<TenantId> = keys.iter().map(|key| key.tenant_id).collect();
        let ids: BTreeSet<RecordId> = keys.iter().map(|key| key.id).collect();
        let mut scan = Scan::all(kind, PAGE);
        scan.tenants = tenants.into_iter().collect();
        let mut found = Vec::new();
        for ids in ids.into_iter().collect::<Vec<_>>().chunks(PAGE) {
            let of_ids = json!({ "terms": { "id": texts(ids) } });
            let mut pages = CopyPages::new(self.scan_target(&scan).await?, &scan, PAGE, [of_ids]);
            while let Some(page) = self.next_page(&mut pages).await? {
                found.extend(page.into_iter().filter(|copy| keys.contains(&copy.key)));
            }
        }
        Ok(found)
    }

    /// Returns every copy of records; fresh.
    pub(super) async fn fresh_copies_of(
        &self,
        kind: Kind,
        keys: &BTreeSet<RecordKey>,
    ) -> Result<HashMap<RecordKey, Vec<CopyVersion>>, SinkFault> {
        let tenants: BTreeSet<TenantId> = keys.iter().map(|key| key.tenant_id).collect();
        let tenants: Vec<_> = tenants.into_iter().collect();
        // What another process began a moment ago counts, too.
        self.catalog.forget();
        let everywhere = self.expression(Family::Records(kind), &tenants, TimeRange::default());
        let path = format!("/{everywhere}/_refresh");
        self.hosts.send(&EngineRequest::new(Method::Post, &path).query(&LENIENT)).await?.of_all_shards()?;
        let mut copies: HashMap<RecordKey, Vec<CopyVersion>> = HashMap::new();
        for copy in self.copies_of(kind, keys).await? {
            copies.entry(copy.key).or_default().push(copy);
        }
        Ok(copies)
    }

    pub(super) async fn owners(&self, kind: Kind, id: RecordId) -> Result<Vec<TenantId>, SinkFault> {
        let scan = Scan::all(kind, PAGE);
        let of_id = json!({ "term": { "id": id.to_string() } });
        let mut pages = CopyPages::new(self.scan_target(&scan).await?, &scan, PAGE, [of_id]);
        let mut owners = BTreeSet::new();
        while let Some(page) = self.next_page(&mut pages).await? {
            owners.extend(page.iter().map(|copy| copy.key.tenant_id));
        }
        Ok(owners.into_iter().collect())
    }

    pub(super) async fn children(&self, tenant: TenantId, runs: &[RecordId]) -> Result<Vec<RecordKey>, SinkFault> {
        let nodes = self.keys_by(Kind::NodeExecution, tenant, "workflow_run_id", runs).await?;
        let node_ids: Vec<_> = nodes.iter().map(|key| key.id).collect();
        let offloads = self.keys_by(Kind::Offload, tenant, "node_execution_id", &node_ids).await?;
        let logs = self.keys_by(Kind::AppLog, tenant, "workflow_run_id", runs).await?;
        Ok(nodes.into_iter().chain(offloads).chain(logs).collect())
    }

    /// Returns the records of a tenant whose column holds one of the values.
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
            let of_values = json!({ "terms": { column: texts(values) } });
            let mut pages = CopyPages::new(self.scan_target(&scan).await?, &scan, PAGE, [of_values]);
            while let Some(page) = self.next_page(&mut pages).await? {
                keys.extend(page.into_iter().map(|copy| copy.key));
            }
        }
        Ok(keys)
    }
}

/// Returns a query for the next copies of a walk.
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

/// Returns what a walk asks for.
pub(super) fn conditions(scan: &Scan) -> Value {
    let mut filters = vec![json!({ "exists": { "field": "tenant_id" } })];
    filters.extend(scan.conditions().iter().map(demanded));
    filters.extend(scan.origin.map(|origin| json!({ "term": { "origin": origin.uuid().to_string() } })));
    json!({ "bool": { "filter": filters } })
}

/// Returns what may be superseded by a copy in another index: in these months, what is not final as
/// [`Precedence::is_final`] says (it has not ended, or it ended after its month), and all that lies in these indices.
pub(super) fn may_be_superseded(months: &BTreeSet<Month>, indices: &[String]) -> Value {
    let ended_later = |month: &Month| {
        let (start, end) = (month.start().to_string(), month.end().to_string());
        // Not by a pattern of `_index`: each shard would compare it with the name of every index of the cluster.
        let of_month = json!({ "range": { "created_at": { "gte": start, "lt": end } } });
        let later = json!({ "range": { "finished_at": { "gte": end } } });
        json!({ "bool": { "filter": [later, of_month] } })
    };
    let mut either = Vec::new();
    if !months.is_empty() {
        let ended = [RunStatus::ENDED, NodeStatus::ENDED].concat();
        either.push(json!({ "bool": { "must_not": [{ "terms": { "status": ended } }] } }));
    }
    if months.len() <= MONTHS {
        either.extend(months.iter().map(ended_later));
    } else {
        either.push(json!({ "exists": { "field": "finished_at" } }));
    }
    if !indices.is_empty() {
        either.push(json!({ "terms": { "_index": indices } }));
    }
    json!({ "bool": { "should": either, "minimum_should_match": 1 } })
}

/// Returns the months of a span; `None`: it is open, or has too many to be named.
fn months_of(span: TimeRange) -> Option<Vec<Month>> {
    let (from, until) = (span.from?.month(), span.until?);
    let named = (0..).map(|next| from.shifted(next)).take(NAMED_MONTHS + 1);
    let months: Vec<_> = named.take_while(|month| month.start() < until).collect();
    (months.len() <= NAMED_MONTHS).then_some(months)
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// Sorts a walk so that no two copies share a place.
pub(super) fn tell_copies_apart(query: &mut Value, direction: &str) {
    if let Some(query) = query.as_object_mut() {
        let order = ["created_at", "id", "tenant_id", "_index"].map(|column| json!({ column: direction }));
        query.insert("sort".to_owned(), json!(order));
    }
}

/// Demands one thing more of what a query finds.
pub(super) fn add_filter(query: &mut Value, filter: Value) {
    if let Some(filters) = query.pointer_mut("/query/bool/filter").and_then(Value::as_array_mut) {
        filters.push(filter);
    }
}
