//! The search index of a month: for each row the grams of its texts (`grams`), in a contentless FTS5 table beside the
//! rows. Which texts: inputs, outputs and error of runs, title and error of nodes. It may over-match, never under-match.
//!
//! It runs behind the write, so that an ack waits for no index: the writer brings it up to date when nothing else waits
//! ([`catch_up`]). A question looks at what the index finds, and at every row that it does not know as it is now: those
//! above the mark in `search_indexed` and those in `search_changed`, which triggers fill in the transaction of the change.

mod grams;

use rusqlite::types::Value;
use rusqlite::{Connection, Transaction};

use super::fault::SqliteFault;
use super::question::OpenMonth;
use super::{tables, text};
use crate::domain::Kind;
use crate::domain::query::TextField;
use crate::domain::query::fold::{FOLDING, fold};
use crate::domain::query::keyword::unescape;

/// Hits up to which a question goes from them to the rows; with more it goes over the rows in the order that it wants.
const FEW: i64 = 1_000;

/// Rows that came since the index was brought up to date from which on it is no help: all rows are read.
const FAR: i64 = 50_000;

/// Rows and bytes of text of one step. A write that comes meanwhile waits for its end, a tenth of a second.
const STEP_ROWS: i64 = 512;
const STEP_BYTES: usize = 1 << 20;

/// Rows per step, for the writer; and how many may wait before it indexes although writing does not pause. A question reads
/// all of them.
pub const STEP: usize = 512;
pub const KEPT_UP: i64 = 10_000;

/// Forgets everything; the next steps index all rows anew.
pub const CLEAR: &str = "
BEGIN IMMEDIATE;
INSERT INTO workflow_runs_search (workflow_runs_search) VALUES ('delete-all');
INSERT INTO workflow_node_executions_search (workflow_node_executions_search) VALUES ('delete-all');
UPDATE search_indexed SET row = 0 WHERE of <> 'folding';
DELETE FROM search_changed;
COMMIT;
";

/// The entry of `search_indexed` that says by which folding ([`FOLDING`]) the rows were indexed. Files that were indexed
/// before there was one have no such entry.
const FOLDED: &str = "folding";

/// Version 4. `search_indexed` holds the greatest rowid up to which rows are indexed.
///
/// A row that is deleted leaves the index with it, and if it was the last one, its rowid is given to the next row: the
/// mark goes back with it. (A trigger cannot say OR IGNORE: the statement that fired it decides over conflicts.)
pub const SCHEMA: &str = "
CREATE TABLE search_indexed (of TEXT PRIMARY KEY, row INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO search_indexed VALUES ('workflow_runs', 0), ('workflow_node_executions', 0);
CREATE TABLE search_changed (of TEXT NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (of, row)) STRICT, WITHOUT ROWID;

CREATE VIRTUAL TABLE workflow_runs_search USING fts5
    (error, inputs, outputs, content='', contentless_delete=1, detail=column, tokenize='ascii');
CREATE TRIGGER workflow_runs_changed AFTER UPDATE ON workflow_runs
    WHEN new.rowid <= (SELECT row FROM search_indexed WHERE of = 'workflow_runs')
    AND NOT EXISTS (SELECT 1 FROM search_changed WHERE of = 'workflow_runs' AND row = new.rowid) BEGIN
    INSERT INTO search_changed VALUES ('workflow_runs', new.rowid);
END;
CREATE TRIGGER workflow_runs_deleted AFTER DELETE ON workflow_runs
    WHEN old.rowid <= (SELECT row FROM search_indexed WHERE of = 'workflow_runs') BEGIN
    DELETE FROM workflow_runs_search WHERE rowid = old.rowid;
    DELETE FROM search_changed WHERE of = 'workflow_runs' AND row = old.rowid;
    UPDATE search_indexed SET row = min(row, (SELECT coalesce(max(rowid), 0) FROM workflow_runs))
        WHERE of = 'workflow_runs';
END;

CREATE VIRTUAL TABLE workflow_node_executions_search USING fts5
    (error, title, content='', contentless_delete=1, detail=column, tokenize='ascii');
CREATE TRIGGER workflow_node_executions_changed AFTER UPDATE ON workflow_node_executions
    WHEN new.rowid <= (SELECT row FROM search_indexed WHERE of = 'workflow_node_executions')
    AND NOT EXISTS (SELECT 1 FROM search_changed WHERE of = 'workflow_node_executions' AND row = new.rowid) BEGIN
    INSERT INTO search_changed VALUES ('workflow_node_executions', new.rowid);
END;
CREATE TRIGGER workflow_node_executions_deleted AFTER DELETE ON workflow_node_executions
    WHEN old.rowid <= (SELECT row FROM search_indexed WHERE of = 'workflow_node_executions') BEGIN
    DELETE FROM workflow_node_executions_search WHERE rowid = old.rowid;
    DELETE FROM search_changed WHERE of = 'workflow_node_executions' AND row = old.rowid;
    UPDATE search_indexed SET row = min(row, (SELECT coalesce(max(rowid), 0) FROM workflow_node_executions))
        WHERE of = 'workflow_node_executions';
END;
";

/// Returns the indexed columns of a kind, in the order of its FTS5 table.
const fn indexed(kind: Kind) -> &'static [TextField] {
    match kind {
        Kind::WorkflowRun => &[TextField::Error, TextField::Inputs, TextField::Outputs],
        Kind::NodeExecution => &[TextField::Error, TextField::Title],
        Kind::AppLog | Kind::Offload => &[],
    }
}

/// Returns whether a field holds JSON, whose escapes are undone before it is looked into.
pub const fn is_json(field: TextField) -> bool {
    matches!(field, TextField::Inputs | TextField::Outputs | TextField::ProcessData)
}

/// A keyword as a question to the index.
#[derive(Debug, Clone)]
pub struct IndexSearch {
    kind: Kind,
    expression: String,
}

impl IndexSearch {
    /// `None` if the index cannot help: not all of the fields are in it, or the keyword is empty.
    pub fn new(kind: Kind, fields: &[TextField], keyword: &str) -> Option<Self> {
        let is_indexed = !fields.is_empty() && fields.iter().all(|field| indexed(kind).contains(field));
        let demand = grams::of_keyword(keyword).filter(|_| is_indexed)?;
        let prefix = if demand.is_prefix { " *" } else { "" };
        let words: Vec<_> = demand.words.iter().map(|word| format!("\"{word}\"{prefix}")).collect();
        let columns: Vec<_> = fields.iter().map(|field| field.column()).collect();
        let expression = format!("{{{}}} : ({})", columns.join(" "), words.join(" AND "));
        Some(Self { kind, expression })
    }

    /// Returns what a row of a month must be, to be looked into at all; `None`: anything, the index is too far behind,
    /// or was made with another folding.
    pub fn condition(&self, file: &OpenMonth) -> Result<Option<(String, Vec<Value>)>, SqliteFault> {
        if !file.ask(is_of_this_folding)? {
            return Ok(None);
        }
        let unknown = file.ask(|connection| self.unknown(connection))?;
        if unknown > FAR {
            return Ok(None);
        }
        let few = unknown < FEW && file.ask(|connection| self.hits_up_to_few(connection))? < FEW;
        Ok(Some(self.condition_if(few)))
    }

    /// `few`: whether to go from the hits to the rows.
    pub fn condition_if(&self, few: bool) -> (String, Vec<Value>) {
        let of = tables::of(self.kind).name;
        // The plus keeps SQLite from going from the hits to the rows: of many, all would be read and sorted.
        let row = if few { "rowid" } else { "+rowid" };
        let text = format!(
            "{row} IN (SELECT rowid FROM {of} WHERE rowid > (SELECT row FROM search_indexed WHERE of = '{of}') \
             UNION ALL SELECT row FROM search_changed WHERE of = '{of}' \
             UNION ALL SELECT rowid FROM {of}_search WHERE {of}_search MATCH ?)"
        );
        (text, vec![Value::Text(self.expression.clone())])
    }

    /// Rows that came since the index was brought up to date.
    fn unknown(&self, connection: &Connection) -> rusqlite::Result<i64> {
        let of = tables::of(self.kind).name;
        let unknown =
            format!("SELECT (SELECT coalesce(max(rowid), 0) FROM {of}) - row FROM search_indexed WHERE of = '{of}'");
        connection.prepare_cached(&unknown)?.query_row((), |row| row.get(0))
    }

    fn hits_up_to_few(&self, connection: &Connection) -> rusqlite::Result<i64> {
        let of = tables::of(self.kind).name;
        let hits = format!("SELECT count(*) FROM (SELECT 1 FROM {of}_search WHERE {of}_search MATCH ? LIMIT {FEW})");
        connection.prepare_cached(&hits)?.query_row([&self.expression], |row| row.get(0))
    }
}

/// Returns whether the rows that are indexed were folded as this program folds keywords.
fn is_of_this_folding(connection: &Connection) -> rusqlite::Result<bool> {
    let folding = format!("SELECT max(row) FROM search_indexed WHERE of = '{FOLDED}'");
    Ok(connection.prepare_cached(&folding)?.query_row((), |row| row.get::<_, Option<i64>>(0))? == Some(FOLDING))
}

/// Forgets what was indexed with another folding.
fn renew(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    for kind in [Kind::WorkflowRun, Kind::NodeExecution] {
        let of = tables::of(kind).name;
        transaction.execute(&format!("INSERT INTO {of}_search ({of}_search) VALUES ('delete-all')"), ())?;
    }
    transaction.execute("DELETE FROM search_changed", ())?;
    transaction.execute(&format!("UPDATE search_indexed SET row = 0 WHERE of <> '{FOLDED}'"), ())?;
    transaction.execute("INSERT OR REPLACE INTO search_indexed VALUES (?1, ?2)", (FOLDED, FOLDING)).map(|_| ())
}

/// Rows of a month that the index does not know as they are now, counted where there are few.
pub fn behind(connection: &Connection) -> rusqlite::Result<i64> {
    let mut behind = 0;
    for kind in [Kind::WorkflowRun, Kind::NodeExecution] {
        let of = tables::of(kind).name;
        let sql = format!(
            "SELECT (SELECT coalesce(max(rowid), 0) FROM {of}) - row \
             + (SELECT count(*) FROM (SELECT 1 FROM search_changed WHERE of = '{of}' LIMIT {})) \
             FROM search_indexed WHERE of = '{of}'",
            KEPT_UP + 1
        );
        behind += connection.prepare_cached(&sql)?.query_row((), |row| row.get::<_, i64>(0))?;
    }
    Ok(behind)
}

/// Indexes some rows of a month. Returns whether there may be more.
pub fn catch_up(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    if !is_of_this_folding(transaction)? {
        renew(transaction)?;
    }
    for kind in [Kind::WorkflowRun, Kind::NodeExecution] {
        if index_changed(transaction, kind)? || index_new(transaction, kind)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Rows that changed since they were indexed. Returns whether there were any.
fn index_changed(transaction: &Transaction<'_>, kind: Kind) -> rusqlite::Result<bool> {
    let of = tables::of(kind).name;
    let changed = format!(
        "SELECT r.rowid, {} FROM search_changed AS c JOIN {of} AS r ON r.rowid = c.row WHERE c.of = '{of}' \
         ORDER BY c.row LIMIT {STEP_ROWS}",
        columns(kind)
    );
    let rows = read(transaction, kind, &changed, None)?;
    let mut done = transaction.prepare_cached("DELETE FROM search_changed WHERE of = ?1 AND row = ?2")?;
    for row in &rows {
        write(transaction, kind, row)?;
        done.execute((of, row.rowid))?;
    }
    Ok(!rows.is_empty())
}

/// Rows that are new. Returns whether there were any.
fn index_new(transaction: &Transaction<'_>, kind: Kind) -> rusqlite::Result<bool> {
    let of = tables::of(kind).name;
    let mark = format!("SELECT row FROM search_indexed WHERE of = '{of}'");
    let mark: i64 = transaction.prepare_cached(&mark)?.query_row((), |row| row.get(0))?;
    let new = format!("SELECT rowid, {} FROM {of} WHERE rowid > ?1 ORDER BY rowid LIMIT {STEP_ROWS}", columns(kind));
    let rows = read(transaction, kind, &new, Some(mark))?;
    for row in &rows {
        write(transaction, kind, row)?;
    }
    let Some(last) = rows.last() else { return Ok(false) };
    transaction.prepare_cached("UPDATE search_indexed SET row = ?2 WHERE of = ?1")?.execute((of, last.rowid))?;
    Ok(true)
}

/// A row's grams, by column.
struct Indexed {
    rowid: i64,
    grams: Vec<Option<String>>,
}

fn columns(kind: Kind) -> String {
    indexed(kind).iter().map(|field| field.column()).collect::<Vec<_>>().join(", ")
}

/// Reads rows until their texts are enough for one step.
fn read(connection: &Connection, kind: Kind, sql: &str, after: Option<i64>) -> rusqlite::Result<Vec<Indexed>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query(rusqlite::params_from_iter(after))?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let mut grams = Vec::new();
        for (place, field) in indexed(kind).iter().enumerate() {
            let text = text::unpack(row.get_ref(place + 1)?)?;
            bytes += text.as_ref().map_or(0, |text| text.len());
            let folded = text.map(|text| if is_json(*field) { fold(&unescape(&text)) } else { fold(&text) });
            grams.push(folded.map(|text| grams::of_text(&text)));
        }
        rows.push(Indexed { rowid: row.get(0)?, grams });
        if bytes > STEP_BYTES {
            break;
        }
    }
    Ok(rows)
}

fn write(connection: &Connection, kind: Kind, row: &Indexed) -> rusqlite::Result<()> {
    let of = tables::of(kind).name;
    let marks = vec!["?"; row.grams.len() + 1].join(", ");
    let sql = format!("INSERT OR REPLACE INTO {of}_search (rowid, {}) VALUES ({marks})", columns(kind));
    let rowid = Value::Integer(row.rowid);
    let grams = row.grams.iter().map(|grams| grams.clone().map_or(Value::Null, Value::Text));
    connection.prepare_cached(&sql)?.execute(rusqlite::params_from_iter([rowid].into_iter().chain(grams))).map(|_| ())
}
