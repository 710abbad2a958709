//! The questions of `LogReader`, over all months. A record may lie in two of them; its newest revision is the record.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::{Connection, OptionalExtension as _};

use super::pool::ReadPool;
use super::{decode, tables};
use crate::domain::query::{Cursor, NewestRuns, RunSummary};
use crate::domain::record::RecordKey;
use crate::domain::{Document, JsonText, Kind, Month, Record, RecordId, Revision, TenantId};
use crate::store::StoreError;

/// See [`LogReader::record`](crate::store::LogReader::record).
pub fn record(pool: &ReadPool, key: RecordKey) -> Result<Option<Document>, StoreError> {
    let mut newest: Option<(Revision, Month)> = None;
    for month in pool.months()? {
        let revision = pool.read(month, |connection| revision_of(connection, key))?.flatten();
        newest = newest.max(revision.map(|revision| (revision, month)));
    }
    let Some((_, month)) = newest else { return Ok(None) };
    Ok(pool.read(month, |connection| whole_document(connection, key))?.flatten())
}

/// See [`LogReader::nodes_of_run`](crate::store::LogReader::nodes_of_run).
pub fn nodes_of_run(pool: &ReadPool, tenant_id: TenantId, run_id: RecordId) -> Result<Vec<Document>, StoreError> {
    let mut nodes: HashMap<RecordId, Document> = HashMap::new();
    for month in pool.months()? {
        let found = pool.read(month, |connection| nodes_of_month(connection, tenant_id, run_id))?;
        for node in found.into_iter().flatten() {
            match nodes.entry(node.record.id()) {
                Entry::Vacant(entry) => {
                    entry.insert(node);
                }
                Entry::Occupied(mut entry) if entry.get().revision < node.revision => {
                    entry.insert(node);
                }
                Entry::Occupied(_) => {}
            }
        }
    }
    let mut nodes: Vec<Document> = nodes.into_values().collect();
    nodes.sort_unstable_by_key(|node| (node.record.created_at(), node.record.id()));
    Ok(nodes)
}

/// See [`LogReader::newest_runs`](crate::store::LogReader::newest_runs).
pub fn newest_runs(pool: &ReadPool, query: NewestRuns) -> Result<Vec<RunSummary>, StoreError> {
    let months = pool.months()?;
    let mut page = Vec::new();
    for &month in months.iter().filter(|month| query.after.is_none_or(|after| **month <= after.created_at.month())) {
        let mut rest = query;
        while page.len() < query.limit {
            rest.limit = query.limit - page.len();
            let rows = pool.read(month, |connection| runs_of_month(connection, rest))?.unwrap_or_default();
            let exhausted = rows.len() < rest.limit;
            rest.after = rows.last().map(RunSummary::cursor);
            page.extend(without_superseded(pool, &months, month, query.tenant_id, rows)?);
            if exhausted {
                break;
            }
        }
    }
    Ok(page)
}

/// Leaves out the runs of a month that another month holds in a newer revision.
fn without_superseded(
    pool: &ReadPool,
    months: &[Month],
    month: Month,
    tenant_id: TenantId,
    mut runs: Vec<RunSummary>,
) -> Result<Vec<RunSummary>, StoreError> {
    for &other in months.iter().filter(|other| **other != month) {
        if runs.is_empty() {
            break;
        }
        let kept = pool.read(other, |connection| {
            let mut kept = Vec::with_capacity(runs.len());
            for run in &runs {
                let key = RecordKey { tenant_id, kind: Kind::WorkflowRun, id: run.id };
                let elsewhere = revision_of(connection, key)?.map(|revision| (revision, other));
                kept.push(elsewhere < Some((run.revision, month)));
            }
            Ok(kept)
        })?;
        let mut kept = kept.into_iter().flatten();
        runs.retain(|_| kept.next().unwrap_or(true));
    }
    Ok(runs)
}

fn revision_of(connection: &Connection, key: RecordKey) -> rusqlite::Result<Option<Revision>> {
    let mut statement = connection.prepare_cached(&tables::of(key.kind).revision)?;
    let revision = statement.query_row((key.tenant_id.as_bytes(), key.id.as_bytes()), |row| row.get(0)).optional()?;
    Ok(revision.map(Revision::from_stored))
}

fn whole_document(connection: &Connection, key: RecordKey) -> rusqlite::Result<Option<Document>> {
    let mut statement = connection.prepare_cached(&tables::of(key.kind).by_id)?;
    let found = statement
        .query_row((key.tenant_id.as_bytes(), key.id.as_bytes()), |row| decode::document(key.kind, row))
        .optional()?;
    let Some(mut document) = found else { return Ok(None) };
    let graph = graph_of(connection, &document)?;
    if let Record::Run(run) = &mut document.record {
        run.graph = graph;
    }
    Ok(Some(document))
}

fn graph_of(connection: &Connection, document: &Document) -> rusqlite::Result<Option<JsonText>> {
    let Some(hash) = document.graph else { return Ok(None) };
    let mut statement = connection.prepare_cached(tables::GRAPH)?;
    let text = statement.query_row((document.tenant_id().as_bytes(), hash.as_bytes()), decode::graph).optional()?;
    Ok(text.flatten())
}

fn nodes_of_month(connection: &Connection, tenant_id: TenantId, run_id: RecordId) -> rusqlite::Result<Vec<Document>> {
    let mut statement = connection.prepare_cached(&tables::NODES_OF_RUN)?;
    let nodes = statement
        .query_map((tenant_id.as_bytes(), run_id.as_bytes()), |row| decode::document(Kind::NodeExecution, row))?;
    nodes.collect()
}

fn runs_of_month(connection: &Connection, query: NewestRuns) -> rusqlite::Result<Vec<RunSummary>> {
    let (created_at, id) =
        query.after.map_or((i64::MAX, [0xff; 16]), |Cursor { created_at, id }| (created_at.micros(), *id.as_bytes()));
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&tables::NEWEST_RUNS)?;
    let position = (query.tenant_id.as_bytes(), query.app_id.as_bytes(), created_at, id, limit);
    let runs = statement.query_map(position, decode::summary)?;
    runs.collect()
}
