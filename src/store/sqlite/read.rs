//! Whole documents by what identifies them, over all months.

use std::cmp::Reverse;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::fault::Fault;
use super::question::{OpenMonth, Question};
use super::{decode, newest, tables};
use crate::domain::query::RunSummary;
use crate::domain::record::RecordKey;
use crate::domain::{Document, JsonText, Kind, Month, Record, RecordId, Revision, TenantId};
use crate::store::StoredCopy;

/// See [`LogReader::record`](crate::store::LogReader::record).
pub fn record(question: &Question, key: RecordKey) -> Result<Option<Document>, Fault> {
    question.ask(|months| whole(months, key))
}

/// See [`LogQueries::records`](crate::store::LogQueries::records).
pub fn records(question: &Question, tenant_id: TenantId, kind: Kind, ids: &[RecordId]) -> Result<Vec<Document>, Fault> {
    let ids = distinct(ids);
    question.ask(|months| {
        // Most often all lie in one month: where the last one was found, the next is looked for first.
        let mut order: Vec<&OpenMonth> = months.iter().collect();
        let mut found = Vec::new();
        for &id in &ids {
            let key = RecordKey { tenant_id, kind, id };
            let Some(file) = newest::place(order.iter().copied(), key)? else { continue };
            found.extend(file.ask(|connection| whole_document(connection, key))?);
            order.sort_by_key(|other| other.month != file.month);
        }
        Ok(found)
    })
}

/// See [`LogReader::copies`](crate::store::LogReader::copies).
pub fn copies(
    question: &Question,
    tenant_id: TenantId,
    kind: Kind,
    ids: &[RecordId],
) -> Result<Vec<StoredCopy>, Fault> {
    let ids = distinct(ids);
    let table = tables::of(kind).name;
    let sql = format!("SELECT created_at, id, revision FROM {table} WHERE tenant_id = ?1 AND id = ?2");
    question.ask(|months| {
        let mut copies = Vec::new();
        for file in months {
            for &id in &ids {
                copies.extend(file.ask(|connection| {
                    let mut statement = connection.prepare_cached(&sql)?;
                    let read = |row: &Row<'_>| {
                        let revision = Revision::from_stored(row.get(2)?);
                        Ok(StoredCopy { id, created_at: decode::cursor(row)?.created_at, revision })
                    };
                    statement.query_row((tenant_id.as_bytes(), id.as_bytes()), read).optional()
                })?);
            }
        }
        copies.sort_by_key(|copy| (copy.id, Reverse(copy.precedence())));
        Ok(copies)
    })
}

/// See [`LogQueries::run_summaries`](crate::store::LogQueries::run_summaries).
pub fn run_summaries(question: &Question, tenant_id: TenantId, ids: &[RecordId]) -> Result<Vec<RunSummary>, Fault> {
    let ids = distinct(ids);
    question.ask(|months| {
        let found = ids.iter().map(|&id| run_summary(months, tenant_id, id, None));
        found.filter_map(Result::transpose).collect()
    })
}

/// A run without payloads, in its newest revision. `near`: the month that it most likely lies in, looked into first.
pub fn run_summary(
    months: &[OpenMonth],
    tenant_id: TenantId,
    id: RecordId,
    near: Option<Month>,
) -> Result<Option<RunSummary>, Fault> {
    let key = RecordKey { tenant_id, kind: Kind::WorkflowRun, id };
    let Some(file) = newest::place(newest::likeliest_first(months, near), key)? else { return Ok(None) };
    let sql = format!(
        "SELECT {} FROM workflow_runs AS r WHERE tenant_id = ?1 AND id = ?2",
        tables::of(Kind::WorkflowRun).summary_list("r")
    );
    file.ask(|connection| {
        let mut statement = connection.prepare_cached(&sql)?;
        statement.query_row((tenant_id.as_bytes(), id.as_bytes()), decode::run_summary).optional()
    })
}

fn distinct(ids: &[RecordId]) -> Vec<RecordId> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The newest copy of a record, its graph put back.
fn whole(months: &[OpenMonth], key: RecordKey) -> Result<Option<Document>, Fault> {
    let Some(file) = newest::place(months, key)? else { return Ok(None) };
    file.ask(|connection| whole_document(connection, key))
}

/// A month's copy of a record, its graph put back.
pub fn whole_document(connection: &Connection, key: RecordKey) -> rusqlite::Result<Option<Document>> {
    let mut statement = connection.prepare_cached(&tables::of(key.kind).by_id)?;
    let found = statement
        .query_row((key.tenant_id.as_bytes(), key.id.as_bytes()), |row| decode::document(key.kind, row))
        .optional()?;
    let Some(mut document) = found else { return Ok(None) };
    put_graph_back(connection, &mut document)?;
    Ok(Some(document))
}

/// Gives a run the graph that it refers to.
pub fn put_graph_back(connection: &Connection, document: &mut Document) -> rusqlite::Result<()> {
    let graph = graph_of(connection, document)?;
    if let Record::Run(run) = &mut document.record {
        run.graph = graph;
    }
    Ok(())
}

fn graph_of(connection: &Connection, document: &Document) -> rusqlite::Result<Option<JsonText>> {
    let Some(hash) = document.graph else { return Ok(None) };
    let mut statement = connection.prepare_cached(tables::GRAPH)?;
    let text = statement.query_row((document.tenant_id().as_bytes(), hash.as_bytes()), decode::graph).optional()?;
    Ok(text.flatten())
}
