//! One run and its node executions. What has ended is answered from the store; the rest is Dify's, as long as it has it.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::Value;

use super::access::Access;
use super::answer::{PassOnReason, json, known};
use super::upstream::{Credentials, Upstream};
use crate::domain::{Document, Record, RecordId, Revision};
use crate::http::api::views::{RunDetail, node_items};
use crate::query::TenantLogs;
use crate::telemetry::system_clock;
use tokio::sync::OwnedSemaphorePermit;

/// Node types whose icons Dify adds to its answer.
const WITH_ICONS: [&str; 3] = ["tool", "datasource", "trigger-plugin"];

/// Most bytes of cut payloads that one answer is made whole with.
const MAX_WHOLE: u64 = 64 << 20;
/// Longer than any `refresh_interval` in use.
const SETTLED_MICROS: i64 = 60_000_000;
pub(super) const NOT_STORED: PassOnReason = PassOnReason::Dify("no such run in the store");

/// What a caller asks for.
pub(super) struct AskedRun<'a> {
    pub run_id: RecordId,
    /// Path and query as they came.
    pub path_and_query: &'a str,
}

#[derive(Deserialize)]
struct DifyNodes {
    data: Vec<Value>,
}

/// What a source has of a run.
pub(super) enum FoundRun {
    /// Whole, with the full texts of what was cut.
    Stored(Document),
    /// Dify's own answer.
    Difys(Response),
}

/// Returns the run from the store, unless it has not ended and Dify has it: then the newest state is Dify's.
///
/// # Errors
/// [`PassOnReason`] where Dify should answer: a run that the store does not have.
pub(super) async fn whole_run(
    asked: &AskedRun<'_>,
    access: &Access,
    logs: &TenantLogs,
    dify: &Upstream,
    credentials: &Credentials,
) -> Result<FoundRun, PassOnReason> {
    let document = stored_run(asked, access, logs).await?;
    if !has_ended(&document) {
        // Without a row all fields are null.
        let raw = dify.get(asked.path_and_query, credentials).await?;
        let is_void = |run: Value| run.get("id").is_none_or(Value::is_null);
        // An answer that cannot be read here, because of half a character or `NaN`, is of a run that Dify has.
        let lacks =
            raw.status == StatusCode::NOT_FOUND || raw.status == StatusCode::OK && raw.json().is_ok_and(is_void);
        if !lacks {
            return Ok(FoundRun::Difys(raw.into_response()));
        }
    }
    let whole: u64 = document.truncated.iter().map(|mark| mark.original_bytes).sum();
    if whole > MAX_WHOLE {
        return Err(PassOnReason::Dify("a run with payloads that are too large to put together here"));
    }
    Ok(FoundRun::Stored(logs.full(document).await?))
}

/// Returns a run with its payloads and its graph.
///
/// # Errors
/// [`PassOnReason`] where Dify should answer.
pub(super) async fn run(
    asked: &AskedRun<'_>,
    access: &Access,
    logs: &TenantLogs,
    dify: &Upstream,
    credentials: &Credentials,
) -> Result<Response, PassOnReason> {
    let document = match whole_run(asked, access, logs, dify, credentials).await? {
        FoundRun::Stored(document) => document,
        FoundRun::Difys(response) => return Ok(response),
    };
    let Record::Run(run) = document.record else { return Err(NOT_STORED) };
    let creators = known(logs.creators([(&*run.created_by_role, run.created_by)]).await)?;
    Ok(json(&RunDetail::new(*run, &creators)))
}

/// Returns the node executions of a run, in the order in which they started.
///
/// # Errors
/// [`PassOnReason`] where Dify should answer: a run that the store does not have.
pub(super) async fn nodes(
    asked: &AskedRun<'_>,
    access: &Access,
    logs: &TenantLogs,
    dify: &Upstream,
    credentials: &Credentials,
    permit: OwnedSemaphorePermit,
) -> Result<Response, PassOnReason> {
    let document = stored_run(asked, access, logs).await?;
    let light = logs.node_snapshots(Some(access.app_id), asked.run_id).await?;
    let is_whole = is_settled(&document) && !light.is_empty() && light.iter().all(|node| node.revision.has_ended());
    if !is_whole || light.iter().any(|node| WITH_ICONS.contains(&&*node.node_type)) {
        let raw = dify.get(asked.path_and_query, credentials).await?;
        let lacks = raw.status == StatusCode::OK && raw.json().is_ok_and(|nodes: DifyNodes| nodes.data.is_empty());
        if !lacks {
            return Ok(raw.into_response());
        }
    }
    let mut items = Box::pin(node_items(logs.clone(), logs.run_nodes(Some(access.app_id), asked.run_id)));
    // The first is awaited before the answer begins, so that a store that is down is Dify's turn and not half an answer.
    let first = items.next().await.transpose()?.unwrap_or_default();
    let rest = items.map(move |item| {
        // Held to the end of the stream.
        let _ = &permit;
        item.map(|item| Bytes::from(format!(",{item}"))).inspect_err(|error| {
            tracing::warn!(%error, "an answer with the nodes of a run was broken off");
        })
    });
    let whole = stream::iter([Ok(Bytes::from(format!("{{\"data\":[{first}")))])
        .chain(rest)
        .chain(stream::iter([Ok(Bytes::from_static(b"]}"))]));
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(whole)).into_response())
}

async fn stored_run(asked: &AskedRun<'_>, access: &Access, logs: &TenantLogs) -> Result<Document, PassOnReason> {
    let found = logs.run(Some(access.app_id), asked.run_id).await?;
    found.ok_or(NOT_STORED)
}

/// Returns whether a run ended so long ago that a list has all of its nodes: an engine shows the first ones before the last.
fn is_settled(document: &Document) -> bool {
    let Record::Run(run) = &document.record else { return false };
    let ended = run.finished_at.unwrap_or(run.created_at);
    has_ended(document) && system_clock()().micros() - ended.micros() > SETTLED_MICROS
}

fn has_ended(document: &Document) -> bool {
    Revision::of(&document.record).has_ended()
}
