//! The write path: actions to NDJSON, requests of bounded size, verdicts in the order of the actions.
//!
//! It never asks for a refresh, and never decides what becomes of a delivery.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::catalog::Catalog;
use super::hosts::{EngineRequest, Hosts, Method};
use super::indices::Indices;
use super::names::{self, IndexNames, IndexPlace};
use super::retired::RetiredMonths;
use super::settings::SearchedTexts;
use super::state::StateAccess;
use super::verdicts::{self, Judgement};
use super::{erase, folded, rows};
use crate::domain::{BulkAction, FaultKind, Refusal, RefusalClass, RetryCause, SinkFault, Verdict};

/// What the answer is cut down to: nothing of it but the statuses and the words about errors is read.
const FILTER: &str = "items.*.status,items.*._seq_no,items.*.error.type,items.*.error.reason";

/// A request that took longer may have met a month that was retired meanwhile.
const LONG: Duration = Duration::from_secs(1);

/// Documents that one request asks for.
const AT_ONCE: usize = 1_000;

/// What writing needs of the store.
pub(super) struct EngineWriter<'a> {
    pub(super) hosts: &'a Hosts,
    pub(super) names: &'a IndexNames,
    pub(super) indices: &'a Indices,
    pub(super) catalog: &'a Catalog,
    pub(super) retired: &'a RetiredMonths,
    pub(super) search: SearchedTexts,
    pub(super) max_request_bytes: usize,
    /// How long the engine may wait for a shard; shorter than our own patience, so that its answer is heard.
    pub(super) shard_timeout: String,
}

/// Verdicts under construction. An action without one yet is to be retried.
struct Verdicts {
    all: Vec<Verdict>,
    /// Indices whose very first operation was ours.
    fresh: BTreeSet<IndexPlace>,
}

impl Verdicts {
    fn new(actions: usize) -> Self {
        let unsent = RetryCause::new(None, "not sent");
        Self { all: vec![Verdict::Retry(unsent); actions], fresh: BTreeSet::new() }
    }

    fn set(&mut self, position: usize, verdict: Verdict) {
        if let Some(slot) = self.all.get_mut(position) {
            *slot = verdict;
        }
    }
}

impl EngineWriter<'_> {
    /// Writes all actions. An index that vanished meanwhile is created again, and its actions sent again, once.
    pub(super) async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault> {
        let begin = Instant::now();
        let mut verdicts = Verdicts::new(actions.len());
        let state = StateAccess { hosts: self.hosts, names: self.names };
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
        self.look_at_fresh(actions, &mut verdicts).await?;
        self.confirm_superseded(actions, &is_late, &mut verdicts).await;
        if begin.elapsed() > LONG {
            self.drop_retired(actions, &is_late, &state).await?;
        }
        self.name_indices(actions, &mut verdicts);
        Ok(verdicts.all)
    }

    /// An index that was deleted between our look at it and the write was created by the engine: where no template of ours
    /// is left, with a mapping that is guessed from the documents. Nothing in such an index counts as stored.
    async fn look_at_fresh(&self, actions: &[BulkAction], verdicts: &mut Verdicts) -> Result<(), SinkFault> {
        for place in std::mem::take(&mut verdicts.fresh) {
            let Err(cause) = self.indices.look_again(self.hosts, self.names, place).await? else { continue };
            let of_place =
                actions.iter().zip(&mut verdicts.all).filter(|(action, _)| self.names.place_of(action) == place);
            for (_, verdict) in of_place.filter(|(_, verdict)| **verdict == Verdict::Stored) {
                *verdict = Verdict::Retry(cause.clone());
            }
        }
        Ok(())
    }

    /// The engine also refuses a revision as old when the document was deleted a moment ago (a rollback): nothing is there
    /// then, and the action has to come again.
    async fn confirm_superseded(
        &self,
        actions: &[BulkAction],
        is_late: &impl Fn(&BulkAction) -> bool,
        verdicts: &mut Verdicts,
    ) {
        let is_refused = |(position, action): &(usize, &BulkAction)| {
            verdicts.all.get(*position) == Some(&Verdict::Superseded) && !is_late(action)
        };
        let refused: Vec<_> = actions.iter().enumerate().filter(is_refused).collect();
        for refused in refused.chunks(AT_ONCE) {
            let (mut positions, mut docs) = (Vec::new(), Vec::new());
            for (position, action) in refused {
                let BulkAction::Document(document) = action else { continue };
                let place = self.names.place_of(action);
                let mut doc = json!({
                    "_index": self.names.index(place), "_id": names::record_id(place, document.key()), "_source": false,
                });
                if let (None, Some(doc)) = (place.tenant, doc.as_object_mut()) {
                    doc.insert("routing".to_owned(), document.tenant_id().to_string().into());
                }
                positions.push(*position);
                docs.push(doc);
            }
            let there = self.are_there(docs).await.unwrap_or_else(|_| vec![false; positions.len()]);
            for (position, is_there) in positions.into_iter().zip(there) {
                if !is_there {
                    let detail = "the engine still refuses the revision of a document that was deleted".to_owned();
                    verdicts.set(position, Verdict::Retry(RetryCause::new(409, detail)));
                }
            }
        }
    }

    /// Returns whether documents are there, tombstones too; in real time.
    async fn are_there(&self, docs: Vec<Value>) -> Result<Vec<bool>, SinkFault> {
        #[derive(Deserialize)]
        struct Found {
            docs: Vec<Doc>,
        }
        #[derive(Deserialize)]
        struct Doc {
            #[serde(default)]
            found: bool,
        }
        let wanted = docs.len();
        let query = [("filter_path", "docs.found,docs._id")];
        let request = EngineRequest::new(Method::Post, "/_mget").query(&query).json(&json!({ "docs": docs }));
        let found: Found = self.hosts.send(&request).await?.json()?;
        if found.docs.len() != wanted {
            let detail = format!("the answer has {} documents for {wanted}", found.docs.len());
            return Err(SinkFault::new(FaultKind::Malformed, detail));
        }
        Ok(found.docs.into_iter().map(|doc| doc.found).collect())
    }

    /// Removes what a long request wrote into months that were retired while it ran: the engine created the index again. An
    /// index in which others have documents stays, and loses only what this request wrote.
    async fn drop_retired(
        &self,
        actions: &[BulkAction],
        was_late: &impl Fn(&BulkAction) -> bool,
        state: &StateAccess<'_>,
    ) -> Result<(), SinkFault> {
        self.retired.forget();
        let marks = self.retired.marks(state).await?;
        let is_retired = |action: &&BulkAction| !was_late(action) && marks.cover(action.month(), action.tenant_id());
        let is_of_others = |action: &BulkAction| {
            self.names.place_of(action).tenant.is_none() && !marks.cover_everybody(action.month())
        };
        let (beside, alone): (Vec<_>, Vec<_>) =
            actions.iter().filter(is_retired).partition(|action| is_of_others(action));
        for beside in beside.chunks(AT_ONCE) {
            erase::remove_written(self.hosts, self.names, beside).await?;
        }
        let places: BTreeSet<IndexPlace> = alone.into_iter().map(|action| self.names.place_of(action)).collect();
        for place in places {
            let path = format!("/{}", self.names.index(place));
            let request = EngineRequest::new(Method::Delete, &path).query(&[("ignore_unavailable", "true")]);
            let answer = self.hosts.send(&request).await?;
            if answer.status != 404 {
                answer.success()?;
            }
            self.indices.forget(place);
            self.catalog.forget();
        }
        Ok(())
    }

    /// Says which index an action waits for: the engines' words often do not.
    fn name_indices(&self, actions: &[BulkAction], verdicts: &mut Verdicts) {
        for (action, verdict) in actions.iter().zip(&mut verdicts.all) {
            if let Verdict::Retry(cause) = verdict {
                let index = self.names.index(self.names.place_of(action));
                if !cause.detail.contains(&index) {
                    cause.detail = format!("{index}: {}", cause.detail);
                }
            }
        }
    }

    /// Writes some actions, in as many requests as their size needs. Returns the positions of those whose index is
    /// missing.
    async fn write<'a>(
        &self,
        actions: impl Iterator<Item = (usize, &'a BulkAction)> + Clone,
        verdicts: &mut Verdicts,
    ) -> Result<Vec<usize>, SinkFault> {
        let places: BTreeSet<IndexPlace> = actions.clone().map(|(_, action)| self.names.place_of(action)).collect();
        let ensured = self.indices.ensure(self.hosts, self.names, places.iter().copied()).await?;
        if ensured.looked {
            self.catalog.forget();
        }
        let unready = ensured.unready;
        let targets: HashMap<IndexPlace, String> =
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
            if write_action(action, place, index, self.search, &mut request.body).is_err() {
                request.body.truncate(start);
                let refusal = Refusal::new(RefusalClass::InvalidField, "the document cannot be written as JSON");
                verdicts.set(position, Verdict::Refused(refusal));
                continue;
            }
            if request.body.len() > self.max_request_bytes && start > 0 {
                let next = PendingRequest { body: request.body.split_off(start), positions: Vec::new() };
                self.send(std::mem::replace(&mut request, next), verdicts, &mut missing).await?;
            }
            request.positions.push((position, place));
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
        let answer = self.hosts.send(&EngineRequest::new(Method::Post, "/_bulk").query(&query).lines(body)).await?;
        answer.success()?;
        for ((position, place), outcome) in positions.iter().zip(verdicts::outcomes(&answer.body, positions.len())?) {
            if outcome.is_first() {
                verdicts.fresh.insert(*place);
            }
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
    positions: Vec<(usize, IndexPlace)>,
}

/// Appends the two lines of an action. Every text in the first line is built from typed ids: none needs escaping.
fn write_action(
    action: &BulkAction,
    place: IndexPlace,
    index: &str,
    search: SearchedTexts,
    body: &mut Vec<u8>,
) -> serde_json::Result<()> {
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
            folded::append(document, search, body)?;
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
