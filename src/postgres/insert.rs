//! Rows written back: inserted where they are absent, never over a row that is there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::catalogue::{Catalogue, CatalogueTable};
use super::error::PostgresError;
use super::pool::Client;
use super::row::quoted;
use crate::domain::{Kind, schema};

/// A row by the names of its columns, those that no record has included.
pub type NamedRow = Map<String, Value>;

/// Inserts rows in one transaction. Columns that this database does not have are left out; a row that is there (by its key
/// or another unique index) stays as it is. Returns how many went in.
///
/// # Errors
/// [`PostgresError`]; then none of them is in.
pub async fn insert(
    client: &mut Client,
    catalogue: &Catalogue,
    kind: Kind,
    rows: &[NamedRow],
) -> Result<u64, PostgresError> {
    let Some(table) = catalogue.table_of(kind)? else {
        return Err(PostgresError::Schema(format!("the database has no table for records of kind {kind}")));
    };
    // A column that a row does not name takes its default, so rows that name the same ones share a statement.
    let mut groups: BTreeMap<Vec<&str>, Vec<&NamedRow>> = BTreeMap::new();
    for row in rows {
        groups.entry(unknown(table, kind, row)).or_default().push(row);
    }
    let transaction = client.transaction().await?;
    let mut inserted = 0;
    for (unknown, rows) in groups {
        let statement = statement(table, kind, &unknown);
        let rows = serde_json::to_string(&rows).map_err(|error| PostgresError::Failed(error.to_string()))?;
        inserted += transaction.execute(&statement, &[&rows]).await?;
    }
    transaction.commit().await?;
    Ok(inserted)
}

/// Returns the columns of a row that no record has and this table does.
fn unknown<'t>(table: &'t CatalogueTable, kind: Kind, row: &NamedRow) -> Vec<&'t str> {
    let mut names = Vec::new();
    for (name, _) in table.unknown_columns(kind) {
        if row.get(name).is_some() {
            names.push(name);
        }
    }
    names
}

/// The rows travel as one JSON text, each value as a text that the server turns into its column's own type.
fn statement(table: &CatalogueTable, kind: Kind, unknown: &[&str]) -> String {
    let (mut columns, mut values, mut texts) = (String::new(), String::new(), String::new());
    let known = schema::columns(kind).iter().filter(|column| !column.is_ours).map(|column| column.name);
    for name in known.chain(unknown.iter().copied()) {
        let Some(column) = table.writable.get(name) else { continue };
        let (comma, name) = (if columns.is_empty() { "" } else { ", " }, quoted(name));
        // An explicit cast would cut a text that is too long; the assignment refuses it.
        let is_text = column.r#type == "text" || column.r#type.starts_with("character");
        let cast = if is_text { String::new() } else { format!("::{}", column.r#type) };
        // Writing to a String cannot fail.
        let _ = write!(columns, "{comma}{name}");
        let _ = write!(values, "{comma}r.{name}{cast}");
        let _ = write!(texts, "{comma}{name} text");
    }
    format!(
        "INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} \
         FROM json_to_recordset($1::text::json) AS r({texts}) ON CONFLICT DO NOTHING",
        name = table.name,
    )
}
