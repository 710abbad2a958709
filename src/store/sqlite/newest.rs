//! Which copy of a record is the record: the greatest [`Precedence`]. A run that is resumed in a later month lies in both.
//! Other months are looked into only for what has not ended, or ended after its own month: an index holds these apart.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _};

use super::conditions::blob;
use super::fault::SqliteFault;
use super::question::OpenMonth;
use super::{decode, tables};
use crate::domain::query::TimeRange;
use crate::domain::record::RecordKey;
use crate::domain::{Kind, Month, Precedence, RecordId, Revision, TenantId};

/// Returns the revision of a month's copy.
pub fn revision_of(connection: &Connection, key: RecordKey) -> rusqlite::Result<Option<Revision>> {
    let mut statement = connection.prepare_cached(&tables::of(key.kind).revision)?;
    let revision = statement.query_row((key.tenant_id.as_bytes(), key.id.as_bytes()), |row| row.get(0)).optional()?;
    Ok(revision.map(Revision::from_stored))
}

/// Returns every copy of a record.
pub fn copies(months: &[OpenMonth], key: RecordKey) -> Result<Vec<Precedence>, SqliteFault> {
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

fn copy_in(file: &OpenMonth, key: RecordKey) -> Result<Option<Precedence>, SqliteFault> {
    let revision = file.ask(|connection| revision_of(connection, key))?;
    Ok(revision.map(|revision| Precedence::new(revision, file.month)))
}

/// Returns the month of the newest copy. Months that are more likely to hold it come first: where a final copy is
/// found, no other month is opened.
pub fn place<'m>(
    months: impl IntoIterator<Item = &'m OpenMonth>,
    key: RecordKey,
) -> Result<Option<&'m OpenMonth>, SqliteFault> {
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

/// Keys of one statement.
const KEYS: usize = 1_000;

/// Rows that may be superseded, of all months, that are collected before they are looked up.
pub const CHANGING: usize = 10_000;

/// A copy of a record, and the month that it lies in.
pub type NewestCopy = (RecordKey, Precedence);

/// Returns those of copies, of any months and of one kind, of which another month holds a newer one. Each month is
/// opened once, and answers a thousand copies with one statement. Copies that are final cost nothing.
pub fn superseded(
    months: &[OpenMonth],
    kind: Kind,
    copies: &[NewestCopy],
) -> Result<HashSet<(Month, RecordKey)>, SqliteFault> {
    let changing: Vec<&NewestCopy> = copies.iter().filter(|(_, copy)| !copy.is_final()).collect();
    let mut superseded = HashSet::new();
    if changing.is_empty() {
        return Ok(superseded);
    }
    for file in months {
        let elsewhere: Vec<_> = changing.iter().filter(|(_, copy)| copy.month() != file.month).collect();
        for copies in elsewhere.chunks(KEYS) {
            let others = revisions_in(file, kind, copies.iter().map(|(key, _)| *key))?;
            let is_newer = |(key, copy): &&&&NewestCopy| {
                others.get(key).is_some_and(|revision| Precedence::new(*revision, file.month) > *copy)
            };
            superseded.extend(copies.iter().filter(is_newer).map(|(key, copy)| (copy.month(), *key)));
        }
    }
    Ok(superseded)
}

/// Returns the copies of some records that a month holds.
fn revisions_in(
    file: &OpenMonth,
    kind: Kind,
    keys: impl Iterator<Item = RecordKey>,
) -> Result<HashMap<RecordKey, Revision>, SqliteFault> {
    let (sql, asked) = (lookup(kind), listed(keys.map(|key| (key.tenant_id, key.id))));
    file.ask(|connection| {
        let mut statement = connection.prepare_cached(&sql)?;
        let found = statement.query_map([asked], |row| {
            let key = RecordKey { tenant_id: decode::tenant(row, 0)?, kind, id: decode::id(row, 1)? };
            Ok((key, Revision::from_stored(row.get(2)?)))
        })?;
        found.collect()
    })
}

/// Returns what reads the revisions of listed records: from the list to the rows, through the index of identities.
fn lookup(kind: Kind) -> String {
    format!(
        "SELECT r.tenant_id, r.id, r.revision FROM json_each(?1) AS asked CROSS JOIN {} AS r \
         ON r.tenant_id = {LISTED_TENANT} AND r.id = {LISTED_ID}",
        tables::of(kind).name
    )
}

/// Returns a list of records as one value, and what reads an entry of it.
fn listed(keys: impl Iterator<Item = (TenantId, RecordId)>) -> String {
    let keys: Vec<_> =
        keys.map(|(tenant, id)| format!("\"{}{}\"", tenant.uuid().simple(), id.uuid().simple())).collect();
    format!("[{}]", keys.join(","))
}

const LISTED_TENANT: &str = "unhex(substr(value, 1, 32))";
const LISTED_ID: &str = "unhex(substr(value, 33))";

/// What has not ended: [`Revision::has_ended`]. An index holds these rows apart.
const UNENDED: &str = "revision < 4611686018427387904";

/// Returns what ended after its month, as the index that holds these rows apart spells it: they are few.
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
    ) -> Result<Self, SqliteFault> {
        let mut found = Self::default();
        if months.len() < 2 || !matches!(kind, Kind::WorkflowRun | Kind::NodeExecution) {
            return Ok(found);
        }
        let table = tables::of(kind).name;
        let (condition, values) = match tenant_id {
            Some(tenant_id) => (" AND tenant_id = ?1", vec![blob(tenant_id.as_bytes())]),
            None => ("", Vec::new()),
        };
        let mut changing = Vec::new();
        for file in months.iter().filter(|file| file.overlaps(created)) {
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
                    if changing.len() >= CHANGING {
                        found.add(superseded(months, kind, &std::mem::take(&mut changing))?);
                    }
                    Ok(ControlFlow::Continue(()))
                })?;
            }
        }
        found.add(superseded(months, kind, &changing)?);
        Ok(found)
    }

    fn add(&mut self, superseded: HashSet<(Month, RecordKey)>) {
        for (month, key) in superseded {
            self.by_month.entry(month).or_default().push((key.tenant_id, key.id));
        }
    }

    /// Returns a condition that leaves them out of a month, with its value; `None` where there are none.
    pub fn condition(&self, month: Month) -> Option<(String, Value)> {
        let keys = listed(self.by_month.get(&month)?.iter().copied());
        let condition = format!("(tenant_id, id) NOT IN (SELECT {LISTED_TENANT}, {LISTED_ID} FROM json_each(?))");
        Some((condition, Value::Text(keys)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::schema;

    #[test]
    fn records_are_looked_up_through_the_index_of_identities() {
        for kind in [Kind::WorkflowRun, Kind::NodeExecution] {
            let plan = schema::plan(&lookup(kind), &[Value::Text("[]".into())]);
            let expected = format!("SEARCH r USING INDEX {}_identity (tenant_id=? AND id=?)", tables::of(kind).name);
            assert!(plan.contains(&expected) && !plan.contains("SCAN r"), "{plan}");
        }
    }
}
