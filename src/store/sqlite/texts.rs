//! Which full texts of truncated payloads the rows name. Few rows have such marks, and an index of their own holds them.

use std::collections::{BTreeSet, HashSet};

use rusqlite::types::{FromSqlError, Value};
use rusqlite::{Connection, Row, params_from_iter};

use super::conditions::blob;
use super::fault::SqliteFault;
use super::question::SqliteQuestion;
use super::{decode, tables};
use crate::domain::document::ContentHash;
use crate::domain::{Kind, Month, RecordId, TenantId};

/// Ids of one statement.
const IDS: usize = 500;

/// See [`LogReader::texts_of`](crate::store::LogReader::texts_of).
pub fn of(
    question: &SqliteQuestion,
    tenant_id: TenantId,
    kind: Kind,
    ids: &[RecordId],
) -> Result<Vec<(Month, ContentHash)>, SqliteFault> {
    question.ask(|months| {
        let mut texts = BTreeSet::new();
        for ids in ids.chunks(IDS) {
            let marks = vec!["?"; ids.len()].join(", ");
            let sql = format!(
                "SELECT truncated FROM {} WHERE tenant_id = ? AND id IN ({marks}) AND truncated IS NOT NULL",
                tables::of(kind).name
            );
            let values: Vec<Value> =
                std::iter::once(blob(tenant_id.as_bytes())).chain(ids.iter().map(|id| blob(id.as_bytes()))).collect();
            for file in months {
                let found = file.ask(|connection| hashes(connection, &sql, &values, |_| true))?;
                texts.extend(found.into_iter().map(|hash| (file.month, hash)));
            }
        }
        Ok(texts.into_iter().collect())
    })
}

/// See [`LogReader::named_texts`](crate::store::LogReader::named_texts).
pub fn named(
    question: &SqliteQuestion,
    tenant_id: TenantId,
    month: Month,
    wanted: &[ContentHash],
) -> Result<HashSet<ContentHash>, SqliteFault> {
    let wanted: HashSet<ContentHash> = wanted.iter().copied().collect();
    let mut named = HashSet::new();
    for kind in Kind::ALL {
        let sql = named_sql(kind);
        let values = [blob(tenant_id.as_bytes())];
        let found =
            question.read(month, |connection| hashes(connection, &sql, &values, |hash| wanted.contains(hash)))?;
        named.extend(found.unwrap_or_default());
    }
    Ok(named)
}

fn named_sql(kind: Kind) -> String {
    format!("SELECT truncated FROM {} WHERE tenant_id = ?1 AND truncated IS NOT NULL", tables::of(kind).name)
}

/// Returns the texts that rows name, as far as they are wanted; each once.
fn hashes(
    connection: &Connection,
    sql: &str,
    values: &[Value],
    is_wanted: impl Fn(&ContentHash) -> bool,
) -> rusqlite::Result<HashSet<ContentHash>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = HashSet::new();
    while let Some(row) = rows.next()? {
        found.extend(marks(row)?.into_iter().filter(&is_wanted));
    }
    Ok(found)
}

fn marks(row: &Row<'_>) -> rusqlite::Result<Vec<ContentHash>> {
    let text = row.get_ref(0)?.as_str()?;
    let marks = decode::truncations(text).ok_or_else(|| FromSqlError::Other("not a list of truncations".into()))?;
    Ok(marks.into_iter().map(|mark| mark.sha256).collect())
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    #[test]
    fn named_texts_are_looked_for_among_the_truncated_rows_alone() {
        for kind in Kind::ALL {
            let plan = schema::plan(&named_sql(kind), &[Value::Blob(vec![0; 16])]);
            assert!(plan.contains(&format!("USING COVERING INDEX {}_truncated", tables::of(kind).name)), "{plan}");
        }
    }
}
