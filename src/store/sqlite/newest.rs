//! Which copy of a record is the record: the greatest [`Precedence`]. A run that is resumed in a later month lies in both.
//! Other months are looked into only for what has not ended, or ended after its own month: an index holds these apart.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _};

use super::conditions::blob;
use super::fault::Fault;
use super::question::OpenMonth;
use super::{decode, tables};
use crate::domain::query::TimeRange;
use crate::domain::record::RecordKey;
use crate::domain::{Kind, Month, Precedence, RecordId, Revision, TenantId};

/// The revision of a month's copy.
pub fn revision_of(connection: &Connection, key: RecordKey) -> rusqlite::Result<Option<Revision>> {
    let mut statement = connection.prepare_cached(&tables::of(key.kind).revision)?;
    let revision = statement.query_row((key.tenant_id.as_bytes(), key.id.as_bytes()), |row| row.get(0)).optional()?;
    Ok(revision.map(Revision::from_stored))
}

/// Every copy of a record.
pub fn copies(months: &[OpenMonth], key: RecordKey) -> Result<Vec<Precedence>, Fault> {
    let mut copies = Vec::new();
    for file in months {
        copies.extend(copy_in(file, key)?);
    }
    Ok(copies)
}

/// Months in the order in which a record is looked for: the one that it most likely lies in, then the newest.
pub fn likeliest_first(months: &[OpenMonth], near: Option<Month>) -> impl Iterator<Item = &OpenMonth> {
    let is_near = move |file: &&OpenMonth| Some(file.month) == near;
    months.iter().filter(is_near).chain(months.iter().filter(move |file| !is_near(file)))
}

fn copy_in(file: &OpenMonth, key: RecordKey) -> Result<Option<Precedence>, Fault> {
    let revision = file.ask(|connection| revision_of(connection, key))?;
    Ok(revision.map(|revision| Precedence::new(revision, file.month)))
}

/// The month of the newest copy. Months that are more likely to hold it come first: where a final copy is found, no other
/// month is opened.
pub fn place<'m>(
    months: impl IntoIterator<Item = &'m OpenMonth>,
    key: RecordKey,
) -> Result<Option<&'m OpenMonth>, Fault> {
    let mut newest: Option<(Precedence, &OpenMonth)> = None;
    for file in months {
        let Some(copy) = copy_in(file, key)? else { continue };
        if copy.is_final() {
            return Ok(Some(file));
        }
        if newest.is_none_or(|(known, _)| known < copy) {
            newest = Some((copy, file));
        }
    }
    Ok(newest.map(|(_, file)| file))
}

/// Whether another month holds a copy that counts instead of this one.
pub fn is_superseded(months: &[OpenMonth], key: RecordKey, copy: Precedence) -> Result<bool, Fault> {
    if copy.is_final() {
        return Ok(false);
    }
    for file in months.iter().filter(|file| file.month != copy.month()) {
        if copy_in(file, key)?.is_some_and(|other| other > copy) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Those of a month's copies of which another month holds a newer one. It goes from month to month, not from copy to copy:
/// each month is opened once.
pub fn superseded(
    months: &[OpenMonth],
    month: Month,
    copies: &[(RecordKey, Precedence)],
) -> Result<HashSet<RecordKey>, Fault> {
    let changing: Vec<_> = copies.iter().filter(|(_, copy)| !copy.is_final()).collect();
    let mut superseded = HashSet::new();
    if changing.is_empty() {
        return Ok(superseded);
    }
    for file in months.iter().filter(|file| file.month != month) {
        for (key, copy) in &changing {
            if copy_in(file, *key)?.is_some_and(|other| other > *copy) {
                superseded.insert(*key);
            }
        }
    }
    Ok(superseded)
}

/// What has not ended: [`Revision::has_ended`]. An index holds these rows apart.
const UNENDED: &str = "revision < 4611686018427387904";

/// What ended after its month, as the index that holds these rows apart spells it: they are few.
pub fn ended_later(month: Month) -> String {
    format!("revision >= {}", Revision::least_ended_at(month.end()).value())
}

/// The copies that do not count.
#[derive(Debug, Default)]
pub struct Superseded {
    by_month: HashMap<Month, Vec<(TenantId, RecordId)>>,
}

impl Superseded {
    /// Finds those that lie within a span: everything there that is not final is looked up in the other months.
    pub fn find(
        months: &[OpenMonth],
        kind: Kind,
        tenant_id: Option<TenantId>,
        created: TimeRange,
    ) -> Result<Self, Fault> {
        let mut found = Self::default();
        if months.len() < 2 || !matches!(kind, Kind::WorkflowRun | Kind::NodeExecution) {
            return Ok(found);
        }
        let table = tables::of(kind).name;
        let (condition, values) = match tenant_id {
            Some(tenant_id) => (" AND tenant_id = ?1", vec![blob(tenant_id.as_bytes())]),
            None => ("", Vec::new()),
        };
        for file in months.iter().filter(|file| file.overlaps(created)) {
            let mut changing = Vec::new();
            for (index, rows) in [("unended", UNENDED), ("ended_later", &ended_later(file.month))] {
                let sql = format!(
                    "SELECT tenant_id, id, revision FROM {table} INDEXED BY {table}_{index} WHERE {rows}{condition}"
                );
                file.each_row(&sql, &values, |row| {
                    let copy = || {
                        let key = RecordKey { tenant_id: decode::tenant(row, 0)?, kind, id: decode::id(row, 1)? };
                        Ok((key, Precedence::new(Revision::from_stored(row.get(2)?), file.month)))
                    };
                    changing.push(copy().map_err(|error| file.fault(&error))?);
                    Ok(ControlFlow::Continue(()))
                })?;
            }
            let superseded = superseded(months, file.month, &changing)?;
            if !superseded.is_empty() {
                let keys = superseded.into_iter().map(|key| (key.tenant_id, key.id)).collect();
                found.by_month.insert(file.month, keys);
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
