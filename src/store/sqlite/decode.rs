//! Rows back to records. Whatever does not fit is an error: a damaged row is never answered as another record.

use rusqlite::types::{FromSqlError, Type, ValueRef};
use rusqlite::{Error, Result, Row};
use uuid::Uuid;

use super::text;
use crate::domain::document::{ContentHash, PayloadField};
use crate::domain::query::{Cursor, NodeSummary, RunSummary};
use crate::domain::{
    AppId, AppLog, Document, JsonText, Kind, NodeExecution, NodeStatus, Offload, Origin, Record, RecordId, Revision,
    RunStatus, TenantId, Timestamp, Truncation, WorkflowRun,
};

/// A whole document, from a row with all columns of its table.
pub fn document(kind: Kind, row: &Row<'_>) -> Result<Document> {
    let columns = Columns { row, next: 0 };
    match kind {
        Kind::WorkflowRun => run(columns),
        Kind::NodeExecution => node(columns),
        Kind::AppLog => app_log(columns),
        Kind::Offload => offload(columns),
    }
}

/// A run without payloads, from columns that begin at `first`.
pub fn run_summary(row: &Row<'_>, first: usize) -> Result<RunSummary> {
    run_light(&mut Columns { row, next: first }).map(|(_, summary)| summary)
}

/// A node execution without payloads.
pub fn node_summary(row: &Row<'_>) -> Result<NodeSummary> {
    node_light(&mut Columns { row, next: 0 }).map(|(_, summary)| summary)
}

/// An app log, from the columns that lists read, and its revision.
pub fn app_log_row(row: &Row<'_>) -> Result<(AppLog, Revision)> {
    app_log_light(&mut Columns { row, next: 0 })
}

/// The text of a graph, from its only column.
pub fn graph(row: &Row<'_>) -> Result<Option<JsonText>> {
    Columns { row, next: 0 }.json()
}

/// An id, from any column.
pub fn id(row: &Row<'_>, column: usize) -> Result<RecordId> {
    Columns { row, next: column }.id()
}

/// A place in a walk, from `created_at` and `id`.
pub fn cursor(row: &Row<'_>) -> Result<Cursor> {
    let mut columns = Columns { row, next: 0 };
    Ok(Cursor { created_at: columns.instant()?, id: columns.id()? })
}

/// A tenant, from any column.
pub fn tenant(row: &Row<'_>, column: usize) -> Result<TenantId> {
    Columns { row, next: column }.uuid().map(TenantId::new)
}

/// Fields of a struct literal are evaluated in the order they are written: the order of the columns.
fn run_light(columns: &mut Columns<'_>) -> Result<(TenantId, RunSummary)> {
    let tenant_id = TenantId::new(columns.uuid()?);
    let summary = RunSummary {
        id: columns.id()?,
        app_id: AppId::new(columns.uuid()?),
        workflow_id: columns.id()?,
        revision: columns.revision()?,
        created_at: columns.instant()?,
        finished_at: columns.optional_instant()?,
        r#type: columns.string()?,
        triggered_from: columns.string()?,
        version: columns.string()?,
        status: RunStatus::from(&*columns.string()?),
        elapsed_time: columns.get()?,
        total_tokens: columns.get()?,
        total_steps: columns.get()?,
        exceptions_count: columns.get()?,
        created_by_role: columns.string()?,
        created_by: columns.id()?,
    };
    Ok((tenant_id, summary))
}

fn node_light(columns: &mut Columns<'_>) -> Result<(TenantId, NodeSummary)> {
    let tenant_id = TenantId::new(columns.uuid()?);
    let summary = NodeSummary {
        id: columns.id()?,
        app_id: AppId::new(columns.uuid()?),
        workflow_id: columns.id()?,
        revision: columns.revision()?,
        created_at: columns.instant()?,
        finished_at: columns.optional_instant()?,
        workflow_run_id: columns.optional_id()?,
        triggered_from: columns.string()?,
        index: columns.get()?,
        predecessor_node_id: columns.get()?,
        node_execution_id: columns.get()?,
        node_id: columns.string()?,
        node_type: columns.string()?,
        title: columns.string()?,
        status: NodeStatus::from(&*columns.string()?),
        elapsed_time: columns.get()?,
        created_by_role: columns.string()?,
        created_by: columns.id()?,
        iteration_id: columns.get()?,
        loop_id: columns.get()?,
    };
    Ok((tenant_id, summary))
}

fn app_log_light(columns: &mut Columns<'_>) -> Result<(AppLog, Revision)> {
    let (tenant_id, id) = (TenantId::new(columns.uuid()?), columns.id()?);
    let (app_id, workflow_id) = (AppId::new(columns.uuid()?), columns.id()?);
    let revision = columns.revision()?;
    let log = AppLog {
        id,
        tenant_id,
        app_id,
        workflow_id,
        created_at: columns.instant()?,
        workflow_run_id: columns.id()?,
        created_from: columns.string()?,
        created_by_role: columns.string()?,
        created_by: columns.id()?,
        creator: columns.get()?,
    };
    Ok((log, revision))
}

fn run(mut columns: Columns<'_>) -> Result<Document> {
    let (tenant_id, light) = run_light(&mut columns)?;
    let graph = columns.hash()?;
    let (truncated, origin) = (columns.truncations()?, columns.origin()?);
    let run = WorkflowRun {
        id: light.id,
        tenant_id,
        app_id: light.app_id,
        workflow_id: light.workflow_id,
        r#type: light.r#type,
        triggered_from: light.triggered_from,
        version: light.version,
        graph: None,
        error: columns.text()?,
        inputs: columns.json()?,
        outputs: columns.json()?,
        status: light.status,
        elapsed_time: light.elapsed_time,
        total_tokens: light.total_tokens,
        total_steps: light.total_steps,
        created_by_role: light.created_by_role,
        created_by: light.created_by,
        created_at: light.created_at,
        finished_at: light.finished_at,
        exceptions_count: light.exceptions_count,
    };
    let extra = columns.json()?;
    Ok(Document { record: Record::Run(Box::new(run)), revision: light.revision, graph, truncated, origin, extra })
}

fn node(mut columns: Columns<'_>) -> Result<Document> {
    let (tenant_id, light) = node_light(&mut columns)?;
    let (truncated, origin) = (columns.truncations()?, columns.origin()?);
    let node = NodeExecution {
        id: light.id,
        tenant_id,
        app_id: light.app_id,
        workflow_id: light.workflow_id,
        created_at: light.created_at,
        finished_at: light.finished_at,
        workflow_run_id: light.workflow_run_id,
        triggered_from: light.triggered_from,
        index: light.index,
        predecessor_node_id: light.predecessor_node_id,
        node_execution_id: light.node_execution_id,
        node_id: light.node_id,
        node_type: light.node_type,
        title: light.title,
        status: light.status,
        elapsed_time: light.elapsed_time,
        created_by_role: light.created_by_role,
        created_by: light.created_by,
        error: columns.text()?,
        inputs: columns.json()?,
        process_data: columns.json()?,
        outputs: columns.json()?,
        execution_metadata: columns.json()?,
    };
    let (revision, extra) = (light.revision, columns.json()?);
    Ok(Document { record: Record::Node(Box::new(node)), revision, graph: None, truncated, origin, extra })
}

fn app_log(mut columns: Columns<'_>) -> Result<Document> {
    let (log, revision) = app_log_light(&mut columns)?;
    let (origin, extra) = (columns.origin()?, columns.json()?);
    Ok(Document { record: Record::AppLog(Box::new(log)), revision, graph: None, truncated: Vec::new(), origin, extra })
}

fn offload(mut columns: Columns<'_>) -> Result<Document> {
    let (tenant_id, id) = (TenantId::new(columns.uuid()?), columns.id()?);
    let app_id = AppId::new(columns.uuid()?);
    let revision = columns.revision()?;
    let offload = Offload {
        id,
        tenant_id,
        app_id,
        created_at: columns.instant()?,
        node_execution_id: columns.optional_id()?,
        r#type: columns.string()?,
        file_id: columns.id()?,
    };
    let (origin, extra) = (columns.origin()?, columns.json()?);
    let record = Record::Offload(Box::new(offload));
    Ok(Document { record, revision, graph: None, truncated: Vec::new(), origin, extra })
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

    fn optional_id(&mut self) -> Result<Option<RecordId>> {
        Ok(self.get::<Option<[u8; 16]>>()?.map(|bytes| RecordId::new(Uuid::from_bytes(bytes))))
    }

    fn revision(&mut self) -> Result<Revision> {
        self.get().map(Revision::from_stored)
    }

    fn instant(&mut self) -> Result<Timestamp> {
        self.convert(|value| Timestamp::from_micros(value.as_i64()?).map_err(FromSqlError::other))
    }

    fn optional_instant(&mut self) -> Result<Option<Timestamp>> {
        self.convert(|value| {
            let micros = value.as_i64_or_null()?;
            micros.map(Timestamp::from_micros).transpose().map_err(FromSqlError::other)
        })
    }

    fn string(&mut self) -> Result<Box<str>> {
        self.get()
    }

    fn text(&mut self) -> Result<Option<Box<str>>> {
        self.convert(text::unpack)
    }

    fn json(&mut self) -> Result<Option<JsonText>> {
        Ok(self.text()?.map(JsonText::from_clean))
    }

    fn hash(&mut self) -> Result<Option<ContentHash>> {
        Ok(self.get::<Option<[u8; 32]>>()?.map(ContentHash::new))
    }

    fn origin(&mut self) -> Result<Option<Origin>> {
        Ok(self.get::<Option<[u8; 16]>>()?.map(|bytes| Origin::new(Uuid::from_bytes(bytes))))
    }

    fn truncations(&mut self) -> Result<Vec<Truncation>> {
        self.convert(|value| match value.as_str_or_null()? {
            None => Ok(Vec::new()),
            Some(text) => truncations(text).ok_or_else(|| FromSqlError::Other("not a list of truncations".into())),
        })
    }
}

/// The marks of truncated payloads, from their column.
pub fn truncations(text: &str) -> Option<Vec<Truncation>> {
    let marks: Vec<(String, u64, String)> = serde_json::from_str(text).ok()?;
    let mark = |(field, original_bytes, sha256): (String, u64, String)| {
        Some(Truncation { field: PayloadField::from_column(&field)?, original_bytes, sha256: sha256.parse().ok()? })
    };
    marks.into_iter().map(mark).collect()
}
