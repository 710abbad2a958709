//! Walks over a table in the order of an index, in ranges of keys: no statement here needs a sort or a scan of a table.
//!
//! A range is found first, by counting entries of the index (index-only), and read then. So a filter that finds little
//! never makes a statement long, and a range can be read again. Sessions of walks ([`Database::for_walks`]) are read-only
//! and tell the planner to keep to the index.
//!
//! [`Database::for_walks`]: super::Database::for_walks

use bytes::BytesMut;
use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use super::candidates::has_ended;
use super::catalogue::{Catalogue, CatalogueTable};
use super::error::PostgresError;
use super::pool::Client;
use super::row::{RowRecord, record_of, select_list};
use crate::domain::query::TimeRange;
use crate::domain::{Kind, RecordId, TenantId, Timestamp};

/// Which rows of the tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowSelection {
    /// Empty: all.
    pub tenants: Vec<TenantId>,
    pub created: TimeRange,
    /// `None`: all. The rows come in no order then.
    pub ids: Option<Vec<Uuid>>,
    /// Only rows that are newer than this, ended since, or have not ended.
    pub changed_since: Option<Timestamp>,
}

/// The order of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WalkOrder {
    /// By (`created_at`, `id`).
    CreatedAt,
    /// By `id`: the table has no index for anything better.
    PrimaryKey,
}

/// A place in a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkPlace {
    /// Only in walks by time, as PostgreSQL counts: microseconds since 2000.
    pub created_at: Option<i64>,
    pub id: Uuid,
}

/// Rows after one place, up to another; `None`: from the start, to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub after: Option<WalkPlace>,
    pub through: Option<WalkPlace>,
}

/// A row, with where Dify put the full texts of its payloads: the payload's column and the object's key (empty if the file
/// is not in `upload_files`).
#[derive(Debug, Clone, PartialEq)]
pub struct WalkRow {
    pub row: RowRecord,
    pub full_texts: Vec<(String, String)>,
}

/// How one table is walked.
#[derive(Debug, Clone)]
pub struct TableWalk {
    kind: Kind,
    order: WalkOrder,
    index: String,
    table: String,
    select: String,
    selection: RowSelection,
}

type Parameters = Vec<Box<dyn ToSql + Sync + Send>>;

impl TableWalk {
    /// Chooses the order by the indexes that are there. `None`: there is no such table. `full_texts`: look up where the
    /// full texts of nodes' truncated payloads are.
    ///
    /// # Errors
    /// [`PostgresError::Schema`] if the table is not Dify's, or has no index to walk by.
    pub fn plan(
        kind: Kind,
        catalogue: &Catalogue,
        selection: RowSelection,
        full_texts: bool,
    ) -> Result<Option<Self>, PostgresError> {
        let Some(table) = catalogue.table_of(kind)? else { return Ok(None) };
        let uuid = table.columns.get("id").is_some_and(|of| of == "uuid");
        let by_time = table.index_on(&["created_at", "id"]).map(|index| (WalkOrder::CreatedAt, index));
        let by_key = table.index_on(&["id"]).filter(|index| index.unique).map(|index| (WalkOrder::PrimaryKey, index));
        let Some((order, index)) = by_time.or(by_key).filter(|_| uuid) else {
            return Err(PostgresError::Schema(format!(
                "table {} has no primary key on a uuid column id: it cannot be walked without a sort",
                table.name
            )));
        };
        let mut select = select_list(kind, catalogue);
        if kind == Kind::NodeExecution && full_texts {
            select.push_str(", ");
            select.push_str(&full_text_keys(catalogue));
        }
        let (index, table) = (index.name.clone(), table.name.clone());
        Ok(Some(Self { kind, order, index, table, select, selection }))
    }

    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    #[must_use]
    pub const fn order(&self) -> WalkOrder {
        self.order
    }

    /// Returns the same walk over the rows that changed since an instant.
    #[must_use]
    pub fn changed_since(&self, since: Timestamp) -> Self {
        let selection = RowSelection { changed_since: Some(since), ..self.selection.clone() };
        Self { selection, ..self.clone() }
    }

    /// Returns the same walk over these rows only, whenever they were created; they come in no order.
    #[must_use]
    pub fn of_ids(&self, ids: &[RecordId]) -> Self {
        let ids = Some(ids.iter().map(|id| id.uuid()).collect());
        let selection = RowSelection { ids, ..RowSelection::default() };
        Self { order: WalkOrder::PrimaryKey, selection, ..self.clone() }
    }

    /// In words for the operator.
    #[must_use]
    pub fn describe(&self) -> String {
        let by = match self.order {
            WalkOrder::CreatedAt => "by (created_at, id)",
            WalkOrder::PrimaryKey if self.is_filtered() => {
                "by primary key, reading the whole table: no index on (created_at, id)"
            }
            WalkOrder::PrimaryKey => "by primary key: no index on (created_at, id)",
        };
        format!("{} {by}, index {}", self.table, self.index)
    }

    fn is_filtered(&self) -> bool {
        self.selection != RowSelection::default()
    }

    /// Returns the last place of the next range of `rows` entries of the index; `None`: fewer are left.
    ///
    /// # Errors
    /// [`PostgresError`] of the statement.
    pub async fn boundary(
        &self,
        client: &Client,
        after: Option<WalkPlace>,
        rows: u32,
    ) -> Result<Option<WalkPlace>, PostgresError> {
        let (statement, parameters) = self.boundary_statement(after, rows);
        let statement = client.prepare_cached(&statement).await?;
        let mut found = std::pin::pin!(client.query_raw(&statement, parameters).await?);
        let Some(row) = found.next().await else { return Ok(None) };
        let row = row?;
        Ok(Some(match self.order {
            WalkOrder::CreatedAt => {
                WalkPlace { created_at: Some(row.try_get::<_, Instant>(0)?.0), id: row.try_get(1)? }
            }
            WalkOrder::PrimaryKey => WalkPlace { created_at: None, id: row.try_get(0)? },
        }))
    }

    /// Returns the rows of a range that are selected, in the order of the walk, as the server sends them.
    ///
    /// # Errors
    /// [`PostgresError`] of the statement, at its start or in its stream.
    pub async fn read(
        &self,
        client: &Client,
        range: Range,
    ) -> Result<impl Stream<Item = Result<WalkRow, PostgresError>> + Send + use<>, PostgresError> {
        let (statement, parameters) = self.read_statement(range);
        let statement = client.prepare_cached(&statement).await?;
        let rows = client.query_raw(&statement, parameters).await?;
        let kind = self.kind;
        Ok(rows.map(move |row| Ok(walk_row(kind, &row?))))
    }

    /// About how many rows are selected, as the planner reckons.
    ///
    /// # Errors
    /// [`PostgresError`] of the statement.
    pub async fn estimate(&self, client: &Client) -> Result<u64, PostgresError> {
        let mut clauses = Clauses::default();
        self.bounds(&mut clauses, Range { after: None, through: None });
        self.filter(&mut clauses);
        let statement = format!("EXPLAIN (FORMAT JSON) SELECT t.id FROM {} t {}", self.table, clauses.where_clause());
        let statement = client.prepare_cached(&statement).await?;
        let mut rows = std::pin::pin!(client.query_raw(&statement, clauses.parameters).await?);
        let Some(row) = rows.next().await else { return Ok(0) };
        let plan: Json = row?.try_get(0)?;
        Ok(plan.0.pointer("/0/Plan/Plan Rows").and_then(serde_json::Value::as_u64).unwrap_or_default())
    }

    /// Returns every statement of this walk with example parameters inlined by `PREPARE`; for tests that look at plans.
    #[must_use]
    pub fn statements(&self) -> Vec<String> {
        let place =
            WalkPlace { created_at: (self.order == WalkOrder::CreatedAt).then_some(0), id: Uuid::from_u128(1 << 127) };
        let range = Range { after: Some(place), through: Some(place) };
        let first = Range { after: None, through: Some(place) };
        vec![
            self.boundary_statement(None, 1000).0,
            self.boundary_statement(Some(place), 1000).0,
            self.read_statement(first).0,
            self.read_statement(range).0,
        ]
    }

    fn key(&self) -> &'static str {
        match self.order {
            WalkOrder::CreatedAt => "t.created_at, t.id",
            WalkOrder::PrimaryKey => "t.id",
        }
    }

    fn boundary_statement(&self, after: Option<WalkPlace>, rows: u32) -> (String, Parameters) {
        let mut clauses = Clauses::default();
        self.bounds(&mut clauses, Range { after, through: None });
        let offset = clauses.add(i64::from(rows.saturating_sub(1)));
        let (key, table, bounds) = (self.key(), &self.table, clauses.where_clause());
        let statement = format!("SELECT {key} FROM {table} t {bounds} ORDER BY {key} OFFSET {offset}::bigint LIMIT 1");
        (statement, clauses.parameters)
    }

    fn read_statement(&self, range: Range) -> (String, Parameters) {
        let mut clauses = Clauses::default();
        self.bounds(&mut clauses, range);
        self.filter(&mut clauses);
        let (select, table, key, conditions) = (&self.select, &self.table, self.key(), clauses.where_clause());
        // An order would tempt the planner into walking the whole index for a few rows.
        let order = if self.selection.ids.is_some() { String::new() } else { format!(" ORDER BY {key}") };
        (format!("SELECT {select} FROM {table} t {conditions}{order}"), clauses.parameters)
    }

    /// The range, and in walks by time the selected span, which are all conditions on the index.
    fn bounds(&self, clauses: &mut Clauses, range: Range) {
        for (place, compare) in [(range.after, ">"), (range.through, "<=")] {
            let Some(place) = place else { continue };
            let id = clauses.add(place.id);
            match (self.order, place.created_at) {
                (WalkOrder::CreatedAt, Some(at)) => {
                    let at = clauses.add(Instant(at));
                    clauses.push(format!("(t.created_at, t.id) {compare} ({at}::timestamp, {id}::uuid)"));
                }
                _ => clauses.push(format!("t.id {compare} {id}::uuid")),
            }
        }
        if self.order == WalkOrder::CreatedAt {
            self.span(clauses);
        }
    }

    fn span(&self, clauses: &mut Clauses) {
        for (bound, compare) in [(self.selection.created.from, ">="), (self.selection.created.until, "<")] {
            if let Some(bound) = bound {
                let bound = clauses.add(Instant::of(bound));
                clauses.push(format!("t.created_at {compare} {bound}::timestamp"));
            }
        }
    }

    fn filter(&self, clauses: &mut Clauses) {
        if let Some(ids) = &self.selection.ids {
            let ids = clauses.add(ids.clone());
            clauses.push(format!("t.id = ANY({ids}::uuid[])"));
        }
        if self.order == WalkOrder::PrimaryKey {
            self.span(clauses);
        }
        if !self.selection.tenants.is_empty() {
            let tenants: Vec<Uuid> = self.selection.tenants.iter().map(|tenant| tenant.uuid()).collect();
            let tenants = clauses.add(tenants);
            clauses.push(format!("t.tenant_id = ANY({tenants}::uuid[])"));
        }
        if let Some(since) = self.selection.changed_since {
            let since = clauses.add(Instant::of(since));
            let created = format!("t.created_at >= {since}::timestamp");
            clauses.push(match self.kind {
                Kind::AppLog | Kind::Offload => created,
                Kind::WorkflowRun | Kind::NodeExecution => {
                    let ended = has_ended(self.kind);
                    format!("({created} OR t.finished_at >= {since}::timestamp OR NOT {ended})")
                }
            });
        }
    }
}

/// Returns an array of `column:key` texts. Both lookups go by an index.
fn full_text_keys(catalogue: &Catalogue) -> String {
    let (Some(offloads), Some(files)) =
        (catalogue.table("workflow_node_execution_offload"), catalogue.table("upload_files"))
    else {
        return "NULL::text[]".to_owned();
    };
    let indexed = |table: &CatalogueTable, column| table.index_on(&[column]).is_some();
    if !indexed(offloads, "node_execution_id") || !indexed(files, "id") {
        return "NULL::text[]".to_owned();
    }
    format!(
        "ARRAY(SELECT o.type || ':' || COALESCE((SELECT f.key FROM {} f WHERE f.id = o.file_id), '') \
         FROM {} o WHERE o.node_execution_id = t.id)::text[]",
        files.name, offloads.name
    )
}

fn walk_row(kind: Kind, row: &Row) -> WalkRow {
    let places: Vec<String> = match kind {
        Kind::NodeExecution => row.try_get::<_, Option<_>>(row.len().saturating_sub(1)).ok().flatten(),
        _ => None,
    }
    .unwrap_or_default();
    let split = |place: String| place.split_once(':').map(|(column, key)| (column.to_owned(), key.to_owned()));
    WalkRow { row: record_of(kind, row), full_texts: places.into_iter().filter_map(split).collect() }
}

/// Conditions with their parameters, numbered as they come.
#[derive(Default)]
struct Clauses {
    conditions: Vec<String>,
    parameters: Parameters,
}

impl Clauses {
    fn add(&mut self, parameter: impl ToSql + Sync + Send + 'static) -> String {
        self.parameters.push(Box::new(parameter));
        format!("${}", self.parameters.len())
    }

    fn push(&mut self, condition: String) {
        self.conditions.push(condition);
    }

    fn where_clause(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!("WHERE {}", self.conditions.join(" AND ")) }
    }
}

/// A timestamp as PostgreSQL counts it, so that `infinity` is a place like any other.
#[derive(Debug, Clone, Copy)]
struct Instant(i64);

impl Instant {
    const fn of(at: Timestamp) -> Self {
        Self(at.micros() - super::row::EPOCH)
    }
}

impl<'a> FromSql<'a> for Instant {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(i64::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TIMESTAMP || *of == Type::TIMESTAMPTZ
    }
}

impl ToSql for Instant {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0.to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TIMESTAMP || *of == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

/// The text of a plan.
struct Json(serde_json::Value);

impl<'a> FromSql<'a> for Json {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(serde_json::from_slice(raw)?))
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::JSON
    }
}
