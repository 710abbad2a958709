//! Which runs answered the messages of a conversation: look-ups by key, of apps of one tenant only. Dify keeps it in
//! `messages` alone.

use uuid::Uuid;

use super::{Client, PostgresError};

/// A message that a run answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnsweredRow {
    pub message_id: Uuid,
    pub conversation_id: Uuid,
    pub run_id: Uuid,
    pub app_id: Uuid,
}

const COLUMNS: &str = "SELECT m.id, m.conversation_id, m.workflow_run_id, m.app_id FROM messages m \
                       JOIN apps a ON a.id = m.app_id WHERE a.tenant_id = $1 AND m.workflow_run_id IS NOT NULL";

fn answered(row: &tokio_postgres::Row) -> Result<AnsweredRow, PostgresError> {
    Ok(AnsweredRow {
        message_id: row.try_get(0)?,
        conversation_id: row.try_get(1)?,
        run_id: row.try_get(2)?,
        app_id: row.try_get(3)?,
    })
}

/// Returns the messages of a conversation that runs answered, oldest first, at most `limit`.
///
/// # Errors
/// [`PostgresError`] if the database cannot be asked, or the role may not read `messages` and `apps`. So for every function
/// here.
pub async fn of_conversation(
    client: &Client,
    tenant: Uuid,
    conversation: Uuid,
    limit: i64,
) -> Result<Vec<AnsweredRow>, PostgresError> {
    let statement = format!("{COLUMNS} AND m.conversation_id = $2 ORDER BY m.created_at, m.id LIMIT $3");
    client.query(&statement, &[&tenant, &conversation, &limit]).await?.iter().map(answered).collect()
}

/// Returns the message that a run of an app answered.
///
/// # Errors
/// See [`of_conversation`].
pub async fn of_run(client: &Client, tenant: Uuid, app: Uuid, run: Uuid) -> Result<Option<AnsweredRow>, PostgresError> {
    let statement = format!("{COLUMNS} AND m.app_id = $2 AND m.workflow_run_id = $3 LIMIT 1");
    client.query_opt(&statement, &[&tenant, &app, &run]).await?.as_ref().map(answered).transpose()
}

/// Returns a message by its id, if a run answered it.
///
/// # Errors
/// See [`of_conversation`].
pub async fn of_message(client: &Client, tenant: Uuid, message: Uuid) -> Result<Option<AnsweredRow>, PostgresError> {
    let statement = format!("{COLUMNS} AND m.id = $2");
    client.query_opt(&statement, &[&tenant, &message]).await?.as_ref().map(answered).transpose()
}
