//! What apps and workspaces are called: look-ups by primary key.

use uuid::Uuid;

use super::{Client, PostgresError};

/// Of `apps`: id, name, mode, icon where it is a character and no picture.
pub type AppNameRow = (Uuid, String, String, Option<String>);

const APPS: &str = "SELECT id, name, mode::text, \
                    CASE WHEN coalesce(icon_type::text, 'emoji') = 'emoji' THEN icon END FROM apps";

fn app(row: &tokio_postgres::Row) -> Result<AppNameRow, PostgresError> {
    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
}

/// Returns apps of a tenant by their ids, in no order; others are left out.
///
/// # Errors
/// [`PostgresError`] if the database cannot be asked, or the role may not read `apps`.
pub async fn apps(client: &Client, tenant: Uuid, ids: &[Uuid]) -> Result<Vec<AppNameRow>, PostgresError> {
    let rows = client.query(&format!("{APPS} WHERE tenant_id = $1 AND id = ANY($2)"), &[&tenant, &ids]).await?;
    rows.iter().map(app).collect()
}

/// Returns ids and names of workspaces, in no order; unknown ones are left out.
///
/// # Errors
/// [`PostgresError`] if the database cannot be asked, or the role may not read `tenants`.
pub async fn workspaces(client: &Client, ids: &[Uuid]) -> Result<Vec<(Uuid, String)>, PostgresError> {
    let rows = client.query("SELECT id, name FROM tenants WHERE id = ANY($1)", &[&ids]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Returns up to `limit` workspaces by ascending id, those after `after`; of `only` alone, unless that is empty.
///
/// # Errors
/// See [`workspaces`].
pub async fn workspaces_after(
    client: &Client,
    after: Option<Uuid>,
    only: &[Uuid],
    limit: i64,
) -> Result<Vec<(Uuid, String)>, PostgresError> {
    let statement = "SELECT id, name FROM tenants WHERE ($1::uuid IS NULL OR id > $1) \
                     AND (cardinality($2::uuid[]) = 0 OR id = ANY($2)) ORDER BY id LIMIT $3";
    let rows = client.query(statement, &[&after, &only, &limit]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Returns every app of a tenant, in no order.
///
/// # Errors
/// See [`apps`].
pub async fn all_apps(client: &Client, tenant: Uuid) -> Result<Vec<AppNameRow>, PostgresError> {
    let rows = client.query(&format!("{APPS} WHERE tenant_id = $1"), &[&tenant]).await?;
    rows.iter().map(app).collect()
}
