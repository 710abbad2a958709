//! A record as it is stored: payloads within their limits, the graph replaced by its content hash.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use super::query::Cursor;
use super::record::RecordKey;
use super::schema::{Given, Role, columns, newer_columns};
use super::{Extra, JsonText, Kind, Month, Precedence, Record, Revision, TenantId};

/// SHA-256 of a text in UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash([u8; 32]);

/// Content hash of a graph: its identity within a tenant and month.
pub type GraphHash = ContentHash;

impl ContentHash {
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    /// 64 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a sha256 (expected 64 hexadecimal digits)")]
pub struct InvalidHash;

impl FromStr for ContentHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(InvalidHash);
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| InvalidHash)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| InvalidHash)?;
        }
        Ok(Self(bytes))
    }
}

/// The payload fields that can be truncated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PayloadField {
    Graph,
    Inputs,
    ProcessData,
    Outputs,
    ExecutionMetadata,
    Error,
    /// What a row holds beside its record: [`Document::extra`]. No column.
    Extra,
}

impl PayloadField {
    const ALL: [Self; 7] = [
        Self::Graph,
        Self::Inputs,
        Self::ProcessData,
        Self::Outputs,
        Self::ExecutionMetadata,
        Self::Error,
        Self::Extra,
    ];

    /// Returns the column name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Graph => "graph",
            Self::Inputs => "inputs",
            Self::ProcessData => "process_data",
            Self::Outputs => "outputs",
            Self::ExecutionMetadata => "execution_metadata",
            Self::Error => "error",
            Self::Extra => "extra",
        }
    }

    /// Returns the field with that column name.
    #[must_use]
    pub fn from_column(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.as_str() == name)
    }
}

/// The mark of a truncated payload: what was there, and the key of the full text in the payload store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncation {
    pub field: PayloadField,
    /// Bytes of UTF-8 of the full text.
    pub original_bytes: u64,
    /// SHA-256 of the full text.
    pub sha256: ContentHash,
}

/// The migration that wrote a document; live messages have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(Uuid);

impl Origin {
    #[must_use]
    pub const fn new(migration: Uuid) -> Self {
        Self(migration)
    }

    /// Returns the migration's id.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

/// A record as stored, and as read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its payloads are within the limits. Written with a run's `graph` taken out; read with it put back.
    pub record: Record,
    pub revision: Revision,
    /// Runs only: the graph that belongs to the run, stored on its own.
    pub graph: Option<GraphHash>,
    /// The payloads that were cut, at most one mark per field.
    pub truncated: Vec<Truncation>,
    /// Set by a migration. Such a document is stored only where no copy of the same or a newer revision is, so that the
    /// mark says truly who wrote it; a live message of the same revision takes the mark away.
    pub origin: Option<Origin>,
    /// What the row or event had beside its record: the text of an [`Extra`](super::Extra). Light reads leave it out;
    /// one that is too large lies in the payload store, under a mark of [`PayloadField::Extra`].
    pub extra: Option<JsonText>,
}

impl Document {
    /// Returns the mark of a payload that was truncated; `None`: it was not.
    #[must_use]
    pub fn mark(&self, field: PayloadField) -> Option<&Truncation> {
        self.truncated.iter().find(|mark| mark.field == field)
    }

    #[must_use]
    pub fn key(&self) -> RecordKey {
        self.record.key()
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        self.record.kind()
    }

    #[must_use]
    pub fn tenant_id(&self) -> TenantId {
        self.record.tenant_id()
    }

    #[must_use]
    pub fn month(&self) -> Month {
        self.record.month()
    }

    /// Takes into the record what was unknown when the document was written and is a column by now.
    pub fn learn_newer_columns(&mut self) {
        const KNOWS_ANY: bool = newer_columns() > 0;
        if !KNOWS_ANY || self.extra.is_none() {
            return;
        }
        let Ok(mut extra) = Extra::of_json(self.extra.as_ref()) else { return };
        for column in columns(self.kind()).iter().filter(|column| column.is_newer) {
            let Some(Some(text)) = extra.columns.get(column.name) else { continue };
            let given = Given::of_sql_text(column.r#type, text);
            if given.is_some_and(|given| column.set(&mut self.record, given)) {
                extra.columns.remove(column.name);
            }
        }
        self.extra = extra.to_json();
    }

    /// Bytes that it takes, about: its texts of variable length and a flat share for the rest.
    #[must_use]
    pub fn footprint(&self) -> usize {
        const FIXED: usize = 512;
        let payloads = self.record.columns().filter(|(column, _)| column.role == Role::Payload);
        let texts: usize = payloads.map(|(_, value)| value.text_bytes()).sum();
        FIXED + texts + self.extra.as_ref().map_or(0, JsonText::len)
    }

    /// Its place among the copies of its record: the greatest counts.
    #[must_use]
    pub fn precedence(&self) -> Precedence {
        Precedence::new(self.revision, self.month())
    }

    /// Its place in a walk.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { created_at: self.record.created_at(), id: self.record.id() }
    }

    /// As [`Self::footprint`], with the graph that was put back.
    #[must_use]
    pub fn whole_footprint(&self) -> usize {
        let graph = match &self.record {
            Record::Run(run) => run.graph.as_ref().map_or(0, JsonText::len),
            _ => 0,
        };
        self.footprint() + graph
    }
}

/// A canvas, stored once per tenant, month and content, so that it goes with its month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    pub tenant_id: TenantId,
    pub month: Month,
    pub hash: GraphHash,
    pub text: JsonText,
}

/// One thing to write; answered by one verdict.
#[derive(Debug, Clone)]
pub enum BulkAction {
    /// Store unless the same or a newer revision is there.
    Document(Arc<Document>),
    /// Store unless it is there; its content never changes.
    Graph(Arc<Graph>),
}

impl BulkAction {
    #[must_use]
    pub fn tenant_id(&self) -> TenantId {
        match self {
            Self::Document(document) => document.tenant_id(),
            Self::Graph(graph) => graph.tenant_id,
        }
    }

    #[must_use]
    pub fn month(&self) -> Month {
        match self {
            Self::Document(document) => document.month(),
            Self::Graph(graph) => graph.month,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_unknown_when_a_document_was_written_is_a_column_once_it_is_known() {
        for (kind, column) in Kind::ALL.into_iter().flat_map(|kind| columns(kind).iter().map(move |of| (kind, of))) {
            let (text, given) = crate::domain::schema::tests::example(column);
            let mut extra = Extra::default();
            extra.columns.insert("unheard_of".into(), Some("x".into()));
            let rest = extra.to_json();
            extra.columns.insert(column.name.into(), Some(text.into()));
            let record = Record::blank(kind);
            let revision = Revision::of(&record);
            let mut document =
                Document { record, revision, graph: None, truncated: Vec::new(), origin: None, extra: extra.to_json() };
            let before = document.clone();
            document.learn_newer_columns();
            if column.is_newer && column.r#type != super::super::schema::Type::Json {
                let mut record = Record::blank(kind);
                assert!(column.set(&mut record, given));
                assert_eq!((document.record, document.extra), (record, rest), "{}", column.name);
            } else {
                assert_eq!(document, before, "{}", column.name);
            }
        }
    }

    #[test]
    fn hash_text_and_back() {
        let hash = ContentHash::new([0xab; 32]);
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!("+1".repeat(32).parse::<ContentHash>(), Err(InvalidHash));
        assert_eq!("é".repeat(32).parse::<ContentHash>(), Err(InvalidHash));
    }
}
