//! What must be confirmed by the broker before a delivery is acked: dead letters and forwarded messages. An order is
//! tried until it is confirmed, for ever; its ledger hears of it then, and only then.
//!
//! A confirm that is lost with its channel makes an order be published twice: at least once is the promise.

use std::collections::VecDeque;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::connection::Link;
use super::delivery::Original;
use super::error::AmqpError;
use super::ledger::slots::Claim;
use super::letter;
use super::publisher::{Fate, GROUP, GROUP_BYTES, Outgoing, Publisher};
use super::settings::{AmqpSettings, QueueSettings};
use super::stats::BrokerStats;
use super::supervisor::RECONNECT;
use super::topology;
use crate::domain::RefusalClass;
use crate::pipeline::receipt::Letter;
use crate::telemetry::Clock;

/// What to publish for one delivery.
pub(super) struct Order {
    pub tag: u64,
    pub original: Original,
    pub queue: Arc<QueueSettings>,
    pub purpose: Purpose,
    /// Ends when the delivery is no longer its ledger's to settle.
    pub claim: Claim,
    pub answer: UnboundedSender<Confirmed>,
}

pub(super) enum Purpose {
    DeadLetter(Vec<Letter>),
    Forward { to: String },
}

/// The broker has confirmed everything that was ordered for the delivery.
#[derive(Debug)]
pub(super) struct Confirmed {
    pub tag: u64,
    pub dead_lettered: bool,
}

/// Where orders go. Unbounded by type, bounded in fact: one order per delivery, within the prefetch windows.
pub(super) type Orders = UnboundedSender<Order>;

/// An order as messages.
struct Parcel {
    tag: u64,
    claim: Claim,
    answer: UnboundedSender<Confirmed>,
    dead_lettered: bool,
    unconfirmed: Vec<(Outgoing, Option<RefusalClass>)>,
    not_before: Option<Instant>,
    /// Failed attempts of it alone, once a group with it broke its channel by one of its messages: the others must not
    /// wait for the one that the broker does not take.
    alone: Option<u32>,
}

pub(super) struct Outbox {
    link: Arc<Link>,
    settings: Arc<AmqpSettings>,
    stats: Arc<BrokerStats>,
    clock: Clock,
    publisher: Option<Publisher>,
    parcels: VecDeque<Parcel>,
    rng: StdRng,
    /// Failed attempts in a row; more than none is an outage, logged when it begins and when it ends.
    failures: u32,
}

impl Outbox {
    /// Starts the task of an outbox; it ends when all senders of orders are gone and nothing is left to publish.
    pub fn start(
        link: Arc<Link>,
        settings: Arc<AmqpSettings>,
        stats: Arc<BrokerStats>,
        clock: Clock,
    ) -> (Orders, tokio::task::JoinHandle<()>) {
        let (orders, incoming) = unbounded_channel();
        let rng = StdRng::from_os_rng();
        let outbox = Self { link, settings, stats, clock, publisher: None, parcels: VecDeque::new(), rng, failures: 0 };
        (orders, tokio::spawn(outbox.run(incoming)))
    }

    async fn run(mut self, mut incoming: UnboundedReceiver<Order>) {
        let mut open = true;
        while open || !self.parcels.is_empty() {
            let due = self.parcels.iter().filter_map(|parcel| parcel.not_before).min();
            let ready = self.parcels.iter().any(|parcel| parcel.not_before.is_none());
            tokio::select! {
                biased;
                order = incoming.recv(), if open => match order {
                    Some(order) => {
                        self.take(order);
                        while let Ok(order) = incoming.try_recv() {
                            self.take(order);
                        }
                    }
                    None => open = false,
                },
                () = std::future::ready(()), if ready => {}
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let now = Instant::now();
                    self.parcels.iter_mut().for_each(|parcel| parcel.not_before = parcel.not_before.filter(|&at| at > now));
                }
            }
            // Deliveries that were given back come again, and are refused or stored again.
            self.parcels.retain(|parcel| parcel.claim.strong_count() > 0);
            self.publish_ready().await;
        }
        if let Some(publisher) = self.publisher.take() {
            publisher.close().await;
        }
    }

    fn take(&mut self, order: Order) {
        let Order { tag, original, queue, purpose, claim, answer } = order;
        let (dead_lettered, unconfirmed) = match purpose {
            Purpose::Forward { to } => (false, vec![(letter::forward(original, &to), None)]),
            Purpose::DeadLetter(letters) => {
                let (at, exchange) = ((self.clock)(), &self.settings.dead_letter_exchange);
                let write =
                    |one: &Letter| (letter::write(&original, &queue, one, at, exchange), Some(one.refusal.class));
                (true, letters.iter().map(write).collect())
            }
        };
        self.parcels.push_back(Parcel {
            tag,
            claim,
            answer,
            dead_lettered,
            unconfirmed,
            not_before: None,
            alone: None,
        });
    }

    /// Publishes one group of what is ready. What is not confirmed rests before the next attempt, behind the others.
    async fn publish_ready(&mut self) {
        let mut chosen = self.choose();
        if chosen.is_empty() {
            return;
        }
        let group: Vec<Outgoing> =
            chosen.iter().flat_map(|parcel| parcel.unconfirmed.iter().map(|(message, _)| message.clone())).collect();
        match self.attempt(&group).await {
            Ok(fates) => {
                let mut fates = fates.into_iter();
                let mut complaint = None;
                for parcel in &mut chosen {
                    self.judge(parcel, &mut fates, &mut complaint);
                }
                self.rest(chosen, complaint);
            }
            Err(error) => {
                self.publisher = None;
                match error {
                    AmqpError::NotTakenOver(said) => self.set_apart(chosen, &said),
                    error => self.rest(chosen, Some(error.to_string())),
                }
            }
        }
    }

    /// Takes parcels off the front that make a group: at least one, and one alone if it is to be.
    fn choose(&mut self) -> Vec<Parcel> {
        let (mut messages, mut bytes) = (0, 0);
        let mut chosen = Vec::new();
        let mut waiting = VecDeque::new();
        while let Some(parcel) = self.parcels.pop_front() {
            let full = messages >= GROUP || bytes >= GROUP_BYTES;
            let apart = chosen.first().is_some_and(|first: &Parcel| first.alone.is_some() || parcel.alone.is_some());
            if full || apart || parcel.not_before.is_some() {
                waiting.push_back(parcel);
                continue;
            }
            messages += parcel.unconfirmed.len();
            bytes += parcel.unconfirmed.iter().map(|(message, _)| message.body_bytes()).sum::<usize>();
            chosen.push(parcel);
        }
        self.parcels = waiting;
        chosen
    }

    async fn attempt(&mut self, group: &[Outgoing]) -> Result<Vec<Fate>, AmqpError> {
        let publisher = if let Some(publisher) = &self.publisher {
            publisher
        } else {
            // Somebody may have deleted the exchange: that is how a publishing channel breaks by itself.
            topology::declare_dead_letters(&self.link, &self.settings).await?;
            self.publisher.insert(Publisher::open(&self.link).await?)
        };
        publisher.publish(group).await
    }

    /// Keeps of a parcel what was not confirmed, and answers for it if that is nothing.
    fn judge(&self, parcel: &mut Parcel, fates: &mut impl Iterator<Item = Fate>, complaint: &mut Option<String>) {
        parcel.unconfirmed.retain(|(message, class)| match fates.next() {
            Some(Fate::Confirmed) => {
                if let Some(class) = class {
                    self.stats.add_letter(*class);
                }
                false
            }
            fate => {
                let why = match fate {
                    Some(Fate::Unroutable(said)) => format!("no queue gets it ({said})"),
                    _ => "the queue refuses it".to_owned(),
                };
                complaint.get_or_insert_with(|| {
                    format!("exchange `{}`, routing key `{}`: {why}", message.exchange, message.routing_key)
                });
                true
            }
        });
        if parcel.unconfirmed.is_empty() {
            // A ledger that is gone has given the delivery back; it will come again.
            let _ = parcel.answer.send(Confirmed { tag: parcel.tag, dead_lettered: parcel.dead_lettered });
        }
    }

    /// Finds out, one by one, which parcel it is that breaks the channel. That one rests, and so does nobody else.
    fn set_apart(&mut self, mut parcels: Vec<Parcel>, said: &str) {
        if let [parcel] = parcels.as_mut_slice() {
            let failures = parcel.alone.unwrap_or_default().saturating_add(1);
            if failures == 1 {
                tracing::error!(
                    reason = said,
                    "the broker does not take a dead letter or forwarded message; its delivery stays unacked, trying \
                     until it does"
                );
            }
            self.stats.add_publish_failures(parcel.unconfirmed.len() as u64);
            parcel.alone = Some(failures);
            parcel.not_before = Some(Instant::now() + RECONNECT.pause(failures, &mut self.rng));
        } else {
            for parcel in &mut parcels {
                parcel.alone = Some(0);
            }
        }
        self.parcels.extend(parcels);
    }

    fn rest(&mut self, parcels: Vec<Parcel>, complaint: Option<String>) {
        let Some(complaint) = complaint else {
            if std::mem::take(&mut self.failures) > 0 {
                tracing::info!("dead letters and forwarded messages are confirmed again");
            }
            return;
        };
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            tracing::error!(
                reason = complaint,
                "a dead letter or forwarded message is not confirmed; its delivery stays unacked, trying until it is"
            );
        }
        let not_before = Some(Instant::now() + RECONNECT.pause(self.failures, &mut self.rng));
        for mut parcel in parcels.into_iter().filter(|parcel| !parcel.unconfirmed.is_empty()) {
            self.stats.add_publish_failures(parcel.unconfirmed.len() as u64);
            parcel.not_before = not_before;
            self.parcels.push_back(parcel);
        }
    }
}
