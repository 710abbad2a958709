//! What is there: Dify's log tables, their columns and indexes, read from the server's catalogue. Dify's versions differ
//! in their indexes, and operators add their own; plans are chosen by what is found, never by a version number.

use std::collections::BTreeMap;

use super::error::PostgresError;
use super::pool::Client;
use super::row::table_of;
use crate::domain::Kind;
use crate::domain::schema::columns;

/// Dify's log tables, as far as they are there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalogue {
    tables: BTreeMap<String, CatalogueTable>,
    references: Vec<Reference>,
}

/// A column of a table that is none of difylog's, and that refers to runs or node executions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// What it refers to.
    pub target: Kind,
    /// The plain name of its table.
    pub table: String,
    /// Schema-qualified and quoted, for statements.
    pub name: String,
    pub column: String,
    pub is_uuid: bool,
    /// Whether an index begins with the column.
    pub is_indexed: bool,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CatalogueTable {
    /// Schema-qualified and quoted, for statements.
    pub name: String,
    /// Columns by name, with the names of their types.
    pub columns: BTreeMap<String, String>,
    /// Columns that a row can be given a value of, by name; generated ones are left out.
    pub writable: BTreeMap<String, Writable>,
    /// Usable ones: b-trees that are valid and cover every row.
    pub indexes: Vec<Index>,
}

/// A column as a statement that writes it needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writable {
    /// Its type with its modifiers, as in `character varying(255)`.
    pub r#type: String,
    pub has_default: bool,
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
     format_type(a.atttypid, NULL), format_type(a.atttypid, a.atttypmod), a.atthasdef OR a.attidentity <> '', \
     a.attgenerated = '' \
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

/// Kinds that rows of other tables refer to, with the column that is known to do so.
const REFERRED_TO: [(Kind, &str); 2] =
    [(Kind::WorkflowRun, "workflow_run_id"), (Kind::NodeExecution, "node_execution_id")];

/// `$1`: the name of a column that refers; `$2`: the table that foreign keys lead to.
const REFERENCES: &str = "SELECT c.relname::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname), \
     a.attname::text, a.atttypid = 'uuid'::regtype, \
     EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indkey[0] = a.attnum AND x.indisvalid \
             AND x.indpred IS NULL) \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND pg_table_is_visible(c.oid) \
     AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND c.relname NOT IN ('workflow_runs', \
     'workflow_node_executions', 'workflow_app_logs', 'workflow_node_execution_offload', 'workflow_pauses') \
     AND (a.attname::text = $1::text OR EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid \
          AND k.contype = 'f' AND k.confrelid = to_regclass($2::text) AND k.conkey = ARRAY[a.attnum])) \
     AND format_type(a.atttypid, NULL) IN ('uuid', 'text', 'character varying', 'character') \
     ORDER BY 1, 3";

impl Catalogue {
    /// Reads the catalogue of the session's search path.
    ///
    /// # Errors
    /// [`PostgresError`] if it cannot be read.
    pub async fn read(client: &Client) -> Result<Self, PostgresError> {
        let names = TABLES.as_slice();
        let mut tables: BTreeMap<String, CatalogueTable> = BTreeMap::new();
        for row in client.query(COLUMNS, &[&names]).await? {
            let table = tables.entry(row.try_get(0)?).or_default();
            table.name = row.try_get(1)?;
            table.columns.insert(row.try_get(2)?, row.try_get(3)?);
            if row.try_get(6)? {
                let column = Writable { r#type: row.try_get(4)?, has_default: row.try_get(5)? };
                table.writable.insert(row.try_get(2)?, column);
            }
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
        let mut references = Vec::new();
        for (target, column) in REFERRED_TO {
            for row in client.query(REFERENCES, &[&column, &table_of(target)]).await? {
                references.push(Reference {
                    target,
                    table: row.try_get(0)?,
                    name: row.try_get(1)?,
                    column: row.try_get(2)?,
                    is_uuid: row.try_get(3)?,
                    is_indexed: row.try_get(4)?,
                });
            }
        }
        Ok(Self { tables, references })
    }

    /// Returns what refers to runs and node executions beside their own rows: Dify's messages, trigger logs, archive logs,
    /// draft variables and whatever else has a column `workflow_run_id` or `node_execution_id`, or a foreign key to either,
    /// by table. Pauses are looked at apart.
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// Returns a table by its plain name.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&CatalogueTable> {
        self.tables.get(name)
    }

    /// Columns that no record has, table by table, in words for the operator; none is the rule.
    #[must_use]
    pub fn describe_unknown_columns(&self) -> Vec<String> {
        let tables = Kind::ALL.into_iter().filter_map(|kind| Some((kind, self.table(table_of(kind))?)));
        let line = |(kind, table): (Kind, &CatalogueTable)| {
            let names: Vec<&str> = table.unknown_columns(kind).map(|(name, _)| name).collect();
            let text = "columns that this version does not know, kept beside the record";
            (!names.is_empty()).then(|| format!("{}: {text}: {}", table_of(kind), names.join(", ")))
        };
        tables.filter_map(line).collect()
    }

    /// Returns the table of a kind, with every column that its records need. `None`: this database has no such table;
    /// only the table of offloads may be absent (Dify before 1.8).
    ///
    /// # Errors
    /// [`PostgresError::Schema`] that names what is missing.
    pub fn table_of(&self, kind: Kind) -> Result<Option<&CatalogueTable>, PostgresError> {
        let name = table_of(kind);
        let Some(table) = self.table(name) else {
            if kind == Kind::Offload {
                return Ok(None);
            }
            return Err(PostgresError::Schema(format!(
                "the database has no table {name}: check postgres.url (Dify's database, and a role that may see its tables)"
            )));
        };
        let needed = columns(kind).iter().filter(|column| !column.is_ours && !column.is_newer);
        let missing: Vec<_> =
            needed.map(|column| column.name).filter(|name| !table.columns.contains_key(*name)).collect();
        if missing.is_empty() {
            return Ok(Some(table));
        }
        Err(PostgresError::Schema(format!(
            "table {name} lacks {}: difylog reads the tables of Dify 1.10 and later; upgrade Dify first",
            missing.join(", ")
        )))
    }
}

impl CatalogueTable {
    /// Columns of a kind's table that no record has, by name. A generated one comes again by itself and is none.
    pub fn unknown_columns(&self, kind: Kind) -> impl Iterator<Item = (&str, &Writable)> {
        let is_known = move |name: &str| columns(kind).iter().any(|known| known.name == name && !known.is_ours);
        self.writable.iter().map(|(name, column)| (name.as_str(), column)).filter(move |(name, _)| !is_known(name))
    }

    /// Returns an index whose first columns are these, in this order, ascending.
    #[must_use]
    pub fn index_on(&self, columns: &[&str]) -> Option<&Index> {
        self.indexes.iter().find(|index| {
            index.columns.len() >= columns.len() && index.columns.iter().zip(columns).all(|(own, wanted)| own == wanted)
        })
    }
}
