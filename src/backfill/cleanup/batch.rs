//! One batch of a cleanup: lock, compare, delete, commit; nothing outside of it goes with it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Cleanup, CleanupOutcome, Kept, Stay};
use crate::backfill::compare::RowComparison;
use crate::backfill::{LifeError, documents};
use crate::domain::{Extra, Kind, Record, RecordId};
use crate::postgres::{Batch, Catalogue, Client, Member};

/// What is compared at a time: rows, and bytes as PostgreSQL keeps them, compressed.
const COMPARED_ROWS: usize = 200;
const COMPARED_BYTES: u64 = 2 << 20;

/// Deletion goes from the children up.
const ORDER: [Kind; 4] = [Kind::Offload, Kind::NodeExecution, Kind::AppLog, Kind::WorkflowRun];

impl Cleanup<'_> {
    pub(super) async fn batch(
        &self,
        client: &mut Client,
        catalogue: &Catalogue,
        kind: Kind,
        ids: &[RecordId],
        outcome: &mut CleanupOutcome,
    ) -> Result<(), LifeError> {
        let batch = Batch::begin(client, catalogue, self.plan.execute, self.plan.lock_timeout_ms).await?;
        let (members, mut stays) = self.gather(&batch, kind, ids).await?;
        let mut notes = Notes::default();
        self.keep_referenced(&batch, catalogue, &members, &mut stays, &mut notes).await?;
        for part in parts(&members) {
            self.compare(&batch, part, &mut stays, &mut notes).await?;
        }
        let going: Vec<&Member> = members.iter().filter(|member| !stays.contains_key(&member.family)).collect();
        let mut freed: BTreeMap<Kind, (u64, u64)> = BTreeMap::new();
        for kind in ORDER {
            let of_kind: Vec<&&Member> = going.iter().filter(|member| member.kind == kind).collect();
            let ids: Vec<RecordId> = of_kind.iter().map(|member| member.id).collect();
            let rows =
                if self.plan.execute && !ids.is_empty() { batch.delete(kind, &ids).await? } else { ids.len() as u64 };
            freed.insert(kind, (rows, of_kind.iter().map(|member| member.bytes).sum()));
        }
        if self.plan.execute {
            batch.commit().await?;
        }
        // Counted once it is true.
        for (kind, (rows, bytes)) in freed {
            if kind == Kind::Offload {
                outcome.files_left += rows;
            }
            outcome.free(kind, rows, bytes);
        }
        let goes = |family: &&RecordId| !stays.contains_key(*family);
        outcome.spelled += notes.spelled.iter().filter(goes).count() as u64;
        outcome.changed += notes.changed.iter().filter(goes).count() as u64;
        for table in notes.referenced {
            *outcome.referenced.entry(table).or_default() += 1;
        }
        for kept in stays.into_values() {
            outcome.keep(kept);
        }
        Ok(())
    }

    /// Locks the batch's rows with all that is their own; what cannot be had stays.
    async fn gather(
        &self,
        batch: &Batch<'_>,
        kind: Kind,
        ids: &[RecordId],
    ) -> Result<(Vec<Member>, HashMap<RecordId, Kept>), LifeError> {
        let mut stays = HashMap::new();
        let mut members = Vec::new();
        if kind == Kind::WorkflowRun {
            let (paused, runs): (Vec<_>, Vec<_>) = batch
                .runs(ids, self.plan.created, self.plan.unended_before)
                .await?
                .into_iter()
                .partition(|run| run.paused);
            for run in paused {
                let id = run.member.id;
                stays.insert(id, Kept { stay: Stay::Paused, kind, id, family: id });
            }
            let run_ids: Vec<RecordId> = runs.iter().map(|run| run.member.id).collect();
            members.extend(runs.iter().map(|run| run.member));
            members.extend(batch.nodes_of(&runs).await?);
            members.extend(batch.children_of(Kind::AppLog, &run_ids).await?);
        } else {
            members.extend(batch.rows_alone(kind, ids).await?);
        }
        self.gather_offloads(batch, &mut members).await?;
        let had: HashSet<RecordId> = members.iter().map(|member| member.family).collect();
        for id in ids.iter().copied().filter(|id| !had.contains(id)) {
            stays.entry(id).or_insert(Kept { stay: Stay::Held, kind, id, family: id });
        }
        Ok((members, stays))
    }

    /// The offloads of the nodes among the members join the families of these.
    async fn gather_offloads(&self, batch: &Batch<'_>, members: &mut Vec<Member>) -> Result<(), LifeError> {
        let families: HashMap<RecordId, RecordId> = members
            .iter()
            .filter(|member| member.kind == Kind::NodeExecution)
            .map(|member| (member.id, member.family))
            .collect();
        if families.is_empty() {
            return Ok(());
        }
        let nodes: Vec<RecordId> = families.keys().copied().collect();
        for offload in batch.children_of(Kind::Offload, &nodes).await? {
            if let Some(family) = families.get(&offload.family) {
                members.push(Member { family: *family, ..offload });
            }
        }
        Ok(())
    }

    /// Keeps the families of nodes that rows of other tables refer to: Dify's draft variables show what they came from.
    async fn keep_referenced(
        &self,
        batch: &Batch<'_>,
        catalogue: &Catalogue,
        members: &[Member],
        stays: &mut HashMap<RecordId, Kept>,
        notes: &mut Notes,
    ) -> Result<(), LifeError> {
        let kind = Kind::NodeExecution;
        let families: HashMap<RecordId, RecordId> =
            members.iter().filter(|member| member.kind == kind).map(|member| (member.id, member.family)).collect();
        let ids: Vec<RecordId> = families.keys().copied().collect();
        for reference in self.references(catalogue, kind).filter(|_| !ids.is_empty()) {
            for id in batch.referenced(reference, &ids).await? {
                let Some(family) = families.get(&id).copied().filter(|family| !stays.contains_key(family)) else {
                    continue;
                };
                stays.insert(family, Kept { stay: Stay::Referenced, kind, id, family });
                notes.referenced.push(reference.table.clone());
            }
        }
        Ok(())
    }

    /// Returns why a row stays that stands so to its document; `None`: it goes.
    fn stay(&self, standing: &RowComparison, family: RecordId, notes: &mut Notes) -> Option<Stay> {
        match standing {
            RowComparison::Spelled(_) => notes.spelled.push(family),
            RowComparison::Changed(_) | RowComparison::Redacted(_) if self.plan.allow_changed => {
                notes.changed.push(family);
            }
            RowComparison::Changed(_) | RowComparison::Redacted(_) => return Some(Stay::Changed),
            // A row that is let go before its end is an older snapshot of its document.
            RowComparison::Ahead if self.plan.unended_before.is_some() => {}
            other if other.holds() => {}
            _ => return Some(Stay::Different),
        }
        None
    }

    /// Compares members of one kind with the store; a family with a member that is not proved to be there stays.
    async fn compare(
        &self,
        batch: &Batch<'_>,
        part: &[Member],
        stays: &mut HashMap<RecordId, Kept>,
        notes: &mut Notes,
    ) -> Result<(), LifeError> {
        let open: Vec<&Member> = part.iter().filter(|member| !stays.contains_key(&member.family)).collect();
        let Some(kind) = open.first().map(|member| member.kind) else { return Ok(()) };
        let ids: Vec<RecordId> = open.iter().map(|member| member.id).collect();
        let mut records: HashMap<RecordId, (Record, Extra)> = HashMap::new();
        for row in batch.rows(kind, &ids).await? {
            let extra = row.extra;
            records.extend(row.record.ok().map(|record| (record.id(), (record, extra))));
        }
        let keys = open.iter().map(|member| (member.tenant_id, member.id));
        let stored = documents(self.store, kind, keys).await?;
        for member in open {
            let stay = match (records.get(&member.id), stored.get(&(member.tenant_id, member.id))) {
                (None, _) => Stay::Unreadable,
                (Some(_), None) => Stay::Missing,
                (Some((record, extra)), Some(document)) => {
                    let offloaded = async |keys| batch.offloaded(member.id, keys).await;
                    let (standing, _) = self.store.standing_beside(record, extra, document, offloaded).await?;
                    let Some(stay) = self.stay(&standing, member.family, notes) else { continue };
                    stay
                }
            };
            let family = member.family;
            stays.entry(family).or_insert(Kept { stay, kind, id: member.id, family });
        }
        Ok(())
    }
}

/// Families by what would become of their rows in a restore, and what keeps them.
#[derive(Default)]
struct Notes {
    spelled: Vec<RecordId>,
    changed: Vec<RecordId>,
    /// The table of each family that a reference keeps.
    referenced: Vec<String>,
}

/// Slices of members of one kind, bounded in rows and bytes.
fn parts(members: &[Member]) -> Vec<&[Member]> {
    let (mut bytes, mut rows) = (0, 0);
    members
        .chunk_by(|one, next| {
            bytes += one.bytes;
            rows += 1;
            let goes_on = one.kind == next.kind && rows < COMPARED_ROWS && bytes + next.bytes <= COMPARED_BYTES;
            if !goes_on {
                (bytes, rows) = (0, 0);
            }
            goes_on
        })
        .collect()
}
