//! Which copy of a record is the record. A run that is resumed in a later month lies in both; the newest revision counts,
//! of equal ones that of the later month.

use std::collections::{HashMap, HashSet};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Statement};

use super::fault::Fault;
use super::pool::OpenMonth;
use super::tables;
use crate::domain::record::RecordKey;
use crate::domain::{Kind, Month, RecordId, Revision, TenantId};

/// The revision of a month's copy.
pub fn revision_of(connection: &Connection, key: RecordKey) -> rusqlite::Result<Option<Revision>> {
    let mut statement = connection.prepare_cached(&tables::of(key.kind).revision)?;
    let revision = statement.query_row((key.tenant_id.as_bytes(), key.id.as_bytes()), |row| row.get(0)).optional()?;
    Ok(revision.map(Revision::from_stored))
}

/// Every copy of a record.
pub fn copies(months: &[OpenMonth], key: RecordKey) -> Result<Vec<(Revision, &OpenMonth)>, Fault> {
    let mut copies = Vec::new();
    for file in months {
        copies.extend(file.ask(|connection| revision_of(connection, key))?.map(|revision| (revision, file)));
    }
    Ok(copies)
}

/// The month of the newest copy.
pub fn place(months: &[OpenMonth], key: RecordKey) -> Result<Option<(Revision, &OpenMonth)>, Fault> {
    let newest = |(revision, file): &(Revision, &OpenMonth)| (*revision, file.month);
    Ok(copies(months, key)?.into_iter().max_by_key(newest))
}

/// Whether another month holds a newer copy.
pub fn is_superseded(months: &[OpenMonth], key: RecordKey, revision: Revision, month: Month) -> Result<bool, Fault> {
    for file in months.iter().filter(|file| file.month != month) {
        let other = file.ask(|connection| revision_of(connection, key))?;
        if other.is_some_and(|other| (other, file.month) > (revision, month)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The copies that do not count.
#[derive(Debug, Default)]
pub struct Superseded {
    by_month: HashMap<Month, Vec<(TenantId, RecordId)>>,
    /// Every record that lies in more than one month.
    pub repeated: HashSet<(TenantId, RecordId)>,
}

impl Superseded {
    /// Finds them: all months' identities are merged in their order, which is that of an index.
    pub fn find(months: &[OpenMonth], kind: Kind, tenant_id: Option<TenantId>) -> Result<Self, Fault> {
        let mut found = Self::default();
        if months.len() < 2 {
            return Ok(found);
        }
        found.repeated = repeated(months, kind, tenant_id)?;
        for &(tenant_id, id) in &found.repeated {
            let copies = copies(months, RecordKey { tenant_id, kind, id })?;
            let newest = copies.iter().map(|(revision, file)| (*revision, file.month)).max();
            for (revision, file) in copies {
                if Some((revision, file.month)) != newest {
                    found.by_month.entry(file.month).or_default().push((tenant_id, id));
                }
            }
        }
        Ok(found)
    }

    /// A condition that leaves them out of a month, with its value; `None` where there are none.
    pub fn condition(&self, month: Month) -> Option<(&'static str, Value)> {
        const NOT_SUPERSEDED: &str = "(tenant_id, id) NOT IN \
            (SELECT unhex(substr(value, 1, 32)), unhex(substr(value, 33)) FROM json_each(?))";
        let keys = self.by_month.get(&month)?;
        let keys: Vec<_> =
            keys.iter().map(|(tenant, id)| format!("\"{}{}\"", tenant.uuid().simple(), id.uuid().simple())).collect();
        Some((NOT_SUPERSEDED, Value::Text(format!("[{}]", keys.join(",")))))
    }
}

/// The records that lie in more than one month.
fn repeated(
    months: &[OpenMonth],
    kind: Kind,
    tenant_id: Option<TenantId>,
) -> Result<HashSet<(TenantId, RecordId)>, Fault> {
    // Each month against the union of those before it would hold all ids in memory; the merge holds one per month.
    let table = tables::of(kind).name;
    let condition = if tenant_id.is_some() { "WHERE tenant_id = ?1" } else { "" };
    let sql = format!("SELECT tenant_id, id FROM {table} {condition} ORDER BY tenant_id, id");
    let mut statements = Vec::new();
    for file in months {
        statements.push((file, file.ask(|connection| connection.prepare(&sql))?));
    }
    let mut streams = Vec::new();
    for (file, statement) in &mut statements {
        let rows = file.ask(|_| start(statement, tenant_id))?;
        streams.push((*file, rows, None::<[u8; 32]>));
    }
    let mut repeated = HashSet::new();
    for (file, rows, head) in &mut streams {
        *head = file.ask(|_| advance(rows))?;
    }
    while let Some(least) = streams.iter().filter_map(|(_, _, head)| *head).min() {
        let mut copies = 0;
        for (file, rows, head) in streams.iter_mut().filter(|(_, _, head)| *head == Some(least)) {
            copies += 1;
            *head = file.ask(|_| advance(rows))?;
        }
        if copies > 1 {
            repeated.insert(split(least));
        }
    }
    Ok(repeated)
}

fn start<'s>(statement: &'s mut Statement<'_>, tenant_id: Option<TenantId>) -> rusqlite::Result<rusqlite::Rows<'s>> {
    match tenant_id {
        Some(tenant_id) => statement.query([tenant_id.as_bytes()]),
        None => statement.query(()),
    }
}

fn advance(rows: &mut rusqlite::Rows<'_>) -> rusqlite::Result<Option<[u8; 32]>> {
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut key = [0; 32];
    let (tenant, id) = key.split_at_mut(16);
    tenant.copy_from_slice(&row.get::<_, [u8; 16]>(0)?);
    id.copy_from_slice(&row.get::<_, [u8; 16]>(1)?);
    Ok(Some(key))
}

fn split(key: [u8; 32]) -> (TenantId, RecordId) {
    let number = u128::from_be_bytes;
    let (mut tenant, mut id) = ([0; 16], [0; 16]);
    for (to, from) in tenant.iter_mut().chain(&mut id).zip(key) {
        *to = from;
    }
    (TenantId::new(uuid::Uuid::from_u128(number(tenant))), RecordId::new(uuid::Uuid::from_u128(number(id))))
}
