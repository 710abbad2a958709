//! The state of the flow and the steps that time brings about. Only this task touches it, so there are no locks.
//!
//! A transient fault is held here and tried again after a pause; the broker's prefetch window is what pauses the
//! producers. How deliveries come in is in `intake.rs`, what comes back from requests in `results.rs`, what becomes of
//! refusals in `refusals.rs`, and how it is found out that a store works again in `trial.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::error;

use super::blame::{Blame, Release};
use super::breaker::Breaker;
use super::cache::DurableCache;
use super::dispatch::{BulkRequest, Destination, GraphKey, RequestResult};
use super::gate::{Gate, GateKeeper};
use super::intake::UnfoldBudget;
use super::limit::RefusalLimit;
use super::pace::RequestPace;
use super::prepare::{Decode, Envelope, Preparation, PrepareLimits, Prepared};
use super::receipt::Delivery;
use super::refusals::Pause;
use super::settings::PipelineSettings;
use super::stats::{Latency, PipelineStats};
use super::suspicion::Suspicion;
use super::window::Window;
use crate::codec::{self, PayloadPolicy};
use crate::domain::SinkFault;
use crate::store::BulkSink;
use crate::store::payload::{PayloadError, PayloadStore};
use crate::telemetry::{Clock, how_it_ended, names};

/// The loop turns at least this often, so that its heartbeat means something.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often it is looked for what was held too long; it looks at all that is held.
const OVERDUE_LOOK: Duration = Duration::from_secs(1);
/// Entries of the graph cache. A canvas changes with each publish, far less often than runs come.
const GRAPHS: usize = 4_096;
/// A durable graph is trusted this long (twice at most). Another worker may have made its index anew, which this one's store
/// cannot see; a graph sent once in this time costs little.
const GRAPH_AGE: Duration = Duration::from_secs(15);

/// What the flow needs from outside.
pub struct PipelinePorts {
    pub sink: Arc<dyn BulkSink>,
    pub payloads: Arc<PayloadStore>,
    pub gate: GateKeeper,
    pub stats: Arc<PipelineStats>,
    pub clock: Clock,
    /// Seed of the jitter.
    pub seed: u64,
}

/// The flow's state.
#[allow(clippy::struct_excessive_bools, reason = "each says one thing of the flow by itself")]
pub struct Pipeline {
    pub(super) settings: PipelineSettings,
    pub(super) limits: PrepareLimits,
    pub(super) ports: PipelinePorts,
    pub(super) destination: Destination,
    /// Heavy deliveries that wait for a decoder, with the time of their arrival.
    pub(super) undecoded: VecDeque<(Delivery, Instant)>,
    pub(super) decoding: usize,
    pub(super) unfold: UnfoldBudget,
    /// Documents without full texts to upload.
    pub(super) window: Window,
    /// Documents whose full texts are uploaded first. They wait here while the payload store takes nothing.
    pub(super) uploads: Window,
    /// Batches that are sent as they are: the halves of a request that was too large.
    pub(super) ready: VecDeque<Vec<Envelope<Prepared>>>,
    pub(super) held: Vec<HeldBatch>,
    pub(super) tasks: JoinSet<TaskResult>,
    pub(super) requests_out: usize,
    /// Those of them that upload.
    pub(super) uploads_out: usize,
    pub(super) probing: bool,
    pub(super) probing_payloads: bool,
    pub(super) durable_graphs: DurableCache<GraphKey, ()>,
    /// The store's generation that the cache belongs to.
    pub(super) generation: u64,
    pub(super) breaker: Breaker,
    /// The breaker of the payload store.
    pub(super) payload_breaker: Breaker,
    pub(super) pace: RequestPace,
    pub(super) refusals: RefusalLimit,
    /// In words, for the reason why the gate closes.
    pub(super) latest_fault: Option<SinkFault>,
    pub(super) latest_payload_fault: Option<String>,
    /// Everything was given back because of an outage.
    pub(super) released: Option<Release>,
    /// Whether the store is to blame for that outage, or one place of it.
    pub(super) blame: Blame,
    /// All deliveries are of one task, which cannot go on without any of them.
    pub(super) of_one_task: bool,
    /// The gate is closed, and what waited here was given back.
    pub(super) gave_back: bool,
    /// The store has judged no document yet: until it has, consumers take one at a time.
    pub(super) unproven: bool,
    /// A pause for too many refusals.
    pub(super) paused: Option<Pause>,
    /// Documents to try a store with after everything was given back.
    pub(super) kept: Vec<Prepared>,
    pub(super) recently_refused: VecDeque<Prepared>,
    /// Refusals of which it is not known yet whose fault they are.
    pub(super) suspicion: Option<Suspicion>,
    /// Documents that were stored, to find it out.
    pub(super) controls: VecDeque<Prepared>,
    pub(super) latency: Latency,
    /// When to look again for what was held too long.
    next_overdue_look: Instant,
    pub(super) rng: StdRng,
}

/// Envelopes waiting for another try.
pub(super) struct HeldBatch {
    pub due: Instant,
    pub envelopes: Vec<Envelope<Prepared>>,
}

/// What a task brings back.
pub(super) enum TaskResult {
    Request {
        result: Box<RequestResult>,
        uploads: bool,
    },
    /// Documents that were written without a delivery, to see whether the store takes them.
    Trial(Box<RequestResult>),
    /// Documents that were stored before, written once more because others are refused.
    Control(Box<RequestResult>),
    /// The same, because others are not taken.
    Others(Box<RequestResult>),
    Probe(Result<(), SinkFault>),
    PayloadProbe(Result<(), PayloadError>),
    Decoded(Box<Preparation>),
}

impl Pipeline {
    /// Returns a flow that has not begun.
    pub fn new(settings: PipelineSettings, policy: PayloadPolicy, ports: PipelinePorts) -> Self {
        Self::with_decoder(settings, policy, ports, codec::decode)
    }

    /// Lets each consumer take one delivery until the store has judged a document. A process that starts during an outage would
    /// otherwise take all that its prefetch allows, to give it back.
    #[must_use]
    pub fn trying_first(mut self) -> Self {
        self.unproven = true;
        self.ports.gate.send_replace(Gate::Trial);
        self
    }

    /// Lets a document that the store does not take stop everything, as an outage does. A migration cannot go on without it.
    #[must_use]
    pub const fn of_one_task(mut self) -> Self {
        self.of_one_task = true;
        self
    }

    pub(super) fn with_decoder(
        settings: PipelineSettings,
        policy: PayloadPolicy,
        ports: PipelinePorts,
        decoder: Decode,
    ) -> Self {
        let now = Instant::now();
        let decode = codec::DecodeLimits { message_bytes: settings.max_message_bytes };
        ports.stats.beat();
        Self {
            limits: PrepareLimits { decode, policy, months: settings.months((ports.clock)()), decoder },
            destination: Destination { sink: Arc::clone(&ports.sink), payloads: Arc::clone(&ports.payloads) },
            undecoded: VecDeque::new(),
            decoding: 0,
            unfold: UnfoldBudget::new(settings.unfold_budget_bytes),
            window: Window::new(settings.batch(), now),
            uploads: Window::new(settings.batch(), now),
            ready: VecDeque::new(),
            held: Vec::new(),
            tasks: JoinSet::new(),
            requests_out: 0,
            uploads_out: 0,
            probing: false,
            probing_payloads: false,
            durable_graphs: DurableCache::new(GRAPHS.min(settings.cache_entries), GRAPH_AGE, now),
            generation: ports.sink.generation(),
            breaker: Breaker::new(settings.breaker_threshold, settings.backoff()),
            payload_breaker: Breaker::new(settings.breaker_threshold, settings.backoff()),
            pace: RequestPace::new(settings.requests_in_flight, now),
            refusals: RefusalLimit::new(settings.refusal_limits),
            latest_fault: None,
            latest_payload_fault: None,
            released: None,
            blame: Blame::default(),
            of_one_task: false,
            next_overdue_look: now,
            gave_back: false,
            unproven: false,
            paused: None,
            kept: Vec::new(),
            recently_refused: VecDeque::new(),
            suspicion: None,
            controls: VecDeque::new(),
            latency: Latency::new(),
            rng: StdRng::seed_from_u64(ports.seed),
            settings,
            ports,
        }
    }

    /// Returns whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        let nothing_waits = self.window.is_empty() && self.uploads.is_empty() && self.undecoded.is_empty();
        nothing_waits && self.ready.is_empty() && self.held.is_empty() && self.requests_out == 0 && self.decoding == 0
    }

    /// Returns whether deliveries are taken now. With the gate closed they are, to be given back. Documents that wait
    /// for the payload store do not count: the others go on for as long as the memory budget and the prefetch allow. So they
    /// do while others are looked for: what waits may be all of the one that is blocked.
    pub(super) fn pulls(&self) -> bool {
        if self.is_closed() {
            return true;
        }
        if self.breaker.is_open() {
            self.looks_for_others()
        } else {
            !self.window.is_crowded() && self.ready.is_empty()
        }
    }

    /// Returns whether everything was given back and nothing more is taken.
    pub(super) const fn is_closed(&self) -> bool {
        self.gave_back
    }

    /// Snapshots that a newer one replaced while both waited.
    pub(super) fn collapsed(&self) -> u64 {
        self.window.collapsed() + self.uploads.collapsed()
    }

    /// Starts every request, decoder and trial that is due and may start.
    pub(super) fn start_requests(&mut self) {
        let now = Instant::now();
        self.ports.stats.beat();
        // In the turn itself: while deliveries never end, the clock's branch is never reached.
        if self.next_overdue_look <= now {
            self.next_overdue_look = now + OVERDUE_LOOK;
            self.release_if_overdue(now);
        }
        self.start_decoders();
        while self.may_send() && self.pace.next_start() <= now {
            self.readmit_held(now);
            let Some((batch, uploads)) = self.next_batch(now) else { break };
            let request = BulkRequest::new(batch, self.generation, |graph| self.durable_graphs.holds(graph, ()));
            let destination = self.destination.clone();
            self.pace.started(now);
            self.requests_out += 1;
            self.uploads_out += usize::from(uploads);
            self.tasks.spawn(async move {
                TaskResult::Request { result: Box::new(request.send(&destination).await), uploads }
            });
        }
        self.start_trials(now);
        gauge!(names::REQUESTS).set(self.requests_out as f64);
    }

    /// Nothing is sent after the gate closed: its delivery has been given back.
    fn may_send(&self) -> bool {
        !self.is_closed() && !self.breaker.is_open() && self.requests_out < self.pace.limit()
    }

    /// Half of the requests at most upload, so that a slow payload store does not stop documents without full texts.
    fn may_upload(&self) -> bool {
        !self.payload_breaker.is_open() && self.uploads_out < self.pace.limit().div_ceil(2)
    }

    /// Returns the next batch that is due, and whether it uploads.
    fn next_batch(&mut self, now: Instant) -> Option<(Vec<Envelope<Prepared>>, bool)> {
        if let Some(batch) = self.ready.pop_front() {
            return Some((batch, false));
        }
        let is_due = |window: &Window| window.due(now).is_some_and(|due| due <= now);
        if self.may_upload() && is_due(&self.uploads) {
            return Some((self.uploads.take(now), true));
        }
        is_due(&self.window).then(|| (self.window.take(now), false))
    }

    fn readmit_held(&mut self, now: Instant) {
        while let Some(position) = self.held.iter().position(|held| held.due <= now) {
            for envelope in self.held.swap_remove(position).envelopes {
                self.enqueue(envelope, now);
            }
        }
    }

    /// Returns when the loop must turn even if nothing happens.
    pub(super) fn wake(&self) -> Instant {
        let now = Instant::now();
        let next_start = self.pace.next_start();
        let may_send = self.may_send();
        let batch = may_send.then(|| self.window.due(now)).flatten().map(|due| due.max(next_start));
        let uploads = (may_send && self.may_upload()).then(|| self.uploads.due(now)).flatten();
        let uploads = uploads.map(|due| due.max(next_start));
        let ready = (may_send && !self.ready.is_empty()).then_some(next_start);
        let held = may_send.then(|| self.held.iter().map(|held| held.due).min()).flatten();
        let trial = self.next_trial();
        let payload_probe = self.payload_breaker.next_probe().filter(|_| !self.probing_payloads);
        let all = [batch, uploads, ready, held, trial, payload_probe, self.suspicion_ends()];
        all.into_iter().flatten().fold(now + HEARTBEAT, Instant::min)
    }

    /// Whatever time alone brings about; requests are started by the next `start_requests`.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        // Held envelopes go back even while no request may start, so that newer snapshots collapse with them.
        if !self.breaker.is_open() {
            self.readmit_held(now);
        }
    }

    /// Returns the next task to come back; never, while none is out.
    ///
    /// # Errors
    /// A task that ended without a result: then the flow no longer knows what is out. What tasks do is guarded against
    /// panics, so that this is a defect.
    pub(super) async fn next_result(&mut self) -> Option<Result<TaskResult, ()>> {
        match self.tasks.join_next().await? {
            Ok(result) => Some(Ok(result)),
            Err(crash) => {
                error!(
                    how = how_it_ended(&crash),
                    "a task of the flow died; the flow ends, and its deliveries are requeued"
                );
                Some(Err(()))
            }
        }
    }
}
