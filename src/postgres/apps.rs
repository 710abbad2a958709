//! What Dify's tables say of apps and chats: whose key this is, and which message a run answered. Look-ups by index.

use uuid::Uuid;

use super::{Client, PostgresError};

/// An app that a key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRow {
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub mode: String,
}

/// Where a run of a chat app was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRow {
    pub run_id: Uuid,
    pub conversation_id: Uuid,
    pub message_id: Uuid,
}

/// Returns the app that a key of the service API opens. `None` wherever Dify would refuse, for whichever reason.
///
/// # Errors
/// [`PostgresError`] if the database cannot be asked.
pub async fn app_of_key(client: &Client, key: &str) -> Result<Option<AppRow>, PostgresError> {
    // Dify acts as the workspace's owner, and refuses where there is none.
    let statement = "SELECT a.id, a.tenant_id, a.mode FROM api_tokens t JOIN apps a ON a.id = t.app_id \
                     JOIN tenants w ON w.id = a.tenant_id WHERE t.token = $1 AND t.type = 'app' \
                     AND a.status = 'normal' AND a.enable_api AND w.status = 'normal' AND EXISTS (SELECT FROM \
                     tenant_account_joins j JOIN accounts o ON o.id = j.account_id WHERE j.tenant_id = w.id \
                     AND j.role = 'owner') LIMIT 2";
    let rows = client.query(statement, &[&key]).await?;
    // Nothing makes a token unique. Two apps under one would be a guess.
    let [row] = rows.as_slice() else { return Ok(None) };
    Ok(Some(AppRow { id: row.try_get(0)?, tenant_id: row.try_get(1)?, mode: row.try_get(2)? }))
}

/// Returns the messages that runs of an app answered, in no order; runs without one are left out.
///
/// # Errors
/// [`PostgresError`] if the database cannot be asked.
pub async fn messages_of_runs(client: &Client, app: Uuid, runs: &[Uuid]) -> Result<Vec<MessageRow>, PostgresError> {
    let statement = "SELECT workflow_run_id, conversation_id, id FROM messages \
                     WHERE app_id = $1 AND workflow_run_id = ANY($2)";
    let rows = client.query(statement, &[&app, &runs]).await?;
    let message = |row: &tokio_postgres::Row| {
        Ok(MessageRow { run_id: row.try_get(0)?, conversation_id: row.try_get(1)?, message_id: row.try_get(2)? })
    };
    rows.iter().map(message).collect()
}

/// Returns what triggers noted of runs of an app, run and JSON text, in no order; runs without a note are left out.
///
/// # Errors
/// [`PostgresError`] if the database cannot be asked.
pub async fn trigger_metadata(
    client: &Client,
    tenant: Uuid,
    app: Uuid,
    runs: &[Uuid],
) -> Result<Vec<(Uuid, String)>, PostgresError> {
    let statement = "SELECT workflow_run_id, trigger_metadata FROM workflow_trigger_logs WHERE tenant_id = $1 \
                     AND app_id = $2 AND workflow_run_id = ANY($3) AND trigger_metadata IS NOT NULL";
    let rows = client.query(statement, &[&tenant, &app, &runs]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
