//! Rows by their primary keys: whole, or only whether they are there. Every statement here is bounded by the keys it is
//! given and reads an index on `id`.

use deadpool_postgres::GenericClient;
use uuid::Uuid;

use super::catalogue::{Catalogue, Reference};
use super::error::PostgresError;
use super::row::{RowRecord, quoted, record_of, select_list};
use crate::domain::{Kind, RecordId, TenantId};

/// Rows of a kind by their keys, in no order; absent ones are left out.
///
/// # Errors
/// [`PostgresError`] if they cannot be read.
pub async fn rows(
    client: &impl GenericClient,
    catalogue: &Catalogue,
    kind: Kind,
    ids: &[RecordId],
) -> Result<Vec<RowRecord>, PostgresError> {
    let Some(statement) = rows_statement(catalogue, kind)? else { return Ok(Vec::new()) };
    let rows = client.query(&statement, &[&uuids(ids)]).await?;
    Ok(rows.iter().map(|row| record_of(kind, row)).collect())
}

/// Returns the statement of [`rows`]; `None` where the database has no such table.
///
/// # Errors
/// [`PostgresError::Schema`] if the table lacks columns.
pub fn rows_statement(catalogue: &Catalogue, kind: Kind) -> Result<Option<String>, PostgresError> {
    let table = catalogue.table_of(kind)?;
    let statement = |name: &str| format!("SELECT {} FROM {name} t WHERE t.id = ANY($1)", select_list(kind, catalogue));
    Ok(table.map(|table| statement(&table.name)))
}

/// Returns which of these keys have a row, and of which tenant.
///
/// # Errors
/// [`PostgresError`] if they cannot be read.
pub async fn present(
    client: &impl GenericClient,
    catalogue: &Catalogue,
    kind: Kind,
    ids: &[RecordId],
) -> Result<Vec<(TenantId, RecordId)>, PostgresError> {
    let Some(table) = catalogue.table_of(kind)? else { return Ok(Vec::new()) };
    let statement = format!("SELECT t.tenant_id, t.id FROM {} t WHERE t.id = ANY($1)", table.name);
    let rows = client.query(&statement, &[&uuids(ids)]).await?;
    let pair = |row: &tokio_postgres::Row| Ok((TenantId::new(row.try_get(0)?), RecordId::new(row.try_get(1)?)));
    rows.iter().map(pair).collect()
}

/// A payload of a node execution that Dify truncated in its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffloadedPayload {
    pub node_id: RecordId,
    pub column: String,
    /// Where its full text is in Dify's storage; `None`: not asked for, or not known.
    pub key: Option<String>,
}

/// Returns the payloads of these node executions for which Dify keeps the full texts, and with `keys` where.
///
/// # Errors
/// [`PostgresError`] if they cannot be read.
pub async fn offloaded(
    client: &impl GenericClient,
    catalogue: &Catalogue,
    node_ids: &[RecordId],
    keys: bool,
) -> Result<Vec<OffloadedPayload>, PostgresError> {
    let Some(table) = catalogue.table_of(Kind::Offload)? else { return Ok(Vec::new()) };
    let key = match catalogue.table("upload_files").filter(|_| keys) {
        Some(files) => format!("(SELECT f.key::text FROM {} f WHERE f.id = t.file_id)", files.name),
        None => "NULL::text".to_owned(),
    };
    let statement = format!(
        "SELECT t.node_execution_id, t.type::text, {key} FROM {} t WHERE t.node_execution_id = ANY($1)",
        table.name
    );
    let rows = client.query(&statement, &[&uuids(node_ids)]).await?;
    let payload = |row: &tokio_postgres::Row| {
        let node_id = RecordId::new(row.try_get(0)?);
        Ok(OffloadedPayload { node_id, column: row.try_get(1)?, key: row.try_get(2)? })
    };
    rows.iter().map(payload).collect()
}

/// Rows met at points of the primary key: the next row of the tenants (empty: of any) at or after each.
///
/// # Errors
/// [`PostgresError`] if they cannot be read.
pub async fn sample(
    client: &impl GenericClient,
    catalogue: &Catalogue,
    kind: Kind,
    tenants: &[TenantId],
    points: &[Uuid],
) -> Result<Vec<RowRecord>, PostgresError> {
    let Some(table) = catalogue.table_of(kind)? else { return Ok(Vec::new()) };
    let of_tenants = if tenants.is_empty() { "" } else { " AND s.tenant_id = ANY($2)" };
    let statement = format!(
        "SELECT {columns} FROM unnest($1::uuid[]) AS point(id) CROSS JOIN LATERAL (SELECT * FROM {name} s \
         WHERE s.id >= point.id{of_tenants} ORDER BY s.id LIMIT 1) t",
        columns = select_list(kind, catalogue),
        name = table.name,
    );
    let tenants: Vec<Uuid> = tenants.iter().map(|tenant| tenant.uuid()).collect();
    let rows = if tenants.is_empty() {
        client.query(&statement, &[&points]).await?
    } else {
        client.query(&statement, &[&points, &tenants]).await?
    };
    Ok(rows.iter().map(|row| record_of(kind, row)).collect())
}

/// Returns which database this is, whatever address led to it: the cluster's system identifier, which its standbys share,
/// and the database's number. `None` where the role may not read it.
pub async fn identity(client: &impl GenericClient) -> Option<String> {
    let statement = "SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' || \
                     (SELECT oid FROM pg_database WHERE datname = current_database())::text";
    client.query_one(statement, &[]).await.ok()?.try_get(0).ok()
}

/// Tables that are read for names, where these are wanted.
pub const NAMES: [&str; 4] = ["tenant_account_joins", "apps", "tenants", "messages"];
/// The table that says whose a key of Dify's service API is.
pub const API_TOKENS: &str = "api_tokens";
/// The table that says what triggered a run, for Dify's log page.
pub const TRIGGER_LOGS: &str = "workflow_trigger_logs";

/// Returns the rights that difylog's commands need and this role does not have, as statements that its owner can run;
/// and what is missing altogether. `more` are tables that are read if they are there.
///
/// # Errors
/// [`PostgresError`] if they cannot be read.
pub async fn missing_rights(client: &impl GenericClient, more: &[&str]) -> Result<Vec<String>, PostgresError> {
    const READ: [&str; 7] = [
        "workflow_runs",
        "workflow_node_executions",
        "workflow_app_logs",
        "workflow_node_execution_offload",
        "accounts",
        "end_users",
        "upload_files",
    ];
    let statement = "SELECT t.name, to_regclass(t.name) IS NULL, \
                     coalesce(has_table_privilege(to_regclass(t.name), 'SELECT'), true), quote_ident(current_user) \
                     FROM unnest($1::text[]) AS t(name)";
    let mut lines = Vec::new();
    let tables = [READ.as_slice(), more].concat();
    for row in client.query(statement, &[&tables]).await? {
        let (name, is_missing, may_read): (&str, bool, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let role: &str = row.try_get(3)?;
        if is_missing && more.contains(&name) {
            continue;
        }
        if is_missing {
            lines.push(format!("no table {name} in this database's search path"));
        } else if !may_read {
            lines.push(format!("may not read {name}: GRANT SELECT ON {name} TO {role}"));
        }
    }
    Ok(lines)
}

/// Returns which of these runs or node executions a column of another table refers to.
///
/// # Errors
/// [`PostgresError`] if they cannot be read.
pub async fn referenced(
    client: &impl GenericClient,
    reference: &Reference,
    ids: &[RecordId],
) -> Result<Vec<RecordId>, PostgresError> {
    let (name, column) = (&reference.name, quoted(&reference.column));
    let r#type = if reference.is_uuid { "uuid" } else { "text" };
    let statement =
        format!("SELECT DISTINCT x.{column}::text FROM {name} x WHERE x.{column} = ANY($1::text[]::{type}[])");
    let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let rows = client.query(&statement, &[&texts]).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        found.extend(row.try_get::<_, &str>(0)?.trim().parse::<RecordId>());
    }
    Ok(found)
}

pub(super) fn uuids(ids: &[RecordId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.uuid()).collect()
}
