//! The double's calls that cross tenants, and its removals.

use super::filters::holds_record;
use super::*;

#[async_trait]
impl TextNames for Double {
    async fn texts_of(
        &self,
        tenant_id: TenantId,
        kind: Kind,
        ids: &[RecordId],
    ) -> Result<Vec<(Month, ContentHash)>, StoreError> {
        let mine = |document: &Document| {
            let key = document.key();
            key.tenant_id == tenant_id && key.kind == kind && ids.contains(&key.id)
        };
        let named = |document: Document| {
            let month = document.month();
            document.truncated.into_iter().map(move |mark| (month, mark.sha256))
        };
        let texts: BTreeSet<_> = self.all()?.into_iter().filter(mine).flat_map(named).collect();
        Ok(texts.into_iter().collect())
    }

    async fn named_texts(
        &self,
        tenant_id: TenantId,
        month: Month,
        hashes: &[ContentHash],
    ) -> Result<HashSet<ContentHash>, StoreError> {
        let there = |document: &Document| document.tenant_id() == tenant_id && document.month() == month;
        let documents = self.all()?.into_iter().filter(there);
        let named: HashSet<_> = documents.flat_map(|document| document.truncated).map(|mark| mark.sha256).collect();
        Ok(hashes.iter().filter(|hash| named.contains(hash)).copied().collect())
    }
}

#[async_trait]
impl LogScan for Double {
    async fn scan(&self, scan: &Scan) -> Result<Vec<Document>, StoreError> {
        let cursor =
            |document: &Document| Cursor { created_at: document.record.created_at(), id: document.record.id() };
        let mut found = self.all()?;
        found.retain(|document| {
            holds_record(scan, &document.record) && scan.after.is_none_or(|after| after < cursor(document))
        });
        found.sort_by_key(cursor);
        found.truncate(scan.limit);
        Ok(found)
    }

    async fn scan_count(&self, scan: &Scan) -> Result<u64, StoreError> {
        Ok(self.scan(&Scan { limit: usize::MAX, ..scan.clone() }).await?.len() as u64)
    }

    async fn scan_end(&self, scan: &Scan) -> Result<Option<Cursor>, StoreError> {
        let all = self.scan(&Scan { limit: usize::MAX, after: None, ..scan.clone() }).await?;
        let last = all.last().map(|document| &document.record);
        Ok(last.map(|record| Cursor { created_at: record.created_at(), id: record.id() }))
    }

    async fn owners(&self, kind: Kind, id: RecordId) -> Result<Vec<TenantId>, StoreError> {
        let keys = self.all()?.into_iter().map(|document| document.key());
        Ok(keys.filter(|key| key.kind == kind && key.id == id).map(|key| key.tenant_id).collect())
    }

    async fn children(&self, tenant_id: TenantId, run_ids: &[RecordId]) -> Result<Vec<RecordKey>, StoreError> {
        let mine: Vec<_> = self.all()?.into_iter().filter(|document| document.tenant_id() == tenant_id).collect();
        let of_runs = |document: &&Document| match &document.record {
            Record::Node(node) => node.workflow_run_id.is_some_and(|id| run_ids.contains(&id)),
            Record::AppLog(log) => run_ids.contains(&log.workflow_run_id),
            _ => false,
        };
        let mut keys: Vec<_> = mine.iter().filter(of_runs).map(Document::key).collect();
        let nodes: BTreeSet<_> = keys.iter().map(|key| key.id).collect();
        keys.extend(mine.iter().filter_map(|document| match &document.record {
            Record::Offload(offload) => {
                offload.node_execution_id.filter(|id| nodes.contains(id)).map(|_| document.key())
            }
            _ => None,
        }));
        Ok(keys)
    }

    async fn tenant_counts(&self, _: Month) -> Result<Vec<TenantCount>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Eraser for Double {
    async fn erase(&self, erasures: &[Erasure], _: Remains) -> Result<Vec<bool>, StoreError> {
        let mut documents = self.documents.lock().unwrap();
        Ok(erasures.iter().map(|erasure| documents.remove(&erasure.key).is_some()).collect())
    }

    async fn erase_graphs(&self, _: TenantId, _: Month) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn purge_tombstones(&self, _: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn retire_month(&self, _: Month, _: Option<TenantId>, _: Timestamp) -> Result<Option<usize>, StoreError> {
        Ok(None)
    }
}
