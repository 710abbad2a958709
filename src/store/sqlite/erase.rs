//! Removal of records from all months. It runs on the writer's thread, so that nothing is written between the look at a
//! record's copies and their removal.

use rusqlite::{Connection, OptionalExtension as _, Transaction};

use super::fault::SqliteFault;
use super::files::WriteFiles;
use super::question::SqliteQuestion;
use super::tables;
use super::{decode, newest};
use crate::domain::record::RecordKey;
use crate::domain::{Month, TenantId, TenantSet, Timestamp};
use crate::store::{Erasure, Remains};

/// One copy of a record to remove.
#[derive(Debug, Clone, Copy)]
struct Removal {
    key: RecordKey,
    /// Whether it is the record's newest copy: its fate is the answer.
    is_newest: bool,
    /// Place of the answer.
    position: usize,
}

/// See [`Eraser::erase`](crate::store::Eraser::erase). One transaction per month.
pub fn erase(files: &mut WriteFiles, erasures: &[Erasure], remains: Remains) -> Result<Vec<bool>, SqliteFault> {
    let mut erased = vec![false; erasures.len()];
    let found = removals(&files.question(), erasures)?;
    // Older copies first: were the newest gone and they not, a crash in between would bring one of them up.
    for is_newest in [false, true] {
        for (month, removals) in &found {
            let removals: Vec<_> = removals.iter().filter(|removal| removal.is_newest == is_newest).collect();
            if removals.is_empty() {
                continue;
            }
            let remove = |transaction: &Transaction<'_>| {
                removals.iter().map(|removal| erase_one(transaction, removal.key, remains)).collect()
            };
            let gone: Vec<bool> = files.erase(*month, remove)?.unwrap_or_default();
            for (removal, gone) in removals.iter().zip(gone).filter(|_| is_newest) {
                if let Some(slot) = erased.get_mut(removal.position) {
                    *slot = gone;
                }
            }
        }
    }
    Ok(erased)
}

/// Returns where the copies of records lie, month by month; what must not be removed is left out.
fn removals(question: &SqliteQuestion, erasures: &[Erasure]) -> Result<Vec<(Month, Vec<Removal>)>, SqliteFault> {
    question.ask(|months| {
        let mut by_month: Vec<(Month, Vec<Removal>)> = months.iter().map(|file| (file.month, Vec::new())).collect();
        for (position, erasure) in erasures.iter().enumerate() {
            let copies = newest::copies(months, erasure.key)?;
            let Some(newest) = copies.iter().copied().max() else { continue };
            if erasure.revision.is_some_and(|wanted| wanted != newest.revision()) {
                continue;
            }
            for copy in copies {
                let removal = Removal { key: erasure.key, is_newest: copy == newest, position };
                if let Some((_, removals)) = by_month.iter_mut().find(|(month, _)| *month == copy.month()) {
                    removals.push(removal);
                }
            }
        }
        by_month.retain(|(_, removals)| !removals.is_empty());
        Ok(by_month)
    })
}

fn erase_one(connection: &Connection, key: RecordKey, remains: Remains) -> rusqlite::Result<bool> {
    let RecordKey { tenant_id, kind, id } = key;
    let sql = format!("DELETE FROM {} WHERE tenant_id = ?1 AND id = ?2", tables::of(kind).name);
    let mut delete = connection.prepare_cached(&sql)?;
    let gone = delete.execute((tenant_id.as_bytes(), id.as_bytes()))? > 0;
    if let Remains::Tombstone(at) = remains
        && gone
    {
        let sql = "INSERT OR REPLACE INTO tombstones (kind, tenant_id, id, at) VALUES (?1, ?2, ?3, ?4)";
        let mut bury = connection.prepare_cached(sql)?;
        bury.execute((kind.as_str(), tenant_id.as_bytes(), id.as_bytes(), at.micros()))?;
    }
    Ok(gone)
}

/// Per erasure, whether a tombstone of exactly this instant lies in some month: an earlier attempt at the same request did
/// it.
pub fn erased_at(question: &SqliteQuestion, erasures: &[Erasure], at: Timestamp) -> Result<Vec<bool>, SqliteFault> {
    let sql = "SELECT 1 FROM tombstones WHERE kind = ?1 AND tenant_id = ?2 AND id = ?3 AND at = ?4";
    question.ask(|months| {
        let mut erased = vec![false; erasures.len()];
        for file in months {
            for (slot, Erasure { key, .. }) in erased.iter_mut().zip(erasures).filter(|(slot, _)| !**slot) {
                let values = (key.kind.as_str(), key.tenant_id.as_bytes(), key.id.as_bytes(), at.micros());
                *slot = file.ask(|connection| connection.prepare_cached(sql)?.exists(values))?;
            }
        }
        Ok(erased)
    })
}

/// Returns whether somebody else than these tenants has a record, a graph or a tombstone in a month.
pub fn has_others(connection: &Connection, tenants: &TenantSet) -> rusqlite::Result<bool> {
    for (_, table) in tables::COUNTED {
        // From tenant to tenant along an index that begins with them, however many rows each has.
        let sql = format!("SELECT tenant_id FROM {table} WHERE tenant_id > ?1 ORDER BY tenant_id LIMIT 1");
        let mut next = connection.prepare(&sql)?;
        let mut last = Vec::new();
        while let Some(found) = next.query_row([&last], |row| decode::tenant(row, 0)).optional()? {
            if !tenants.contains(found) {
                return Ok(true);
            }
            last = found.as_bytes().to_vec();
        }
    }
    let mut buried = connection.prepare("SELECT DISTINCT tenant_id FROM tombstones")?;
    let mut buried = buried.query_map((), |row| decode::tenant(row, 0))?;
    buried.try_fold(false, |others, found| Ok(others || !tenants.contains(found?)))
}

/// Removes the graphs of a tenant. Returns how many.
pub fn erase_graphs(transaction: &Transaction<'_>, tenant_id: TenantId) -> rusqlite::Result<u64> {
    let gone = transaction.execute("DELETE FROM graphs WHERE tenant_id = ?1", [tenant_id.as_bytes()])?;
    Ok(gone as u64)
}

/// Removes the tombstones of records. Returns how many.
pub fn lift(transaction: &Transaction<'_>, keys: &[RecordKey]) -> rusqlite::Result<u64> {
    let sql = "DELETE FROM tombstones WHERE kind = ?1 AND tenant_id = ?2 AND id = ?3";
    let mut delete = transaction.prepare_cached(sql)?;
    let mut lifted = 0;
    for RecordKey { tenant_id, kind, id } in keys {
        lifted += delete.execute((kind.as_str(), tenant_id.as_bytes(), id.as_bytes()))? as u64;
    }
    Ok(lifted)
}

/// Removes tombstones older than an instant. Returns how many.
pub fn purge(transaction: &Transaction<'_>, before: Timestamp) -> rusqlite::Result<u64> {
    let gone = transaction.execute("DELETE FROM tombstones WHERE at < ?1", [before.micros()])?;
    Ok(gone as u64)
}
