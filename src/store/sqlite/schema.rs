//! What a month file looks like, and how an older one becomes the newest. Writes no records.
//!
//! The version is `PRAGMA user_version`. A new file gets the newest tables at once (`tables`, out of the domain's columns);
//! `UPGRADES[n]` brings a file from version `n + 1` to `n + 2`, and columns that a file lacks are added by comparing it with
//! the list. (An upgraded file has its added columns last, behind payloads; only rows larger than a page feel that.)

use std::collections::HashSet;
use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::fault::SqliteFault;
use super::{newest, search, tables, text};
use crate::domain::schema::newer_columns;
use crate::domain::{Kind, Month};

/// `dylg`: tells a month file from any other SQLite file.
pub const APPLICATION_ID: i32 = 0x6479_6c67;

/// The last version that was made by hand; see [`add_columns`].
const BASE: i32 = 8;

/// The version that this program writes and reads: one more for each column that newer versions of Dify brought.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "a handful of columns")]
pub const VERSION: i32 = BASE + newer_columns() as i32;

/// What every version has besides the tables of records.
const INDICES: &str = "
CREATE INDEX workflow_runs_newest ON workflow_runs (tenant_id, app_id, created_at DESC, id DESC);
CREATE INDEX workflow_node_executions_of_run ON workflow_node_executions (tenant_id, workflow_run_id)
    WHERE workflow_run_id IS NOT NULL;
CREATE INDEX workflow_app_logs_newest ON workflow_app_logs (tenant_id, app_id, created_at DESC, id DESC);
CREATE INDEX workflow_offloads_of_node ON workflow_offloads (tenant_id, node_execution_id)
    WHERE node_execution_id IS NOT NULL;
CREATE TABLE graphs (tenant_id BLOB NOT NULL, hash BLOB NOT NULL, text ANY NOT NULL) STRICT;
CREATE UNIQUE INDEX graphs_identity ON graphs (tenant_id, hash);
";

/// What every version but the first has: tombstones of erased records, and the indices of the walks. The indices by
/// time grow at their end, so they cost little to keep.
const WALKS: &str = "
CREATE TABLE tombstones (
    kind TEXT NOT NULL, tenant_id BLOB NOT NULL, id BLOB NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (kind, tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX workflow_runs_by_time ON workflow_runs (created_at, id, tenant_id);
CREATE INDEX workflow_node_executions_by_time ON workflow_node_executions (created_at, id, tenant_id);
CREATE INDEX workflow_node_executions_of_node
    ON workflow_node_executions (tenant_id, workflow_id, node_id, created_at);
CREATE INDEX workflow_app_logs_by_time ON workflow_app_logs (created_at, id, tenant_id);
CREATE INDEX workflow_app_logs_of_run ON workflow_app_logs (tenant_id, workflow_run_id);
CREATE INDEX workflow_offloads_by_time ON workflow_offloads (created_at, id, tenant_id);
";

/// Version 1 to 2: who wrote a document, creators of logs, what encloses a node.
const ORIGINS: &str = "
ALTER TABLE workflow_runs ADD COLUMN origin BLOB;
ALTER TABLE workflow_node_executions ADD COLUMN origin BLOB;
ALTER TABLE workflow_node_executions ADD COLUMN iteration_id TEXT;
ALTER TABLE workflow_node_executions ADD COLUMN loop_id TEXT;
ALTER TABLE workflow_app_logs ADD COLUMN creator TEXT;
ALTER TABLE workflow_app_logs ADD COLUMN origin BLOB;
ALTER TABLE workflow_offloads ADD COLUMN origin BLOB;
UPDATE workflow_node_executions SET
    iteration_id = metadata_text(execution_metadata, 'iteration_id'),
    loop_id = metadata_text(execution_metadata, 'loop_id')
WHERE execution_metadata IS NOT NULL;
";

/// What version 3 has besides: what has not ended, which alone can have a newer copy in another month; and everything
/// that statistics of an app ask for in the index of its runs, so that they read no row.
const STATISTICS: &str = "
CREATE INDEX workflow_runs_unended ON workflow_runs (tenant_id, id, revision)
    WHERE revision < 4611686018427387904;
CREATE INDEX workflow_node_executions_unended ON workflow_node_executions (tenant_id, id, revision)
    WHERE revision < 4611686018427387904;
DROP INDEX workflow_runs_newest;
CREATE INDEX workflow_runs_newest ON workflow_runs
    (tenant_id, app_id, created_at DESC, id DESC, triggered_from, status, created_by, total_tokens);
";

/// What version 5 has besides: the rows whose payloads were cut, which are few, with the names of the full texts.
const FULL_TEXTS: &str = "
CREATE INDEX workflow_runs_truncated ON workflow_runs (tenant_id, truncated) WHERE truncated IS NOT NULL;
CREATE INDEX workflow_node_executions_truncated ON workflow_node_executions (tenant_id, truncated)
    WHERE truncated IS NOT NULL;
";

/// What version 8 has besides: what a row had beside its record can be too large for any kind. Made when the columns are there.
const LOG_TEXTS: &str = "
CREATE INDEX IF NOT EXISTS workflow_app_logs_truncated ON workflow_app_logs (tenant_id, truncated)
    WHERE truncated IS NOT NULL;
CREATE INDEX IF NOT EXISTS workflow_offloads_truncated ON workflow_offloads (tenant_id, truncated)
    WHERE truncated IS NOT NULL;
";

/// Returns what version 6 has besides: what ended after the file's month, of which another month may hold a copy, too.
fn ended_later(month: Month) -> String {
    let later = newest::ended_later(month);
    ["workflow_runs", "workflow_node_executions"]
        .map(|table| format!("CREATE INDEX {table}_ended_later ON {table} (tenant_id, id, revision) WHERE {later};"))
        .concat()
}

/// From version `n + 1` to `n + 2`; the step from 5 to 6 is made for the month, see [`ended_later`].
const UPGRADES: [&[&str]; 4] = [&[ORIGINS, WALKS], &[STATISTICS], &[search::SCHEMA], &[FULL_TEXTS]];

/// What a file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// Just created, by us or by a writer that has not got further yet.
    Empty,
    Current,
    /// Written by an earlier difylog.
    Older(i32),
}

/// Looks at a file's version, changing nothing.
///
/// # Errors
/// Damaged, a file of another program, or of a newer difylog.
pub fn state(connection: &Connection, path: &Path) -> Result<FileState, SqliteFault> {
    let found = || {
        // In one snapshot: the writer may create the tables between two looks.
        let snapshot = connection.unchecked_transaction()?;
        let value = |pragma: &str| snapshot.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
        Ok((value("application_id")?, value("user_version")?, value("schema_version")?))
    };
    match found().map_err(|error| SqliteFault::of(&error, path))? {
        // The schema cookie of a file without any table is 0.
        (0, 0, 0) => Ok(FileState::Empty),
        (APPLICATION_ID, VERSION, _) => Ok(FileState::Current),
        (APPLICATION_ID, version, _) if (1..VERSION).contains(&version) => Ok(FileState::Older(version)),
        (APPLICATION_ID, version, _) => Err(SqliteFault::Damaged(format!(
            "{}: written by a newer difylog (schema {version}, this one knows {VERSION}): upgrade difylog",
            path.display()
        ))),
        _ => Err(SqliteFault::Damaged(format!("{}: not a file of difylog: move it away", path.display()))),
    }
}

/// Creates the schema of a month's file or brings it up to date, in one transaction.
pub fn migrate(connection: &mut Connection, path: &Path, month: Month) -> Result<(), SqliteFault> {
    let ended_later = ended_later(month);
    let migrated = match state(connection, path)? {
        FileState::Current => return Ok(()),
        FileState::Empty => {
            let tables = Kind::ALL.map(tables::create);
            let rest = [INDICES, WALKS, STATISTICS, search::SCHEMA, FULL_TEXTS, ended_later.as_str()];
            apply(connection, tables.iter().map(String::as_str).chain(rest))
        }
        FileState::Older(version) => {
            let done = usize::try_from(version - 1).unwrap_or(0);
            let last = (version < 6).then_some(ended_later.as_str());
            apply(connection, UPGRADES.iter().skip(done).copied().flatten().copied().chain(last))
        }
    };
    migrated.map_err(|error| SqliteFault::of(&error, path))
}

fn apply<'s>(connection: &mut Connection, statements: impl Iterator<Item = &'s str>) -> rusqlite::Result<()> {
    text::add_functions(connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for batch in statements {
        transaction.execute_batch(batch)?;
    }
    add_columns(&transaction)?;
    transaction.execute_batch(LOG_TEXTS)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Adds the columns that the tables of an older file lack: from version 6 on, this and an index or two are all that an upgrade does.
fn add_columns(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    for kind in Kind::ALL {
        let table = tables::of(kind).name;
        let mut statement = transaction.prepare("SELECT name FROM pragma_table_info(?1)")?;
        let there: HashSet<String> = statement.query_map([table], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for column in tables::stored_of(kind).filter(|column| !there.contains(column.name())) {
            transaction.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {}", column.declaration()))?;
        }
    }
    Ok(())
}

/// Returns how SQLite goes about a statement over a month, in its own words.
#[cfg(test)]
pub fn plan(sql: &str, values: &[rusqlite::types::Value]) -> String {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection, Path::new("memory"), Month::new(2026, 11).unwrap()).unwrap();
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let steps = statement.query_map(rusqlite::params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
    steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::query::Content;
    use crate::domain::schema::{columns, tests::example};
    use crate::domain::{BulkAction, Document, Record, Revision};
    use crate::store::sqlite::{decode, encode};

    fn document(record: Record, revision: i64) -> Document {
        let revision = Revision::from_stored(revision);
        Document { record, revision, graph: None, truncated: Vec::new(), origin: None, extra: None }
    }

    fn write(connection: &Connection, document: &Document) {
        let row = encode::EncodedRow::new(BulkAction::Document(Arc::new(document.clone())), true);
        let values: Vec<_> = row.document_values(document).collect();
        let written = connection.execute(&tables::of(document.kind()).upsert, rusqlite::params_from_iter(values));
        assert_eq!(written, Ok(1));
    }

    fn read(connection: &Connection, kind: Kind) -> Document {
        let sql = tables::of(kind).select(Content::Full);
        connection.query_row(&sql, (), |row| decode::document(kind, row)).unwrap()
    }

    /// A file of the last version before the columns that newer versions of Dify brought.
    #[test]
    fn a_file_without_the_newer_columns_gets_them_and_keeps_its_rows() {
        let mut connection = Connection::open_in_memory().unwrap();
        let (path, month) = (Path::new("memory"), Month::new(2026, 11).unwrap());
        migrate(&mut connection, path, month).unwrap();
        for kind in Kind::ALL {
            write(&connection, &document(Record::blank(kind), 1));
            for column in columns(kind).iter().filter(|column| column.is_newer) {
                let sql = format!("ALTER TABLE {} DROP COLUMN {}", tables::of(kind).name, column.name);
                connection.execute_batch(&sql).unwrap();
            }
        }
        connection.pragma_update(None, "user_version", BASE).unwrap();
        assert_eq!(state(&connection, path).unwrap(), FileState::Older(BASE));
        migrate(&mut connection, path, month).unwrap();
        assert_eq!(state(&connection, path).unwrap(), FileState::Current);
        for kind in Kind::ALL {
            assert_eq!(read(&connection, kind), document(Record::blank(kind), 1));
            let mut newer = document(Record::blank(kind), 2);
            for column in columns(kind).iter().filter(|column| column.is_newer) {
                assert!(column.set(&mut newer.record, example(column).1));
            }
            write(&connection, &newer);
            assert_eq!(read(&connection, kind), newer);
        }
    }
}
