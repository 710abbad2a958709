//! `rollback`: takes back out of the store what one migration wrote.
//!
//! Documents that a live message has overwritten since are no longer the migration's and stay. A document goes only while
//! PostgreSQL still has its row, so that nothing is lost, and only in the revision that was met. Nothing remains in its
//! place: the migration can be run again. Full texts that no other document names go as well; graphs go with their month.

use std::collections::{BTreeMap, HashSet};

use uuid::Uuid;

use super::LifeError;
use super::state::{PREFIX, held_by};
use super::validate::cursor;
use crate::domain::document::ContentHash;
use crate::domain::query::{Content, Scan};
use crate::domain::{Document, Kind, Month, Origin, RecordId, TenantId, Timestamp};
use crate::postgres::{Catalogue, Client, Database, lookup};
use crate::store::payload::{PayloadStore, Younger};
use crate::store::{Eraser, Erasure, LogReader, Remains, StateStore, StoreOverview};

/// Documents met at a time.
const PAGE: usize = 500;
/// Most documents that stay and are named.
const MAX_NAMED: usize = 1_000;

/// A rollback under way.
pub struct Rollback<'a> {
    pub database: &'a Database,
    pub reader: &'a dyn LogReader,
    pub eraser: &'a dyn Eraser,
    pub overview: &'a dyn StoreOverview,
    pub texts: &'a PayloadStore,
    pub origin: Origin,
    /// Take documents back whose rows PostgreSQL does not have any more: they are lost.
    pub force_missing: bool,
    /// `false`: everything but the removal.
    pub execute: bool,
    /// Told after each page.
    pub progress: &'a (dyn Fn(&RollbackOutcome) + Sync),
    /// Asked before each page; `true` ends the rollback there.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// What a rollback did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RollbackOutcome {
    /// Documents that went, or would go.
    pub removed: BTreeMap<Kind, u64>,
    /// Documents that stay, because PostgreSQL does not have their rows.
    pub without_row: u64,
    /// The first 1,000 of them.
    pub named: Vec<(Kind, TenantId, RecordId)>,
    /// Documents that were overwritten between the look and the removal: they stay.
    pub overwritten: u64,
    /// It went to the end.
    pub complete: bool,
}

impl Rollback<'_> {
    /// Removes, or says what it would remove.
    ///
    /// # Errors
    /// [`LifeError`] if either side cannot be used; another call goes on.
    pub async fn run(&self) -> Result<RollbackOutcome, LifeError> {
        self.overview.refresh().await?;
        let mut outcome = RollbackOutcome::default();
        let client = self.database.client().await?;
        let catalogue = Catalogue::read(&client).await?;
        for kind in Kind::ALL {
            let mut scan = Scan { origin: Some(self.origin), content: Content::Light, ..Scan::all(kind, PAGE) };
            loop {
                if (self.stop)() {
                    return Ok(outcome);
                }
                let page = self.reader.scan(&scan).await?;
                let Some(last) = page.last() else { break };
                scan.after = Some(cursor(&last.record));
                self.page(&client, &catalogue, kind, &page, &mut outcome).await?;
                (self.progress)(&outcome);
            }
        }
        outcome.complete = true;
        Ok(outcome)
    }

    async fn page(
        &self,
        client: &Client,
        catalogue: &Catalogue,
        kind: Kind,
        page: &[Document],
        outcome: &mut RollbackOutcome,
    ) -> Result<(), LifeError> {
        let ids: Vec<RecordId> = page.iter().map(|document| document.record.id()).collect();
        let present: HashSet<_> = lookup::present(client, catalogue, kind, &ids).await?.into_iter().collect();
        let mut erasures = Vec::with_capacity(page.len());
        for document in page {
            let key = document.key();
            if self.force_missing || present.contains(&(key.tenant_id, key.id)) {
                erasures.push(Erasure { key, revision: Some(document.revision) });
                continue;
            }
            outcome.without_row += 1;
            if outcome.named.len() < MAX_NAMED {
                outcome.named.push((kind, key.tenant_id, key.id));
            }
        }
        let erased = if self.execute {
            let erased = self.eraser.erase(&erasures, Remains::Nothing).await?;
            self.remove_texts(page).await?;
            erased.into_iter().filter(|erased| *erased).count()
        } else {
            erasures.len()
        };
        outcome.overwritten += (erasures.len() - erased.min(erasures.len())) as u64;
        *outcome.removed.entry(kind).or_default() += erased as u64;
        Ok(())
    }
}

impl Rollback<'_> {
    /// Removes the full texts that documents of a page named and none names any more.
    async fn remove_texts(&self, page: &[Document]) -> Result<(), LifeError> {
        let mut texts: BTreeMap<(TenantId, Month), Vec<ContentHash>> = BTreeMap::new();
        for document in page.iter().filter(|document| !document.truncated.is_empty()) {
            let named = document.truncated.iter().map(|mark| mark.sha256);
            texts.entry((document.tenant_id(), document.month())).or_default().extend(named);
        }
        for ((tenant, month), texts) in texts {
            let names = self.reader;
            self.texts.remove_unnamed::<LifeError>(names, tenant, month, &texts, Younger::Go).await?;
        }
        Ok(())
    }
}

/// Refuses while a process works on the migration.
///
/// # Errors
/// [`LifeError::Running`], or that the state cannot be read.
pub async fn refuse_running(state: &dyn StateStore, migration: Uuid, now: Timestamp) -> Result<(), LifeError> {
    if held_by(state, migration, now).await?.is_some() { Err(LifeError::Running(migration)) } else { Ok(()) }
}

/// Forgets how far the migration was, so that it begins anew.
///
/// # Errors
/// [`LifeError::Store`] if the state cannot be written.
pub async fn forget(state: &dyn StateStore, migration: Uuid) -> Result<(), LifeError> {
    let key = format!("{PREFIX}{migration}");
    let parts = state.states(&format!("{key}/")).await?;
    for entry in parts.into_iter().chain(state.state(&key).await?) {
        // One that has changed since belongs to a migration that has begun anew.
        state.delete_state(&entry.key, entry.version).await?;
    }
    Ok(())
}
