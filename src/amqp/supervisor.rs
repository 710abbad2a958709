//! Keeps the consumers of the process running: connects for ever, declares what is missing, subscribes again after
//! every loss, obeys the gate, and drains in order at the end. Settles nothing itself.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc::{self, WeakSender};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::budget::MemoryBudget;
use super::connection::{CLOSE_TIMEOUT, Connector, Link, answered};
use super::consumer::{Ended, Session, Shared};
use super::error::AmqpError;
use super::gate;
use super::ledger::Outboxes;
use super::outbox::Outbox;
use super::settings::{AmqpSettings, QueueSettings};
use super::stats::BrokerStats;
use super::topology;
use crate::backoff::Backoff;
use crate::pipeline::gate::{Gate, GateWatch};
use crate::pipeline::receipt::Delivery;
use crate::telemetry::{Clock, how_it_ended};

pub(super) const RECONNECT: Backoff = Backoff { first: Duration::from_millis(250), max: Duration::from_secs(10) };

/// All consumers of the process.
pub struct Consumption {
    settings: Arc<AmqpSettings>,
    stats: Arc<BrokerStats>,
    budget: Arc<MemoryBudget>,
    clock: Clock,
    consuming: Connector,
    publishing: Link,
}

impl Consumption {
    /// Prepares; nothing is connected yet. The settings are expected to be valid.
    ///
    /// # Errors
    /// The CA file cannot be read.
    pub fn new(settings: AmqpSettings, clock: Clock) -> Result<Self, AmqpError> {
        let consumers = settings.queues.iter().map(|queue| usize::from(queue.consumers.get())).sum();
        let budget = MemoryBudget::new(settings.memory_budget_bytes);
        let consuming = Connector::new(&settings, "worker: consuming")?;
        let publishing = Link::new(Connector::new(&settings, "worker: publishing")?);
        let stats = Arc::new(BrokerStats::new(consumers, Arc::clone(&budget), publishing.blocked()));
        Ok(Self { settings: Arc::new(settings), stats, budget, clock, consuming, publishing })
    }

    pub fn stats(&self) -> Arc<BrokerStats> {
        Arc::clone(&self.stats)
    }

    /// Consumes until `drain` is cancelled; then takes in no more, waits at most `patience` until all that the pipeline
    /// has is settled, and disconnects. Never ends because of the broker.
    ///
    /// # Errors
    /// A task of it that panicked, in words: its queue, or its letters, would wait for ever.
    pub async fn run(
        self,
        pipeline: mpsc::Sender<Delivery>,
        gate: GateWatch,
        drain: CancellationToken,
        patience: Duration,
    ) -> Result<(), String> {
        let publishing = Arc::new(self.publishing);
        let outbox = || {
            let (settings, stats) = (Arc::clone(&self.settings), Arc::clone(&self.stats));
            Outbox::start(Arc::clone(&publishing), settings, stats, Arc::clone(&self.clock))
        };
        let (letters, mut writing_letters) = outbox();
        let (forwards, mut forwarding) = outbox();
        let shared = Arc::new(Shared {
            settings: self.settings,
            consumers: self.stats.consumers(),
            stats: self.stats,
            budget: self.budget,
            outboxes: Outboxes { letters, forwards },
            drain: drain.clone(),
            deadline: CancellationToken::new(),
        });
        let consuming = Arc::new(Link::new(self.consuming));
        let mut consumers = spawn_consumers(&shared, &consuming, &pipeline, &gate);

        let ended = tokio::select! {
            () = drain.cancelled() => {
                // The pipeline sees the end of the deliveries when the consumers have let go of it as well.
                drop(pipeline);
                if let Ok(ended) = tokio::time::timeout(patience, all_ended(&mut consumers)).await {
                    ended
                } else {
                    let unsettled = shared.stats.in_flight();
                    tracing::warn!(unsettled, "the drain took too long; what is not settled goes back to its queue");
                    shared.deadline.cancel();
                    // A broker that does not answer any more takes everything back by itself.
                    tokio::time::timeout(CLOSE_TIMEOUT, all_ended(&mut consumers)).await.unwrap_or(Ok(()))
                }
            }
            // Consumers also end when the pipeline is gone.
            ended = all_ended(&mut consumers) => ended,
            ended = &mut writing_letters => Err(died("publishing dead letters", &ended)),
            ended = &mut forwarding => Err(died("forwarding messages", &ended)),
        };
        consumers.shutdown().await;
        // What was ordered and is not confirmed belongs to deliveries that are given back.
        writing_letters.abort();
        forwarding.abort();
        for link in [consuming, publishing] {
            link.close().await;
        }
        ended
    }
}

/// Waits until all consumers have ended, or one has panicked.
async fn all_ended(consumers: &mut JoinSet<()>) -> Result<(), String> {
    while let Some(ended) = consumers.join_next().await {
        if ended.is_err() {
            return Err(died("a consumer", &ended));
        }
    }
    Ok(())
}

fn died(task: &str, ended: &Result<(), JoinError>) -> String {
    let how = ended.as_ref().err().map_or("it has stopped without being told to", how_it_ended);
    format!("{task}: {how}")
}

fn spawn_consumers(
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    pipeline: &mpsc::Sender<Delivery>,
    gate: &GateWatch,
) -> JoinSet<()> {
    let mut consumers = JoinSet::new();
    let mut number = 0;
    for queue in &shared.settings.queues {
        let queue = Arc::new(queue.clone());
        for _ in 0..queue.consumers.get() {
            let keeper = Keeper {
                shared: Arc::clone(shared),
                link: Arc::clone(link),
                queue: Arc::clone(&queue),
                number,
                gate: gate.clone(),
                trouble: None,
            };
            consumers.spawn(keeper.keep(pipeline.downgrade()));
            number += 1;
        }
    }
    consumers
}

/// Keeps one consumer running.
struct Keeper {
    shared: Arc<Shared>,
    link: Arc<Link>,
    queue: Arc<QueueSettings>,
    number: usize,
    gate: GateWatch,
    /// What is wrong, if anything, so that it is logged once and not per attempt.
    trouble: Option<String>,
}

impl Keeper {
    async fn keep(mut self, pipeline: WeakSender<Delivery>) {
        let drain = self.shared.drain.clone();
        let mut rng = StdRng::from_os_rng();
        let mut attempt = 0;
        loop {
            tokio::select! {
                biased;
                () = drain.cancelled() => return,
                open = gate::opened(&mut self.gate) => if !open { return },
            }
            let Some(pipeline) = pipeline.upgrade() else {
                return;
            };
            let started = Instant::now();
            let opened = tokio::select! {
                biased;
                () = drain.cancelled() => return,
                opened = answered("subscribing", self.open(pipeline)) => opened,
            };
            let ended = match opened {
                Ok(session) => session.run(&mut self.gate).await,
                Err(error) => Ended::Lost(error),
            };
            match ended {
                Ended::Drained => return,
                Ended::GateClosed => {
                    if let Gate::Closed(reason) = &*self.gate.borrow() {
                        tracing::warn!(queue = self.queue.name, %reason, "stopped consuming; deliveries are given back");
                    }
                    attempt = 0;
                    continue;
                }
                Ended::Lost(error) => self.complain(&error),
            }
            // A consumer that ran for a while was healthy; one that fails at once must not spin.
            attempt = if started.elapsed() > RECONNECT.max { 1 } else { attempt + 1 };
            let pause = RECONNECT.pause(attempt, &mut rng);
            if tokio::time::timeout(pause, drain.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    /// Declares what is missing and subscribes.
    async fn open(&mut self, pipeline: mpsc::Sender<Delivery>) -> Result<Session, AmqpError> {
        topology::declare_queue(&self.link, &self.shared.settings, &self.queue).await?;
        let channel = self.link.channel().await?;
        let (queue, shared) = (Arc::clone(&self.queue), Arc::clone(&self.shared));
        let in_trial = !self.gate.borrow().is_open();
        let session = Session::open(channel, queue, shared, self.number, pipeline, in_trial).await?;
        self.trouble = None;
        tracing::info!(queue = self.queue.name, consumer = self.number, "consuming");
        Ok(session)
    }

    fn complain(&mut self, error: &AmqpError) {
        let trouble = error.to_string();
        if self.trouble.as_ref() != Some(&trouble) {
            tracing::error!(queue = self.queue.name, consumer = self.number, %error, "not consuming; trying until it works");
            self.trouble = Some(trouble);
        }
    }
}
