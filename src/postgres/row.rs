//! Rows of Dify's log tables to records: what is selected, and how the driver's cells become the codec's.

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use super::catalogue::{Catalogue, CatalogueTable};
use crate::codec::{Cleaned, TableCell, decode_row_with_extra};
use crate::domain::schema::columns;
use crate::domain::{Extra, Kind, Record, Refusal};

/// Returns the table of a kind.
#[must_use]
pub const fn table_of(kind: Kind) -> &'static str {
    kind.table()
}

/// A row decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct RowRecord {
    /// The record, or why the row can be none.
    pub record: Result<Record, Refusal>,
    /// What was changed to keep it.
    pub cleaned: Cleaned,
    /// What the row has beside the record.
    pub extra: Extra,
    /// Bytes of its cells as they came.
    pub bytes: usize,
    /// Primary key as text, whatever its type, for messages about rows that are no records.
    pub key: String,
}

/// Returns what to select of a table, aliased `t`, so that [`record_of`] understands the rows: the kind's columns in
/// the codec's order, then those that no record has, as text. More columns may follow it that are no texts.
///
/// For app logs, the creator's e-mail or session id comes with the row, from Dify's own tables where they are there; it is
/// a scalar subquery by primary key, so that no plan can turn it into a join that needs a sort.
#[must_use]
pub fn select_list(kind: Kind, catalogue: &Catalogue) -> String {
    let is_there = |name| catalogue.table(table_of(kind)).is_some_and(|table| table.columns.contains_key(name));
    let columns = columns(kind).iter().map(|column| match column.name {
        _ if column.is_ours => creator(catalogue),
        name if column.is_newer && !is_there(name) => "NULL".to_owned(),
        name => format!("t.\"{name}\""),
    });
    columns.chain(unknown_columns(kind, catalogue)).collect::<Vec<_>>().join(", ")
}

/// The type of the answer tells [`record_of`] whether NULL has to be kept: where the column has a default, an insert that
/// leaves it out would not bring NULL back.
fn unknown_columns(kind: Kind, catalogue: &Catalogue) -> impl Iterator<Item = String> {
    let columns = catalogue.table(table_of(kind)).into_iter().flat_map(move |table| table.unknown_columns(kind));
    columns.map(|(name, column)| {
        let r#type = if column.has_default { "varchar" } else { "text" };
        format!("t.{}::{}", quoted(name), r#type)
    })
}

/// Returns an identifier for a statement, whatever it holds.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn creator(catalogue: &Catalogue) -> String {
    let of_creator = catalogue.table(table_of(Kind::AppLog)).and_then(|logs| logs.columns.get("created_by"));
    let comparable =
        |table: &CatalogueTable| table.columns.get("id") == of_creator && table.index_on(&["id"]).is_some();
    let by_key = |table: Option<&CatalogueTable>, column: &str| match table {
        Some(table) if table.columns.contains_key(column) && comparable(table) => {
            format!("(SELECT c.{column} FROM {} c WHERE c.id = t.created_by)", table.name)
        }
        _ => "NULL".to_owned(),
    };
    format!(
        "CASE t.created_by_role WHEN 'end_user' THEN {} WHEN 'account' THEN {} END",
        by_key(catalogue.table("end_users"), "session_id"),
        by_key(catalogue.table("accounts"), "email")
    )
}

/// Decodes a row of [`select_list`].
#[must_use]
pub fn record_of(kind: Kind, row: &Row) -> RowRecord {
    let (mut cleaned, mut extra) = (Cleaned::default(), Extra::default());
    let mut bytes = 0;
    let cells = (0..columns(kind).len()).map(|place| {
        let cell = row.try_get::<_, Sql<'_>>(place).map_or(TableCell::Other, |sql| sql.cell);
        bytes += match cell {
            TableCell::Text(text) => text.len(),
            _ => 8,
        };
        cell
    });
    let record = decode_row_with_extra(kind, cells, &mut cleaned, &mut extra);
    bytes += read_unknown(row, columns(kind).len(), &mut extra);
    RowRecord { record, cleaned, extra, bytes, key: key_of(row) }
}

/// Takes the texts behind the known columns. Returns their bytes.
fn read_unknown(row: &Row, known: usize, extra: &mut Extra) -> usize {
    let mut bytes = 0;
    for (place, column) in row.columns().iter().enumerate().skip(known) {
        if *column.type_() != Type::TEXT && *column.type_() != Type::VARCHAR {
            continue;
        }
        let name: Box<str> = column.name().into();
        match row.try_get::<_, Option<&str>>(place) {
            Ok(Some(text)) => {
                bytes += text.len();
                extra.columns.insert(name, Some(text.into()));
            }
            Ok(None) => {
                if *column.type_() == Type::VARCHAR {
                    extra.columns.insert(name.clone(), None);
                }
                extra.nulls.insert(name);
            }
            Err(_) => drop(extra.lost.insert(name)),
        }
    }
    bytes
}

/// Returns the row's `id`, which is the first column of every kind.
fn key_of(row: &Row) -> String {
    match row.try_get::<_, Sql<'_>>(0).map(|sql| sql.cell) {
        Ok(TableCell::Uuid(uuid)) => uuid.to_string(),
        Ok(TableCell::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        Ok(TableCell::Integer(integer)) => integer.to_string(),
        _ => String::new(),
    }
}

/// A cell of any type that these tables have, borrowed from the row.
struct Sql<'a> {
    cell: TableCell<'a>,
}

/// Microseconds from 1970, the codec's epoch, to 2000, PostgreSQL's.
pub(super) const EPOCH: i64 = 946_684_800_000_000;

impl<'a> FromSql<'a> for Sql<'a> {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let cell = match *of {
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON | Type::UNKNOWN => TableCell::Text(raw),
            Type::UUID => TableCell::Uuid(FromSql::from_sql(of, raw)?),
            Type::INT2 => TableCell::Integer(i16::from_sql(of, raw)?.into()),
            Type::INT4 => TableCell::Integer(i32::from_sql(of, raw)?.into()),
            Type::INT8 => TableCell::Integer(i64::from_sql(of, raw)?),
            Type::FLOAT4 => TableCell::Float(f32::from_sql(of, raw)?.into()),
            Type::FLOAT8 => TableCell::Float(f64::from_sql(of, raw)?),
            // Saturating: the ends of the range are `infinity` and `-infinity`, and no date reaches them.
            Type::TIMESTAMP | Type::TIMESTAMPTZ => {
                TableCell::Instant(i64::from_be_bytes(raw.try_into()?).saturating_add(EPOCH))
            }
            _ => TableCell::Other,
        };
        Ok(Self { cell })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self { cell: TableCell::Null })
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
