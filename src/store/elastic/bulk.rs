//! The write path: actions to NDJSON, requests of bounded size, verdicts in the order of the actions.
//!
//! It never asks for a refresh, and never decides what becomes of a delivery.

use std::collections::{BTreeSet, HashMap};

use super::hosts::{Hosts, Method, Request};
use super::indices::Indices;
use super::names::{self, Names, Place};
use super::retired::RetiredMonths;
use super::rows;
use super::state::State;
use super::verdicts::{self, Judgement};
use crate::domain::{BulkAction, Refusal, RefusalClass, RetryCause, SinkFault, Verdict};

/// What the answer is cut down to: nothing of it but the statuses and the words about errors is read.
const FILTER: &str = "items.*.status,items.*.error.type,items.*.error.reason";

/// What writing needs of the store.
pub(super) struct Writer<'a> {
    pub(super) hosts: &'a Hosts,
    pub(super) names: &'a Names,
    pub(super) indices: &'a Indices,
    pub(super) retired: &'a RetiredMonths,
    pub(super) max_request_bytes: usize,
    /// How long the engine may wait for a shard; shorter than our own patience, so that its answer is heard.
    pub(super) shard_timeout: String,
}

/// Verdicts under construction. An action without one yet is to be retried.
struct Verdicts(Vec<Verdict>);

impl Verdicts {
    fn new(actions: usize) -> Self {
        let unsent = RetryCause { status: None, detail: "not sent".to_owned() };
        Self(vec![Verdict::Retry(unsent); actions])
    }

    fn set(&mut self, position: usize, verdict: Verdict) {
        if let Some(slot) = self.0.get_mut(position) {
            *slot = verdict;
        }
    }
}

impl Writer<'_> {
    /// Writes all actions. An index that vanished meanwhile is created again, and its actions sent again, once.
    pub(super) async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault> {
        let mut verdicts = Verdicts::new(actions.len());
        let state = State { hosts: self.hosts, names: self.names };
        let marks = self.retired.marks(&state).await?;
        let is_late = |action: &BulkAction| marks.cover(action.month(), action.tenant_id());
        for (position, _) in actions.iter().enumerate().filter(|(_, action)| is_late(action)) {
            verdicts.set(position, Verdict::Superseded);
        }
        let timely = || actions.iter().enumerate().filter(|(_, action)| !is_late(action));
        let mut missing = self.write(timely(), &mut verdicts).await?;
        if !missing.is_empty() {
            missing.sort_unstable();
            let vanished =
                || actions.iter().enumerate().filter(|(position, _)| missing.binary_search(position).is_ok());
            vanished().for_each(|(_, action)| self.indices.forget(self.names.place_of(action)));
            self.write(vanished(), &mut verdicts).await?;
        }
        Ok(verdicts.0)
    }

    /// Writes some actions, in as many requests as their size needs. Answers the positions of those whose index is
    /// missing.
    async fn write<'a>(
        &self,
        actions: impl Iterator<Item = (usize, &'a BulkAction)> + Clone,
        verdicts: &mut Verdicts,
    ) -> Result<Vec<usize>, SinkFault> {
        let places: BTreeSet<Place> = actions.clone().map(|(_, action)| self.names.place_of(action)).collect();
        let unready = self.indices.ensure(self.hosts, self.names, places.iter().copied()).await?;
        let targets: HashMap<Place, String> =
            places.into_iter().map(|place| (place, self.names.index(place))).collect();
        let mut missing = Vec::new();
        let mut request = PendingRequest::default();
        for (position, action) in actions {
            let place = self.names.place_of(action);
            if let Some(cause) = unready.get(&place) {
                verdicts.set(position, Verdict::Retry(cause.clone()));
                continue;
            }
            let Some(index) = targets.get(&place) else { continue };
            let start = request.body.len();
            if write_action(action, place, index, &mut request.body).is_err() {
                request.body.truncate(start);
                let refusal = Refusal::new(RefusalClass::InvalidField, "the document cannot be written as JSON");
                verdicts.set(position, Verdict::Refused(refusal));
                continue;
            }
            if request.body.len() > self.max_request_bytes && start > 0 {
                let next = PendingRequest { body: request.body.split_off(start), positions: Vec::new() };
                self.send(std::mem::replace(&mut request, next), verdicts, &mut missing).await?;
            }
            request.positions.push(position);
        }
        if !request.positions.is_empty() {
            self.send(request, verdicts, &mut missing).await?;
        }
        Ok(missing)
    }

    async fn send(
        &self,
        request: PendingRequest,
        verdicts: &mut Verdicts,
        missing: &mut Vec<usize>,
    ) -> Result<(), SinkFault> {
        let PendingRequest { body, positions } = request;
        let query = [("filter_path", FILTER), ("timeout", self.shard_timeout.as_str())];
        let answer = self.hosts.send(&Request::new(Method::Post, "/_bulk").query(&query).lines(body)).await?;
        answer.success()?;
        for (position, outcome) in positions.iter().zip(verdicts::outcomes(&answer.body, positions.len())?) {
            match verdicts::judge(&outcome) {
                Judgement::Final(verdict) => verdicts.set(*position, verdict),
                Judgement::IndexMissing(cause) => {
                    verdicts.set(*position, Verdict::Retry(cause));
                    missing.push(*position);
                }
            }
        }
        Ok(())
    }
}

/// A request body and the positions of its actions.
#[derive(Default)]
struct PendingRequest {
    body: Vec<u8>,
    positions: Vec<usize>,
}

/// Appends the two lines of an action. Every text in the first line is built from typed ids: none needs escaping.
fn write_action(action: &BulkAction, place: Place, index: &str, body: &mut Vec<u8>) -> serde_json::Result<()> {
    match action {
        BulkAction::Document(document) => {
            let id = names::record_id(place, document.key());
            let revision = document.revision.value();
            append(body, &[r#"{"index":{"_index":""#, index, r#"","_id":""#, &id]);
            // The engine keeps the newest revision itself, whatever the order of arrival: an older one is a 409. A
            // migration must not put its mark on what came live, so the same one is, too.
            let rule = if document.origin.is_some() { "external" } else { "external_gte" };
            append(body, &[r#"","version":"#, &revision.to_string(), r#","version_type":""#, rule, r#"""#]);
            if place.tenant.is_none() {
                append(body, &[r#","routing":""#, &document.tenant_id().to_string(), r#"""#]);
            }
            append(body, &["}}\n"]);
            rows::write_document(document, body)?;
        }
        BulkAction::Graph(graph) => {
            let id = names::graph_id(place, graph.tenant_id, graph.hash);
            // A graph is named by its content: one that is there is the same.
            append(body, &[r#"{"create":{"_index":""#, index, r#"","_id":""#, &id, r#"""#]);
            if place.tenant.is_none() {
                append(body, &[r#","routing":""#, &graph.tenant_id.to_string(), r#"""#]);
            }
            append(body, &["}}\n"]);
            rows::write_graph(graph, body)?;
        }
    }
    body.push(b'\n');
    Ok(())
}

fn append(body: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        body.extend_from_slice(part.as_bytes());
    }
}
