//! Whole documents by what identifies them, over all months.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _};

use super::fault::Fault;
use super::pool::{OpenMonth, ReadPool};
use super::{decode, newest, tables};
use crate::domain::query::{Content, RunSummary};
use crate::domain::record::RecordKey;
use crate::domain::{Document, JsonText, Kind, Record, RecordId, TenantId};

/// See [`LogReader::record`](crate::store::LogReader::record).
pub fn record(pool: &ReadPool, key: RecordKey) -> Result<Option<Document>, Fault> {
    pool.ask(|months| whole(months, key))
}

/// See [`LogQueries::records`](crate::store::LogQueries::records).
pub fn records(pool: &ReadPool, tenant_id: TenantId, kind: Kind, ids: &[RecordId]) -> Result<Vec<Document>, Fault> {
    let ids = distinct(ids);
    pool.ask(|months| {
        // Most often all lie in one month: where the last one was found, the next is looked for first.
        let mut order: Vec<&OpenMonth> = months.iter().collect();
        let mut found = Vec::new();
        for &id in &ids {
            let key = RecordKey { tenant_id, kind, id };
            let Some((_, file)) = newest::place(order.iter().copied(), key)? else { continue };
            found.extend(file.ask(|connection| whole_document(connection, key))?);
            order.sort_by_key(|other| other.month != file.month);
        }
        Ok(found)
    })
}

/// See [`LogQueries::run_summaries`](crate::store::LogQueries::run_summaries).
pub fn run_summaries(pool: &ReadPool, tenant_id: TenantId, ids: &[RecordId]) -> Result<Vec<RunSummary>, Fault> {
    let ids = distinct(ids);
    pool.ask(|months| {
        let found = ids.iter().map(|&id| run_summary(months, tenant_id, id));
        found.filter_map(Result::transpose).collect()
    })
}

/// A run without payloads, in its newest revision.
pub fn run_summary(months: &[OpenMonth], tenant_id: TenantId, id: RecordId) -> Result<Option<RunSummary>, Fault> {
    let Some((_, file)) = newest::place(months, RecordKey { tenant_id, kind: Kind::WorkflowRun, id })? else {
        return Ok(None);
    };
    let sql = format!("SELECT {} FROM workflow_runs AS r WHERE tenant_id = ?1 AND id = ?2", tables::RUNS.summary("r"));
    file.ask(|connection| {
        let mut statement = connection.prepare_cached(&sql)?;
        statement.query_row((tenant_id.as_bytes(), id.as_bytes()), |row| decode::run_summary(row, 0)).optional()
    })
}

fn distinct(ids: &[RecordId]) -> Vec<RecordId> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// See [`LogReader::nodes_of_run`](crate::store::LogReader::nodes_of_run).
pub fn nodes_of_run(pool: &ReadPool, tenant_id: TenantId, run_id: RecordId) -> Result<Vec<Document>, Fault> {
    let sql = format!("{} WHERE tenant_id = ?1 AND workflow_run_id = ?2", tables::NODES.select(Content::Full));
    pool.ask(|months| {
        // A node that was restarted lies in two months; oldest month first, so that of equals the later one stays.
        let mut nodes: HashMap<RecordId, Document> = HashMap::new();
        for file in months.iter().rev() {
            for node in file.ask(|connection| nodes_of_month(connection, &sql, tenant_id, run_id))? {
                if nodes.get(&node.record.id()).is_none_or(|known| known.revision <= node.revision) {
                    nodes.insert(node.record.id(), node);
                }
            }
        }
        let mut nodes: Vec<Document> = nodes.into_values().collect();
        nodes.sort_unstable_by_key(|node| (node.record.created_at(), node.record.id()));
        Ok(nodes)
    })
}

/// The newest copy of a record, its graph put back.
fn whole(months: &[OpenMonth], key: RecordKey) -> Result<Option<Document>, Fault> {
    let Some((_, file)) = newest::place(months, key)? else { return Ok(None) };
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

fn nodes_of_month(
    connection: &Connection,
    sql: &str,
    tenant_id: TenantId,
    run_id: RecordId,
) -> rusqlite::Result<Vec<Document>> {
    let mut statement = connection.prepare_cached(sql)?;
    let nodes = statement
        .query_map((tenant_id.as_bytes(), run_id.as_bytes()), |row| decode::document(Kind::NodeExecution, row))?;
    nodes.collect()
}
