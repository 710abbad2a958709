//! Questions that cross tenants.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use async_trait::async_trait;
use difylog::domain::document::ContentHash;
use difylog::domain::query::{Content, Cursor, Scan, TenantCount};
use difylog::domain::record::RecordKey;
use difylog::domain::{Document, Kind, Month, Record, RecordId, TenantId};
use difylog::store::{LogScan, StoreError, TextNames};

use super::MemoryStore;
use super::filters::holds_record;

fn cursor(document: &Document) -> Cursor {
    Cursor { created_at: document.record.created_at(), id: document.record.id() }
}

/// Without what lists leave out.
fn light(mut document: Document) -> Document {
    if let Record::Run(run) = &mut document.record {
        (run.inputs, run.outputs, run.graph) = (None, None, None);
    }
    document.extra = None;
    document
}

#[async_trait]
impl TextNames for MemoryStore {
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
        let texts: BTreeSet<_> = self.copies_of(mine)?.into_iter().flat_map(named).collect();
        Ok(texts.into_iter().collect())
    }

    async fn named_texts(
        &self,
        tenant_id: TenantId,
        month: Month,
        hashes: &[ContentHash],
    ) -> Result<HashSet<ContentHash>, StoreError> {
        let there = |document: &Document| document.tenant_id() == tenant_id && document.month() == month;
        let documents = self.copies_of(there)?.into_iter();
        let named: HashSet<_> = documents.flat_map(|document| document.truncated).map(|mark| mark.sha256).collect();
        Ok(hashes.iter().filter(|hash| named.contains(hash)).copied().collect())
    }
}

#[async_trait]
impl LogScan for MemoryStore {
    async fn scan(&self, scan: &Scan) -> Result<Vec<Document>, StoreError> {
        let is_meant = |one: &Document| {
            one.kind() == scan.kind && (scan.tenants.is_empty() || scan.tenants.contains(&one.tenant_id()))
        };
        let copies = if scan.superseded_too { self.copies_of(is_meant)? } else { self.newest_of(is_meant)? };
        let mut found: Vec<_> = copies
            .into_iter()
            .filter(|document| holds_record(scan, document))
            .filter(|document| scan.after.is_none_or(|after| after < cursor(document)))
            .collect();
        found.sort_by_key(|document| (cursor(document), document.tenant_id()));
        // What shares a cursor comes in one answer.
        if let Some(last) = found.get(scan.limit - 1).map(cursor) {
            found.retain(|document| cursor(document) <= last);
        }
        let content = |document| match scan.content {
            Content::Full => self.with_graph(document),
            Content::Light => light(document),
        };
        Ok(found.into_iter().map(content).collect())
    }

    async fn scan_count(&self, scan: &Scan) -> Result<u64, StoreError> {
        Ok(self.scan(&Scan { limit: usize::MAX, ..scan.clone() }).await?.len() as u64)
    }

    async fn scan_end(&self, scan: &Scan) -> Result<Option<Cursor>, StoreError> {
        let all = Scan { limit: usize::MAX, after: None, superseded_too: true, ..scan.clone() };
        Ok(self.scan(&all).await?.last().map(cursor))
    }

    async fn owners(&self, kind: Kind, id: RecordId) -> Result<Vec<TenantId>, StoreError> {
        let records = self.newest_of(|one| one.kind() == kind && one.record.id() == id)?;
        Ok(records.iter().map(Document::tenant_id).collect())
    }

    async fn children(&self, tenant_id: TenantId, run_ids: &[RecordId]) -> Result<Vec<RecordKey>, StoreError> {
        let mine = self.newest_of(|one| one.tenant_id() == tenant_id)?;
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

    async fn tenant_counts(&self, month: Month) -> Result<Vec<TenantCount>, StoreError> {
        let mut counts: BTreeMap<(TenantId, Kind), u64> = BTreeMap::new();
        for document in self.copies_of(|_| true)?.iter().filter(|document| document.month() == month) {
            *counts.entry((document.tenant_id(), document.kind())).or_default() += 1;
        }
        let count = |((tenant_id, kind), documents)| TenantCount { tenant_id, month, kind, documents };
        Ok(counts.into_iter().map(count).collect())
    }
}
