//! Removal: every copy of a record, with what stays in its place.

use async_trait::async_trait;
use difylog::domain::record::RecordKey;
use difylog::domain::{Month, TenantId, Timestamp};
use difylog::store::{Eraser, Erasure, Remains, StoreAdmin as _, StoreError};

use super::{MemoryStore, precedence};

impl MemoryStore {
    fn erase_one(&self, erasure: &Erasure, remains: Remains) -> bool {
        let mut months = self.months();
        let copies = months.values().filter_map(|kept| kept.documents.get(&erasure.key));
        let Some(newest) = copies.max_by_key(|document| precedence(document)) else { return false };
        if erasure.revision.is_some_and(|revision| revision != newest.revision) {
            return false;
        }
        for kept in months.values_mut() {
            let was_there = kept.documents.remove(&erasure.key).is_some();
            if let (true, Remains::Tombstone(at)) = (was_there, remains) {
                kept.tombstones.insert(erasure.key, at);
            }
        }
        true
    }
}

#[async_trait]
impl Eraser for MemoryStore {
    async fn erase(&self, erasures: &[Erasure], remains: Remains) -> Result<Vec<bool>, StoreError> {
        Ok(erasures.iter().map(|erasure| self.erase_one(erasure, remains)).collect())
    }

    async fn erase_graphs(&self, tenant_id: TenantId, month: Month) -> Result<u64, StoreError> {
        let mut months = self.months();
        let Some(kept) = months.get_mut(&month) else { return Ok(0) };
        let before = kept.graphs.len();
        kept.graphs.retain(|(owner, _), _| *owner != tenant_id);
        Ok((before - kept.graphs.len()) as u64)
    }

    async fn lift_tombstones(&self, keys: &[RecordKey]) -> Result<u64, StoreError> {
        let mut months = self.months();
        let lift = |key| months.values_mut().filter_map(|kept| kept.tombstones.remove(key)).count() as u64;
        Ok(keys.iter().map(lift).sum())
    }

    async fn purge_tombstones(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut purged = 0;
        for kept in self.months().values_mut() {
            let tombstones = kept.tombstones.len();
            kept.tombstones.retain(|_, at| *at >= before);
            purged += (tombstones - kept.tombstones.len()) as u64;
            purged += u64::from(kept.retired.take_if(|at| *at < before).is_some());
        }
        Ok(purged)
    }

    async fn retire_month(
        &self,
        month: Month,
        tenant_id: Option<TenantId>,
        at: Timestamp,
    ) -> Result<Option<usize>, StoreError> {
        if tenant_id.is_some() {
            // All tenants lie on one kept.
            return Ok(None);
        }
        let dropped = self.drop_month(month).await?;
        self.months().entry(month).or_default().retired = Some(at);
        Ok(Some(dropped))
    }
}
