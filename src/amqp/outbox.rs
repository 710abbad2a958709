//! What must be confirmed by the broker before a delivery is acked: dead letters and forwarded messages. An order is
//! tried until it is confirmed, for ever; its ledger hears of it then, and only then.
//!
//! Its memory is bounded by the deliveries that it works for, which the prefetch windows and the memory budget bound: it
//! holds their bodies, which the budget counts, and their headers once, whatever the number of letters. A group is copied
//! while it is sent, which its size bounds.
//!
//! A confirm that is lost with its channel makes an order be published twice: at least once is the promise.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

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
use crate::backoff::Backoff;
use crate::domain::RefusalClass;
use crate::pipeline::receipt::Letter;
use crate::telemetry::Clock;

/// The pauses of a message that the broker does not take. Each attempt costs a channel, or the connection that others
/// publish on as well.
const QUARANTINE: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(300) };

/// What to publish for one delivery.
pub(super) struct PublishOrder {
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
pub(super) type Orders = UnboundedSender<PublishOrder>;

/// An order as messages, until all of them are confirmed.
struct Pending {
    tag: u64,
    claim: Claim,
    answer: UnboundedSender<Confirmed>,
    dead_lettered: bool,
    unconfirmed: Vec<(Outgoing, Option<RefusalClass>)>,
    not_before: Option<Instant>,
    /// Failed attempts of it by itself, once a group with it broke its channel by one of its messages: the others must not
    /// wait for the one that the broker does not take. `None`: it is sent in groups.
    quarantined: Option<u32>,
}

pub(super) struct Outbox {
    link: Arc<Link>,
    settings: Arc<AmqpSettings>,
    stats: Arc<BrokerStats>,
    clock: Clock,
    publisher: Option<Publisher>,
    backlog: VecDeque<Pending>,
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
        let outbox = Self { link, settings, stats, clock, publisher: None, backlog: VecDeque::new(), rng, failures: 0 };
        (orders, tokio::spawn(outbox.run(incoming)))
    }

    async fn run(mut self, mut incoming: UnboundedReceiver<PublishOrder>) {
        let mut open = true;
        while open || !self.backlog.is_empty() {
            let due = self.backlog.iter().filter_map(|pending| pending.not_before).min();
            let ready = self.backlog.iter().any(|pending| pending.not_before.is_none());
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
                    self.backlog.iter_mut().for_each(|pending| pending.not_before = pending.not_before.filter(|&at| at > now));
                }
            }
            // Deliveries that were given back come again, and are refused or stored again.
            self.backlog.retain(|pending| pending.claim.strong_count() > 0);
            self.publish_ready().await;
        }
        if let Some(publisher) = self.publisher.take() {
            publisher.close().await;
        }
    }

    fn take(&mut self, order: PublishOrder) {
        let PublishOrder { tag, original, queue, purpose, claim, answer } = order;
        let (dead_lettered, unconfirmed) = match purpose {
            Purpose::Forward { to } => (false, vec![(letter::forward(original, &to), None)]),
            Purpose::DeadLetter(letters) => {
                let (at, exchange) = ((self.clock)(), &self.settings.dead_letter_exchange);
                let written = letter::write(&original, &queue, &letters, at, exchange);
                (true, written.into_iter().map(|one| (one.message, Some(one.class))).collect())
            }
        };
        self.backlog.push_back(Pending {
            tag,
            claim,
            answer,
            dead_lettered,
            unconfirmed,
            not_before: None,
            quarantined: None,
        });
    }

    /// Publishes one group of what is ready. What is not confirmed waits before the next attempt, behind the others.
    async fn publish_ready(&mut self) {
        let mut chosen = self.choose();
        if chosen.is_empty() {
            return;
        }
        if let Err(error) = self.open().await {
            self.back_off(chosen, Some(error.to_string()));
            return;
        }
        match self.attempt(&mut chosen).await {
            Ok(fates) => {
                let mut fates = fates.into_iter();
                let mut complaint = None;
                for pending in &mut chosen {
                    self.apply_confirms(pending, &mut fates, &mut complaint);
                }
                self.back_off(chosen, complaint);
            }
            Err(AmqpError::NotTakenOver(said)) => {
                self.publisher = None;
                self.quarantine(chosen, &said);
            }
            Err(error) => {
                self.publisher = None;
                // It may be one of the messages that ends the connection without a word: were they tried together again,
                // those before it would be published at each attempt.
                if chosen.len() > 1 {
                    for pending in &mut chosen {
                        pending.quarantined = pending.quarantined.or(Some(0));
                    }
                }
                self.back_off(chosen, Some(error.to_string()));
            }
        }
    }

    /// Takes a group off the front: at least one, and a quarantined one by itself.
    fn choose(&mut self) -> Vec<Pending> {
        let (mut messages, mut bytes) = (0, 0);
        let mut chosen = Vec::new();
        let mut waiting = VecDeque::new();
        while let Some(pending) = self.backlog.pop_front() {
            let full = messages >= GROUP || bytes >= GROUP_BYTES;
            let apart = chosen
                .first()
                .is_some_and(|first: &Pending| first.quarantined.is_some() || pending.quarantined.is_some());
            if full || apart || pending.not_before.is_some() {
                waiting.push_back(pending);
                continue;
            }
            messages += pending.unconfirmed.len();
            bytes += pending.unconfirmed.iter().map(|(message, _)| message.bytes()).sum::<usize>();
            chosen.push(pending);
        }
        self.backlog = waiting;
        chosen
    }

    /// Opens the publishing channel, if there is none.
    async fn open(&mut self) -> Result<(), AmqpError> {
        if self.publisher.is_none() {
            // The exchange may have been deleted: that is how a publishing channel breaks by itself.
            topology::declare_dead_letters(&self.link, &self.settings).await?;
            self.publisher = Some(Publisher::open(&self.link).await?);
        }
        Ok(())
    }

    async fn attempt(&mut self, chosen: &mut [Pending]) -> Result<Vec<Fate>, AmqpError> {
        let Some(publisher) = &self.publisher else {
            return Ok(Vec::new());
        };
        let mut group = Vec::new();
        for (message, _) in chosen.iter_mut().flat_map(|pending| &mut pending.unconfirmed) {
            if let Some(left_out) = publisher.fit(message) {
                let key = message.routing_key.as_str();
                tracing::warn!(
                    routing_key = key,
                    left_out,
                    "headers of a message are left out of its dead letter or copy: they exceed the broker's frame_max"
                );
            }
            group.push(message.clone());
        }
        publisher.publish(&group).await
    }

    /// Keeps what was not confirmed, and tells the ledger if that is nothing.
    fn apply_confirms(
        &self,
        pending: &mut Pending,
        fates: &mut impl Iterator<Item = Fate>,
        complaint: &mut Option<String>,
    ) {
        pending.unconfirmed.retain(|(message, class)| match fates.next() {
            Some(Fate::Confirmed) => {
                if let Some(class) = class {
                    self.stats.add_letter(*class);
                }
                false
            }
            fate => {
                let why = fate.as_ref().and_then(Fate::complaint).unwrap_or_else(|| "not tried".to_owned());
                complaint.get_or_insert_with(|| destination(message, class.is_some(), &why));
                true
            }
        });
        if pending.unconfirmed.is_empty() {
            // A ledger that is gone has given the delivery back; it will come again.
            let _ = pending.answer.send(Confirmed { tag: pending.tag, dead_lettered: pending.dead_lettered });
        }
    }

    /// Finds out, one by one, which message it is that breaks the channel. Only that one waits.
    fn quarantine(&mut self, mut chosen: Vec<Pending>, said: &str) {
        if let [pending] = chosen.as_mut_slice() {
            let failures = pending.quarantined.unwrap_or_default().saturating_add(1);
            if failures == 1 {
                tracing::error!(
                    reason = said,
                    "the broker does not take a dead letter or forwarded message; its delivery stays unacked, trying \
                     until it does"
                );
            }
            self.stats.add_publish_failures(pending.unconfirmed.len() as u64);
            pending.quarantined = Some(failures);
            pending.not_before = Some(Instant::now() + QUARANTINE.pause(failures, &mut self.rng));
        } else {
            for pending in &mut chosen {
                pending.quarantined = Some(0);
            }
        }
        self.backlog.extend(chosen);
    }

    fn back_off(&mut self, chosen: Vec<Pending>, complaint: Option<String>) {
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
        for mut pending in chosen.into_iter().filter(|pending| !pending.unconfirmed.is_empty()) {
            self.stats.add_publish_failures(pending.unconfirmed.len() as u64);
            pending.not_before = not_before;
            self.backlog.push_back(pending);
        }
    }
}

/// Returns where a message should go, why it does not get there, and what an operator can do.
fn destination(message: &Outgoing, is_letter: bool, why: &str) -> String {
    let (exchange, key) = (&message.exchange, &message.routing_key);
    if is_letter {
        return format!("dead letter for exchange {exchange} (amqp.dead_letter_exchange), routing key {key}: {why}");
    }
    format!(
        "message for queue {key} (amqp.queues[].forward_to): {why}; start the worker that reads this queue and declares \
         it, or restart difylog, which declares it, or take forward_to out of the settings"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_gets_nowhere_names_the_setting_and_what_to_do() {
        let message = Outgoing {
            exchange: "".into(),
            routing_key: "celery.legacy".into(),
            properties: lapin::BasicProperties::default(),
            body: bytes::Bytes::new(),
        };
        let forwarded = destination(&message, false, "no queue gets it");
        for part in
            ["celery.legacy", "amqp.queues[].forward_to", "no queue gets it", "declares it", "take forward_to out"]
        {
            assert!(forwarded.contains(part), "no {part:?} in {forwarded}");
        }
        let letter = destination(&message, true, "the broker closed the channel");
        assert!(letter.contains("amqp.dead_letter_exchange") && letter.contains("closed the channel"), "{letter}");
    }
}
