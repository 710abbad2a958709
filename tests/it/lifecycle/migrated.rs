//! A store in memory that holds what a migration of a database stored, with the full texts of what was cut.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Mutex;

use async_trait::async_trait;
use difylog::backfill::StoreSide;
use difylog::backfill::compare::FullTexts;
use difylog::codec::truncate::{self, Limits};
use difylog::domain::document::ContentHash;
use difylog::domain::{Document, JsonText, Kind, Month, Origin, Record, Revision, TenantId};
use difylog::postgres::{Catalogue, Database, Range, RowSelection, TableWalk};
use difylog::store::payload::PayloadError;
use futures::StreamExt as _;

use crate::support::memory::MemoryStore;

#[derive(Default)]
pub struct Migrated {
    store: MemoryStore,
    texts: Mutex<HashMap<ContentHash, JsonText>>,
}

impl Deref for Migrated {
    type Target = MemoryStore;

    fn deref(&self) -> &MemoryStore {
        &self.store
    }
}

impl Migrated {
    /// With everything that the database has, as a migration would have stored it.
    pub async fn of(database: &Database, limits: Limits, origin: Option<Origin>) -> Self {
        let migrated = Self::default();
        let client = database.client().await.unwrap();
        let catalogue = Catalogue::read(&client).await.unwrap();
        for kind in Kind::ALL {
            let walk = TableWalk::plan(kind, &catalogue, RowSelection::default(), false).unwrap().unwrap();
            let everything = Range { after: None, through: None };
            let rows: Vec<_> = walk.read(&client, everything).await.unwrap().collect().await;
            for row in rows {
                let row = row.unwrap().row;
                if let Ok(record) = row.record {
                    migrated.put_record(record, row.extra.to_json(), limits, origin);
                }
            }
        }
        migrated
    }

    fn put_record(&self, mut record: Record, extra: Option<JsonText>, limits: Limits, origin: Option<Origin>) {
        let revision = Revision::of(&record);
        let cuts = truncate::fit(&mut record, &limits);
        let truncated = cuts.iter().map(|cut| cut.truncation).collect();
        self.texts.lock().unwrap().extend(cuts.into_iter().map(|cut| (cut.truncation.sha256, cut.full)));
        self.put(Document { record, revision, graph: None, truncated, origin, extra });
    }

    pub fn side(&self) -> StoreSide<'_> {
        StoreSide { reader: &self.store, overview: &self.store, texts: self, redact: None, dify: None }
    }

    pub fn lose_full_texts(&self) {
        self.texts.lock().unwrap().clear();
    }
}

#[async_trait]
impl FullTexts for Migrated {
    async fn full_text(&self, _: TenantId, _: Month, hash: ContentHash) -> Result<Option<JsonText>, PayloadError> {
        Ok(self.texts.lock().unwrap().get(&hash).cloned())
    }
}
