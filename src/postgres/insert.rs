//! Rows written back: inserted where they are absent, never over a row that is there.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::catalogue::Catalogue;
use super::error::PostgresError;
use super::pool::Client;
use crate::codec::table_columns;
use crate::domain::Kind;

/// A row by the names of its columns.
pub type NamedRow = Map<String, Value>;

/// Inserts rows in one statement. Columns that this database does not have are left out; a row that is there (by its key
/// or another unique index) stays as it is. Answers how many went in.
///
/// # Errors
/// [`PostgresError`]; then none of them is in.
pub async fn insert(
    client: &Client,
    catalogue: &Catalogue,
    kind: Kind,
    rows: &[NamedRow],
) -> Result<u64, PostgresError> {
    let Some(statement) = statement(catalogue, kind)? else {
        return Err(PostgresError::Schema(format!("the database has no table for records of kind {kind}")));
    };
    let rows = serde_json::to_string(rows).map_err(|error| PostgresError::Failed(error.to_string()))?;
    Ok(client.execute(&statement, &[&rows]).await?)
}

/// The rows travel as one JSON text: the server turns each value into its column's own type.
fn statement(catalogue: &Catalogue, kind: Kind) -> Result<Option<String>, PostgresError> {
    let Some(table) = catalogue.table_of(kind)? else { return Ok(None) };
    let mut columns = String::new();
    for column in table_columns(kind).filter(|column| table.columns.contains_key(*column)) {
        let comma = if columns.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(columns, "{comma}\"{column}\"");
    }
    Ok(Some(format!(
        "INSERT INTO {name} ({columns}) SELECT {columns} FROM json_populate_recordset(NULL::{name}, $1::text::json) \
         ON CONFLICT DO NOTHING",
        name = table.name,
    )))
}
