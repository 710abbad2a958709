//! Lines in the log about who did what: reads of single records, exports, deletes, dead letters, and requests that were
//! refused for their key. They hold ids and counts,
//! never a text of a record and never a key.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request, State};
use axum::http::{Extensions, Method};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Api;
use super::auth::Caller;
use super::observe::RequestId;
use crate::amqp::{LetterSelection, ReplayReport};
use crate::domain::verdict::bounded;
use crate::domain::{RecordId, TenantId, printable};
use crate::http::connections::Connection;
use crate::http::dead_letters::{LettersError, ReplayJob};
use crate::query::{QueryError, Related};

/// Lines about refusals come at most this often; the next says how many there were.
const PAUSE: Duration = Duration::from_secs(5);
/// What a path that names a record has in it.
const RECORDS: [&str; 5] = ["{run_id}", "{node_execution_id}", "{conversation_id}", "{message_id}", "{id}"];
/// Ids of one line.
const IDS: usize = 100;

/// A request that was refused.
pub(in crate::http) struct Refused<'a> {
    /// The name of the key; `None`: it is not a known one.
    pub key: Option<&'a str>,
    pub tenant_id: Option<TenantId>,
    pub reason: &'static str,
}

/// Refusals since the last line.
#[derive(Default)]
pub(in crate::http) struct Refusals(Mutex<(Option<Instant>, u64)>);

impl Refusals {
    /// Logs a refusal, or counts it if one was logged a moment ago, so that guesses do not fill the log.
    pub fn note(&self, refused: &Refused<'_>, extensions: &Extensions) {
        let unlogged = {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if last.0.is_some_and(|at| at.elapsed() < PAUSE) {
                last.1 += 1;
                return;
            }
            *last = (Some(Instant::now()), 0);
            last.1
        };
        let address = extensions.get::<Connection>().map(Connection::address);
        let shown = |value: Option<&dyn Display>| value.map_or_else(|| "-".to_owned(), ToString::to_string);
        warn!(
            audit = "refused",
            key = refused.key.unwrap_or("-"),
            tenant_id = shown(refused.tenant_id.as_ref().map(|id| id as &dyn Display)),
            address = shown(address.as_ref().map(|address| address as &dyn Display)),
            request_id = extensions.get::<RequestId>().map_or("-", RequestId::as_str),
            unlogged_before = unlogged,
            "refused: {}",
            refused.reason
        );
    }
}

/// Logs each answer that holds a record which was asked for by its id, and each export: who, and which ids of the path. Lists
/// are not logged.
pub(in crate::http) async fn reads(State(api): State<Api>, request: Request, next: Next) -> Response {
    let endpoint = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let is_export = endpoint.contains("/export/");
    let names_record = RECORDS.iter().any(|name| endpoint.contains(name));
    if !api.settings.audit_reads || !(is_export || names_record) || request.method() != Method::GET {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let ids = RawPathParams::from_request_parts(&mut parts, &()).await.ok();
    let ids = ids.iter().flatten().map(|(name, id)| format!("{name}={id}")).collect::<Vec<_>>().join(" ");
    let key = parts.extensions.get::<Arc<Caller>>().map(|caller| caller.name.clone());
    let request_id = parts.extensions.get::<RequestId>().cloned().unwrap_or_default();
    let response = next.run(Request::from_parts(parts, body)).await;
    // What was refused or is not there was not read, and its path may be any text.
    if response.status().is_success() {
        let (key, request_id) = (key.as_deref().unwrap_or("-"), request_id.as_str());
        let what = if is_export { "export" } else { "read" };
        info!(audit = what, key, request_id, endpoint, ids, "{what}");
    }
    response
}

/// Who works on dead letters.
pub(in crate::http) struct Operator {
    pub key: String,
    pub request_id: String,
}

impl Operator {
    /// Logs which letters a replay or a purge is about. Of what was typed, only what is an id, a name of a list or an instant.
    pub fn chose(&self, what: &'static str, selection: &LetterSelection) {
        let Self { key, request_id } = self;
        let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let reason = selection.reason.as_ref().map(|reason| bounded(printable(reason).into_owned()));
        info!(
            audit = what,
            key,
            request_id,
            tenant_id = shown(selection.tenant.map(|tenant| tenant.to_string())),
            kind = shown(selection.kind.map(|kind| kind.to_string())),
            reason = shown(reason),
            since = shown(selection.since.map(|at| at.to_string())),
            until = shown(selection.until.map(|at| at.to_string())),
            doubtful = selection.doubtful,
            chosen = selection.hashes.len(),
            "{what} of dead letters"
        );
        for hashes in selection.hashes.chunks(IDS) {
            let letters = hashes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            info!(audit = what, key, request_id, letters, "{what} of these dead letters");
        }
    }

    /// Logs how a replay ended.
    pub fn replayed(&self, job: &ReplayJob) {
        let Self { key, request_id } = self;
        let ReplayReport { selected, replayed, skipped, refused, .. } = job.report;
        let (id, state) = (job.id, &job.state);
        info!(
            audit = "replay",
            key, request_id, %id, ?state, selected, replayed, skipped, refused, "a replay of dead letters has ended"
        );
    }

    /// Logs how a purge ended.
    pub fn purged(&self, outcome: &Result<u64, LettersError>) {
        let Self { key, request_id } = self;
        match outcome {
            Ok(letters) => info!(audit = "purge", key, request_id, letters, "deleted dead letters"),
            Err(error) => {
                warn!(audit = "purge", key, request_id, %error, "a purge did not end; some letters may be gone");
            }
        }
    }
}

/// Who deletes.
pub(in crate::http) struct Actor {
    pub key: String,
    pub tenant_id: TenantId,
    pub request_id: String,
}

impl Actor {
    /// Logs what became of a delete of runs by their ids.
    pub fn deleted_runs(&self, ids: &[RecordId], outcome: &Result<Related, QueryError>) {
        for ids in ids.chunks(IDS) {
            let ids = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let Self { key, tenant_id, request_id } = self;
            info!(audit = "delete", key, %tenant_id, request_id, run_ids = ids, "deletes runs");
        }
        match outcome {
            Ok(related) => self.done("runs", related),
            Err(error) => self.broke_off("runs", error),
        }
    }

    /// Logs what became of a delete of everything of a kind that an app has.
    pub fn deleted_of_app(&self, what: &'static str, app_id: impl Display, outcome: &Result<u64, QueryError>) {
        let Self { key, tenant_id, request_id } = self;
        match outcome {
            Ok(count) => {
                info!(audit = "delete", key, %tenant_id, request_id, %app_id, count, "deleted all {what} of an app");
            }
            Err(error) => self.broke_off(what, error),
        }
    }

    fn done(&self, what: &'static str, related: &Related) {
        let Self { key, tenant_id, request_id } = self;
        let Related { runs, node_executions, offloads, app_logs } = related;
        info!(
            audit = "delete",
            key, %tenant_id, request_id, runs, node_executions, offloads, app_logs, "deleted {what}"
        );
    }

    fn broke_off(&self, what: &'static str, error: &QueryError) {
        let Self { key, tenant_id, request_id } = self;
        warn!(audit = "delete", key, %tenant_id, request_id, %error, "a delete of {what} broke off; some may be gone");
    }
}
