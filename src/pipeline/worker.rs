//! The steps of the flow and the state they share. Only this task touches it, so there are no locks.
//!
//! A transient fault is held here and tried again after a pause; the broker's prefetch window is what pauses the
//! producers. What comes back from requests is handled in `landing.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info};

use super::breaker::Breaker;
use super::cache::DurableCache;
use super::dispatch::{GraphKey, Landing, Request};
use super::gate::GateKeeper;
use super::limit::RefusalLimit;
use super::pace::Pace;
use super::prepare::{Envelope, PrepareLimits, Prepared, Slot, prepare};
use super::receipt::Delivery;
use super::settings::PipelineSettings;
use super::stats::{Latency, PipelineStats};
use super::window::Window;
use crate::codec::{Cleaned, truncate};
use crate::domain::{Disposition, Revision, SinkFault};
use crate::store::BulkSink;
use crate::store::payload::PayloadStore;
use crate::telemetry::{Clock, names};

/// The loop turns at least this often, so that its heartbeat means something.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Entries of the graph cache. A canvas changes with each publish, far less often than runs come.
const GRAPHS: usize = 4_096;
/// A durable graph is trusted this long (twice at most), so that one that was dropped with its month comes back.
const GRAPH_AGE: Duration = Duration::from_mins(5);
const RECORD_AGE: Duration = Duration::from_mins(10);

/// What the flow needs from outside.
pub struct Ports {
    pub sink: Arc<dyn BulkSink>,
    pub payloads: Arc<PayloadStore>,
    pub gate: GateKeeper,
    pub stats: Arc<PipelineStats>,
    pub clock: Clock,
    /// Seed of the jitter.
    pub seed: u64,
}

/// The flow's state.
pub struct Pipeline {
    pub(super) settings: PipelineSettings,
    pub(super) limits: PrepareLimits,
    pub(super) ports: Ports,
    pub(super) window: Window,
    /// Batches that fly as they are: the halves of a request that was too large.
    pub(super) ready: VecDeque<Vec<Envelope<Prepared>>>,
    pub(super) held: Vec<Held>,
    pub(super) flights: JoinSet<Flown>,
    pub(super) requests_out: usize,
    pub(super) probing: bool,
    pub(super) durable: DurableCache<Slot, Revision>,
    pub(super) durable_graphs: DurableCache<GraphKey, ()>,
    pub(super) breaker: Breaker,
    pub(super) pace: Pace,
    pub(super) refusals: RefusalLimit,
    /// In words, for the reason why the gate closes.
    pub(super) latest_fault: Option<SinkFault>,
    /// A pause for too many refusals.
    pub(super) paused: Option<RefusalPause>,
    pub(super) latency: Latency,
    pub(super) rng: StdRng,
}

/// How long the worker pauses for too many refusals.
#[derive(Debug, Clone, Copy)]
pub(super) enum RefusalPause {
    Until(Instant),
    UntilRestart,
}

impl RefusalPause {
    fn end(self) -> Option<Instant> {
        match self {
            Self::Until(end) => Some(end),
            Self::UntilRestart => None,
        }
    }
}

/// Envelopes waiting for another try.
pub(super) struct Held {
    pub due: Instant,
    pub envelopes: Vec<Envelope<Prepared>>,
}

/// What a task brings back.
pub(super) enum Flown {
    Request(Box<Landing>),
    Probe(Result<(), SinkFault>),
}

impl Pipeline {
    /// A flow that has not begun.
    pub fn new(settings: PipelineSettings, truncate: truncate::Limits, ports: Ports) -> Self {
        let now = Instant::now();
        let decode = crate::codec::DecodeLimits { message_bytes: settings.max_message_bytes };
        ports.stats.beat((ports.clock)());
        Self {
            limits: PrepareLimits { decode, truncate, months: settings.months((ports.clock)()) },
            window: Window::new(settings.batch(), now),
            ready: VecDeque::new(),
            held: Vec::new(),
            flights: JoinSet::new(),
            requests_out: 0,
            probing: false,
            durable: DurableCache::new(settings.cache_entries, RECORD_AGE, now),
            durable_graphs: DurableCache::new(GRAPHS.min(settings.cache_entries), GRAPH_AGE, now),
            breaker: Breaker::new(settings.breaker_threshold, settings.backoff()),
            pace: Pace::new(settings.requests_in_flight, now),
            refusals: RefusalLimit::new(settings.refusal_limits),
            latest_fault: None,
            paused: None,
            latency: Latency::new(),
            rng: StdRng::seed_from_u64(ports.seed),
            settings,
            ports,
        }
    }

    /// Whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        self.window.is_empty() && self.ready.is_empty() && self.held.is_empty() && self.requests_out == 0
    }

    /// Whether deliveries are taken now. With the gate closed they are, to be given back.
    pub(super) fn pulls(&self) -> bool {
        !self.is_closed() && !self.breaker.is_open() && !self.window.is_crowded() && self.ready.is_empty()
            || self.is_closed()
    }

    pub(super) fn is_closed(&self) -> bool {
        !self.ports.gate.borrow().is_open()
    }

    /// Prepares deliveries and puts them into the window.
    pub(super) fn take_in(&mut self, inbox: &mut Vec<Delivery>) {
        if self.is_closed() {
            inbox.clear();
            return;
        }
        let now = Instant::now();
        self.limits.months = self.settings.months((self.ports.clock)());
        let mut cleaned = Cleaned::default();
        let (mut known, collapsed_before) = (0, self.window.collapsed());
        for delivery in inbox.drain(..) {
            let preparation = prepare(delivery, &self.limits, now);
            cleaned += preparation.cleaned;
            for refusal in preparation.refusals {
                self.refuse(refusal);
            }
            for envelope in preparation.envelopes {
                if self.durable.holds(&envelope.payload.slot(), envelope.payload.revision()) {
                    known += 1;
                    envelope.receipt.settle(&Disposition::Ack);
                } else {
                    self.window.add(envelope, now);
                }
            }
        }
        let stats = &self.ports.stats;
        PipelineStats::add(&stats.known, "known", known);
        PipelineStats::add(&stats.collapsed, "collapsed", self.window.collapsed() - collapsed_before);
        PipelineStats::cleaned(&cleaned);
    }

    /// Starts every request that is due and may start.
    pub(super) fn launch(&mut self) {
        let now = Instant::now();
        self.ports.stats.beat((self.ports.clock)());
        while !self.breaker.is_open() && self.requests_out < self.pace.limit() && self.pace.next_start() <= now {
            self.readmit_held(now);
            let batch = match self.ready.pop_front() {
                Some(batch) => batch,
                None if self.window.due(now).is_some_and(|due| due <= now) => self.window.take(now),
                None => break,
            };
            let request = Request::new(batch, |graph| self.durable_graphs.holds(graph, ()));
            let (sink, payloads) = (Arc::clone(&self.ports.sink), Arc::clone(&self.ports.payloads));
            self.pace.started(now);
            self.requests_out += 1;
            self.flights.spawn(async move { Flown::Request(Box::new(request.fly(sink, payloads).await)) });
        }
        if self.breaker.next_probe().is_some_and(|due| due <= now) && !self.probing {
            self.probing = true;
            let sink = Arc::clone(&self.ports.sink);
            self.flights.spawn(async move { Flown::Probe(sink.probe().await) });
        }
        gauge!(names::REQUESTS).set(self.requests_out as f64);
    }

    fn readmit_held(&mut self, now: Instant) {
        while let Some(position) = self.held.iter().position(|held| held.due <= now) {
            for envelope in self.held.swap_remove(position).envelopes {
                self.window.add(envelope, now);
            }
        }
    }

    /// When the loop must turn even if nothing happens.
    pub(super) fn wake(&self) -> Instant {
        let now = Instant::now();
        let may_launch = !self.breaker.is_open() && self.requests_out < self.pace.limit();
        let batch = may_launch.then(|| self.window.due(now)).flatten().map(|due| due.max(self.pace.next_start()));
        let ready = (may_launch && !self.ready.is_empty()).then(|| self.pace.next_start());
        let held = may_launch.then(|| self.held.iter().map(|held| held.due).min()).flatten();
        let probe = self.breaker.next_probe().filter(|_| !self.probing);
        let resume = self.paused.and_then(RefusalPause::end);
        [batch, ready, held, probe, resume].into_iter().flatten().fold(now + HEARTBEAT, Instant::min)
    }

    /// Whatever time alone brings about; requests are started by the next `launch`.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        if self.paused.and_then(RefusalPause::end).is_some_and(|end| end <= now) {
            self.paused = None;
            self.refusals.resume();
            info!("pause for too many refusals is over: trying again");
            self.open_gate();
        }
        if self.breaker.open_for(now) >= self.settings.release_after() && !self.is_closed() {
            let fault = self.latest_fault.as_ref().map_or_else(|| "see the log".to_owned(), ToString::to_string);
            self.close_gate(format!("the store takes nothing: {fault}"));
        }
        // Held envelopes go back even while no request may start, so that newer snapshots collapse with them.
        if !self.breaker.is_open() {
            self.readmit_held(now);
        }
    }

    /// The next task to come back; never, while none is out.
    pub(super) async fn next_flown(&mut self) -> Option<Flown> {
        match self.flights.join_next().await? {
            Ok(flown) => Some(flown),
            Err(crash) => {
                // Its receipts were dropped with it, and so requeued.
                error!(%crash, "a request task died; its deliveries are requeued");
                self.requests_out = self.requests_out.saturating_sub(1);
                None
            }
        }
    }
}
