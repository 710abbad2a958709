//! The tables of records, out of the domain's columns, and the statements made of them. `encode` binds and `decode` reads
//! in the order of [`RecordTable::stored`].

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::domain::query::Content;
use crate::domain::schema::{self, Column, Role, Type};
use crate::domain::{Kind, NodeExecution};

/// One table of records.
pub struct RecordTable {
    kind: Kind,
    pub name: &'static str,
    /// What lists show, in the order in which `decode` reads it.
    pub summary: Vec<Stored>,
    /// The same for a `SELECT`, of a table that is called `l` where it is that of the logs, else `r`. Made once: a list
    /// asks many months.
    pub summary_list: String,
    /// Everything, in the order in which `encode` binds it and `decode` reads it.
    pub stored: Vec<Stored>,
    /// Stores a snapshot unless a newer one or a tombstone is there: changes no row then. The comparison is in the
    /// statement, so that no two writers can ever disagree about it.
    pub upsert: String,
    /// One record by tenant and id; and without its payloads.
    by_id: String,
    by_id_light: String,
    /// Its revision by tenant and id.
    pub revision: String,
}

/// What a table stores.
#[derive(Debug, Clone, Copy)]
pub enum Stored {
    /// A column of Dify's; all but the graph, which is a table of its own.
    Column(&'static Column),
    /// A member of a node's metadata, for lists: its place in [`NodeExecution::ENCLOSING`].
    Enclosing(usize),
    Revision,
    GraphHash,
    Truncated,
    Origin,
    Extra,
}

impl Stored {
    pub fn name(self) -> &'static str {
        match self {
            Self::Column(column) => column.name,
            Self::Enclosing(place) => NodeExecution::ENCLOSING.get(place).copied().unwrap_or_default(),
            Self::Revision => "revision",
            Self::GraphHash => "graph_hash",
            Self::Truncated => "truncated",
            Self::Origin => "origin",
            Self::Extra => "extra",
        }
    }

    fn is_payload(self) -> bool {
        match self {
            Self::Column(column) => column.role == Role::Payload,
            other => matches!(other, Self::Extra),
        }
    }

    /// Its declaration. STRICT refuses a value of another type; ANY is a text, plain or compressed.
    pub fn declaration(self) -> String {
        let (r#type, is_nullable) = match self {
            Self::Column(column) => (type_of(column), column.is_nullable),
            Self::Revision => ("INTEGER", false),
            Self::Enclosing(_) | Self::Truncated => ("TEXT", true),
            Self::GraphHash | Self::Origin => ("BLOB", true),
            Self::Extra => ("ANY", true),
        };
        format!("\"{}\" {type}{}", self.name(), if is_nullable { "" } else { " NOT NULL" })
    }
}

const fn type_of(column: &Column) -> &'static str {
    match column.r#type {
        Type::Id => "BLOB",
        Type::Varchar(_) => "TEXT",
        Type::Text | Type::Json => "ANY",
        Type::Integer | Type::Count | Type::Instant => "INTEGER",
        Type::Seconds => "REAL",
    }
}

pub const INSERT_GRAPH: &str = "INSERT OR IGNORE INTO graphs (tenant_id, hash, text) VALUES (?1, ?2, ?3)";
pub const GRAPH: &str = "SELECT text FROM graphs WHERE tenant_id = ?1 AND hash = ?2";

/// Every table, with the name of what it counts.
pub const COUNTED: [(&str, &str); 5] = [
    (Kind::WorkflowRun.as_str(), name_of(Kind::WorkflowRun)),
    (Kind::NodeExecution.as_str(), name_of(Kind::NodeExecution)),
    (Kind::AppLog.as_str(), name_of(Kind::AppLog)),
    (Kind::Offload.as_str(), name_of(Kind::Offload)),
    ("graph", "graphs"),
];

const fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::WorkflowRun => "workflow_runs",
        Kind::NodeExecution => "workflow_node_executions",
        Kind::AppLog => "workflow_app_logs",
        Kind::Offload => "workflow_offloads",
    }
}

/// Returns the table of a kind.
pub fn of(kind: Kind) -> &'static RecordTable {
    static TABLES: LazyLock<[RecordTable; 4]> = LazyLock::new(|| Kind::ALL.map(RecordTable::new));
    let [runs, nodes, logs, offloads] = &*TABLES;
    match kind {
        Kind::WorkflowRun => runs,
        Kind::NodeExecution => nodes,
        Kind::AppLog => logs,
        Kind::Offload => offloads,
    }
}

/// Returns what lists show of a kind.
fn summary_of(kind: Kind) -> impl Iterator<Item = Stored> {
    let enclosing = if kind == Kind::NodeExecution { NodeExecution::ENCLOSING.len() } else { 0 };
    let columns = schema::columns(kind).iter().filter(|column| column.role == Role::Summary).map(Stored::Column);
    columns.chain((0..enclosing).map(Stored::Enclosing)).chain([Stored::Revision])
}

fn summary_list(kind: Kind) -> String {
    let alias = if kind == Kind::AppLog { "l" } else { "r" };
    let columns = summary_of(kind).map(|stored| format!("{alias}.\"{}\"", stored.name()));
    columns.collect::<Vec<_>>().join(", ")
}

/// Everything of a kind: what lists show, what a document has besides, payloads last. SQLite then reads no overflow page of
/// a payload for a list.
pub fn stored_of(kind: Kind) -> impl Iterator<Item = Stored> {
    let graph = (kind == Kind::WorkflowRun).then_some(Stored::GraphHash);
    let payloads = schema::columns(kind).iter().filter(|column| column.role == Role::Payload).map(Stored::Column);
    let light = summary_of(kind).chain(graph).chain([Stored::Truncated, Stored::Origin]);
    light.chain(payloads).chain([Stored::Extra])
}

/// Returns the statement that creates a kind's table. Identity is (tenant, id): the rows themselves lie in order of
/// arrival, which keeps large rows from being moved by random ids.
pub fn create(kind: Kind) -> String {
    let columns: Vec<_> = stored_of(kind).map(Stored::declaration).collect();
    let name = name_of(kind);
    format!(
        "CREATE TABLE {name} ({}) STRICT; CREATE UNIQUE INDEX {name}_identity ON {name} (tenant_id, id);",
        columns.join(", ")
    )
}

impl RecordTable {
    fn new(kind: Kind) -> Self {
        let name = name_of(kind);
        let mut table = Self {
            kind,
            name,
            summary: summary_of(kind).collect(),
            summary_list: summary_list(kind),
            stored: stored_of(kind).collect(),
            upsert: String::new(),
            by_id: String::new(),
            by_id_light: String::new(),
            revision: String::new(),
        };
        table.upsert = table.upsert_sql();
        table.by_id = table.by_id_of(Content::Full);
        table.by_id_light = table.by_id_of(Content::Light);
        table.revision = format!("SELECT revision FROM {name} WHERE tenant_id = ?1 AND id = ?2");
        table
    }

    /// Returns what reads one record by tenant and id.
    pub fn by_id(&self, content: Content) -> Cow<'_, str> {
        match content {
            Content::Light => self.by_id_light.as_str().into(),
            Content::Only(_) => self.by_id_of(content).into(),
            Content::Payloads | Content::Full => self.by_id.as_str().into(),
        }
    }

    fn by_id_of(&self, content: Content) -> String {
        format!("{} WHERE tenant_id = ?1 AND id = ?2", self.select(content))
    }

    /// `SELECT … FROM table`: what a document is made of.
    pub fn select(&self, content: Content) -> String {
        let columns = self.stored.iter().map(|stored| {
            let is_wanted = !stored.is_payload() || content.has(stored.name());
            if is_wanted { format!("\"{}\"", stored.name()) } else { String::from("NULL") }
        });
        format!("SELECT {} FROM {}", columns.collect::<Vec<_>>().join(", "), self.name)
    }

    /// A document with the mark of a migration takes the place of strictly older revisions only.
    fn upsert_sql(&self) -> String {
        let Self { kind, name, stored, .. } = self;
        let columns: Vec<_> = stored.iter().map(|stored| format!("\"{}\"", stored.name())).collect();
        let marks: Vec<_> = (1..=columns.len()).map(|number| format!("?{number}")).collect();
        let updates: Vec<_> = columns.iter().map(|column| format!("{column} = excluded.{column}")).collect();
        // The record's own first columns are its id and its tenant.
        format!(
            "INSERT INTO {name} ({}) SELECT {} \
             WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE kind = '{kind}' AND tenant_id = ?2 AND id = ?1) \
             ON CONFLICT (tenant_id, id) DO UPDATE SET {} WHERE excluded.revision > {name}.revision \
             OR (excluded.revision = {name}.revision AND excluded.origin IS NULL)",
            columns.join(", "),
            marks.join(", "),
            updates.join(", ")
        )
    }
}
