//! Rows back to records. Whatever does not fit is an error: a damaged row is never answered as another record.

use rusqlite::types::{FromSqlError, Type, ValueRef};
use rusqlite::{Error, Result, Row};
use uuid::Uuid;

use super::tables::{self, Stored};
use super::text;
use crate::domain::document::{ContentHash, PayloadField};
use crate::domain::query::{Cursor, NodeSummary, RunSummary};
use crate::domain::schema::{self, Column, Given};
use crate::domain::{
    AppLog, Document, JsonText, Kind, NodeExecution, Origin, Record, RecordId, Revision, TenantId, Timestamp,
    Truncation,
};

/// Returns a whole document, from a row with all columns of its table.
pub fn document(kind: Kind, row: &Row<'_>) -> Result<Document> {
    read(kind, &tables::of(kind).stored, row).map(|(document, _)| document)
}

/// Returns a run without payloads, from the columns that lists read.
pub fn run_summary(row: &Row<'_>) -> Result<RunSummary> {
    let (document, _) = read(Kind::WorkflowRun, &tables::of(Kind::WorkflowRun).summary, row)?;
    let Record::Run(run) = document.record else { return Err(Error::InvalidQuery) };
    Ok(RunSummary { run: *run, revision: document.revision })
}

/// Returns a node execution without payloads.
pub fn node_summary(row: &Row<'_>) -> Result<NodeSummary> {
    let (document, enclosing) = read(Kind::NodeExecution, &tables::of(Kind::NodeExecution).summary, row)?;
    let Record::Node(node) = document.record else { return Err(Error::InvalidQuery) };
    let [iteration_id, loop_id] = enclosing;
    Ok(NodeSummary { node: *node, iteration_id, loop_id, revision: document.revision })
}

/// Returns an app log, from the columns that lists read, which may be followed by others.
pub fn app_log(row: &Row<'_>) -> Result<AppLog> {
    let (document, _) = read(Kind::AppLog, &tables::of(Kind::AppLog).summary, row)?;
    let Record::AppLog(log) = document.record else { return Err(Error::InvalidQuery) };
    Ok(*log)
}

/// What encloses a node, as [`NodeExecution::ENCLOSING`].
type Enclosing = [Option<Box<str>>; NodeExecution::ENCLOSING.len()];

/// Reads a row whose first columns are these.
fn read(kind: Kind, stored: &[Stored], row: &Row<'_>) -> Result<(Document, Enclosing)> {
    let mut columns = Columns { row, next: 0 };
    let mut record = Record::blank(kind);
    let (mut revision, mut graph, mut truncated, mut origin) = (Revision::from_stored(0), None, Vec::new(), None);
    let (mut extra, mut enclosing) = (None, Enclosing::default());
    for stored in stored {
        match *stored {
            Stored::Column(column) => {
                let place = columns.next;
                let given = columns.given(column)?;
                if !column.set(&mut record, given) {
                    return Err(Error::InvalidColumnType(place, column.name.to_owned(), Type::Null));
                }
            }
            Stored::Enclosing(place) => {
                let text = columns.get()?;
                if let Some(slot) = enclosing.get_mut(place) {
                    *slot = text;
                }
            }
            Stored::Revision => revision = columns.get().map(Revision::from_stored)?,
            Stored::GraphHash => graph = columns.get::<Option<[u8; 32]>>()?.map(ContentHash::new),
            Stored::Truncated => truncated = columns.truncations()?,
            Stored::Origin => {
                origin = columns.get::<Option<[u8; 16]>>()?.map(|bytes| Origin::new(Uuid::from_bytes(bytes)));
            }
            Stored::Extra => extra = columns.text()?.map(JsonText::from_clean),
        }
    }
    let mut document = Document { record, revision, graph, truncated, origin, extra };
    document.learn_newer_columns();
    Ok((document, enclosing))
}

/// Returns the text of a graph, from its only column.
pub fn graph(row: &Row<'_>) -> Result<Option<JsonText>> {
    Ok(Columns { row, next: 0 }.text()?.map(JsonText::from_clean))
}

/// Returns an id, from any column.
pub fn id(row: &Row<'_>, column: usize) -> Result<RecordId> {
    Columns { row, next: column }.id()
}

/// Returns a place in a walk, from `created_at` and `id`.
pub fn cursor(row: &Row<'_>) -> Result<Cursor> {
    let mut columns = Columns { row, next: 0 };
    Ok(Cursor { created_at: columns.instant()?, id: columns.id()? })
}

/// Returns a tenant, from any column.
pub fn tenant(row: &Row<'_>, column: usize) -> Result<TenantId> {
    Columns { row, next: column }.uuid().map(TenantId::new)
}

/// Reads the columns of a row one after another.
struct Columns<'r> {
    row: &'r Row<'r>,
    next: usize,
}

impl<'r> Columns<'r> {
    fn get<T: rusqlite::types::FromSql>(&mut self) -> Result<T> {
        let index = self.next;
        self.next += 1;
        self.row.get(index)
    }

    /// Reads a value by a conversion of our own.
    fn convert<T>(&mut self, read: impl FnOnce(ValueRef<'r>) -> std::result::Result<T, FromSqlError>) -> Result<T> {
        let index = self.next;
        self.next += 1;
        let value = self.row.get_ref(index)?;
        let found: Type = value.data_type();
        read(value).map_err(|error| Error::FromSqlConversionFailure(index, found, Box::new(error)))
    }

    fn uuid(&mut self) -> Result<Uuid> {
        self.get::<[u8; 16]>().map(Uuid::from_bytes)
    }

    fn id(&mut self) -> Result<RecordId> {
        self.uuid().map(RecordId::new)
    }

    fn instant(&mut self) -> Result<Timestamp> {
        self.convert(|value| Timestamp::from_micros(value.as_i64()?).map_err(FromSqlError::other))
    }

    fn given(&mut self, column: &Column) -> Result<Given> {
        let given = match column.r#type {
            schema::Type::Id => self.get::<Option<[u8; 16]>>()?.map(|bytes| Given::Id(Uuid::from_bytes(bytes))),
            schema::Type::Varchar(_) => self.get::<Option<Box<str>>>()?.map(Given::Text),
            schema::Type::Text => self.text()?.map(Given::Text),
            schema::Type::Json => self.text()?.map(|text| Given::Json(JsonText::from_clean(text))),
            schema::Type::Integer | schema::Type::Count => self.get::<Option<i64>>()?.map(Given::Integer),
            schema::Type::Seconds => self.get::<Option<f64>>()?.map(Given::Seconds),
            schema::Type::Instant => self
                .convert(|value| {
                    let micros = value.as_i64_or_null()?;
                    micros.map(Timestamp::from_micros).transpose().map_err(FromSqlError::other)
                })?
                .map(Given::Instant),
        };
        Ok(given.unwrap_or(Given::Null))
    }

    fn text(&mut self) -> Result<Option<Box<str>>> {
        self.convert(text::unpack)
    }

    fn truncations(&mut self) -> Result<Vec<Truncation>> {
        self.convert(|value| match value.as_str_or_null()? {
            None => Ok(Vec::new()),
            Some(text) => truncations(text).ok_or_else(|| FromSqlError::Other("not a list of truncations".into())),
        })
    }
}

/// Returns the marks of truncated payloads, from their column.
pub fn truncations(text: &str) -> Option<Vec<Truncation>> {
    let marks: Vec<(String, u64, String)> = serde_json::from_str(text).ok()?;
    let mark = |(field, original_bytes, sha256): (String, u64, String)| {
        Some(Truncation { field: PayloadField::from_column(&field)?, original_bytes, sha256: sha256.parse().ok()? })
    };
    marks.into_iter().map(mark).collect()
}
