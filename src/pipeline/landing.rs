//! What becomes of requests that came back: verdicts to dispositions, faults to pauses.
//!
//! Receipts are settled in [`Pipeline::land_one`] and [`Pipeline::refuse`], and nowhere else but for what the cache
//! knows to be durable.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::dispatch::Landed;
use super::gate::Gate;
use super::limit::Admission;
use super::prepare::{Envelope, Prepared, truncate_harder};
use super::stats::PipelineStats;
use super::worker::{Flown, Held, Pipeline, RefusalPause};
use crate::domain::verdict::Next;
use crate::domain::{Disposition, FaultKind, Refusal, RefusalClass, SinkFault, Timestamp, Verdict};

impl Pipeline {
    /// Takes a task's result.
    pub(super) fn land(&mut self, flown: Flown) {
        match flown {
            Flown::Probe(Ok(())) => {
                self.probing = false;
                self.recover();
            }
            Flown::Probe(Err(fault)) => {
                self.probing = false;
                self.breaker.failed(Instant::now(), fault.retry_after, &mut self.rng);
                self.latest_fault = Some(fault);
            }
            Flown::Request(landing) => {
                self.requests_out -= 1;
                let now = Instant::now();
                for graph in landing.durable_graphs {
                    self.durable_graphs.tell(graph, (), now);
                }
                match landing.outcome {
                    Ok(landed) => self.land_all(landed, landing.took),
                    Err((fault, batch)) => self.land_fault(&fault, batch, now),
                }
            }
        }
    }

    fn land_all(&mut self, landed: Vec<Landed>, took: Duration) {
        self.ports.stats.request(landed.len(), took);
        let overloaded = landed
            .iter()
            .any(|one| matches!(&one.verdict, Verdict::Retry(cause) if matches!(cause.status, Some(429 | 503))));
        if overloaded {
            self.pace.overloaded(Instant::now());
        } else {
            self.pace.succeeded();
        }
        let mut held = Vec::new();
        let (mut stored, mut superseded) = (0, 0);
        let now = Instant::now();
        let wall = (self.ports.clock)();
        for one in landed {
            stored += u64::from(one.verdict == Verdict::Stored);
            superseded += u64::from(one.verdict == Verdict::Superseded);
            if let Some(envelope) = self.land_one(one, now, wall) {
                held.push(envelope);
            }
        }
        let stats = &self.ports.stats;
        PipelineStats::add(&stats.stored, "stored", stored);
        PipelineStats::add(&stats.superseded, "superseded", superseded);
        if stored + superseded > 0 || held.is_empty() {
            self.recover();
        } else {
            self.fault_in_a_row(None);
        }
        self.hold(held, None);
    }

    /// Settles one envelope by its verdict; answers it back if it must be tried again.
    fn land_one(
        &mut self,
        Landed { mut envelope, verdict }: Landed,
        now: Instant,
        wall: Timestamp,
    ) -> Option<Envelope<Prepared>> {
        if let Verdict::Refused(Refusal { class: RefusalClass::TooLarge, .. }) = verdict
            && let Some(smaller) = truncate_harder(&envelope.payload, &self.limits.truncate)
        {
            self.ready.push_back(vec![Envelope { payload: smaller, receipt: envelope.receipt }]);
            return None;
        }
        match Next::from(verdict) {
            Next::Settle(Disposition::DeadLetter(refusal)) => {
                self.refuse(Envelope { payload: refusal, receipt: envelope.receipt });
                None
            }
            Next::Settle(disposition) => {
                self.durable.tell(envelope.payload.slot(), envelope.payload.revision(), now);
                self.refusals.stored();
                self.latency.observe(&envelope.payload, now, wall);
                envelope.receipt.settle(&disposition);
                None
            }
            Next::Hold(cause) => {
                if envelope.payload.attempts == 0 {
                    warn!(status = cause.status, detail = %cause.detail, "store did not take a document; holding it");
                }
                envelope.payload.attempts += 1;
                Some(envelope)
            }
        }
    }

    /// Dead-letters, unless refusals have become too many: then the delivery is given back and the worker pauses.
    pub(super) fn refuse(&mut self, refused: Envelope<Refusal>) {
        let class = refused.payload.class;
        let admission = if self.paused.is_some() { Admission::Pause } else { self.refusals.refused(class) };
        match admission {
            Admission::DeadLetter => {
                let stats = &self.ports.stats;
                PipelineStats::add(&stats.refused, "refused", 1);
                warn!(reason = %class, detail = %refused.payload.detail, "dead-lettering");
                refused.dead_letter();
            }
            Admission::Pause => {
                if self.paused.is_none() {
                    let seconds = self.settings.refusal_limits.pause_seconds;
                    self.paused = Some(match seconds {
                        0 => RefusalPause::UntilRestart,
                        _ => RefusalPause::Until(Instant::now() + Duration::from_secs(seconds)),
                    });
                    error!(latest = %refused.payload, pause_seconds = seconds,
                        "too many refusals: pausing instead of draining the queue into the dead-letter queue");
                    self.close_gate(format!("too many refusals, the latest: {}", refused.payload));
                }
            }
        }
    }

    fn land_fault(&mut self, fault: &SinkFault, batch: Vec<Envelope<Prepared>>, now: Instant) {
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
        self.fault_in_a_row(fault.retry_after);
        self.hold(batch, fault.retry_after);
    }

    /// A request that was too large flies again in two halves, and at last its single document cut harder.
    fn split(&mut self, mut batch: Vec<Envelope<Prepared>>, fault: &SinkFault) {
        if batch.len() > 1 {
            let second = batch.split_off(batch.len() / 2);
            self.ready.extend([batch, second]);
            return;
        }
        let Some(envelope) = batch.pop() else { return };
        if let Some(smaller) = truncate_harder(&envelope.payload, &self.limits.truncate) {
            self.ready.push_back(vec![Envelope { payload: smaller, receipt: envelope.receipt }]);
        } else {
            let refusal = Refusal { status: Some(413), ..Refusal::new(RefusalClass::TooLarge, &*fault.detail) };
            self.refuse(Envelope { payload: refusal, receipt: envelope.receipt });
        }
    }

    fn hold(&mut self, envelopes: Vec<Envelope<Prepared>>, at_least: Option<Duration>) {
        if envelopes.is_empty() {
            return;
        }
        if self.is_closed() {
            return;
        }
        let stats = &self.ports.stats;
        PipelineStats::add(&stats.held, "held", envelopes.len() as u64);
        let attempt = envelopes.iter().map(|envelope| envelope.payload.attempts).min().unwrap_or(1);
        let own = self.settings.backoff().pause(attempt.max(1), &mut self.rng);
        let pause = own.max(self.breaker.pause(&mut self.rng)).max(at_least.unwrap_or_default());
        self.held.push(Held { due: Instant::now() + pause, envelopes });
    }

    fn fault_in_a_row(&mut self, retry_after: Option<Duration>) {
        if self.breaker.failed(Instant::now(), retry_after, &mut self.rng) {
            error!("breaker opened: not pulling until the store answers a probe");
            self.ports.stats.set_breaker(true);
        }
    }

    /// The store works: close the breaker, let the held try at once, let consumers pull.
    fn recover(&mut self) {
        if !self.breaker.succeeded() {
            return;
        }
        info!("breaker closed: the store answers again");
        self.ports.stats.set_breaker(false);
        let now = Instant::now();
        for held in &mut self.held {
            held.due = now;
        }
        if self.paused.is_none() {
            self.open_gate();
        }
    }

    pub(super) fn open_gate(&mut self) {
        if self.is_closed() && !self.breaker.is_open() {
            self.ports.stats.set_gate(false);
            self.ports.gate.send_replace(Gate::Open);
        }
    }

    /// Tells the consumers to stop and gives back everything that waits.
    pub(super) fn close_gate(&mut self, reason: String) {
        error!(reason, "giving deliveries back and not consuming");
        self.ports.stats.set_gate(true);
        self.ports.gate.send_replace(Gate::Closed(reason));
        self.window.clear();
        self.ready.clear();
        self.held.clear();
    }
}
