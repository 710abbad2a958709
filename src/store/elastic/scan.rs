//! Walks over documents of all tenants, for administrative work: oldest first, each record once, in its newest revision.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::catalog::{self, LENIENT, list};
use super::copies::{
    CopyPage, CopyPages, CopyVersion, PAGE, add_filter, conditions, may_be_superseded, tell_copies_apart, walk,
};
use super::hit::cursor_of;
use super::hosts::{EngineAnswer, EngineRequest, Method};
use super::names::{self, Family};
use super::search::{EngineReader, LENIENT_COUNT, continue_after, groups};
use crate::domain::query::{Content, Cursor, Scan, TimeRange};
use crate::domain::record::RecordKey;
use crate::domain::{Document, GraphHash, JsonText, Kind, Month, Record, SinkFault, TenantId, Timestamp};

/// Bytes of payloads and graphs in one answer; a single record may be larger.
const ANSWER_BYTES: usize = 16 << 20;

/// Graphs that were read already; `None`: not there.
pub(super) type Graphs = HashMap<(TenantId, Month, GraphHash), Option<JsonText>>;

impl EngineReader<'_> {
    pub(super) async fn scan(&self, scan: &Scan) -> Result<Vec<Document>, SinkFault> {
        let mut after = scan.after;
        loop {
            let copies = self.stretch(scan, after).await?;
            let Some(last) = copies.last() else { return Ok(Vec::new()) };
            after = Some(last.cursor);
            let wanted = if scan.superseded_too { copies } else { self.only_newest(scan.kind, copies).await? };
            let documents = self.contents(scan, wanted).await?;
            // A stretch may hold older copies only: the walk goes on behind it.
            if !documents.is_empty() {
                return Ok(documents);
            }
        }
    }

    pub(super) async fn scan_end(&self, scan: &Scan) -> Result<Option<Cursor>, SinkFault> {
        let Some(target) = self.scan_target(scan).await? else { return Ok(None) };
        let mut size = 1;
        let mut after = Value::Null;
        loop {
            let mut query = walk(scan, None, size);
            tell_copies_apart(&mut query, "desc");
            continue_after(&mut query, &after);
            let page = self.copies_in(&target, scan.kind, &query).await?;
            match (page.copies.first(), page.next) {
                // None of these is ours.
                (None, Some(place)) => (size, after) = (PAGE, Value::Array(place)),
                (last, _) => return Ok(last.map(|copy| copy.cursor)),
            }
        }
    }

    /// Counts the records within a walk, each once.
    pub(super) async fn scan_count(&self, scan: &Scan) -> Result<u64, SinkFault> {
        #[derive(Deserialize)]
        struct Counted {
            hits: Hits,
        }
        #[derive(Deserialize)]
        struct Hits {
            total: Total,
        }
        #[derive(Deserialize)]
        struct Total {
            value: u64,
        }
        let Some(target) = self.scan_target(scan).await? else { return Ok(0) };
        let mut query = json!({ "size": 0, "track_total_hits": true, "query": conditions(scan) });
        if let Some(after) = scan.after {
            add_filter(&mut query, later_than(after));
        }
        let path = format!("/{}/_search", target.expression);
        let options = target.options(&LENIENT_COUNT);
        let request = EngineRequest::new(Method::Post, &path).query(&options).json(&query);
        let counted: Counted = self.read(&request, EngineAnswer::json).await?;
        Ok(counted.hits.total.value.saturating_sub(self.superseded(scan).await?))
    }

    /// Returns how many documents within a walk are copies that do not count: of a run or node that was resumed in a
    /// later month, and of whatever lies in two indices of its month because the tenancy was changed.
    async fn superseded(&self, scan: &Scan) -> Result<u64, SinkFault> {
        if scan.superseded_too {
            return Ok(0);
        }
        let Some(target) = self.scan_target(scan).await? else { return Ok(0) };
        let places = list(self.hosts, self.names, &target.expression, &LENIENT).await?;
        let mut either = self.in_two_indices(scan, &places);
        if matches!(scan.kind, Kind::WorkflowRun | Kind::NodeExecution) {
            either.push(may_be_superseded(&places.iter().map(|place| place.month).collect(), &[]));
        }
        if either.is_empty() {
            return Ok(0);
        }
        let either = json!({ "bool": { "should": either, "minimum_should_match": 1 } });
        let filters = std::iter::once(either).chain(scan.after.map(later_than));
        let mut pages = CopyPages::new(Some(target), scan, PAGE, filters);
        let mut superseded = 0;
        while let Some(copies) = self.next_page(&mut pages).await? {
            superseded += self.replaced(scan.kind, copies).await?;
        }
        Ok(superseded)
    }

    /// Returns how many of these copies do not count.
    async fn replaced(&self, kind: Kind, copies: Vec<CopyVersion>) -> Result<u64, SinkFault> {
        let all = copies.len();
        Ok((all - self.only_newest(kind, copies).await?.len()) as u64)
    }

    /// Returns what finds the records that may lie in an index of their tenant and in the shared one of the same month.
    fn in_two_indices(&self, scan: &Scan, places: &[names::IndexPlace]) -> Vec<Value> {
        let doubled = catalog::doubled(places);
        let mut owners: BTreeMap<Month, Vec<TenantId>> = BTreeMap::new();
        for place in places.iter().filter(|place| doubled.contains(&place.month)) {
            owners.entry(place.month).or_default().extend(place.tenant);
        }
        let of_month = |(month, tenants): (Month, Vec<TenantId>)| {
            let of = |tenant| names::IndexPlace { family: Family::Records(scan.kind), tenant, month };
            let indices: Vec<_> = std::iter::once(None).chain(tenants.iter().copied().map(Some)).map(of).collect();
            let indices: Vec<_> = indices.into_iter().map(|place| self.names.index(place)).collect();
            let tenants: Vec<_> = tenants.iter().map(ToString::to_string).collect();
            json!({ "bool": { "filter": [{ "terms": { "_index": indices } }, { "terms": { "tenant_id": tenants } }] } })
        };
        owners.into_iter().map(of_month).collect()
    }

    /// Returns the next copies of a walk, in its order; all that share the last one's cursor.
    async fn stretch(&self, scan: &Scan, after: Option<Cursor>) -> Result<Vec<CopyVersion>, SinkFault> {
        let size = scan.limit.clamp(1, PAGE);
        let mut after = after;
        loop {
            let CopyPage { mut copies, next } =
                self.copies(&Scan { after, ..scan.clone() }, &walk(scan, after, size)).await?;
            let Some(place) = next else { return Ok(in_order(copies)) };
            let cursor = cursor_of(&place)?;
            // Ids are unique per tenant only: others of the same id and instant may follow.
            let mut query = walk(scan, None, PAGE);
            add_filter(&mut query, json!({ "term": { "id": cursor.id.to_string() } }));
            add_filter(&mut query, json!({ "term": { "created_at": cursor.created_at.to_string() } }));
            let created = TimeRange { from: Some(cursor.created_at), until: Some(cursor.created_at.month().end()) };
            let group = self.copies(&Scan { created, after: None, ..scan.clone() }, &query).await?;
            copies.retain(|copy| copy.cursor != cursor);
            copies.extend(group.copies);
            if !copies.is_empty() {
                return Ok(in_order(copies));
            }
            // None of these is ours.
            after = Some(cursor);
        }
    }

    /// Returns the documents of copies, in their order, as many as fit an answer; those that share a cursor stay
    /// together.
    async fn contents(&self, scan: &Scan, copies: Vec<CopyVersion>) -> Result<Vec<Document>, SinkFault> {
        if scan.content == Content::Light {
            return self.light(scan.kind, copies).await;
        }
        let mut documents: Vec<Document> = Vec::new();
        let mut graphs = Graphs::new();
        let mut bytes = 0;
        let is_one_group = |last: &CopyVersion, next: &CopyVersion| last.cursor == next.cursor;
        for group in groups(copies, |copy| copy.hit.payload_bytes(), is_one_group) {
            if bytes > ANSWER_BYTES && !documents.is_empty() {
                break;
            }
            let places = places(&group);
            let hits = group.into_iter().map(|copy| copy.hit);
            let mut read = self.fetch(scan.kind, hits, scan.content).await?;
            read.retain(|document| is_in_place(document, &places));
            read.sort_by_key(|document| (document.record.created_at(), document.record.id(), document.tenant_id()));
            for mut document in read {
                let is_one_with_last = documents.last().is_some_and(|last| last.cursor() == document.cursor());
                // What was read counts without the graphs, which may be larger than all else.
                if bytes > ANSWER_BYTES && !is_one_with_last {
                    return Ok(documents);
                }
                if scan.content == Content::Full {
                    self.put_graph_back(&mut document, &mut graphs).await?;
                }
                bytes += document.whole_footprint();
                documents.push(document);
            }
        }
        Ok(documents)
    }

    /// Gives runs the graphs that they refer to, each read once.
    pub(super) async fn put_graphs_back(
        &self,
        documents: &mut [Document],
        graphs: &mut Graphs,
    ) -> Result<(), SinkFault> {
        for document in documents {
            self.put_graph_back(document, graphs).await?;
        }
        Ok(())
    }

    /// Gives a run the graph that it refers to: one that was read already, or now.
    pub(super) async fn put_graph_back(&self, document: &mut Document, graphs: &mut Graphs) -> Result<(), SinkFault> {
        let Some(hash) = document.graph else { return Ok(()) };
        let place = (document.tenant_id(), document.month(), hash);
        let graph = match graphs.entry(place) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(self.graph(place.0, place.1, hash).await?),
        };
        if let Record::Run(run) = &mut document.record {
            run.graph.clone_from(graph);
        }
        Ok(())
    }

    async fn light(&self, kind: Kind, copies: Vec<CopyVersion>) -> Result<Vec<Document>, SinkFault> {
        let order: Vec<Place> = copies.iter().map(place).collect();
        let places = places(&copies);
        let addresses: Vec<_> = copies.into_iter().map(|copy| copy.hit.address()).collect();
        let mut found: HashMap<Place, Document> = HashMap::new();
        for document in self.documents(kind, &addresses, Content::Light).await? {
            if is_in_place(&document, &places) {
                found.insert((document.key(), document.record.created_at()), document);
            }
        }
        // Erased since it was found: it is not there.
        Ok(order.into_iter().filter_map(|place| found.remove(&place)).collect())
    }
}

/// Where a walk met a copy.
type Place = (RecordKey, Timestamp);

fn place(copy: &CopyVersion) -> Place {
    (copy.key, copy.cursor.created_at)
}

fn places(copies: &[CopyVersion]) -> HashSet<Place> {
    copies.iter().map(place).collect()
}

/// Documents are read a moment after they were found: one that was resumed in between starts later now, and the walk
/// meets it there. Here it would be out of order, and as the last of an answer it would let the walk leave others out.
fn is_in_place(document: &Document, places: &HashSet<Place>) -> bool {
    places.contains(&(document.key(), document.record.created_at()))
}

/// The engine leaves the order of the tenants that share a cursor open.
fn in_order(mut copies: Vec<CopyVersion>) -> Vec<CopyVersion> {
    copies.sort_by_key(|copy| (copy.cursor, copy.key.tenant_id));
    copies
}

/// Returns what finds that which follows a cursor, for a query without that order.
fn later_than(after: Cursor) -> Value {
    let at = after.created_at.to_string();
    let later = json!({ "range": { "created_at": { "gt": at } } });
    let beside = json!({ "bool": { "filter": [
        { "term": { "created_at": at } },
        { "range": { "id": { "gt": after.id.to_string() } } },
    ] } });
    json!({ "bool": { "should": [later, beside], "minimum_should_match": 1 } })
}
