//! How it is found out whether a store takes documents again: by writing some. A store can answer every question and take
//! nothing (a disk past its flood stage, a user who may read only), so asking it would prove nothing.
//!
//! What is written are documents that wait here anyway, or that were kept when everything was given back: a write of the same
//! revision changes nothing, so their deliveries may come again. Pauses between trials grow as the breaker says.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::blame::Release;
use super::dispatch::{BulkRequest, EnvelopeResult, ItemResult, RequestResult};
use super::gate::Gate;
use super::limit::Cause;
use super::prepare::{Envelope, Prepared};
use super::receipt::Receipt;
use super::suspicion::{MappingPlace, place, stored};
use super::worker::{Pipeline, TaskResult};
use crate::domain::{FaultKind, RetryCause, SinkFault, Verdict};
use crate::store::payload::PayloadError;

/// Documents of a trial: several, because one month or one kind may be blocked alone.
const DOCUMENTS: usize = 8;
/// Bytes of a trial, unless each document is larger: then it is the smallest.
const BYTES: usize = 4 << 20;
/// Returns of a delivery after which it is not held until it has to be returned once more: a queue that counts them drops
/// the message at its limit. Everything stops instead.
pub(super) const MOST_RETURNS: u32 = 2;

impl Pipeline {
    /// Returns when the next trial of the store is due.
    pub(super) fn next_trial(&self) -> Option<Instant> {
        let pause = self.paused.as_ref().and_then(super::refusals::Pause::next_trial);
        self.breaker.next_probe().into_iter().chain(pause).min().filter(|_| !self.probing)
    }

    pub(super) fn start_trials(&mut self, now: Instant) {
        if self.payload_breaker.next_probe().is_some_and(|due| due <= now) && !self.probing_payloads {
            self.probing_payloads = true;
            let payloads = Arc::clone(&self.ports.payloads);
            self.tasks.spawn(async move {
                let probe = AssertUnwindSafe(payloads.probe()).catch_unwind().await;
                TaskResult::PayloadProbe(
                    probe.unwrap_or_else(|_| Err(PayloadError::Unavailable("the probe panicked".into()))),
                )
            });
        }
        self.end_suspicion(now);
        self.try_controls();
        if self.probing {
            return;
        }
        let pause = self.begin_pause_trial(now);
        if pause || self.breaker.next_probe().is_some_and(|due| due <= now) {
            self.probing = true;
            self.start_trial();
        }
    }

    fn start_trial(&mut self) {
        let mut documents = if self.kept.is_empty() { self.sample(false) } else { self.kept.clone() };
        if self.is_refusing() {
            let places: BTreeSet<MappingPlace> = documents.iter().map(place).collect();
            documents.extend(self.controls(|place| places.contains(&place)));
        } else if !self.of_one_task && self.released.as_ref().is_none_or(|release| !release.overdue) {
            // What waits may be all of one place that is blocked alone.
            documents.extend(self.controls(|_| true));
        }
        let destination = self.destination.clone();
        if documents.is_empty() {
            self.tasks.spawn(async move {
                let probe = AssertUnwindSafe(destination.sink.probe()).catch_unwind().await;
                let panicked = || SinkFault::new(FaultKind::Malformed, "the probe panicked: see the log");
                TaskResult::Probe(probe.unwrap_or_else(|_| Err(panicked())))
            });
            return;
        }
        let of_nothing = |payload| Envelope { payload, receipt: Receipt::of_nothing() };
        let request = BulkRequest::new(documents.into_iter().map(of_nothing).collect(), self.generation, |_| false);
        self.tasks.spawn(async move { TaskResult::Trial(Box::new(request.send(&destination).await)) });
    }

    /// Some of what waits, of as many kinds, months and tenants as there are, others each time: no few that are blocked stand
    /// before the rest for ever. `overdue`: only what has been given back too often.
    fn sample(&mut self, overdue: bool) -> Vec<Prepared> {
        let now = Instant::now();
        let mut order = StdRng::seed_from_u64(self.rng.random());
        let held = self.held.iter().flat_map(|held| &held.envelopes).chain(self.ready.iter().flatten());
        let all = held.chain(self.window.envelopes()).chain(self.uploads.envelopes());
        let wanted = all.filter(|envelope| !overdue || self.is_overdue(envelope, now));
        let mut waiting: Vec<&Prepared> = wanted.map(|envelope| &envelope.payload).collect();
        waiting.shuffle(&mut order);
        // What can be written without an upload tells more of the store.
        let away = self.payload_breaker.is_open() && !overdue;
        let refused = self.recently_refused.iter().filter(|_| self.is_refusing());
        choose(&refused.chain(waiting).filter(|prepared| !away || prepared.offloads.is_empty()).collect::<Vec<_>>())
    }

    fn is_overdue(&self, envelope: &Envelope<Prepared>, now: Instant) -> bool {
        let age = now.saturating_duration_since(envelope.payload.received);
        envelope.receipt.returns() >= MOST_RETURNS && age >= self.settings.release_after()
    }

    /// Gives everything back when a store has been away for so long that the broker's patience would end, or when
    /// something that is held was given back too often already.
    pub(super) fn release_if_overdue(&mut self, now: Instant) {
        if self.is_closed() {
            return;
        }
        let words = |fault: Option<String>| fault.unwrap_or_else(|| "see the log".to_owned());
        if self.is_away_for_long(now) {
            let fault = self.latest_fault.as_ref().map(ToString::to_string);
            let reason = format!("the store takes nothing: {}", words(fault));
            self.released = Some(Release { reason, overdue: false });
            return self.update_gate();
        }
        let waiting = self.held.iter().flat_map(|held| &held.envelopes);
        let uploads = self.uploads.envelopes().filter(|_| self.payload_breaker.is_open());
        if waiting.chain(uploads).any(|envelope| self.is_overdue(envelope, now)) {
            self.kept = self.sample(true);
            let fault =
                self.latest_payload_fault.clone().or_else(|| self.latest_fault.as_ref().map(ToString::to_string));
            let fault = words(fault);
            let reason = format!(
                "documents cannot be stored, and their deliveries were given back {MOST_RETURNS} times: {fault}"
            );
            self.released = Some(Release { reason, overdue: true });
            if self.breaker.trip(now, &mut self.rng) {
                self.ports.stats.set_breaker(true);
            }
            self.update_gate();
        }
    }

    /// Takes the result of a trial.
    pub(super) fn apply_trial(&mut self, result: RequestResult) {
        self.probing = false;
        self.note_generation(result.generation);
        self.note_uploads(&result.uploads);
        let refusing = self.is_refusing();
        match result.outcome {
            Ok(results) => {
                if results.iter().any(EnvelopeResult::is_durable) {
                    self.prove();
                    for prepared in stored(&results) {
                        self.keep_control(prepared);
                    }
                    self.recover();
                    if refusing && exonerates(&results) {
                        self.end_pause();
                    } else if refusing {
                        self.wait_again();
                    }
                    return;
                }
                if results.iter().all(|one| matches!(one.verdict(), Some(Verdict::Refused(_)))) {
                    // It answers for good; what it refuses is counted where deliveries are.
                    self.recover();
                } else {
                    self.trial_failed(results.iter().find_map(fault_of));
                    self.blame_for(&results);
                }
            }
            Err((fault, _)) if fault.kind == FaultKind::TooLarge => self.recover(),
            Err((fault, _)) => {
                self.blame.request_failed(Instant::now());
                self.trial_failed(Some(fault));
            }
        }
        if refusing {
            self.wait_again();
        }
    }

    fn trial_failed(&mut self, fault: Option<SinkFault>) {
        let retry_after = fault.as_ref().and_then(|fault| fault.retry_after);
        if self.breaker.is_open() {
            self.breaker.failed(Instant::now(), retry_after, &mut self.rng);
        } else {
            self.fault_in_a_row(retry_after);
        }
        self.latest_fault = fault.or(self.latest_fault.take());
    }

    pub(super) fn apply_probe(&mut self, probe: Result<(), SinkFault>) {
        self.probing = false;
        let refusing = self.is_refusing();
        match probe {
            Ok(()) => {
                self.recover();
                if refusing {
                    self.end_pause();
                }
            }
            Err(fault) => {
                self.blame.request_failed(Instant::now());
                self.trial_failed(Some(fault));
                if refusing {
                    self.wait_again();
                }
            }
        }
    }

    /// Returns whether the worker pauses because the store refuses documents.
    fn is_refusing(&self) -> bool {
        self.paused.as_ref().is_some_and(|pause| pause.cause == Cause::Store)
    }

    pub(super) fn apply_payload_probe(&mut self, probe: Result<(), PayloadError>) {
        self.probing_payloads = false;
        match probe {
            Ok(()) => self.payloads_work(),
            Err(fault) => {
                self.payload_breaker.failed(Instant::now(), None, &mut self.rng);
                self.latest_payload_fault = Some(fault.to_string());
            }
        }
    }

    pub(super) fn payloads_work(&mut self) {
        self.latest_payload_fault = None;
        if self.payload_breaker.succeeded() {
            info!("the payload store takes full texts again");
            self.ports.stats.set_payload_breaker(false);
        }
    }

    /// The store has judged a document: consumers may take all that their prefetch allows.
    pub(super) fn prove(&mut self) {
        if std::mem::take(&mut self.unproven) {
            self.update_gate();
        }
    }

    /// The store works: close the breaker, let the held try at once, let consumers pull.
    pub(super) fn recover(&mut self) {
        self.blame.forget();
        if !self.breaker.succeeded() {
            return;
        }
        info!("breaker closed: the store takes documents again");
        self.ports.stats.set_breaker(false);
        let now = Instant::now();
        self.pace.reset(now);
        for held in &mut self.held {
            held.due = now;
        }
        self.released = None;
        self.update_gate();
    }

    /// Opens or closes the gate as outages and pauses say. Closing gives back everything that waits, once.
    pub(super) fn update_gate(&mut self) {
        let gate = match (&self.released, &self.paused) {
            (Some(release), _) => Gate::Closed(release.reason.clone()),
            (None, Some(pause)) if pause.is_looking() => Gate::Trial,
            (None, Some(pause)) => Gate::Closed(pause.reason.clone()),
            (None, None) if self.unproven => Gate::Trial,
            (None, None) => Gate::Open,
        };
        let before = self.ports.gate.borrow().clone();
        if before == gate {
            return;
        }
        let closes = gate.is_closed();
        // After a trial of messages nothing goes back: what the consumers have taken is settled first.
        let gives_back = closes && (before.is_open() || self.released.is_some());
        if let Gate::Closed(reason) = &gate
            && gives_back
            && !self.gave_back
        {
            error!(reason, "giving deliveries back and not consuming");
            if self.kept.is_empty() {
                self.kept = self.sample(false);
            }
        }
        self.gave_back = gives_back || closes && self.gave_back;
        if !closes {
            // What was kept is older than what comes now, and would prove nothing.
            self.kept.clear();
        }
        let tries_first = self.unproven && gate == Gate::Trial && self.paused.is_none();
        self.ports.stats.set_gate(!gate.is_open() && !tries_first);
        // Told before anything is dropped, so that no consumer takes a delivery that was just given back.
        self.ports.gate.send_replace(gate);
        if self.gave_back {
            self.window.clear();
            self.uploads.clear();
            self.ready.clear();
            self.held.clear();
            self.undecoded.clear();
            self.suspicion = None;
        }
    }

    /// Keeps a document that the store refused, to try it again after a pause.
    pub(super) fn keep_refused(&mut self, prepared: &Prepared) {
        if self.recently_refused.len() == DOCUMENTS / 2 {
            self.recently_refused.pop_front();
        }
        if prepared.bytes <= BYTES / DOCUMENTS || self.recently_refused.is_empty() {
            // What a compressed message unfolded to is not kept for it: its delivery is settled.
            self.recently_refused.push_back(Prepared { charge: None, ..prepared.clone() });
        }
    }

    pub(super) fn fault_in_a_row(&mut self, retry_after: Option<std::time::Duration>) {
        if self.breaker.failed(Instant::now(), retry_after, &mut self.rng) {
            error!("breaker opened: not pulling until the store takes a document");
            self.ports.stats.set_breaker(true);
        }
    }

    pub(super) fn payload_fault(&mut self, fault: &str) {
        warn!(fault, "the payload store did not take full texts; their documents wait");
        self.latest_payload_fault = Some(fault.to_owned());
        if self.payload_breaker.failed(Instant::now(), None, &mut self.rng) {
            error!(fault, "the payload store takes nothing: documents with full texts wait, others go on");
            self.ports.stats.set_payload_breaker(true);
        }
    }
}

/// Returns those of a trial that the store has, superseded ones too.
fn durable(results: &[EnvelopeResult]) -> impl Iterator<Item = &Prepared> {
    results.iter().filter(|one| one.is_durable()).map(|one| &one.envelope.payload)
}

/// Returns whether a trial shows that the store works: most of it is stored, or others of the same kind and month are,
/// wherever one is refused. What is still refused is poison then.
fn exonerates(results: &[EnvelopeResult]) -> bool {
    let places: BTreeSet<MappingPlace> = durable(results).map(place).collect();
    let mut refused = results.iter().filter(|one| !one.is_durable());
    durable(results).count() * 2 > results.len() || refused.all(|one| places.contains(&place(&one.envelope.payload)))
}

/// Returns some documents: of some tenants, then one of each kind and month, then one of each tenant there, then others. They
/// take no more than [`BYTES`], and nothing of the memory for unfolded messages, which their deliveries pay for.
fn choose(candidates: &[&Prepared]) -> Vec<Prepared> {
    type IsAlike = fn(&Prepared, &Prepared) -> bool;
    let alike: [(IsAlike, usize); 4] = [
        // Of a tenant that is blocked, many kinds and months may wait: they leave room for the others.
        (|one, other| one.document.tenant_id() == other.document.tenant_id(), DOCUMENTS / 2),
        (|one, other| place(one) == place(other), DOCUMENTS),
        (|one, other| (one.document.tenant_id(), place(one)) == (other.document.tenant_id(), place(other)), DOCUMENTS),
        (|one, other| one.slot() == other.slot(), DOCUMENTS),
    ];
    let mut chosen: Vec<&Prepared> = Vec::new();
    let mut bytes = 0;
    for (is_alike, most) in alike {
        for prepared in candidates {
            let fits = chosen.len() < most && bytes + prepared.bytes <= BYTES;
            if fits && !chosen.iter().any(|one| is_alike(one, prepared)) {
                bytes += prepared.bytes;
                chosen.push(prepared);
            }
        }
    }
    if chosen.is_empty() {
        chosen.extend(candidates.iter().min_by_key(|prepared| prepared.bytes));
    }
    chosen.into_iter().map(|prepared| Prepared { charge: None, ..prepared.clone() }).collect()
}

fn fault_of(results: &EnvelopeResult) -> Option<SinkFault> {
    match &results.result {
        ItemResult::Verdict(Verdict::Retry(RetryCause { detail, .. })) | ItemResult::NotUploaded(detail) => {
            Some(SinkFault::new(FaultKind::Storage, detail.as_str()))
        }
        ItemResult::Verdict(_) => None,
    }
}
