//! Conversations: which runs answered the messages of one, and which one a run or a message belongs to.

use axum::Json;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use super::extract::{Ids, Reading};
use super::problem::{Problem, Problems};
use crate::domain::Record;
use crate::query::columns::RecordRow;
use crate::query::{Answered, TenantLogs};

#[derive(Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "the names are those of Dify's columns")]
pub(super) struct MessageView {
    #[schema(value_type = uuid::Uuid)]
    message_id: String,
    #[schema(value_type = uuid::Uuid)]
    conversation_id: String,
    #[schema(value_type = uuid::Uuid)]
    workflow_run_id: String,
}

impl From<Answered> for MessageView {
    fn from(answered: Answered) -> Self {
        Self {
            message_id: answered.message_id.to_string(),
            conversation_id: answered.conversation_id.to_string(),
            workflow_run_id: answered.run_id.to_string(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct TurnView {
    message: MessageView,
    /// Its columns without payloads; null: it is not stored
    #[schema(value_type = Option<Object>)]
    run: Option<Box<RawValue>>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ConversationView {
    /// Oldest first, at most 500
    data: Vec<TurnView>,
}

/// Conversations are known to Dify's `messages` alone.
pub(in crate::http) fn known(logs: &TenantLogs) -> Result<(), Problem> {
    if logs.knows_conversations() {
        return Ok(());
    }
    Err(Problem::not_found("conversations are looked up in Dify's PostgreSQL: set serve.names and [postgres]"))
}

/// The runs of a conversation in order
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/conversations/{conversation_id}", tag = "Search",
    params(("tenant_id" = uuid::Uuid, Path,), ("conversation_id" = uuid::Uuid, Path,)),
    responses((status = 200, body = ConversationView), Problems)
)]
pub(super) async fn conversation(Reading(logs): Reading, ids: Ids) -> Result<Json<ConversationView>, Problem> {
    known(&logs)?;
    let turns = logs.conversation(ids.get("conversation_id")?).await?;
    if turns.is_empty() {
        return Err(Problem::not_found("no such conversation with a run"));
    }
    let data = turns.into_iter().map(|turn| TurnView {
        message: turn.answered.into(),
        run: turn.run.as_ref().and_then(|run| to_raw_value(&RecordRow::of(run)).ok()),
    });
    Ok(Json(ConversationView { data: data.collect() }))
}

/// Which run answered a message
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/messages/{message_id}", tag = "Search",
    params(("tenant_id" = uuid::Uuid, Path,), ("message_id" = uuid::Uuid, Path,)),
    responses((status = 200, body = MessageView), Problems)
)]
pub(super) async fn message(Reading(logs): Reading, ids: Ids) -> Result<Json<MessageView>, Problem> {
    known(&logs)?;
    let found = logs.message(ids.get("message_id")?).await?;
    found.map(|found| Json(found.into())).ok_or_else(|| Problem::not_found("no such message with a run"))
}

/// Which message a run answered
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/runs/{run_id}/message", tag = "Search",
    params(("tenant_id" = uuid::Uuid, Path,), ("run_id" = uuid::Uuid, Path,)),
    responses((status = 200, body = MessageView), Problems)
)]
pub(super) async fn message_of_run(Reading(logs): Reading, ids: Ids) -> Result<Json<MessageView>, Problem> {
    known(&logs)?;
    let missing = || Problem::not_found("no such run, or it answered no message");
    let document = logs.run(None, ids.get("run_id")?).await?.ok_or_else(missing)?;
    let Record::Run(run) = &document.record else { return Err(missing()) };
    let found = logs.message_of_run(run.app_id, run.id).await?;
    found.map(|found| Json(found.into())).ok_or_else(missing)
}
