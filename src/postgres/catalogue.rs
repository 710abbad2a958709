//! What is there: Dify's log tables, their columns and indexes, read from the server's catalogue. Dify's versions differ
//! in their indexes, and operators add their own; plans are chosen by what is found, never by a version number.

use std::collections::BTreeMap;

use super::error::PostgresError;
use super::pool::Client;
use super::row::table_of;
use crate::codec::table_columns;
use crate::domain::Kind;

/// Dify's log tables, as far as they are there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalogue {
    tables: BTreeMap<String, Table>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// Schema-qualified and quoted, for statements.
    pub name: String,
    /// Columns by name, with the names of their types.
    pub columns: BTreeMap<String, String>,
    /// Usable ones: b-trees that are valid and cover every row.
    pub indexes: Vec<Index>,
}

/// An index: its columns in their order, ascending ones only; an expression or a descending column ends the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub name: String,
    pub columns: Vec<String>,
    pub unique: bool,
}

/// The tables that difylog may read or clean.
const TABLES: [&str; 10] = [
    "workflow_runs",
    "workflow_node_executions",
    "workflow_app_logs",
    "workflow_node_execution_offload",
    "workflow_pauses",
    "workflow_pause_reasons",
    "workflow_trigger_logs",
    "upload_files",
    "accounts",
    "end_users",
];

const COLUMNS: &str = "SELECT c.relname::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname), a.attname::text, \
     format_type(a.atttypid, NULL) \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
     WHERE c.relkind IN ('r', 'p') AND c.oid = to_regclass(c.relname::text) AND c.relname = ANY($1)";

const INDEXES: &str = "SELECT c.relname::text, i.relname::text, x.indisunique, \
     ARRAY(SELECT CASE WHEN k.option & 1 = 0 THEN a.attname::text END \
           FROM unnest(x.indkey::int2[], x.indoption::int2[]) WITH ORDINALITY AS k(attnum, option, place) \
           LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum \
           WHERE k.place <= x.indnkeyatts ORDER BY k.place) \
     FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid \
     JOIN pg_am m ON m.oid = i.relam \
     WHERE c.oid = to_regclass(c.relname::text) AND c.relname = ANY($1) AND m.amname = 'btree' \
     AND x.indisvalid AND x.indpred IS NULL";

impl Catalogue {
    /// Reads the catalogue of the session's search path.
    ///
    /// # Errors
    /// [`PostgresError`] if it cannot be read.
    pub async fn read(client: &Client) -> Result<Self, PostgresError> {
        let names = TABLES.as_slice();
        let mut tables: BTreeMap<String, Table> = BTreeMap::new();
        for row in client.query(COLUMNS, &[&names]).await? {
            let table = tables.entry(row.try_get(0)?).or_default();
            table.name = row.try_get(1)?;
            table.columns.insert(row.try_get(2)?, row.try_get(3)?);
        }
        for row in client.query(INDEXES, &[&names]).await? {
            let columns: Vec<Option<String>> = row.try_get(3)?;
            let Some(table) = tables.get_mut(row.try_get::<_, &str>(0)?) else { continue };
            table.indexes.push(Index {
                name: row.try_get(1)?,
                unique: row.try_get(2)?,
                columns: columns.into_iter().map_while(|column| column).collect(),
            });
        }
        for table in tables.values_mut() {
            table.indexes.sort_by(|one, other| one.name.cmp(&other.name));
        }
        Ok(Self { tables })
    }

    /// A table by its plain name.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.get(name)
    }

    /// The table of a kind, with every column that its records need. `None`: this database has no such table; only the
    /// table of offloads may be absent (Dify before 1.8).
    ///
    /// # Errors
    /// [`PostgresError::Schema`] that names what is missing.
    pub fn table_of(&self, kind: Kind) -> Result<Option<&Table>, PostgresError> {
        let name = table_of(kind);
        let Some(table) = self.table(name) else {
            if kind == Kind::Offload {
                return Ok(None);
            }
            return Err(PostgresError::Schema(format!(
                "the database has no table {name}: check postgres.url (Dify's database, and a role that may see its tables)"
            )));
        };
        let missing: Vec<_> =
            table_columns(kind).filter(|name| *name != "creator" && !table.columns.contains_key(*name)).collect();
        if missing.is_empty() {
            return Ok(Some(table));
        }
        Err(PostgresError::Schema(format!(
            "table {name} lacks {}: difylog reads the tables of Dify 1.10 and later; upgrade Dify first",
            missing.join(", ")
        )))
    }
}

impl Table {
    /// An index whose first columns are these, in this order, ascending.
    #[must_use]
    pub fn index_on(&self, columns: &[&str]) -> Option<&Index> {
        self.indexes.iter().find(|index| {
            index.columns.len() >= columns.len() && index.columns.iter().zip(columns).all(|(own, wanted)| own == wanted)
        })
    }
}
