//! What apps and workspaces are called: look-ups by primary key.

use uuid::Uuid;

use super::{Client, PostgresError};

/// Of `apps`: id, name, mode, icon where it is a character and no picture.
pub type AppNameRow = (Uuid, String, String, Option<String>);

/// Returns apps of a tenant by their ids, in no order; others are left out.
///
/// # Errors
/// [`PostgresError`] if the database cannot be asked, or the role may not read `apps`.
pub async fn apps(client: &Client, tenant: Uuid, ids: &[Uuid]) -> Result<Vec<AppNameRow>, PostgresError> {
    let statement = "SELECT id, name, mode::text, CASE WHEN coalesce(icon_type::text, 'emoji') = 'emoji' THEN icon END \
                     FROM apps WHERE tenant_id = $1 AND id = ANY($2)";
    let rows = client.query(statement, &[&tenant, &ids]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))).collect()
}

/// Returns ids and names of workspaces, in no order; unknown ones are left out.
///
/// # Errors
/// [`PostgresError`] if the database cannot be asked, or the role may not read `tenants`.
pub async fn workspaces(client: &Client, ids: &[Uuid]) -> Result<Vec<(Uuid, String)>, PostgresError> {
    let rows = client.query("SELECT id, name FROM tenants WHERE id = ANY($1)", &[&ids]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
