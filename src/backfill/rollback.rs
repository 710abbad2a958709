//! `rollback`: takes back out of the store what one migration wrote.
//!
//! Documents that a live message has overwritten since are no longer the migration's and stay. A document goes only while
//! PostgreSQL still has its row, so that nothing is lost, and only in the revision that was met. Rows are looked up again
//! once their documents are gone: one that Dify deleted meanwhile gets its document back. No cleanup deletes any meanwhile
//! ([`super::removal`]). Nothing remains in its
//! place: the migration can be run again. Full texts that no other document names go as well; graphs go with their month.

use std::collections::{BTreeMap, HashSet};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::LifeError;
use super::put_back::put_back;
use super::removal::{RemovalLease, to_end};
use super::state::{PREFIX, held_by, lease_key};
use super::validate::cursor;
use crate::domain::document::ContentHash;
use crate::domain::query::{Content, Scan};
use crate::domain::{Document, Kind, Month, Origin, RecordId, TenantId, Timestamp};
use crate::postgres::{Catalogue, Client, Database, lookup};
use crate::store::payload::{PayloadStore, Younger};
use crate::store::{BulkSink, Eraser, Erasure, LogReader, Remains, StateStore, StoreOverview};

/// Documents met at a time.
const PAGE: usize = 500;
/// Most documents that stay and are named.
const MAX_NAMED: usize = 1_000;

/// A rollback under way.
pub struct Rollback<'a> {
    pub database: &'a Database,
    pub reader: &'a dyn LogReader,
    pub eraser: &'a dyn Eraser,
    /// Takes back what was erased while its row went.
    pub sink: &'a dyn BulkSink,
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
    /// Removes while no other command removes and no process works on the migration, which is forgotten once all of it is
    /// out: what began in between would call rows copied whose documents went. Should another process take one of the
    /// leases over, `stop` is cancelled, which [`Self::stop`] must tell.
    ///
    /// # Errors
    /// As [`Self::run`], and [`LifeError::Running`]; another call goes on.
    pub async fn run_alone(
        &self,
        lease: &RemovalLease,
        stop: &CancellationToken,
    ) -> Result<RollbackOutcome, LifeError> {
        let migration = self.origin.uuid();
        let work = Box::pin(async {
            let mut of_migration =
                lease.take(&lease_key(migration)).await?.map_err(|_| LifeError::Running(migration))?;
            let work = Box::pin(async {
                let outcome = self.run().await?;
                if self.execute && outcome.without_row == 0 && outcome.complete {
                    forget(&*lease.state, migration).await?;
                }
                Ok(outcome)
            });
            let done = to_end(stop, work, async { lease.keep(&mut of_migration).await.into() }).await;
            of_migration.give_back().await;
            done
        });
        lease.holding_to_end(stop, work).await
    }

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
            let mut scan = Scan { origin: Some(self.origin), ..Scan::all(kind, PAGE) };
            if !self.execute {
                scan.content = Content::Light;
            }
            loop {
                if (self.stop)() {
                    return Ok(outcome);
                }
                let page = self.reader.scan(&scan).await?;
                let Some(last) = page.last() else { break };
                scan.after = Some(cursor(&last.record));
                if !self.page(&client, &catalogue, kind, &page, &mut outcome).await? {
                    return Ok(outcome);
                }
                (self.progress)(&outcome);
            }
        }
        outcome.complete = true;
        Ok(outcome)
    }

    /// Returns whether it came to its end; `false`: it was stopped before it erased anything.
    async fn page(
        &self,
        client: &Client,
        catalogue: &Catalogue,
        kind: Kind,
        page: &[Document],
        outcome: &mut RollbackOutcome,
    ) -> Result<bool, LifeError> {
        let ids: Vec<RecordId> = page.iter().map(|document| document.record.id()).collect();
        let present = present(client, catalogue, kind, &ids).await?;
        let (going, staying): (Vec<&Document>, Vec<&Document>) =
            page.iter().partition(|document| self.force_missing || present.contains(&place(document)));
        if (self.stop)() {
            return Ok(false);
        }
        for document in staying {
            outcome.stay(document);
        }
        if !self.execute {
            *outcome.removed.entry(kind).or_default() += going.len() as u64;
            return Ok(true);
        }
        let erasure = |document: &&Document| Erasure { key: document.key(), revision: Some(document.revision) };
        let erasures: Vec<Erasure> = going.iter().map(erasure).collect();
        let erased = self.eraser.erase(&erasures, Remains::Nothing).await;
        let taken_back = self.take_back(client, catalogue, &going, erased.as_deref().ok(), outcome).await?;
        let erased = erased?.into_iter().filter(|erased| *erased).count();
        self.remove_texts(page).await?;
        outcome.overwritten += (erasures.len() - erased.min(erasures.len())) as u64;
        *outcome.removed.entry(kind).or_default() += erased.saturating_sub(taken_back) as u64;
        Ok(true)
    }

    /// Writes the documents again whose rows went while they were erased, and returns how many. `erased`: which went;
    /// `None`: it is not known.
    async fn take_back(
        &self,
        client: &Client,
        catalogue: &Catalogue,
        going: &[&Document],
        erased: Option<&[bool]>,
        outcome: &mut RollbackOutcome,
    ) -> Result<usize, LifeError> {
        let Some(kind) = going.first().map(|document| document.kind()).filter(|_| !self.force_missing) else {
            return Ok(0);
        };
        let ids: Vec<RecordId> = going.iter().map(|document| document.record.id()).collect();
        let present = present(client, catalogue, kind, &ids).await;
        let went = |at: usize| erased.is_none_or(|erased| erased.get(at) == Some(&true));
        // Where PostgreSQL does not say what it has, all stay.
        let is_lost =
            |document: &Document| present.as_ref().map_or(true, |present| !present.contains(&place(document)));
        let lost: Vec<&Document> = going
            .iter()
            .enumerate()
            .filter(|(at, document)| went(*at) && is_lost(document))
            .map(|(_, document)| *document)
            .collect();
        put_back(self.reader, self.sink, kind, lost.iter().copied().cloned().collect()).await?;
        present?;
        for document in &lost {
            outcome.stay(document);
        }
        Ok(lost.len())
    }
}

impl RollbackOutcome {
    /// Counts a document that stays because PostgreSQL does not have its row.
    fn stay(&mut self, document: &Document) {
        self.without_row += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push((document.kind(), document.tenant_id(), document.record.id()));
        }
    }
}

async fn present(
    client: &Client,
    catalogue: &Catalogue,
    kind: Kind,
    ids: &[RecordId],
) -> Result<HashSet<(TenantId, RecordId)>, LifeError> {
    Ok(lookup::present(client, catalogue, kind, ids).await?.into_iter().collect())
}

fn place(document: &Document) -> (TenantId, RecordId) {
    (document.tenant_id(), document.record.id())
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
async fn forget(state: &dyn StateStore, migration: Uuid) -> Result<(), LifeError> {
    let key = format!("{PREFIX}{migration}");
    let parts = state.states(&format!("{key}/")).await?;
    for entry in parts.into_iter().chain(state.state(&key).await?) {
        // One that has changed since belongs to a migration that has begun anew.
        state.delete_state(&entry.key, entry.version).await?;
    }
    Ok(())
}
