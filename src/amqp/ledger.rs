//! Who acks? This file. A ledger keeps the deliveries of one channel until they are settled, and is the only code that
//! acks or nacks a delivery.
//!
//! - What is stored or superseded is acked: the settled prefix of the channel with one multiple-ack, what lies behind
//!   an unsettled delivery one by one after a short wait, so that one held delivery does not freeze the window.
//! - A dead letter, or a message to be forwarded, is first confirmed by the broker ([`super::outbox`]).
//! - What is given back is nacked with requeue. A settlement of a delivery that was given back is ignored.
//!
//! It never decides what becomes of a delivery: receipts carry that in.

use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::delivery::Original;
use super::error::AmqpError;
use super::outbox::{Confirmed, Orders, PublishOrder, Purpose};
use super::publisher::in_order;
use super::settings::QueueSettings;
use super::stats::BrokerStats;
use crate::pipeline::receipt::{LedgerAction, Letter, Settlement};
use slots::{Ending, EndingCounts, Slots};

pub mod slots;

/// Where the orders of a ledger go.
#[derive(Clone)]
pub(super) struct Outboxes {
    pub letters: Orders,
    pub forwards: Orders,
}

pub(super) struct Ledger {
    channel: Channel,
    queue: Arc<QueueSettings>,
    outboxes: Outboxes,
    stats: Arc<BrokerStats>,
    /// Which consumer of the process this is, for the statistics.
    consumer: usize,
    straggler_ack: Duration,
    release_after: Duration,
    slots: Slots<Original>,
    stragglers_since: Option<Instant>,
    confirmed: UnboundedSender<Confirmed>,
}

/// The patience of a ledger.
#[derive(Clone, Copy)]
pub(super) struct LedgerPatience {
    pub straggler_ack: Duration,
    pub release_after: Duration,
}

impl Ledger {
    /// Returns the ledger of a new channel, and where it hears of confirmed orders.
    pub fn new(
        channel: Channel,
        queue: Arc<QueueSettings>,
        outboxes: Outboxes,
        stats: Arc<BrokerStats>,
        consumer: usize,
        patience: LedgerPatience,
    ) -> (Self, UnboundedReceiver<Confirmed>) {
        let (confirmed, confirmations) = unbounded_channel();
        let LedgerPatience { straggler_ack, release_after } = patience;
        let ledger = Self {
            channel,
            queue,
            outboxes,
            stats,
            consumer,
            straggler_ack,
            release_after,
            slots: Slots::default(),
            stragglers_since: None,
            confirmed,
        };
        (ledger, confirmations)
    }

    /// Takes in a delivery.
    pub fn hold(&mut self, tag: u64, original: Original, received: Instant) {
        self.slots.hold(tag, original, received);
    }

    /// Does what a receipt says.
    pub fn settle(&mut self, settlement: Settlement) {
        let tag = settlement.tag;
        match (settlement.outcome, &self.queue.forward_to) {
            (LedgerAction::Ack, None) => {
                self.slots.settle(tag, Ending::Stored);
            }
            (LedgerAction::Ack, Some(to)) => self.order(tag, Purpose::Forward { to: to.clone() }),
            (LedgerAction::Requeue, _) => self.give_back(tag),
            (LedgerAction::DeadLetter(letters), _) => self.dead_letter(tag, letters),
        }
    }

    pub fn dead_letter(&mut self, tag: u64, letters: Vec<Letter>) {
        self.order(tag, Purpose::DeadLetter(letters));
    }

    fn order(&mut self, tag: u64, purpose: Purpose) {
        let Some((original, claim)) = self.slots.lend(tag) else {
            return;
        };
        let orders = match purpose {
            Purpose::DeadLetter(_) => &self.outboxes.letters,
            Purpose::Forward { .. } => &self.outboxes.forwards,
        };
        let (queue, answer) = (Arc::clone(&self.queue), self.confirmed.clone());
        // An outbox that is gone confirms nothing: the delivery is given back with its channel.
        let _ = orders.send(PublishOrder { tag, original, queue, purpose, claim, answer });
    }

    /// The broker has what was ordered for a delivery.
    pub fn confirmed(&mut self, confirmed: &Confirmed) {
        let ending = if confirmed.dead_lettered { Ending::DeadLettered } else { Ending::Stored };
        if self.slots.settle(confirmed.tag, ending) && !confirmed.dead_lettered {
            self.stats.add_forwarded();
        }
    }

    pub fn give_back(&mut self, tag: u64) {
        self.slots.give_back(tag);
    }

    /// Gives back what was held too long: the broker would close the channel for it soon.
    pub fn release_overdue(&mut self, now: Instant) {
        let mut released = 0_u64;
        while let Some((tag, received)) = self.slots.oldest()
            && now.saturating_duration_since(received) >= self.release_after
        {
            self.give_back(tag);
            released += 1;
        }
        if released > 0 {
            tracing::warn!(queue = self.queue.name, released, "deliveries held for amqp.release_after_seconds go back");
        }
    }

    /// Returns when `flush` or `release_overdue` has something to do, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let stragglers = self.stragglers_since.map(|since| since + self.straggler_ack);
        let overdue = self.slots.oldest().map(|(_, received)| received + self.release_after);
        stragglers.into_iter().chain(overdue).min()
    }

    /// Tells the broker what it may be told now.
    pub async fn flush(&mut self, now: Instant) -> Result<(), AmqpError> {
        // First, because acks wait behind it.
        self.nack().await?;
        self.ack_prefix().await?;
        if !self.slots.has_stragglers() {
            self.stragglers_since = None;
        } else if now.saturating_duration_since(*self.stragglers_since.get_or_insert(now)) >= self.straggler_ack {
            self.ack_stragglers().await?;
        }
        self.stats.set_oldest(self.consumer, self.slots.oldest().map(|(_, received)| received));
        Ok(())
    }

    async fn ack_prefix(&mut self) -> Result<(), AmqpError> {
        let Some((tag, tally)) = self.slots.ack_prefix() else {
            return Ok(());
        };
        let sent = self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await;
        self.count(tally, sent)
    }

    async fn ack_stragglers(&mut self) -> Result<(), AmqpError> {
        self.stragglers_since = None;
        let acks = self.slots.ack_stragglers();
        let single = BasicAckOptions::default();
        let sent = in_order(acks.iter().map(|(tag, _)| self.channel.basic_ack(*tag, single))).await;
        let counted = acks.into_iter().zip(sent).map(|((_, ending), sent)| self.count(EndingCounts::of(ending), sent));
        // All are counted before the first fault is answered.
        counted.collect::<Vec<_>>().into_iter().collect()
    }

    async fn nack(&mut self) -> Result<(), AmqpError> {
        let tags = self.slots.take_returned();
        let requeue = BasicNackOptions { multiple: false, requeue: true };
        let sent = in_order(tags.iter().map(|tag| self.channel.basic_nack(*tag, requeue))).await;
        let told = sent.iter().filter(|sent| sent.is_ok()).count();
        self.stats.add_requeued(told as u64);
        self.stats.add_lost((tags.len() - told) as u64);
        sent.into_iter().collect::<Result<(), _>>().map_err(AmqpError::broker("giving deliveries back"))
    }

    /// Counts deliveries that the broker was told of, or could not be told of because the channel is lost.
    fn count(&self, tally: EndingCounts, sent: lapin::Result<()>) -> Result<(), AmqpError> {
        match sent {
            Ok(()) => {
                self.stats.add_acked(tally.stored);
                self.stats.add_dead_lettered(tally.dead_lettered);
                Ok(())
            }
            Err(error) => {
                self.stats.add_lost(tally.stored + tally.dead_lettered);
                Err(AmqpError::broker("acking")(error))
            }
        }
    }

    /// Deliveries that the pipeline or the outbox still has.
    pub fn unsettled(&self) -> usize {
        self.slots.unsettled()
    }

    /// Ends the ledger in order: acks all that is settled and gives the rest back by closing the channel. Closing waits
    /// for the broker's answer, so that the acks before it are known to have arrived.
    pub async fn close(mut self) -> Result<(), AmqpError> {
        let told = self.tell_everything().await;
        let closed = self.channel.close(200, "done".into()).await.map_err(AmqpError::broker("closing a channel"));
        let ended = told.and(closed);
        match &ended {
            Ok(()) => self.stats.add_requeued(self.outstanding()),
            Err(_) => self.stats.add_lost(self.outstanding()),
        }
        self.stats.set_oldest(self.consumer, None);
        ended
    }

    async fn tell_everything(&mut self) -> Result<(), AmqpError> {
        self.nack().await?;
        self.ack_prefix().await?;
        self.ack_stragglers().await
    }

    /// Ends the ledger of a channel that is gone: the broker delivers all of it again.
    pub fn lost(self) {
        self.stats.add_lost(self.outstanding());
        self.stats.set_oldest(self.consumer, None);
    }

    fn outstanding(&self) -> u64 {
        self.slots.outstanding() as u64
    }
}
