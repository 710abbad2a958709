//! Removal: the rows of records in one month, in one transaction on the writer's connection.

use rusqlite::{Connection, Transaction};

use super::fault::Fault;
use super::newest;
use super::pool::ReadPool;
use super::tables;
use crate::domain::record::RecordKey;
use crate::domain::{Month, Revision, TenantId, Timestamp};
use crate::store::{Erasure, Remains};

/// One copy of a record to remove.
#[derive(Debug, Clone, Copy)]
pub struct Removal {
    pub key: RecordKey,
    /// Only while this is the stored revision.
    pub revision: Option<Revision>,
    /// Whether it is the record's newest copy: its fate is the answer.
    pub is_newest: bool,
    /// Place of the answer.
    pub position: usize,
}

/// Where the copies of records lie, month by month; what must not be removed is left out.
pub fn removals(pool: &ReadPool, erasures: &[Erasure]) -> Result<Vec<(Month, Vec<Removal>)>, Fault> {
    pool.ask(|months| {
        let mut by_month: Vec<(Month, Vec<Removal>)> = months.iter().map(|file| (file.month, Vec::new())).collect();
        for (position, erasure) in erasures.iter().enumerate() {
            let copies = newest::copies(months, erasure.key)?;
            let newest = copies.iter().map(|(revision, file)| (*revision, file.month)).max();
            let Some((newest_revision, newest_month)) = newest else { continue };
            if erasure.revision.is_some_and(|wanted| wanted != newest_revision) {
                continue;
            }
            for (_, file) in copies {
                let is_newest = file.month == newest_month;
                let revision = erasure.revision.filter(|_| is_newest);
                let removal = Removal { key: erasure.key, revision, is_newest, position };
                if let Some((_, removals)) = by_month.iter_mut().find(|(month, _)| *month == file.month) {
                    removals.push(removal);
                }
            }
        }
        by_month.retain(|(_, removals)| !removals.is_empty());
        Ok(by_month)
    })
}

/// Removes copies from a month. Answers, for each, whether it was there.
pub fn erase(transaction: &Transaction<'_>, removals: &[Removal], remains: Remains) -> rusqlite::Result<Vec<bool>> {
    removals.iter().map(|removal| erase_one(transaction, removal, remains)).collect()
}

fn erase_one(connection: &Connection, removal: &Removal, remains: Remains) -> rusqlite::Result<bool> {
    let RecordKey { tenant_id, kind, id } = removal.key;
    let sql = format!(
        "DELETE FROM {} WHERE tenant_id = ?1 AND id = ?2 AND (?3 IS NULL OR revision = ?3)",
        tables::of(kind).name
    );
    let mut delete = connection.prepare_cached(&sql)?;
    let revision = removal.revision.map(Revision::value);
    let gone = delete.execute((tenant_id.as_bytes(), id.as_bytes(), revision))? > 0;
    if let Remains::Tombstone(at) = remains
        && gone
    {
        let sql = "INSERT OR REPLACE INTO tombstones (kind, tenant_id, id, at) VALUES (?1, ?2, ?3, ?4)";
        let mut bury = connection.prepare_cached(sql)?;
        bury.execute((kind.as_str(), tenant_id.as_bytes(), id.as_bytes(), at.micros()))?;
    }
    Ok(gone)
}

/// Removes the graphs of a tenant. Answers how many.
pub fn erase_graphs(transaction: &Transaction<'_>, tenant_id: TenantId) -> rusqlite::Result<u64> {
    let gone = transaction.execute("DELETE FROM graphs WHERE tenant_id = ?1", [tenant_id.as_bytes()])?;
    Ok(gone as u64)
}

/// Removes tombstones older than an instant. Answers how many.
pub fn purge(transaction: &Transaction<'_>, before: Timestamp) -> rusqlite::Result<u64> {
    let gone = transaction.execute("DELETE FROM tombstones WHERE at < ?1", [before.micros()])?;
    Ok(gone as u64)
}
