//! Dify's service API, as far as it reads logs: whoever has the key of an app reads that app's.

use std::borrow::Cow;
use std::sync::Arc;

use axum::http::header;
use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;

use super::access::Access;
use super::answer::{PassOnReason, json};
use super::detail::{self, AskedRun};
use super::logs::{self, Sources};
use super::memory::Memory;
use super::query::Query;
use super::tables::Tables;
use super::upstream::{Credentials, Upstream};
use super::version::Version;
use crate::codec::spelling::row_text;
use crate::domain::extra::Extra;
use crate::domain::{JsonText, Record, RunStatus, WorkflowRun};
use crate::http::api::views::{object, seconds};
use crate::query::TenantLogs;

/// Longest key that is looked up; Dify's column holds no longer one.
const MAX_KEY: usize = 255;
/// Statuses that Dify's service API knows as a filter, in every version.
const STATUSES: [&str; 3] = ["succeeded", "failed", "stopped"];

/// Knows what keys open, for a moment.
pub(super) struct ServiceKeys {
    memory: Memory,
}

impl ServiceKeys {
    pub(super) const fn new(memory: Memory) -> Self {
        Self { memory }
    }

    /// Returns what the caller's key opens.
    ///
    /// # Errors
    /// [`PassOnReason::Dify`] where Dify should answer: without a key that is plainly one, and whatever [`Tables`] do not know.
    pub(super) async fn access(&self, credentials: &Credentials, tables: &Tables) -> Result<Arc<Access>, PassOnReason> {
        let key = key_of(credentials).ok_or(PassOnReason::Dify("no plain key"))?;
        let name = self.memory.name([key.as_bytes()]);
        if let Some(access) = self.memory.get(&name) {
            return Ok(access);
        }
        let until = self.memory.until();
        let access = Arc::new(tables.access_of_key(key).await?);
        self.memory.put(name, until, &access);
        Ok(access)
    }
}

/// Returns the key of exactly one `Authorization: Bearer …`; whatever is stranger is Dify's to judge.
fn key_of(credentials: &Credentials) -> Option<&str> {
    let mut values = credentials.parts().filter(|(name, _)| *name == header::AUTHORIZATION.as_str());
    let (value, None) = (values.next()?.1, values.next()) else { return None };
    let (scheme, key) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let is_plain = !key.is_empty() && key.len() <= MAX_KEY && key.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && is_plain).then_some(key)
}

/// A run's outputs, in the shape of a version.
#[derive(Serialize)]
#[serde(untagged)]
enum Outputs<'a> {
    Text(Option<Cow<'a, str>>),
    Object(Box<RawValue>),
}

impl<'a> Outputs<'a> {
    fn new(run: &'a WorkflowRun, extra: &'a Extra, version: Version) -> Self {
        if version < Version::OUTPUTS_ARE_AN_OBJECT {
            return Self::Text(row_text("outputs", run.outputs.as_ref().map(JsonText::as_str), extra));
        }
        // A run that is paused has not answered yet.
        let outputs = run.outputs.as_ref().filter(|_| run.status != RunStatus::Paused);
        Self::Object(object(outputs.filter(|text| text.as_str() != "null")))
    }
}

/// A run as the service API shows it: payloads are the texts of Dify's columns.
#[derive(Serialize)]
struct RunView<'a> {
    id: String,
    workflow_id: String,
    status: &'a str,
    inputs: Option<Cow<'a, str>>,
    outputs: Outputs<'a>,
    error: Option<&'a str>,
    total_steps: i64,
    total_tokens: i64,
    created_at: i64,
    finished_at: Option<i64>,
    elapsed_time: f64,
}

impl<'a> RunView<'a> {
    fn new(run: &'a WorkflowRun, extra: &'a Extra, version: Version) -> Self {
        Self {
            id: run.id.to_string(),
            workflow_id: run.workflow_id.to_string(),
            status: run.status.as_str(),
            inputs: row_text("inputs", run.inputs.as_ref().map(JsonText::as_str), extra),
            outputs: Outputs::new(run, extra, version),
            error: run.error.as_deref(),
            total_steps: run.total_steps,
            total_tokens: run.total_tokens,
            created_at: seconds(run.created_at),
            finished_at: run.finished_at.map(seconds),
            elapsed_time: run.elapsed_time,
        }
    }
}

/// Returns a run with its payloads.
///
/// # Errors
/// [`PassOnReason`] where Dify should answer.
pub(super) async fn run(
    asked: &AskedRun<'_>,
    version: Version,
    access: &Access,
    logs: &TenantLogs,
    dify: &Upstream,
    credentials: &Credentials,
) -> Result<Response, PassOnReason> {
    let document = match detail::whole_run(asked, access, logs, dify, credentials).await? {
        detail::FoundRun::Stored(document) => document,
        detail::FoundRun::Difys(response) => return Ok(response),
    };
    let extra =
        Extra::of_json(document.extra.as_ref()).map_err(|_| PassOnReason::Dify("a row that cannot be read back"))?;
    let Record::Run(run) = &document.record else { return Err(detail::NOT_STORED) };
    Ok(json(&RunView::new(run, &extra, version)))
}

/// Returns a page of the app's logs with the exact total.
///
/// # Errors
/// [`PassOnReason`] where Dify should answer.
pub(super) async fn logs(query: &Query, access: &Access, sources: &Sources<'_>) -> Result<Response, PassOnReason> {
    if query.text("detail").is_some() {
        return Err(super::query::JUDGE);
    }
    query.one_of("status", &STATUSES)?;
    logs::page(query, access, sources).await
}
