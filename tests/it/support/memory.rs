//! A store in memory: every port in the most obvious way. It passes the contract suite, so what is tried over it is tried
//! over a store that behaves as the real ones do; and it does what a real one cannot be made to do: be down, hold a
//! question back, change between two looks.

mod filters;
mod lists;
mod remove;
mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use difylog::domain::query::{MonthCount, MonthSize};
use difylog::domain::record::RecordKey;
use difylog::domain::{
    BulkAction, Document, GraphHash, JsonText, Kind, Month, Precedence, RecordId, SinkFault, TenantId, Timestamp,
    Verdict,
};
use difylog::store::{
    BulkSink, LogReader, StateEntry, StateReader, StateStore, StateVersion, StoreAdmin, StoreError, StoreOverview,
    StoredCopy,
};
use serde_json::Value;

/// Done once, after the store was first asked for records by their ids.
type Hook = Box<dyn FnOnce(&MemoryStore) + Send>;

/// What is kept of a month. A record that moved to another month has a copy in each.
#[derive(Default)]
struct KeptMonth {
    documents: BTreeMap<RecordKey, Document>,
    graphs: BTreeMap<(TenantId, GraphHash), JsonText>,
    tombstones: BTreeMap<RecordKey, Timestamp>,
    /// Writes are superseded since then.
    retired: Option<Timestamp>,
}

#[derive(Default)]
pub struct MemoryStore {
    months: Mutex<BTreeMap<Month, KeptMonth>>,
    state: Mutex<BTreeMap<String, StateEntry>>,
    /// The version of the latest write of any entry.
    version: Mutex<StateVersion>,
    hook: Mutex<Option<Hook>>,
    /// Every question fails while it is set.
    pub down: AtomicBool,
    /// Searches of runs wait while it is locked.
    gate: Arc<tokio::sync::Mutex<()>>,
    /// Told when one waits.
    waiting: tokio::sync::Notify,
}

impl MemoryStore {
    /// Lets searches of runs wait until the guard is dropped.
    pub async fn hold(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.gate.clone().lock_owned().await
    }

    /// Waits until a search waits.
    pub async fn held(&self) {
        self.waiting.notified().await;
    }

    /// Does something once, right after records were first asked for by their ids.
    pub fn after_first_look(&self, hook: impl FnOnce(&Self) + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    /// Puts a document in the place of what is there, whatever its revision.
    pub fn put(&self, document: Document) {
        self.months().entry(document.month()).or_default().documents.insert(document.key(), document);
    }

    /// Changes copies in place, of every record.
    pub fn change_each(&self, change: impl FnMut(&mut Document)) {
        self.months().values_mut().flat_map(|kept| kept.documents.values_mut()).for_each(change);
    }

    /// Takes the copies that meet a condition away, leaves nothing, and returns them.
    pub fn take(&self, is_meant: impl Fn(&Document) -> bool) -> Vec<Document> {
        let mut months = self.months();
        let taken = months.values_mut().flat_map(|kept| kept.documents.extract_if(.., |_, one| is_meant(one)));
        taken.map(|(_, document)| document).collect()
    }

    /// Every copy of every record, by month and key.
    pub fn copies_of_all(&self) -> Vec<Document> {
        self.months().values().flat_map(|kept| kept.documents.values().cloned()).collect()
    }

    /// The ids of a kind, in order.
    pub fn ids(&self, kind: Kind) -> Vec<RecordId> {
        let months = self.months();
        let keys = months.values().flat_map(|kept| kept.documents.keys());
        let ids: BTreeSet<_> = keys.filter(|key| key.kind == kind).map(|key| key.id).collect();
        ids.into_iter().collect()
    }

    fn months(&self) -> MutexGuard<'_, BTreeMap<Month, KeptMonth>> {
        self.months.lock().unwrap()
    }

    fn is_up(&self) -> Result<(), StoreError> {
        let is_down = self.down.load(Ordering::Relaxed);
        if is_down { Err(StoreError::Unavailable("the store in memory is down".into())) } else { Ok(()) }
    }

    /// Every copy of some records. The condition is about their identity.
    fn copies_of(&self, is_meant: impl Fn(&Document) -> bool) -> Result<Vec<Document>, StoreError> {
        self.is_up()?;
        let months = self.months();
        let copies = months.values().flat_map(|kept| kept.documents.values());
        Ok(copies.filter(|document| is_meant(document)).cloned().collect())
    }

    /// The copy of each of some records that counts. The condition is about their identity.
    fn newest_of(&self, is_meant: impl Fn(&Document) -> bool) -> Result<Vec<Document>, StoreError> {
        self.is_up()?;
        let months = self.months();
        let mut newest: BTreeMap<RecordKey, &Document> = BTreeMap::new();
        let copies = months.values().flat_map(|kept| kept.documents.values());
        for document in copies.filter(|document| is_meant(document)) {
            let known = newest.entry(document.key()).or_insert(document);
            if precedence(known) < precedence(document) {
                *known = document;
            }
        }
        Ok(newest.into_values().cloned().collect())
    }

    fn with_graph(&self, mut document: Document) -> Document {
        let months = self.months();
        let (tenant_id, month) = (document.tenant_id(), document.month());
        if let (difylog::domain::Record::Run(run), Some(hash)) = (&mut document.record, document.graph) {
            run.graph = months.get(&month).and_then(|kept| kept.graphs.get(&(tenant_id, hash))).cloned();
        }
        document
    }
}

fn precedence(document: &Document) -> Precedence {
    Precedence::new(document.revision, document.month())
}

/// Whether a document is written over the one that is there: a newer one is, and an equal one unless a migration brings it.
fn supersedes(new: &Document, old: &Document) -> bool {
    if new.origin.is_some() { new.revision > old.revision } else { new.revision >= old.revision }
}

#[async_trait]
impl BulkSink for MemoryStore {
    async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault> {
        tokio::task::yield_now().await;
        let mut months = self.months();
        let apply = |action: &BulkAction| {
            let kept = months.entry(action.month()).or_default();
            if kept.retired.is_some() {
                return Verdict::Superseded;
            }
            match action {
                BulkAction::Graph(graph) => {
                    kept.graphs.insert((graph.tenant_id, graph.hash), graph.text.clone());
                }
                BulkAction::Document(new) => {
                    let key = new.key();
                    let is_old = kept.documents.get(&key).is_some_and(|old| !supersedes(new, old));
                    if is_old || kept.tombstones.contains_key(&key) {
                        return Verdict::Superseded;
                    }
                    kept.documents.insert(key, (**new).clone());
                }
            }
            Verdict::Stored
        };
        Ok(actions.iter().map(apply).collect())
    }

    async fn probe(&self) -> Result<(), SinkFault> {
        Ok(())
    }
}

#[async_trait]
impl LogReader for MemoryStore {
    async fn ready(&self) -> Result<(), StoreError> {
        self.is_up()
    }

    async fn record(&self, key: RecordKey) -> Result<Option<Document>, StoreError> {
        Ok(self.records(key.tenant_id, key.kind, &[key.id]).await?.pop())
    }

    async fn records(&self, tenant_id: TenantId, kind: Kind, ids: &[RecordId]) -> Result<Vec<Document>, StoreError> {
        let documents = self.newest_of(|document| is_one_of(document, tenant_id, kind, ids))?;
        let found = documents.into_iter().map(|document| self.with_graph(document)).collect();
        if let Some(hook) = self.hook.lock().unwrap().take() {
            hook(self);
        }
        Ok(found)
    }

    async fn copies(&self, tenant_id: TenantId, kind: Kind, ids: &[RecordId]) -> Result<Vec<StoredCopy>, StoreError> {
        let mut copies = self.copies_of(|document| is_one_of(document, tenant_id, kind, ids))?;
        copies.sort_by_key(|document| (document.record.id(), std::cmp::Reverse(precedence(document))));
        let copy = |document: &Document| StoredCopy {
            id: document.record.id(),
            created_at: document.record.created_at(),
            revision: document.revision,
        };
        Ok(copies.iter().map(copy).collect())
    }
}

fn is_one_of(document: &Document, tenant_id: TenantId, kind: Kind, ids: &[RecordId]) -> bool {
    document.tenant_id() == tenant_id && document.kind() == kind && ids.contains(&document.record.id())
}

#[async_trait]
impl StoreOverview for MemoryStore {
    async fn check(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn counts(&self) -> Result<Vec<MonthCount>, StoreError> {
        let mut counts = Vec::new();
        for (&month, kept) in &*self.months() {
            let count = |kind, documents| MonthCount { month, kind, documents };
            for kind in Kind::ALL {
                let documents = kept.documents.keys().filter(|key| key.kind == kind).count();
                counts.push(count(kind.as_str(), documents as u64));
            }
            counts.push(count("graph", kept.graphs.len() as u64));
        }
        counts.retain(|count| count.documents > 0);
        Ok(counts)
    }

    async fn sizes(&self) -> Result<Vec<MonthSize>, StoreError> {
        let size = |(&month, kept): (&Month, &KeptMonth)| {
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
impl StoreAdmin for MemoryStore {
    async fn install(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn drop_month(&self, month: Month) -> Result<usize, StoreError> {
        let mut months = self.months();
        let Some(kept) = months.get_mut(&month) else { return Ok(0) };
        let had_any = !kept.documents.is_empty() || !kept.graphs.is_empty();
        *kept = KeptMonth { retired: kept.retired, ..KeptMonth::default() };
        Ok(usize::from(had_any))
    }
}

#[async_trait]
impl StateReader for MemoryStore {
    async fn state(&self, key: &str) -> Result<Option<StateEntry>, StoreError> {
        Ok(self.state.lock().unwrap().get(key).cloned())
    }

    async fn states(&self, prefix: &str) -> Result<Vec<StateEntry>, StoreError> {
        let state = self.state.lock().unwrap();
        Ok(state.values().filter(|entry| entry.key.starts_with(prefix)).cloned().collect())
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn put_state(
        &self,
        key: &str,
        value: &Value,
        expected: Option<StateVersion>,
    ) -> Result<Option<StateVersion>, StoreError> {
        let mut state = self.state.lock().unwrap();
        if state.get(key).map(|entry| entry.version) != expected {
            return Ok(None);
        }
        let mut version = self.version.lock().unwrap();
        *version += 1;
        let entry = StateEntry { key: key.to_owned(), value: value.clone(), version: *version };
        state.insert(key.to_owned(), entry);
        Ok(Some(*version))
    }

    async fn delete_state(&self, key: &str, expected: StateVersion) -> Result<bool, StoreError> {
        let mut state = self.state.lock().unwrap();
        let is_it = state.get(key).is_some_and(|entry| entry.version == expected);
        Ok(is_it && state.remove(key).is_some())
    }
}
