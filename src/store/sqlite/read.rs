//! Documents by what identifies them, over all months.

use rusqlite::{Connection, OptionalExtension as _};

use super::fault::SqliteFault;
use super::question::OpenMonth;
use super::{decode, newest, tables};
use crate::domain::query::{Content, Lookup, RunSummary};
use crate::domain::record::RecordKey;
use crate::domain::{Document, JsonText, Kind, Month, Precedence, Record, RecordId, TenantId};

/// See [`LogReader::lookup`](crate::store::LogReader::lookup).
pub fn lookup(months: &[OpenMonth], lookup: &Lookup) -> Result<Vec<Document>, SqliteFault> {
    let Lookup { tenant_id, kind, .. } = *lookup;
    let mut order: Vec<&OpenMonth> = months.iter().collect();
    order.sort_by_key(|file| !lookup.near.contains(&file.month));
    let by_id = tables::of(kind).by_id(lookup.content);
    let mut found = Vec::new();
    for &id in &lookup.ids {
        let mut place = None;
        for file in &order {
            let key = RecordKey { tenant_id, kind, id };
            let copy = file.ask(|connection| document(connection, key, &by_id, lookup.content))?;
            let Some(copy) = copy else { continue };
            let is_final = Precedence::new(copy.revision, file.month).is_final();
            place = Some(file.month);
            found.push(copy);
            if is_final && !lookup.every_copy {
                break;
            }
        }
        // Most often all lie in one month: where the last one was found, the next is looked for first.
        if let Some(month) = place.filter(|_| !lookup.every_copy) {
            order.sort_by_key(|file| file.month != month);
        }
    }
    Ok(found)
}

/// Returns a run without payloads, in its newest revision. `near`: the month that it most likely lies in, looked into
/// first.
pub fn run_summary(
    months: &[OpenMonth],
    tenant_id: TenantId,
    id: RecordId,
    near: Option<Month>,
) -> Result<Option<RunSummary>, SqliteFault> {
    let key = RecordKey { tenant_id, kind: Kind::WorkflowRun, id };
    let Some(file) = newest::place(newest::likeliest_first(months, near), key)? else { return Ok(None) };
    let sql = format!(
        "SELECT {} FROM workflow_runs AS r WHERE tenant_id = ?1 AND id = ?2",
        tables::of(Kind::WorkflowRun).summary_list
    );
    file.ask(|connection| {
        let mut statement = connection.prepare_cached(&sql)?;
        statement.query_row((tenant_id.as_bytes(), id.as_bytes()), decode::run_summary).optional()
    })
}

/// Returns a month's copy of a record. `by_id` is the statement of its table for this content.
pub fn document(
    connection: &Connection,
    key: RecordKey,
    by_id: &str,
    content: Content,
) -> rusqlite::Result<Option<Document>> {
    let mut statement = connection.prepare_cached(by_id)?;
    let found = statement
        .query_row((key.tenant_id.as_bytes(), key.id.as_bytes()), |row| decode::document(key.kind, row))
        .optional()?;
    let Some(mut document) = found else { return Ok(None) };
    if content == Content::Full {
        put_graph_back(connection, &mut document)?;
    }
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
