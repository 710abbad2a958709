//! Walks over documents of all tenants: month by month, oldest first. Within a month an index by time gives the order.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use super::conditions::{Conditions, blob};
use super::fault::SqliteFault;
use super::newest::Superseded;
use super::question::{OpenMonth, SqliteQuestion};
use super::{decode, read, tables};
use crate::domain::query::{Condition, Content, Cursor, Scan, TenantCount, TimeRange};
use crate::domain::record::RecordKey;
use crate::domain::{Document, Kind, Month, RecordId, TenantId};

/// Bytes of payloads and graphs in one answer; a single record may be larger.
const ANSWER_BYTES: usize = 16 << 20;

/// Ids of one statement.
const IDS: usize = 500;

/// See [`LogReader::walk`](crate::store::LogReader::walk).
pub fn walk(months: &[OpenMonth], scan: &Scan) -> Result<Vec<Document>, SqliteFault> {
    let mut step = Step { scan, documents: Vec::new(), bytes: 0 };
    for file in in_range(months, scan) {
        step.read_month(file)?;
        if step.is_full() {
            break;
        }
    }
    Ok(step.documents)
}

/// See [`LogReader::scan_count`](crate::store::LogReader::scan_count).
pub fn count(question: &SqliteQuestion, scan: &Scan) -> Result<u64, SqliteFault> {
    question.ask(|months| {
        let one_tenant = match scan.tenants.as_slice() {
            [tenant] => Some(*tenant),
            _ => None,
        };
        let superseded = if scan.superseded_too {
            Superseded::default()
        } else {
            Superseded::find(months, scan.kind, one_tenant, scan.created)?
        };
        let mut total = 0;
        for file in in_range(months, scan) {
            let mut conditions = conditions(scan);
            if let Some((condition, value)) = superseded.condition(file.month) {
                conditions.add(condition, [value]);
            }
            let sql = format!("SELECT count(*) FROM {} {}", tables::of(scan.kind).name, conditions.clause());
            let count = |connection: &Connection| {
                connection.query_row(&sql, params_from_iter(conditions.values()), |row| row.get::<_, i64>(0))
            };
            total += file.ask(count)?.unsigned_abs();
        }
        Ok(total)
    })
}

/// See [`LogReader::scan_end`](crate::store::LogReader::scan_end).
pub fn end(question: &SqliteQuestion, scan: &Scan) -> Result<Option<Cursor>, SqliteFault> {
    let scan = Scan { after: None, ..scan.clone() };
    let (sql, values) = last(&scan);
    question.ask(|months| {
        for file in in_range(months, &scan).rev() {
            let found = file.ask(|connection| {
                let mut statement = connection.prepare_cached(&sql)?;
                statement.query_row(params_from_iter(&values), decode::cursor).optional()
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    })
}

/// Returns the last row of a month's walk, through the index by time.
fn last(scan: &Scan) -> (String, Vec<Value>) {
    let (table, conditions) = (tables::of(scan.kind).name, conditions(scan));
    let sql =
        format!("SELECT created_at, id FROM {table} {} ORDER BY created_at DESC, id DESC LIMIT 1", conditions.clause());
    (sql, conditions.values().to_vec())
}

/// See [`LogReader::owners`](crate::store::LogReader::owners).
pub fn owners(question: &SqliteQuestion, kind: Kind, id: RecordId) -> Result<Vec<TenantId>, SqliteFault> {
    let sql = format!("SELECT DISTINCT tenant_id FROM {} WHERE id = ?1", tables::of(kind).name);
    question.ask(|months| {
        let mut owners = Vec::new();
        for file in months {
            owners.extend(file.ask(|connection| {
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map([id.as_bytes()], |row| decode::tenant(row, 0))?;
                rows.collect::<rusqlite::Result<Vec<_>>>()
            })?);
        }
        owners.sort_unstable();
        owners.dedup();
        Ok(owners)
    })
}

/// See [`LogReader::children`](crate::store::LogReader::children).
pub fn children(
    question: &SqliteQuestion,
    tenant_id: TenantId,
    runs: &[RecordId],
) -> Result<Vec<RecordKey>, SqliteFault> {
    question.ask(|months| {
        let nodes = ids_by(months, Kind::NodeExecution, tenant_id, "workflow_run_id", runs)?;
        let offloads = ids_by(months, Kind::Offload, tenant_id, "node_execution_id", &nodes)?;
        let logs = ids_by(months, Kind::AppLog, tenant_id, "workflow_run_id", runs)?;
        let keys = |kind, ids: Vec<RecordId>| ids.into_iter().map(move |id| RecordKey { tenant_id, kind, id });
        Ok(keys(Kind::NodeExecution, nodes)
            .chain(keys(Kind::Offload, offloads))
            .chain(keys(Kind::AppLog, logs))
            .collect())
    })
}

/// Returns the ids of a tenant's records whose column holds one of the values, in their order, each once.
fn ids_by(
    months: &[OpenMonth],
    kind: Kind,
    tenant_id: TenantId,
    column: &str,
    values: &[RecordId],
) -> Result<Vec<RecordId>, SqliteFault> {
    let mut ids = Vec::new();
    for values in values.chunks(IDS) {
        let marks = vec!["?"; values.len()].join(", ");
        let table = tables::of(kind).name;
        // The partial index of these columns is used only where the statement says that they are not null.
        let sql =
            format!("SELECT id FROM {table} WHERE tenant_id = ? AND {column} IS NOT NULL AND {column} IN ({marks})");
        for file in months {
            let parameters = std::iter::once(tenant_id.as_bytes()).chain(values.iter().map(RecordId::as_bytes));
            ids.extend(file.ask(|connection| {
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map(params_from_iter(parameters), |row| decode::id(row, 0))?;
                rows.collect::<rusqlite::Result<Vec<_>>>()
            })?);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// See [`LogReader::tenant_counts`](crate::store::LogReader::tenant_counts).
pub fn tenant_counts(question: &SqliteQuestion, month: Month) -> Result<Vec<TenantCount>, SqliteFault> {
    let mut counts = BTreeMap::new();
    for kind in Kind::ALL {
        // Counted along the index of identities.
        let sql = format!("SELECT tenant_id, count(*) FROM {} GROUP BY tenant_id", tables::of(kind).name);
        let rows = question.read(month, |connection| {
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map((), |row| Ok((decode::tenant(row, 0)?, row.get::<_, i64>(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        counts.extend(rows.into_iter().flatten().map(|(tenant, count)| ((tenant, kind), count.unsigned_abs())));
    }
    let count = |((tenant_id, kind), documents)| TenantCount { tenant_id, month, kind, documents };
    Ok(counts.into_iter().map(count).collect())
}

/// Returns the months that a walk may meet, oldest first.
fn in_range<'m>(months: &'m [OpenMonth], scan: &Scan) -> impl DoubleEndedIterator<Item = &'m OpenMonth> {
    let from = scan.created.from.max(scan.after.map(|cursor| cursor.created_at));
    let range = TimeRange { from, until: scan.created.until };
    months.iter().rev().filter(move |file| file.overlaps(range))
}

/// An answer under way.
struct Step<'s> {
    scan: &'s Scan,
    documents: Vec<Document>,
    bytes: usize,
}

impl Step<'_> {
    fn is_full(&self) -> bool {
        self.documents.len() >= self.scan.limit || self.bytes > ANSWER_BYTES
    }

    fn read_month(&mut self, file: &OpenMonth) -> Result<(), SqliteFault> {
        let table = tables::of(self.scan.kind);
        let conditions = conditions(self.scan);
        let sql =
            format!("{} {} ORDER BY created_at, id, tenant_id", table.select(self.scan.content), conditions.clause());
        file.ask(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(conditions.values()))?;
            while let Some(row) = rows.next()? {
                let mut document = decode::document(self.scan.kind, row)?;
                // Ids are unique per tenant only: all that share a cursor come in one answer.
                if self.is_full() && self.documents.last().map(Document::cursor) != Some(document.cursor()) {
                    return Ok(());
                }
                if self.scan.content == Content::Full {
                    read::put_graph_back(connection, &mut document)?;
                }
                self.bytes += document.whole_footprint();
                self.documents.push(document);
            }
            Ok(())
        })
    }
}

/// Returns what a walk demands of a row.
fn conditions(scan: &Scan) -> Conditions {
    let mut conditions = Conditions::default();
    if let Some(after) = scan.after {
        let place = [Value::Integer(after.created_at.micros()), blob(after.id.as_bytes())];
        conditions.add("(created_at, id) > (?, ?)", place);
    }
    for Condition { column, demand } in scan.conditions() {
        // The plus keeps SQLite from another index than that by time, which would mean a sort.
        let plus = if column == "created_at" { "" } else { "+" };
        conditions.demand(&format!("{plus}{column}"), &demand);
    }
    conditions.any_of("origin", scan.origin.iter().map(|origin| blob(origin.uuid().as_bytes())));
    conditions
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::store::sqlite::schema;

    #[test]
    fn the_end_of_a_walk_is_the_end_of_an_index() {
        for kind in Kind::ALL {
            let all = Scan::all(kind, 1);
            let of_tenant = Scan { tenants: vec![TenantId::new(Uuid::from_u128(1))], ..all.clone() };
            for scan in [all, of_tenant] {
                let (sql, values) = last(&scan);
                let plan = schema::plan(&sql, &values);
                assert!(plan.contains("_by_time") && !plan.contains("B-TREE"), "{plan}");
            }
        }
    }
}
