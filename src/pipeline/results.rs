//! What becomes of requests that ended: verdicts to dispositions, faults to pauses.
//!
//! Receipts are settled in [`Pipeline::apply_verdict`] and [`Pipeline::refuse`], and nowhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::breaker::later;
use super::dispatch::{EnvelopeResult, ItemResult, RequestResult, Uploads, is_durable};
use super::prepare::{Envelope, Prepared, truncate_harder};
use super::stats::PipelineStats;
use super::suspicion::place;
use super::worker::{HeldBatch, Pipeline, TaskResult};
use crate::backoff::Backoff;
use crate::domain::verdict::Next;
use crate::domain::{Disposition, FaultKind, Refusal, RefusalClass, SinkFault, Timestamp, Verdict};

/// What is the same for all envelopes of a request.
struct Moment {
    now: Instant,
    wall: Timestamp,
    /// Nothing of the request was stored.
    nothing_stored: bool,
}

impl Pipeline {
    /// Takes a task's result.
    pub(super) fn apply(&mut self, result: TaskResult) {
        match result {
            TaskResult::Probe(probe) => self.apply_probe(probe),
            TaskResult::PayloadProbe(probe) => self.apply_payload_probe(probe),
            TaskResult::Trial(result) => self.apply_trial(*result),
            TaskResult::Control(result) => self.apply_control(*result),
            TaskResult::Others(result) => self.apply_others(*result),
            TaskResult::Decoded(preparation) => self.take_decoded(*preparation),
            TaskResult::Request { result, uploads } => {
                self.requests_out -= 1;
                self.uploads_out -= usize::from(uploads);
                self.apply_request(*result);
            }
        }
    }

    fn apply_request(&mut self, result: RequestResult) {
        let now = Instant::now();
        self.note_generation(result.generation);
        self.note_uploads(&result.uploads);
        for graph in result.durable_graphs {
            self.durable_graphs.tell(graph, (), now);
        }
        match result.outcome {
            Ok(results) => self.apply_verdicts(results, result.took),
            Err((fault, batch)) => self.apply_fault(&fault, batch, now),
        }
    }

    /// Forgets what was durable when the store has made an index or a file anew: an operator may have removed the old one.
    pub(super) fn note_generation(&mut self, generation: u64) {
        if self.generation != generation {
            self.generation = generation;
            self.durable_graphs.clear(Instant::now());
        }
    }

    pub(super) fn note_uploads(&mut self, uploads: &Uploads) {
        match &uploads.fault {
            _ if uploads.done > 0 => self.payloads_work(),
            Some(fault) => self.payload_fault(fault),
            None => {}
        }
    }

    fn apply_verdicts(&mut self, results: Vec<EnvelopeResult>, took: Duration) {
        self.ports.stats.request(results.len(), took);
        let verdicts = || results.iter().filter_map(EnvelopeResult::verdict);
        if verdicts().any(|verdict| matches!(verdict, Verdict::Retry(cause) if cause.overload)) {
            self.pace.overloaded(Instant::now());
        } else {
            self.pace.succeeded();
        }
        let count = |wanted: &Verdict| verdicts().filter(|verdict| *verdict == wanted).count() as u64;
        let (stored, superseded) = (count(&Verdict::Stored), count(&Verdict::Superseded));
        let retried = verdicts().any(|verdict| matches!(verdict, Verdict::Retry(_)));
        let answered = verdicts().next().is_some();
        if verdicts().any(|verdict| !matches!(verdict, Verdict::Retry(_))) {
            self.prove();
        }
        let nothing_stored = stored + superseded == 0;
        let moment = Moment { now: Instant::now(), wall: (self.ports.clock)(), nothing_stored };
        self.keep_controls(&results);
        let held: Vec<_> = results.into_iter().filter_map(|one| self.apply_verdict(one, &moment)).collect();
        let stats = &self.ports.stats;
        PipelineStats::add(&stats.stored, "stored", stored);
        PipelineStats::add(&stats.superseded, "superseded", superseded);
        if nothing_stored && retried {
            self.latest_fault = held.first().and_then(|(_, why)| why.clone()).or(self.latest_fault.take());
            self.not_taken();
        } else if answered && self.released.is_none() {
            // Once everything was given back, only a trial says that what stood in the way is gone: this request may be
            // about a month that was never blocked.
            self.recover();
        }
        self.hold(held.into_iter().map(|(envelope, _)| envelope).collect(), None);
    }

    /// Settles one envelope by its result; returns it, with the fault, if it must be tried again.
    fn apply_verdict(
        &mut self,
        EnvelopeResult { mut envelope, result }: EnvelopeResult,
        moment: &Moment,
    ) -> Option<(Envelope<Prepared>, Option<SinkFault>)> {
        let verdict = match result {
            ItemResult::Verdict(verdict) => verdict,
            ItemResult::NotUploaded(_) => {
                envelope.payload.attempts += 1;
                return Some((envelope, None));
            }
        };
        if let Verdict::Refused(Refusal { class: RefusalClass::TooLarge, .. }) = verdict
            && let Some(smaller) = truncate_harder(&envelope.payload, &self.limits.policy.truncate)
        {
            self.send_next(vec![Envelope { payload: smaller, receipt: envelope.receipt }]);
            return None;
        }
        match Next::from(verdict) {
            Next::Settle(Disposition::DeadLetter(refusal)) => {
                if refusal.class == RefusalClass::RefusedByStore {
                    self.keep_refused(&envelope.payload);
                }
                let is_of_the_store = refusal.class == RefusalClass::RefusedByStore;
                let (place, refused) =
                    (place(&envelope.payload), Envelope { payload: refusal, receipt: envelope.receipt });
                if is_of_the_store {
                    self.refuse_document(refused, place, moment.nothing_stored);
                } else {
                    self.refuse(refused);
                }
                None
            }
            Next::Settle(disposition) => {
                self.refusals.stored();
                self.took(&envelope.payload);
                self.latency.observe(&envelope.payload, moment.now, moment.wall);
                envelope.receipt.settle(&disposition);
                None
            }
            Next::Hold(cause) => {
                if envelope.payload.attempts == 0 {
                    warn!(status = cause.status, detail = %cause.detail, "store did not take a document; holding it");
                }
                envelope.payload.attempts += 1;
                let fault = SinkFault::new(FaultKind::Storage, cause.detail);
                Some((envelope, Some(fault)))
            }
        }
    }

    fn apply_fault(&mut self, fault: &SinkFault, mut batch: Vec<Envelope<Prepared>>, now: Instant) {
        self.ports.stats.fault(fault.kind);
        if fault.kind == FaultKind::TooLarge {
            self.split(batch, fault);
            return;
        }
        if fault.kind == FaultKind::Overloaded {
            self.pace.overloaded(now);
        }
        warn!(%fault, documents = batch.len(), "bulk request failed; holding its documents");
        self.latest_fault = Some(fault.clone());
        self.blame.request_failed(now);
        self.fault_in_a_row(fault.retry_after);
        for envelope in &mut batch {
            envelope.payload.attempts += 1;
        }
        self.hold(batch, fault.retry_after);
    }

    /// A request that was too large is sent again in two halves, and at last its single document cut harder.
    fn split(&mut self, mut batch: Vec<Envelope<Prepared>>, fault: &SinkFault) {
        if batch.len() > 1 {
            let second = batch.split_off(batch.len() / 2);
            self.send_next(batch);
            self.send_next(second);
            return;
        }
        let Some(envelope) = batch.pop() else { return };
        if let Some(smaller) = truncate_harder(&envelope.payload, &self.limits.policy.truncate) {
            self.send_next(vec![Envelope { payload: smaller, receipt: envelope.receipt }]);
        } else {
            let refusal = Refusal { status: Some(413), ..Refusal::new(RefusalClass::TooLarge, &*fault.detail) };
            self.refuse(Envelope { payload: refusal, receipt: envelope.receipt });
        }
    }

    /// Nothing is kept once the gate has closed: the deliveries were given back.
    fn send_next(&mut self, batch: Vec<Envelope<Prepared>>) {
        if !self.is_closed() {
            self.ready.push_back(batch);
        }
    }

    fn hold(&mut self, envelopes: Vec<Envelope<Prepared>>, at_least: Option<Duration>) {
        if envelopes.is_empty() || self.is_closed() {
            return;
        }
        let stats = &self.ports.stats;
        PipelineStats::add(&stats.held, "held", envelopes.len() as u64);
        // Each by its own attempts: what is new would else bring the old along, again and again.
        let mut alike: BTreeMap<u32, Vec<Envelope<Prepared>>> = BTreeMap::new();
        for envelope in envelopes {
            alike.entry(envelope.payload.attempts.clamp(1, Backoff::LONGEST)).or_default().push(envelope);
        }
        for (attempt, envelopes) in alike {
            let own = self.settings.backoff().pause(attempt, &mut self.rng);
            let pause = own.max(self.breaker.pause(&mut self.rng)).max(at_least.unwrap_or_default());
            self.held.push(HeldBatch { due: later(Instant::now(), pause), envelopes });
        }
    }
}

impl EnvelopeResult {
    /// Returns the store's verdict, if the document was sent.
    pub(super) const fn verdict(&self) -> Option<&Verdict> {
        match &self.result {
            ItemResult::Verdict(verdict) => Some(verdict),
            ItemResult::NotUploaded(_) => None,
        }
    }

    pub(super) fn is_durable(&self) -> bool {
        self.verdict().is_some_and(is_durable)
    }
}
