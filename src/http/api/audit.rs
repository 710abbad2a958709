//! Lines in the log about who did what: deletes, and requests that were refused for their key. They hold ids and counts,
//! never a text of a record and never a key.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::Extensions;
use tokio::time::Instant;
use tracing::{info, warn};

use super::observe::RequestId;
use crate::domain::{RecordId, TenantId};
use crate::http::connections::Connection;
use crate::query::{QueryError, Related};

/// Lines about refusals come at most this often; the next says how many there were.
const PAUSE: Duration = Duration::from_secs(5);
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
