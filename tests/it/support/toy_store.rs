//! A third store, as short as one can be: what every store must do, in memory, and none of what a store may lack. It passes
//! the part of the contract suite that needs no more.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use difylog::domain::query::{
    Condition, Content, Cursor, Demand, Found, ListFilter, Lookup, MonthCount, MonthSize, Page, Scan, Summary, Total,
};
use difylog::domain::record::RecordKey;
use difylog::domain::schema::Value as Column;
use difylog::domain::{BulkAction, Document, GraphHash, JsonText, Kind, Month, Record, SinkFault, TenantId, Verdict};
use difylog::store::{
    BulkSink, Capability, Eraser, LogReader, StateEntry, StateReader, StateStore, StateVersion, StoreAdmin, StoreError,
    StoreOverview,
};
use serde_json::Value;

use crate::support::records;

/// What is kept of a month. A record that moved to another month has a copy in each.
#[derive(Default)]
pub struct ToyMonth {
    pub documents: BTreeMap<RecordKey, Document>,
    pub graphs: BTreeMap<(TenantId, GraphHash), JsonText>,
}

#[derive(Default)]
pub struct ToyStore {
    months: Mutex<BTreeMap<Month, ToyMonth>>,
    state: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    entries: BTreeMap<String, StateEntry>,
    /// Of the latest write of any entry.
    version: StateVersion,
}

impl ToyStore {
    pub fn months(&self) -> MutexGuard<'_, BTreeMap<Month, ToyMonth>> {
        self.months.lock().unwrap()
    }

    pub fn apply_one(&self, action: &BulkAction) -> Verdict {
        let mut months = self.months();
        let kept = months.entry(action.month()).or_default();
        match action {
            BulkAction::Graph(graph) => {
                kept.graphs.insert((graph.tenant_id, graph.hash), graph.text.clone());
            }
            BulkAction::Document(new) => {
                if kept.documents.get(&new.key()).is_some_and(|old| !supersedes(new, old)) {
                    return Verdict::Superseded;
                }
                kept.documents.insert(new.key(), (**new).clone());
            }
        }
        Verdict::Stored
    }
}

/// A newer snapshot takes the place of the one that is there, and an equal one unless a migration brings it.
fn supersedes(new: &Document, old: &Document) -> bool {
    if new.origin.is_some() { new.revision > old.revision } else { new.revision >= old.revision }
}

impl ToyMonth {
    fn read(&self, document: &Document, content: Content) -> Document {
        let mut document = document.clone();
        let tenant_id = document.tenant_id();
        records::leave_out(&mut document, content);
        if let (Content::Full, Record::Run(run), Some(hash)) = (content, &mut document.record, document.graph) {
            run.graph = self.graphs.get(&(tenant_id, hash)).cloned();
        }
        document
    }
}

fn place(document: &Document) -> (Cursor, TenantId) {
    (document.cursor(), document.tenant_id())
}

#[async_trait]
impl BulkSink for ToyStore {
    async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault> {
        // As a request would: others have their turn.
        tokio::task::yield_now().await;
        Ok(actions.iter().map(|action| self.apply_one(action)).collect())
    }

    async fn probe(&self) -> Result<(), SinkFault> {
        Ok(())
    }
}

#[async_trait]
impl LogReader for ToyStore {
    async fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn lookup(&self, lookup: &Lookup) -> Result<Vec<Document>, StoreError> {
        let months = self.months();
        let copies = |kept: &ToyMonth| -> Vec<Document> {
            let keys = lookup.ids.iter().map(|&id| RecordKey { tenant_id: lookup.tenant_id, kind: lookup.kind, id });
            let found = keys.filter_map(|key| kept.documents.get(&key));
            found.map(|document| kept.read(document, lookup.content)).collect()
        };
        Ok(months.values().flat_map(copies).collect())
    }

    async fn walk(&self, scan: &Scan) -> Result<Vec<Document>, StoreError> {
        tokio::task::yield_now().await;
        let months = self.months();
        let copies = months.values().flat_map(|kept| kept.documents.values().map(move |document| (kept, document)));
        let follows = |document: &Document| scan.after.is_none_or(|after| after < place(document).0);
        let conditions = scan.conditions();
        let is_met = |document: &Document| {
            document.kind() == scan.kind
                && meets(&document.record, &conditions)
                && scan.origin.is_none_or(|origin| document.origin == Some(origin))
        };
        let mut found: Vec<_> = copies.filter(|(_, document)| is_met(document) && follows(document)).collect();
        found.sort_by_key(|(_, document)| place(document));
        // What shares a cursor comes in one answer.
        if let Some(last) = found.get(scan.limit - 1).map(|(_, document)| place(document).0) {
            found.retain(|(_, document)| place(document).0 <= last);
        }
        Ok(found.into_iter().map(|(kept, document)| kept.read(document, scan.content)).collect())
    }

    async fn page(&self, list: &ListFilter, page: &Page, count_to: Option<u64>) -> Result<Found<Summary>, StoreError> {
        if list.text().is_some() {
            self.need(Capability::TextSearch)?;
        }
        let (mut rows, tenants) = (Vec::new(), vec![list.tenant_id()]);
        let conditions = list.conditions();
        let mut scan = Scan { tenants, content: Content::Payloads, ..Scan::all(list.kind(), 1_000) };
        loop {
            let step = self.scan(&scan).await?;
            let Some(end) = step.last() else { break };
            scan.after = Some(end.cursor());
            let meant = step.into_iter().filter(|document| meets(&document.record, &conditions));
            rows.extend(meant.filter_map(Summary::of));
        }
        let (count, bound) = (rows.len() as u64, count_to.unwrap_or_default());
        rows.retain(|row| page.after.is_none_or(|after| page.compare(&after, &row.position()).is_lt()));
        rows.sort_by(|one, other| page.compare(&one.position(), &other.position()));
        rows.truncate(page.limit);
        let total = Total { value: count.min(bound), exact: count_to.is_some() && count <= bound };
        Ok(Found { rows, total, text_truncated: false })
    }
}

/// Whether a record has what a filter demands of its columns.
pub fn meets(record: &Record, conditions: &[Condition<'_>]) -> bool {
    conditions.iter().all(|condition| {
        let value = record.columns().find(|(column, _)| column.name == condition.column);
        match (&condition.demand, value.map(|(_, value)| value)) {
            (Demand::Ids(ids), Some(Column::Id(id))) => ids.contains(id),
            (Demand::Texts(texts), Some(Column::Text(text))) => texts.contains(&text),
            (Demand::Integers(bounds), Some(Column::Integer(integer))) => bounds.contains(&integer),
            (Demand::Seconds(bounds), Some(Column::Seconds(seconds))) => bounds.contains(&seconds),
            (Demand::Instants(range), Some(Column::Instant(at))) => range.contains(at),
            _ => false,
        }
    })
}

#[async_trait]
impl StoreOverview for ToyStore {
    async fn check(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn counts(&self) -> Result<Vec<MonthCount>, StoreError> {
        let mut counts = Vec::new();
        for (&month, kept) in &*self.months() {
            let count = |kind, documents: usize| MonthCount { month, kind, documents: documents as u64 };
            let of = |kind| kept.documents.keys().filter(|key| key.kind == kind).count();
            counts.extend(Kind::ALL.map(|kind| count(kind.as_str(), of(kind))));
            counts.push(count("graph", kept.graphs.len()));
        }
        counts.retain(|count| count.documents > 0);
        Ok(counts)
    }

    async fn sizes(&self) -> Result<Vec<MonthSize>, StoreError> {
        let size = |(&month, kept): (&Month, &ToyMonth)| {
            let bytes = kept.documents.values().map(|document| document.footprint() as u64).sum();
            MonthSize { month, kind: None, bytes, shards: 1 }
        };
        Ok(self.months().iter().filter(|(_, kept)| !kept.documents.is_empty()).map(size).collect())
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl StoreAdmin for ToyStore {
    async fn install(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn drop_month(&self, month: Month) -> Result<usize, StoreError> {
        let dropped = self.months().remove(&month);
        Ok(usize::from(dropped.is_some_and(|kept| !kept.documents.is_empty() || !kept.graphs.is_empty())))
    }
}

impl Eraser for ToyStore {}

#[async_trait]
impl StateReader for ToyStore {
    async fn state(&self, key: &str) -> Result<Option<StateEntry>, StoreError> {
        Ok(self.state.lock().unwrap().entries.get(key).cloned())
    }

    async fn states(&self, prefix: &str) -> Result<Vec<StateEntry>, StoreError> {
        let state = self.state.lock().unwrap();
        Ok(state.entries.values().filter(|entry| entry.key.starts_with(prefix)).cloned().collect())
    }
}

#[async_trait]
impl StateStore for ToyStore {
    async fn put_state(
        &self,
        key: &str,
        value: &Value,
        expected: Option<StateVersion>,
    ) -> Result<Option<StateVersion>, StoreError> {
        let mut state = self.state.lock().unwrap();
        if state.entries.get(key).map(|entry| entry.version) != expected {
            return Ok(None);
        }
        state.version += 1;
        let entry = StateEntry { key: key.to_owned(), value: value.clone(), version: state.version };
        state.entries.insert(key.to_owned(), entry);
        Ok(Some(state.version))
    }

    async fn delete_state(&self, key: &str, expected: StateVersion) -> Result<bool, StoreError> {
        let mut state = self.state.lock().unwrap();
        let is_it = state.entries.get(key).is_some_and(|entry| entry.version == expected);
        Ok(is_it && state.entries.remove(key).is_some())
    }
}
