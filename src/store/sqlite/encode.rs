//! Actions to bound values. Compression happens when a [`EncodedRow`] is made, on the caller's side of the writer's queue.

use rusqlite::types::{ToSqlOutput, Value, ValueRef};

use super::tables::{self, Stored};
use super::text::{self, StoredText};
use crate::domain::schema::{self, Role};
use crate::domain::{BulkAction, Document, JsonText, Record, Truncation};

/// An action ready to be written: its long texts compressed.
pub struct EncodedRow {
    action: BulkAction,
    /// In the order of [`texts`].
    frames: Vec<Option<StoredText>>,
}

impl EncodedRow {
    /// Compresses the action's long texts if asked to. Graphs always are: they are most of the bytes.
    pub fn new(action: BulkAction, compress: bool) -> Self {
        let frames = match &action {
            BulkAction::Graph(graph) => vec![text::pack_graph(graph.text.as_str())],
            BulkAction::Document(document) if compress => {
                texts(document).map(|text| text.and_then(text::pack)).collect()
            }
            BulkAction::Document(_) => Vec::new(),
        };
        Self { action, frames }
    }

    pub fn action(&self) -> &BulkAction {
        &self.action
    }

    /// Returns the values of a document, in the order of its table's columns.
    pub fn document_values<'a>(&'a self, document: &'a Document) -> impl Iterator<Item = ToSqlOutput<'a>> {
        let mut frames = self.frames.iter().map(Option::as_deref);
        let mut enclosing = match &document.record {
            Record::Node(node) => node.enclosing(),
            _ => Default::default(),
        };
        tables::of(document.kind()).stored.iter().map(move |stored| match *stored {
            Stored::Column(column) if column.role == Role::Payload => {
                text::value(text_of(column.get(&document.record)), frames.next().flatten())
            }
            Stored::Column(column) => value(column.get(&document.record)),
            Stored::Enclosing(place) => owned(enclosing.get_mut(place).and_then(Option::take)),
            Stored::Revision => ToSqlOutput::Borrowed(ValueRef::Integer(document.revision.value())),
            Stored::GraphHash => optional(document.graph.as_ref().map(|hash| ValueRef::Blob(hash.as_bytes()))),
            Stored::Truncated => truncations(&document.truncated),
            Stored::Origin => origin(document),
            Stored::Extra => text::value(extra_of(document), frames.next().flatten()),
        })
    }

    /// Returns the value of a graph's text.
    pub fn graph_text<'a>(&'a self, graph: &'a JsonText) -> ToSqlOutput<'a> {
        text::value(Some(graph.as_str()), self.frames.first().and_then(Option::as_deref))
    }
}

/// Bytes of text that an action carries, about.
pub fn weight(action: &BulkAction) -> usize {
    match action {
        BulkAction::Graph(graph) => graph.text.len(),
        BulkAction::Document(document) => texts(document).flatten().map(str::len).sum(),
    }
}

/// Returns the long texts of a document, in the order of its table's columns; what the row had besides last.
fn texts(document: &Document) -> impl Iterator<Item = Option<&str>> {
    let payloads = document.record.columns().filter(|(column, _)| column.role == Role::Payload);
    payloads.map(|(_, value)| text_of(value)).chain([extra_of(document)])
}

fn text_of(value: schema::Value<'_>) -> Option<&str> {
    match value {
        schema::Value::Text(text) => Some(text),
        schema::Value::Json(json) => Some(json.as_str()),
        _ => None,
    }
}

fn extra_of(document: &Document) -> Option<&str> {
    document.extra.as_ref().map(JsonText::as_str)
}

fn value(value: schema::Value<'_>) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match value {
        schema::Value::Null => ValueRef::Null,
        schema::Value::Id(id) => ValueRef::Blob(id.as_bytes()),
        schema::Value::Text(text) => ValueRef::Text(text.as_bytes()),
        schema::Value::Json(json) => ValueRef::Text(json.as_str().as_bytes()),
        schema::Value::Integer(integer) => ValueRef::Integer(integer),
        schema::Value::Seconds(seconds) => ValueRef::Real(seconds),
        schema::Value::Instant(at) => ValueRef::Integer(at.micros()),
    })
}

/// `[["inputs",5242880,"<sha256>"]]`; null where nothing was cut.
fn truncations(marks: &[Truncation]) -> ToSqlOutput<'static> {
    if marks.is_empty() {
        return optional(None);
    }
    let marks: Vec<_> = marks
        .iter()
        .map(|mark| serde_json::json!([mark.field.as_str(), mark.original_bytes, mark.sha256.to_string()]))
        .collect();
    ToSqlOutput::Owned(Value::Text(serde_json::Value::Array(marks).to_string()))
}

/// Returns the mark of the migration that writes the document.
fn origin(document: &Document) -> ToSqlOutput<'static> {
    let bytes = document.origin.map(|origin| Value::Blob(origin.uuid().into_bytes().to_vec()));
    ToSqlOutput::Owned(bytes.unwrap_or(Value::Null))
}

fn owned(text: Option<Box<str>>) -> ToSqlOutput<'static> {
    ToSqlOutput::Owned(text.map_or(Value::Null, |text| Value::Text(text.into())))
}

fn optional(value: Option<ValueRef<'_>>) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(value.unwrap_or(ValueRef::Null))
}
