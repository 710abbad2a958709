//! A store in memory, for what a real one cannot be made to do: change between two looks, or hold what nobody wrote.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use difylog::backfill::StoreSide;
use difylog::backfill::compare::FullTexts;
use difylog::codec::truncate::{self, Limits};
use difylog::domain::document::ContentHash;
use difylog::domain::query::{Cursor, MonthCount, MonthSize, Scan, TenantCount};
use difylog::domain::record::RecordKey;
use difylog::domain::{Document, JsonText, Kind, Month, Origin, Record, RecordId, Revision, TenantId, Timestamp};
use difylog::postgres::{Catalogue, Database, Range, Selection, Walk};
use difylog::store::payload::PayloadError;
use difylog::store::{Eraser, Erasure, LogReader, LogScan, Remains, StoreError, StoreOverview, TextNames};
use futures::StreamExt as _;

/// Done once, after the store was first asked for records by their ids.
type Hook = Box<dyn FnOnce(&mut BTreeMap<RecordKey, Document>) + Send>;

#[derive(Default)]
pub struct Double {
    documents: Mutex<BTreeMap<RecordKey, Document>>,
    texts: Mutex<HashMap<ContentHash, JsonText>>,
    hook: Mutex<Option<Hook>>,
}

impl Double {
    /// With everything that the database has, as a migration would have stored it.
    pub async fn of(database: &Database, limits: Limits, origin: Option<Origin>) -> Self {
        let double = Self::default();
        let client = database.client().await.unwrap();
        let catalogue = Catalogue::read(&client).await.unwrap();
        for kind in Kind::ALL {
            let walk = Walk::plan(kind, &catalogue, Selection::default(), false).unwrap().unwrap();
            let everything = Range { after: None, through: None };
            let rows: Vec<_> = walk.read(&client, everything).await.unwrap().collect().await;
            for row in rows {
                let row = row.unwrap().row;
                if let Ok(record) = row.record {
                    double.put(record, row.extra.to_json(), limits, origin);
                }
            }
        }
        double
    }

    pub fn put(&self, mut record: Record, extra: Option<JsonText>, limits: Limits, origin: Option<Origin>) {
        let revision = Revision::of(&record);
        let cuts = truncate::fit(&mut record, &limits);
        let truncated = cuts.iter().map(|cut| cut.truncation).collect();
        self.texts.lock().unwrap().extend(cuts.into_iter().map(|cut| (cut.truncation.sha256, cut.full)));
        let document = Document { record, revision, graph: None, truncated, origin, extra };
        self.documents().insert(document.key(), document);
    }

    pub fn documents(&self) -> MutexGuard<'_, BTreeMap<RecordKey, Document>> {
        self.documents.lock().unwrap()
    }

    /// The ids of a kind, in order.
    pub fn ids(&self, kind: Kind) -> Vec<RecordId> {
        self.documents().keys().filter(|key| key.kind == kind).map(|key| key.id).collect()
    }

    pub fn after_first_look(&self, hook: impl FnOnce(&mut BTreeMap<RecordKey, Document>) + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    pub fn side(&self) -> StoreSide<'_> {
        StoreSide { reader: self, walks: self, overview: self, texts: self }
    }

    pub fn lose_full_texts(&self) {
        self.texts.lock().unwrap().clear();
    }
}

#[async_trait]
impl FullTexts for Double {
    async fn full_text(&self, _: TenantId, _: Month, hash: ContentHash) -> Result<Option<JsonText>, PayloadError> {
        Ok(self.texts.lock().unwrap().get(&hash).cloned())
    }
}

#[async_trait]
impl TextNames for Double {
    async fn texts_of(&self, _: TenantId, _: Kind, _: &[RecordId]) -> Result<Vec<(Month, ContentHash)>, StoreError> {
        unreachable!()
    }

    async fn named_texts(
        &self,
        tenant_id: TenantId,
        month: Month,
        hashes: &[ContentHash],
    ) -> Result<HashSet<ContentHash>, StoreError> {
        let documents = self.documents();
        let there =
            documents.values().filter(|document| document.tenant_id() == tenant_id && document.month() == month);
        let named: HashSet<_> = there.flat_map(|document| &document.truncated).map(|mark| mark.sha256).collect();
        Ok(hashes.iter().filter(|hash| named.contains(hash)).copied().collect())
    }
}

#[async_trait]
impl LogScan for Double {
    async fn scan(&self, scan: &Scan) -> Result<Vec<Document>, StoreError> {
        let place = |document: &Document| Cursor { created_at: document.record.created_at(), id: document.record.id() };
        let documents = self.documents();
        let mut found: Vec<&Document> = documents
            .values()
            .filter(|document| document.kind() == scan.kind)
            .filter(|document| scan.tenants.is_empty() || scan.tenants.contains(&document.tenant_id()))
            .filter(|document| scan.created.contains(document.record.created_at()))
            .filter(|document| scan.origin.is_none_or(|origin| document.origin == Some(origin)))
            .filter(|document| scan.after.is_none_or(|after| place(document) > after))
            .collect();
        found.sort_by_key(|document| place(document));
        let last = found.get(scan.limit - 1).map(|document| place(document));
        Ok(found.into_iter().filter(|document| last.is_none_or(|last| place(document) <= last)).cloned().collect())
    }

    async fn scan_count(&self, scan: &Scan) -> Result<u64, StoreError> {
        Ok(self.scan(&Scan { limit: usize::MAX, ..scan.clone() }).await?.len() as u64)
    }

    async fn scan_end(&self, _: &Scan) -> Result<Option<Cursor>, StoreError> {
        unreachable!()
    }

    async fn owners(&self, _: Kind, _: RecordId) -> Result<Vec<TenantId>, StoreError> {
        unreachable!()
    }

    async fn children(&self, _: TenantId, _: &[RecordId]) -> Result<Vec<RecordKey>, StoreError> {
        unreachable!()
    }

    async fn tenant_counts(&self, _: Month) -> Result<Vec<TenantCount>, StoreError> {
        unreachable!()
    }
}

#[async_trait]
impl Eraser for Double {
    async fn erase(&self, erasures: &[Erasure], _: Remains) -> Result<Vec<bool>, StoreError> {
        let mut documents = self.documents();
        let mut erase = |erasure: &Erasure| {
            let found = documents.get(&erasure.key).map(|document| document.revision);
            let fits = found.is_some() && erasure.revision.is_none_or(|revision| found == Some(revision));
            fits && documents.remove(&erasure.key).is_some()
        };
        Ok(erasures.iter().map(&mut erase).collect())
    }

    async fn erase_graphs(&self, _: TenantId, _: Month) -> Result<u64, StoreError> {
        unreachable!()
    }

    async fn purge_tombstones(&self, _: Timestamp) -> Result<u64, StoreError> {
        unreachable!()
    }

    async fn retire_month(&self, _: Month, _: Option<TenantId>, _: Timestamp) -> Result<Option<usize>, StoreError> {
        unreachable!()
    }
}

#[async_trait]
impl LogReader for Double {
    async fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn record(&self, key: RecordKey) -> Result<Option<Document>, StoreError> {
        Ok(self.records(key.tenant_id, key.kind, &[key.id]).await?.pop())
    }

    async fn records(&self, tenant_id: TenantId, kind: Kind, ids: &[RecordId]) -> Result<Vec<Document>, StoreError> {
        let mut documents = self.documents();
        let found = ids.iter().filter_map(|&id| documents.get(&RecordKey { tenant_id, kind, id }).cloned()).collect();
        if let Some(hook) = self.hook.lock().unwrap().take() {
            hook(&mut documents);
        }
        Ok(found)
    }
}

#[async_trait]
impl StoreOverview for Double {
    async fn check(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn counts(&self) -> Result<Vec<MonthCount>, StoreError> {
        unreachable!()
    }

    async fn sizes(&self) -> Result<Vec<MonthSize>, StoreError> {
        unreachable!()
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
