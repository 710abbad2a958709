//! Rows copied over their documents although these are of the same revision or a newer one: what changed in PostgreSQL after
//! its end, what was changed on its way into the store, and what was erased from the store by mistake.
//!
//! A store keeps the newest revision whatever is written to it, so the document is erased first, in just the revision that
//! was compared, and the row is written through the same flow as any other. A live message that is newer comes before or
//! after: before, the erasure does not apply and the row is passed over; after, it takes the row's place. If the process
//! ends between the two, the document is missing until the same command copies the row, which PostgreSQL has. The documents
//! that were erased are kept until the rows are copied, and written again where nothing took their place: Dify may delete a
//! row at any time. No cleanup deletes one meanwhile ([`super::removal`]). What was copied is compared once more, so that
//! what is told is what is stored.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::compare::{OffloadedText, RowComparison};
use super::error::MigrateError;
use super::migration::Migration;
use super::put_back::put_back;
use super::report::ValidationReport;
use super::validate::portions::Portions;
use super::validate::{Validation, ValidationRequest};
use super::{StoreSide, documents};
use crate::domain::record::RecordKey;
use crate::domain::{Document, Extra, Kind, Record, RecordId, TenantId};
use crate::postgres::lookup::{self, OffloadedPayload};
use crate::postgres::{Catalogue, PostgresError, Range, RowRecord};
use crate::store::{BulkSink, Eraser, Erasure, Remains};

/// Most rows that could not be copied and are named.
const MAX_NAMED: usize = 1_000;

/// What became of the rows of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recopied {
    /// Rows whose document says now what they say.
    pub copied: u64,
    /// Rows whose document held them already.
    pub held: u64,
    /// Rows that are not in PostgreSQL any more.
    pub gone: u64,
    /// Rows that are not copied, by reason: a tombstone keeps them out.
    pub erased: u64,
    /// A newer document came in between, the row cannot be a record, or a copy of it would lose a payload.
    pub left: u64,
}

/// What a recopy did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecopyOutcome {
    pub kinds: BTreeMap<Kind, Recopied>,
    /// The first 1,000 rows that were not copied, with the reason.
    pub named: Vec<(Kind, RecordId, &'static str)>,
    /// Rows that differ and that the comparison could not name.
    pub unnamed: u64,
    /// It went to the end.
    pub complete: bool,
}

impl RecopyOutcome {
    fn of(&mut self, kind: Kind) -> &mut Recopied {
        self.kinds.entry(kind).or_default()
    }

    fn name(&mut self, kind: Kind, id: RecordId, reason: &'static str) {
        if self.named.len() < MAX_NAMED {
            self.named.push((kind, id, reason));
        }
    }

    /// Adds what a later round did.
    fn merge(&mut self, other: Self) {
        for (kind, more) in other.kinds {
            let own = self.of(kind);
            own.copied += more.copied;
            own.held += more.held;
            own.gone += more.gone;
            own.erased += more.erased;
            own.left += more.left;
        }
        self.named.extend(other.named);
        self.named.truncate(MAX_NAMED);
        (self.unnamed, self.complete) = (other.unnamed, other.complete);
    }

    /// Rows that were copied, of all kinds.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.kinds.values().map(|kind| kind.copied).sum()
    }

    /// Rows that are not in the store as PostgreSQL has them.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.kinds.values().map(|kind| kind.erased + kind.left).sum()
    }
}

/// Copies what a validation found to be missing, different, changed, or there more than once.
pub struct Recopy<'a> {
    pub migration: &'a Migration,
    pub store: StoreSide<'a>,
    pub eraser: &'a dyn Eraser,
    /// Takes back what was erased and not copied.
    pub sink: &'a dyn BulkSink,
    /// Copy what was erased from the store, too.
    pub lift_tombstones: bool,
}

/// A row to be written.
struct Chosen {
    record: Record,
    /// What the store has of it.
    document: Option<Document>,
}

impl Recopy<'_> {
    /// Copies the rows that a report names; those that the migration does not select are left out.
    ///
    /// # Errors
    /// [`MigrateError`]; the same call goes on.
    pub async fn run(&self, report: &ValidationReport) -> Result<RecopyOutcome, MigrateError> {
        self.migration.removing(Box::pin(self.all(report))).await
    }

    /// Compares, and copies what differs, until a comparison could name all that does or nothing more can be copied. The
    /// leases are held from the first comparison to the last copy.
    ///
    /// # Errors
    /// [`MigrateError`]; the same call goes on.
    pub async fn changed(
        &self,
        validation: &Validation<'_>,
        request: &ValidationRequest,
    ) -> Result<RecopyOutcome, MigrateError> {
        let rounds = async {
            let mut total = RecopyOutcome::default();
            loop {
                // A comparison writes nothing, so a stop ends it where it is.
                let report = tokio::select! {
                    report = validation.run(request.clone()) => report?,
                    () = self.migration.stopped() => return Ok(RecopyOutcome { complete: false, ..total }),
                };
                let round = self.all(&report).await?;
                let is_last = round.unnamed == 0 || round.copied() == 0 || !round.complete;
                total.merge(round);
                if is_last {
                    return Ok(total);
                }
            }
        };
        self.migration.removing(Box::pin(rounds)).await
    }

    async fn all(&self, report: &ValidationReport) -> Result<RecopyOutcome, MigrateError> {
        // What is masked differs for ever: no copy mends it.
        let unnamed = report.unnamed(self.store.redact.is_none());
        let mut outcome = RecopyOutcome { unnamed, ..RecopyOutcome::default() };
        let catalogue = Catalogue::read(&self.migration.database().client().await?).await?;
        for kind in Kind::ALL.into_iter().filter(|kind| self.migration.walk_of(*kind).is_some()) {
            let mut ids: Vec<RecordId> = report
                .findings
                .iter()
                .filter(|found| found.kind.0 == kind && found.fault.is_mended_by_copying())
                .map(|found| found.id.0)
                .collect();
            ids.sort_unstable();
            ids.dedup();
            let mut portions = Portions::of(&ids);
            while let Some(ids) = portions.take() {
                if self.migration.is_stopped() {
                    return Ok(outcome);
                }
                let rows = lookup::rows(&self.migration.database().client().await?, &catalogue, kind, ids).await?;
                portions.weighed(&rows);
                if !self.portion(&catalogue, kind, ids, rows, &mut outcome).await? {
                    return Ok(outcome);
                }
            }
        }
        outcome.complete = true;
        Ok(outcome)
    }

    /// Returns whether it came to its end; `false`: it was stopped before it erased anything.
    async fn portion(
        &self,
        catalogue: &Catalogue,
        kind: Kind,
        ids: &[RecordId],
        rows: Vec<RowRecord>,
        outcome: &mut RecopyOutcome,
    ) -> Result<bool, MigrateError> {
        outcome.of(kind).gone += (ids.len() - rows.len().min(ids.len())) as u64;
        let mut chosen = self.choose(catalogue, kind, rows, outcome).await?;
        if chosen.is_empty() || self.migration.is_stopped() {
            return Ok(chosen.is_empty());
        }
        let replaced = self.replace(kind, &mut chosen, outcome).await;
        let ids: Vec<RecordId> = chosen.iter().map(|chosen| chosen.record.id()).collect();
        // Whatever became of the rows: no document is lost.
        let erased = chosen.into_iter().filter_map(|chosen| chosen.document).collect();
        put_back(self.store.reader, self.sink, kind, erased).await?;
        replaced?;
        let rows = lookup::rows(&self.migration.database().client().await?, catalogue, kind, &ids).await?;
        outcome.of(kind).gone += (ids.len() - rows.len().min(ids.len())) as u64;
        self.judge(catalogue, kind, rows, outcome).await?;
        Ok(true)
    }

    /// Erases the documents that are to be replaced, and copies their rows.
    async fn replace(
        &self,
        kind: Kind,
        chosen: &mut Vec<Chosen>,
        outcome: &mut RecopyOutcome,
    ) -> Result<(), MigrateError> {
        self.erase(kind, chosen, outcome).await?;
        let ids: Vec<RecordId> = chosen.iter().map(|chosen| chosen.record.id()).collect();
        if ids.is_empty() { Ok(()) } else { self.migration.copy_rows(kind, &ids).await }
    }

    /// Returns the rows that their documents do not hold, with these.
    async fn choose(
        &self,
        catalogue: &Catalogue,
        kind: Kind,
        rows: Vec<RowRecord>,
        outcome: &mut RecopyOutcome,
    ) -> Result<Vec<Chosen>, MigrateError> {
        let mut chosen = Vec::new();
        let mut records = Self::records(kind, rows, outcome);
        records.retain(|(record, _)| self.migration.selects(record));
        let mut stored = documents(self.store, kind, records.iter().map(|(record, _)| key_of(record))).await?;
        let several = self.several(kind, &records).await?;
        for (record, extra) in records {
            let Some(document) = stored.remove(&key_of(&record)) else {
                chosen.push(Chosen { record, document: None });
                continue;
            };
            let (standing, offloads) = self.standing(catalogue, &record, &extra, &document).await?;
            let is_wanted = match standing {
                RowComparison::Different(_) | RowComparison::Changed(_) => true,
                // PostgreSQL has all that the copies say. Of any other document it may not.
                RowComparison::Same => several.contains(&key_of(&record)),
                _ => false,
            };
            if !is_wanted {
                outcome.of(kind).held += 1;
                continue;
            }
            let offloaded = async |keys| self.offloaded(catalogue, &record, keys).await;
            if let Some(loss) = self.store.loss(&record, &document, offloads, offloaded).await? {
                outcome.of(kind).left += 1;
                outcome.name(kind, record.id(), loss.reason());
                continue;
            }
            chosen.push(Chosen { record, document: Some(document) });
        }
        Ok(chosen)
    }

    /// Returns those of which the store has several copies.
    async fn several(
        &self,
        kind: Kind,
        records: &[(Record, Extra)],
    ) -> Result<HashSet<(TenantId, RecordId)>, MigrateError> {
        let mut by_tenant: BTreeMap<TenantId, Vec<RecordId>> = BTreeMap::new();
        for (record, _) in records {
            by_tenant.entry(record.tenant_id()).or_default().push(record.id());
        }
        let mut several = HashSet::new();
        for (tenant_id, ids) in by_tenant {
            let copies = self.store.reader.copies(tenant_id, kind, &ids).await?;
            let doubled =
                copies.chunk_by(|one, next| one.record.id() == next.record.id()).filter(|copies| copies.len() > 1);
            several.extend(doubled.flatten().map(|copy| (tenant_id, copy.record.id())));
        }
        Ok(several)
    }

    fn records(kind: Kind, rows: Vec<RowRecord>, outcome: &mut RecopyOutcome) -> Vec<(Record, Extra)> {
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            match (row.record, row.key.parse()) {
                (Ok(record), _) => records.push((record, row.extra)),
                (Err(_), Ok(id)) => {
                    outcome.of(kind).left += 1;
                    outcome.name(kind, id, "the row cannot be a record");
                }
                (Err(_), Err(_)) => outcome.of(kind).left += 1,
            }
        }
        records
    }

    async fn standing(
        &self,
        catalogue: &Catalogue,
        record: &Record,
        extra: &Extra,
        document: &Document,
    ) -> Result<(RowComparison, Vec<OffloadedText>), MigrateError> {
        let offloaded = async |keys| self.offloaded(catalogue, record, keys).await;
        Ok(self.store.standing_beside(record, extra, document, offloaded).await?)
    }

    async fn offloaded(
        &self,
        catalogue: &Catalogue,
        record: &Record,
        keys: bool,
    ) -> Result<Vec<OffloadedPayload>, PostgresError> {
        let client = self.migration.database().client().await?;
        lookup::offloaded(&client, catalogue, &[record.id()], keys).await
    }

    /// Erases the documents that are to be replaced; rows of those that a newer one has replaced are taken out.
    async fn erase(
        &self,
        kind: Kind,
        chosen: &mut Vec<Chosen>,
        outcome: &mut RecopyOutcome,
    ) -> Result<(), MigrateError> {
        if self.lift_tombstones {
            let absent: Vec<RecordKey> =
                chosen.iter().filter(|one| one.document.is_none()).map(|one| one.record.key()).collect();
            if !absent.is_empty() {
                self.eraser.lift_tombstones(&absent).await?;
            }
        }
        let erasures: Vec<Erasure> = chosen
            .iter()
            .filter_map(|one| one.document.as_ref())
            .map(|document| Erasure { key: document.key(), revision: Some(document.revision) })
            .collect();
        if erasures.is_empty() {
            return Ok(());
        }
        let erased = self.eraser.erase(&erasures, Remains::Nothing).await?;
        let erased: HashMap<RecordKey, bool> = erasures.iter().map(|erasure| erasure.key).zip(erased).collect();
        chosen.retain(|one| {
            let stays = erased.get(&one.record.key()) == Some(&false);
            if stays {
                outcome.of(kind).left += 1;
                outcome.name(kind, one.record.id(), "a newer document came in between: compare again");
            }
            !stays
        });
        Ok(())
    }

    /// Tells what the rows that were sent have become.
    async fn judge(
        &self,
        catalogue: &Catalogue,
        kind: Kind,
        rows: Vec<RowRecord>,
        outcome: &mut RecopyOutcome,
    ) -> Result<(), MigrateError> {
        let records = Self::records(kind, rows, outcome);
        let stored = documents(self.store, kind, records.iter().map(|(record, _)| key_of(record))).await?;
        for (record, extra) in records {
            let standing = match stored.get(&key_of(&record)) {
                Some(document) => Some(self.standing(catalogue, &record, &extra, document).await?.0),
                None => None,
            };
            match standing {
                None => {
                    outcome.of(kind).erased += 1;
                    outcome.name(kind, record.id(), "it was erased from the store: --lift-tombstones copies it");
                }
                Some(RowComparison::Different(_) | RowComparison::Changed(_)) => {
                    outcome.of(kind).left += 1;
                    outcome.name(kind, record.id(), "its document is not what the row says: compare again");
                }
                Some(_) => outcome.of(kind).copied += 1,
            }
        }
        Ok(())
    }
}

fn key_of(record: &Record) -> (TenantId, RecordId) {
    (record.tenant_id(), record.id())
}

impl Migration {
    /// Copies rows by their ids through the flow; none of a kind that this migration does not walk.
    async fn copy_rows(&self, kind: Kind, ids: &[RecordId]) -> Result<(), MigrateError> {
        let Some((walk, progress)) = self.walk_of(kind) else { return Ok(()) };
        let walk = Arc::new(walk.of_ids(ids));
        let chunk = self.copier().copy(walk, Range { after: None, through: None }, progress).await?;
        self.keep_rejects(&chunk.rejects).await
    }
}
