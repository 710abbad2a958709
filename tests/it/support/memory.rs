//! A store in memory with everything that a store can do: the toy store, and removal. It passes the whole contract suite, so
//! what is tried over it is tried over a store that behaves as the real ones do; and it does what a real one cannot be made
//! to do: be down, hold a question back, change between two looks.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono_tz::Tz;
use difylog::domain::document::ContentHash;
use difylog::domain::query::{
    AppLogFilter, AppLogPage, Breakdown, BreakdownCounts, Content, Cursor, Day, Found, ListFilter, Lookup, MonthCount,
    MonthSize, Page, RunFilter, Scan, Summary, TenantCount,
};
use difylog::domain::record::RecordKey;
use difylog::domain::{
    BulkAction, Document, Kind, Month, RecordId, SinkFault, TenantId, TenantSet, Timestamp, Verdict,
};
use difylog::store::{
    BulkSink, Capability, Eraser, Erasure, LogReader, Remains, StateEntry, StateReader, StateStore, StateVersion,
    StoreAdmin, StoreError, StoreOverview,
};
use serde_json::Value;

use crate::support::toy_store::ToyStore;
use crate::support::walking;

/// Done once, after the store was first asked for whole records by their ids.
type Hook = Box<dyn FnOnce(&MemoryStore) + Send>;

/// What keeps late writes out.
#[derive(Default)]
struct Removed {
    tombstones: BTreeMap<(Month, RecordKey), Timestamp>,
    /// Months that were dropped for good.
    retired: BTreeMap<Month, (TenantSet, Timestamp)>,
}

#[derive(Default)]
pub struct MemoryStore {
    toy: ToyStore,
    removed: Mutex<Removed>,
    hook: Mutex<Option<Hook>>,
    /// Every question fails while it is set.
    pub down: AtomicBool,
    /// What was asked for by ids.
    pub lookups: Mutex<Vec<Lookup>>,
    /// Lists of runs wait while it is locked.
    gate: Arc<tokio::sync::Mutex<()>>,
    /// Told when one waits.
    waiting: tokio::sync::Notify,
}

impl MemoryStore {
    /// Lets lists of runs wait until the guard is dropped.
    pub async fn hold(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.gate.clone().lock_owned().await
    }

    /// Waits until a list waits.
    pub async fn held(&self) {
        self.waiting.notified().await;
    }

    /// Does something once, right after whole records were first asked for by their ids.
    pub fn after_first_look(&self, hook: impl FnOnce(&Self) + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    /// Puts a document in the place of what is there, whatever its revision.
    pub fn put(&self, document: Document) {
        self.toy.months().entry(document.month()).or_default().documents.insert(document.key(), document);
    }

    /// Changes copies in place, of every record.
    pub fn change_each(&self, change: impl FnMut(&mut Document)) {
        self.toy.months().values_mut().flat_map(|kept| kept.documents.values_mut()).for_each(change);
    }

    /// Takes the copies that meet a condition away, leaves nothing, and returns them.
    pub fn take(&self, is_meant: impl Fn(&Document) -> bool) -> Vec<Document> {
        let mut months = self.toy.months();
        let taken = months.values_mut().flat_map(|kept| kept.documents.extract_if(.., |_, one| is_meant(one)));
        taken.map(|(_, document)| document).collect()
    }

    /// Every copy of every record, by month and key.
    pub fn copies_of_all(&self) -> Vec<Document> {
        self.toy.months().values().flat_map(|kept| kept.documents.values().cloned()).collect()
    }

    /// The ids of a kind, in order.
    pub fn ids(&self, kind: Kind) -> Vec<RecordId> {
        let months = self.toy.months();
        let keys = months.values().flat_map(|kept| kept.documents.keys());
        let ids: BTreeSet<_> = keys.filter(|key| key.kind == kind).map(|key| key.id).collect();
        ids.into_iter().collect()
    }

    fn is_up(&self) -> Result<(), StoreError> {
        let is_down = self.down.load(Ordering::Relaxed);
        if is_down { Err(StoreError::Unavailable("the store in memory is down".into())) } else { Ok(()) }
    }

    fn erase_one(&self, erasure: &Erasure, remains: Remains) -> bool {
        // In this order everywhere.
        let mut removed = self.removed.lock().unwrap();
        let mut months = self.toy.months();
        let copies = months.values().filter_map(|kept| kept.documents.get(&erasure.key));
        let Some(newest) = copies.max_by_key(|document| document.precedence()) else { return false };
        if erasure.revision.is_some_and(|revision| revision != newest.revision) {
            return false;
        }
        for (&month, kept) in &mut *months {
            let was_there = kept.documents.remove(&erasure.key).is_some();
            if let (true, Remains::Tombstone(at)) = (was_there, remains) {
                removed.tombstones.insert((month, erasure.key), at);
            }
        }
        true
    }
}

impl Removed {
    fn keeps_out(&self, action: &BulkAction) -> bool {
        let month = action.month();
        let is_buried = match action {
            BulkAction::Document(document) => self.tombstones.contains_key(&(month, document.key())),
            BulkAction::Graph(_) => false,
        };
        is_buried || self.retired.get(&month).is_some_and(|(past, _)| past.contains(action.tenant_id()))
    }
}

#[async_trait]
impl BulkSink for MemoryStore {
    async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault> {
        tokio::task::yield_now().await;
        let removed = self.removed.lock().unwrap();
        let apply = |action: &BulkAction| {
            if removed.keeps_out(action) { Verdict::Superseded } else { self.toy.apply_one(action) }
        };
        Ok(actions.iter().map(apply).collect())
    }

    async fn probe(&self) -> Result<(), SinkFault> {
        self.toy.probe().await
    }
}

#[async_trait]
impl LogReader for MemoryStore {
    fn capabilities(&self) -> &'static [Capability] {
        &[
            Capability::TextSearch,
            Capability::AppLogs,
            Capability::Statistics,
            Capability::Inventory,
            Capability::Erasure,
        ]
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.is_up()
    }

    async fn lookup(&self, lookup: &Lookup) -> Result<Vec<Document>, StoreError> {
        self.is_up()?;
        self.lookups.lock().unwrap().push(lookup.clone());
        let found = self.toy.lookup(lookup).await;
        if lookup.content == Content::Full
            && let Some(hook) = self.hook.lock().unwrap().take()
        {
            hook(self);
        }
        found
    }

    async fn walk(&self, scan: &Scan) -> Result<Vec<Document>, StoreError> {
        self.is_up()?;
        if scan.kind == Kind::WorkflowRun {
            self.waiting.notify_one();
            drop(self.gate.lock().await);
        }
        self.toy.walk(scan).await
    }

    async fn page(&self, list: &ListFilter, page: &Page, count_to: Option<u64>) -> Result<Found<Summary>, StoreError> {
        walking::page(self, list, page, count_to).await
    }

    async fn app_logs(&self, filter: &AppLogFilter, offset: u64, limit: usize) -> Result<AppLogPage, StoreError> {
        walking::app_logs(self, filter, offset, limit).await
    }

    async fn daily(&self, filter: &RunFilter, zone: Tz) -> Result<Vec<Day>, StoreError> {
        walking::daily(self, filter, zone).await
    }

    async fn break_down(&self, list: &ListFilter, by: &Breakdown) -> Result<BreakdownCounts, StoreError> {
        walking::break_down(self, list, by).await
    }

    async fn scan_count(&self, scan: &Scan) -> Result<u64, StoreError> {
        walking::scan_count(self, scan).await
    }

    async fn scan_end(&self, scan: &Scan) -> Result<Option<Cursor>, StoreError> {
        walking::scan_end(self, scan).await
    }

    async fn owners(&self, kind: Kind, id: RecordId) -> Result<Vec<TenantId>, StoreError> {
        walking::owners(self, kind, id).await
    }

    async fn children(&self, tenant_id: TenantId, run_ids: &[RecordId]) -> Result<Vec<RecordKey>, StoreError> {
        walking::children(self, tenant_id, run_ids).await
    }

    async fn tenant_counts(&self, month: Month) -> Result<Vec<TenantCount>, StoreError> {
        walking::tenant_counts(self, month).await
    }

    async fn named_texts(
        &self,
        tenant_id: TenantId,
        month: Month,
        hashes: &[ContentHash],
    ) -> Result<HashSet<ContentHash>, StoreError> {
        walking::named_texts(self, tenant_id, month, hashes).await
    }
}

#[async_trait]
impl StoreOverview for MemoryStore {
    async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.toy.check().await
    }

    async fn counts(&self) -> Result<Vec<MonthCount>, StoreError> {
        self.toy.counts().await
    }

    async fn sizes(&self) -> Result<Vec<MonthSize>, StoreError> {
        self.toy.sizes().await
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        self.toy.refresh().await
    }
}

#[async_trait]
impl StoreAdmin for MemoryStore {
    async fn install(&self) -> Result<Vec<String>, StoreError> {
        self.toy.install().await
    }

    async fn drop_month(&self, month: Month) -> Result<usize, StoreError> {
        self.removed.lock().unwrap().tombstones.retain(|(of, _), _| *of != month);
        self.toy.drop_month(month).await
    }
}

#[async_trait]
impl Eraser for MemoryStore {
    async fn erase(&self, erasures: &[Erasure], remains: Remains) -> Result<Vec<bool>, StoreError> {
        Ok(erasures.iter().map(|erasure| self.erase_one(erasure, remains)).collect())
    }

    async fn erase_graphs(&self, tenant_id: TenantId, month: Month) -> Result<u64, StoreError> {
        let mut months = self.toy.months();
        let Some(kept) = months.get_mut(&month) else { return Ok(0) };
        Ok(kept.graphs.extract_if(.., |(owner, _), _| *owner == tenant_id).count() as u64)
    }

    async fn lift_tombstones(&self, keys: &[RecordKey]) -> Result<u64, StoreError> {
        let tombstones = &mut self.removed.lock().unwrap().tombstones;
        Ok(tombstones.extract_if(.., |(_, key), _| keys.contains(key)).count() as u64)
    }

    async fn purge_tombstones(&self, before: Timestamp) -> Result<u64, StoreError> {
        let Removed { tombstones, retired } = &mut *self.removed.lock().unwrap();
        let purged = tombstones.extract_if(.., |_, at| *at < before).count();
        Ok((purged + retired.extract_if(.., |_, (_, at)| *at < before).count()) as u64)
    }

    async fn retire_month(&self, month: Month, past: &TenantSet, at: Timestamp) -> Result<Option<usize>, StoreError> {
        // All tenants lie in one map.
        let is_others = |key: &RecordKey| !past.contains(key.tenant_id);
        if self.toy.months().get(&month).is_some_and(|kept| kept.documents.keys().any(is_others)) {
            return Ok(None);
        }
        self.removed.lock().unwrap().retired.insert(month, (past.clone(), at));
        self.drop_month(month).await.map(Some)
    }
}

#[async_trait]
impl StateReader for MemoryStore {
    async fn state(&self, key: &str) -> Result<Option<StateEntry>, StoreError> {
        self.toy.state(key).await
    }

    async fn states(&self, prefix: &str) -> Result<Vec<StateEntry>, StoreError> {
        self.toy.states(prefix).await
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
        self.toy.put_state(key, value, expected).await
    }

    async fn delete_state(&self, key: &str, expected: StateVersion) -> Result<bool, StoreError> {
        self.toy.delete_state(key, expected).await
    }
}
