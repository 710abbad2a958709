//! A store under test, and what the cases do with it.

use std::any::Any;
use std::sync::Arc;

use difylog::domain::record::RecordKey;
use difylog::domain::{BulkAction, Document, Record, Verdict};
use difylog::store::{Capability, Store};

use crate::support::records;
use crate::support::world::World;

/// A store that is installed and ready.
pub struct Subject {
    pub store: Arc<dyn Store>,
    /// Kept as long as the store is used: a folder, a server.
    pub _guard: Box<dyn Any + Send + Sync>,
}

impl Subject {
    /// Applies actions; no fault is expected.
    pub async fn apply(&self, actions: &[BulkAction]) -> Vec<Verdict> {
        self.store.apply(actions).await.unwrap()
    }

    /// Stores records in one request, each with its graph; every verdict must be `Stored`.
    pub async fn store(&self, records: impl IntoIterator<Item = Record>) {
        let actions: Vec<_> = records.into_iter().flat_map(records::actions).collect();
        let verdicts = self.apply(&actions).await;
        assert_eq!(verdicts, vec![Verdict::Stored; actions.len()]);
    }

    /// Generated records, and questions about them that the store can answer.
    pub fn world(&self, seed: u64) -> World {
        let mut world = World::new(seed);
        world.has_keywords = self.store.need(Capability::TextSearch).is_ok();
        world
    }

    /// Makes what was written visible to lists, and known to every index.
    pub async fn refresh(&self) {
        self.store.refresh().await.unwrap();
        self.store.catch_up().await.unwrap();
    }

    pub async fn read(&self, key: RecordKey) -> Option<Document> {
        self.store.record(key).await.unwrap()
    }

    /// Stores a record and asserts that it comes back as it was.
    pub async fn round_trip(&self, record: impl Into<Record>) {
        let record = record.into();
        self.store([record.clone()]).await;
        self.refresh().await;
        assert_eq!(self.read(record.key()).await, Some(records::whole(record)));
    }
}
