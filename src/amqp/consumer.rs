//! One consumer on one channel, from its subscription to its end: takes deliveries in as far as the memory budget
//! allows, hands them to the pipeline, and passes settlements to the ledger. One task, no task per message.
//!
//! It never acks and never reconnects: it ends, and says why.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use lapin::Channel;
use lapin::message::Delivery as Arrival;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::budget::{MemoryBudget, PrefetchWindow, Reservation};
use super::delivery::{Original, number, short};
use super::error::AmqpError;
use super::frame::header_bytes;
use super::gate::{self, Turned};
use super::ledger::{Ledger, LedgerPatience, Outboxes};
use super::outbox::Confirmed;
use super::settings::{AmqpSettings, QueueSettings};
use super::stats::BrokerStats;
use crate::domain::{Refusal, RefusalClass};
use crate::pipeline::gate::GateWatch;
use crate::pipeline::receipt::{Delivery, DeliveryContent, Letter, Receipt, Settlement};
use intake::{AfterSubscription, Event, Intake, has_room, next_arrival, next_event, window};

mod intake;

/// Deliveries or settlements handled between two looks at everything else.
const TURN: usize = 256;

/// How long a consumer that waited for room keeps what its first messages do not use. Another worker may have taken the
/// heavy message that it waited for.
const RESERVED: Duration = Duration::from_secs(1);

/// How often the broker gave a message back before, on queues that count it (quorum queues).
const RETURNS: &str = "x-delivery-count";

/// Why a consumer ended.
#[derive(Debug)]
pub(super) enum Ended {
    GateClosed,
    /// Everything is settled, or the deadline passed and the rest was given back.
    Drained,
    Lost(AmqpError),
}

/// What the consumers of a process share.
pub(super) struct Shared {
    pub settings: Arc<AmqpSettings>,
    pub stats: Arc<BrokerStats>,
    pub budget: Arc<MemoryBudget>,
    pub outboxes: Outboxes,
    /// Ends consuming; what is out is waited for.
    pub drain: CancellationToken,
    /// Ends the waiting.
    pub deadline: CancellationToken,
    /// All consumers of the process.
    pub consumers: usize,
}

pub(super) struct Session {
    channel: Channel,
    queue: Arc<QueueSettings>,
    shared: Arc<Shared>,
    ledger: Ledger,
    intake: Intake,
    window: PrefetchWindow,
    /// Room that was waited for, until then.
    reserved: Reservation,
    reserved_until: Option<Instant>,
    /// One delivery at a time, until the gate opens wide.
    in_trial: bool,
    /// No more deliveries are taken; those that were are settled before the session ends.
    finishing: bool,
    /// Taken in and not handed over yet; bounded by the prefetch.
    ready: VecDeque<Delivery>,
    /// Dropped on drain, so that the pipeline sees the end of the deliveries.
    pipeline: Option<mpsc::Sender<Delivery>>,
    receipts: UnboundedSender<Settlement>,
    settlements: UnboundedReceiver<Settlement>,
    confirmations: UnboundedReceiver<Confirmed>,
}

impl Session {
    /// Subscribes on a new channel.
    pub async fn open(
        channel: Channel,
        queue: Arc<QueueSettings>,
        shared: Arc<Shared>,
        number: usize,
        pipeline: mpsc::Sender<Delivery>,
        in_trial: bool,
    ) -> Result<Self, AmqpError> {
        let settings = &shared.settings;
        let patience =
            LedgerPatience { straggler_ack: settings.straggler_ack(), release_after: settings.release_after() };
        let (outboxes, stats) = (shared.outboxes.clone(), Arc::clone(&shared.stats));
        let (ledger, confirmations) =
            Ledger::new(channel.clone(), Arc::clone(&queue), outboxes, stats, number, patience);
        let (receipts, settlements) = unbounded_channel();
        let window = window(&queue, &shared, in_trial);
        let mut session = Self {
            channel,
            queue,
            shared,
            ledger,
            intake: Intake::Stopped,
            window,
            reserved: Reservation::default(),
            reserved_until: None,
            in_trial,
            finishing: false,
            ready: VecDeque::new(),
            pipeline: Some(pipeline),
            receipts,
            settlements,
            confirmations,
        };
        session.subscribe().await?;
        Ok(session)
    }

    /// Runs until the channel is lost, the gate closes, or everything is drained.
    pub async fn run(mut self, gate: &mut GateWatch) -> Ended {
        match self.serve(gate).await {
            Err(error) => {
                self.ledger.lost();
                Ended::Lost(error)
            }
            Ok(ended) => match self.ledger.close().await {
                // What could not be told at the end of a drain comes again after the restart.
                Err(error) if !matches!(ended, Ended::Drained) => Ended::Lost(error),
                _ => ended,
            },
        }
    }

    async fn serve(&mut self, gate: &mut GateWatch) -> Result<Ended, AmqpError> {
        let shared = Arc::clone(&self.shared);
        let mut settled = Vec::with_capacity(TURN);
        let mut confirmed = Vec::with_capacity(TURN);
        loop {
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                () = shared.deadline.cancelled() => return Ok(Ended::Drained),
                () = shared.drain.cancelled(), if self.pipeline.is_some() => self.drain(),
                turned = gate::turned(gate, self.in_trial), if self.pipeline.is_some() && !self.finishing => {
                    match turned {
                        Turned::Closed if !self.in_trial => return self.leave().await,
                        Turned::Closed => self.finish(),
                        Turned::Wide => self.widen(),
                    }
                }
                _ = self.settlements.recv_many(&mut settled, TURN) => {
                    settled.drain(..).for_each(|settlement| self.ledger.settle(settlement));
                }
                _ = self.confirmations.recv_many(&mut confirmed, TURN) => {
                    confirmed.drain(..).for_each(|confirmed| self.ledger.confirmed(&confirmed));
                }
                event = next_event(&mut self.intake) => match event {
                    Event::Arrival(arrival) => self.arrived(arrival)?,
                    Event::Room(reserved) => {
                        (self.reserved, self.reserved_until) = (reserved, Some(Instant::now() + RESERVED));
                        self.subscribe().await?;
                    }
                },
                wanted = has_room(self.pipeline.as_ref()), if !self.ready.is_empty() => {
                    // Without a pipeline nothing can be stored any more. What it has room for is handed over below.
                    if !wanted {
                        self.drain();
                    }
                }
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
            }
            // Looked at in every turn: under steady load the clock's branch is never reached.
            let now = Instant::now();
            self.hand_over();
            self.release_reserved(now);
            self.regrow(now);
            self.ledger.release_overdue(now);
            self.ledger.flush(now).await?;
            if matches!(self.intake, Intake::Stopped) && self.ledger.unsettled() == 0 {
                return Ok(if self.pipeline.is_some() { Ended::GateClosed } else { Ended::Drained });
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let regrow = match self.intake {
            Intake::Subscribed { .. } => self.window.regrow_at(),
            _ => None,
        };
        self.ledger.next_deadline().into_iter().chain(regrow).chain(self.reserved_until).min()
    }

    /// What was taken on trial is settled before the session ends: it was looked at, and must not come back for it.
    fn finish(&mut self) {
        self.finishing = true;
        self.unsubscribe(AfterSubscription::Stop);
    }

    /// The gate opened wide: goes on with the whole prefetch. What is out stays out.
    fn widen(&mut self) {
        self.in_trial = false;
        self.window = window(&self.queue, &self.shared, false);
        self.unsubscribe(AfterSubscription::Resubscribe);
    }

    fn release_reserved(&mut self, now: Instant) {
        if self.reserved_until.is_some_and(|until| until <= now) {
            self.reserved_until = None;
            self.reserved = Reservation::default();
        }
    }

    /// Waits for room for a full window.
    fn paused(&self) -> Intake {
        Intake::paused(&self.shared.budget, self.window.full_weight())
    }

    async fn subscribe(&mut self) -> Result<(), AmqpError> {
        let (prefetch, per_consumer) = (self.window.prefetch(), BasicQosOptions { global: false });
        self.channel.basic_qos(prefetch, per_consumer).await.map_err(AmqpError::broker("setting the prefetch"))?;
        let (queue, any_tag) = (short(&self.queue.name), short(""));
        let options = BasicConsumeOptions::default();
        let consumer = self
            .channel
            .basic_consume(queue, any_tag, options, FieldTable::default())
            .await
            .map_err(AmqpError::broker("subscribing to a queue"))?;
        self.intake = Intake::Subscribed { consumer, _counted: self.shared.stats.subscribed() };
        Ok(())
    }

    /// Asks the broker for no more. Deliveries on their way still arrive; the stream ends behind them.
    fn unsubscribe(&mut self, next: AfterSubscription) {
        self.intake = match std::mem::replace(&mut self.intake, Intake::Stopped) {
            Intake::Subscribed { consumer, .. } => {
                let (channel, tag) = (self.channel.clone(), consumer.tag());
                // Not awaited here: the arrivals before the broker's answer must be taken off meanwhile. A channel that
                // breaks ends the stream with its error.
                tokio::spawn(async move { channel.basic_cancel(tag, BasicCancelOptions::default()).await });
                Intake::Ending { consumer, next }
            }
            Intake::Ending { consumer, next: before } => {
                let next = if before == AfterSubscription::Stop { before } else { next };
                Intake::Ending { consumer, next }
            }
            Intake::Paused(_) if next == AfterSubscription::Resubscribe => self.paused(),
            Intake::Paused(_) | Intake::Stopped => Intake::Stopped,
        };
    }

    /// Takes in an arrival and those right behind it.
    fn arrived(&mut self, first: Option<lapin::Result<Arrival>>) -> Result<(), AmqpError> {
        let now = Instant::now();
        let mut arrival = first;
        let mut taken = 0;
        loop {
            match arrival {
                Some(Ok(arrival)) => self.take_in(arrival, now),
                Some(Err(error)) => return Err(AmqpError::broker("consuming")(error)),
                None => return self.subscription_ended(),
            }
            taken += 1;
            if taken == TURN {
                return Ok(());
            }
            match next_arrival(&mut self.intake).now_or_never() {
                Some(next) => arrival = next,
                None => return Ok(()),
            }
        }
    }

    fn subscription_ended(&mut self) -> Result<(), AmqpError> {
        match &self.intake {
            Intake::Ending { next: AfterSubscription::Resubscribe, .. } => self.intake = self.paused(),
            Intake::Ending { next: AfterSubscription::Stop, .. } => self.intake = Intake::Stopped,
            _ => {
                let said = format!("queue {} was deleted, or its node went away", self.queue.name);
                return Err(AmqpError::Broker { doing: "the broker ended the subscription", said });
            }
        }
        Ok(())
    }

    fn take_in(&mut self, arrival: Arrival, now: Instant) {
        let Arrival { delivery_tag: tag, exchange, routing_key, properties, data, .. } = arrival;
        let length = data.len();
        // A small body can come under large headers, which a dead letter keeps until it is confirmed.
        let headers = header_bytes(&properties);
        let whole = length.saturating_add(headers);
        self.shared.stats.add_received(1);
        self.window.saw(whole);
        let admitted = match self.pipeline {
            Some(_) => self.shared.budget.admit(data, headers, &mut self.reserved).ok(),
            None => None,
        };
        let Some(body) = admitted else {
            let body = bytes::Bytes::new();
            self.ledger.hold(tag, Original { exchange, routing_key, properties, body }, now);
            self.ledger.give_back(tag);
            if self.pipeline.is_some() {
                self.overflowed(whole, now);
            }
            return;
        };
        let headers = properties.headers().as_ref();
        let returns = headers.and_then(|headers| number(headers, RETURNS)).and_then(|count| u32::try_from(count).ok());
        let original = Original { exchange, routing_key, properties, body };
        let message = original.message(self.queue.source);
        self.ledger.hold(tag, original, now);
        if length as u64 > self.shared.settings.max_message_bytes {
            let detail =
                format!("{length} bytes; amqp.max_message_bytes is {}", self.shared.settings.max_message_bytes);
            let refusal = Refusal::new(RefusalClass::TooLarge, detail);
            self.ledger.dead_letter(tag, vec![Letter { refusal, part: None }]);
        } else {
            self.ready.push_back(Delivery {
                content: DeliveryContent::Message(message),
                receipt: Receipt::new(tag, self.receipts.clone()).returned(returns.unwrap_or_default()),
            });
        }
    }

    /// A message did not fit into the budget: stop, and subscribe again with a window that fits.
    fn overflowed(&mut self, message_bytes: usize, now: Instant) {
        if matches!(self.intake, Intake::Subscribed { .. }) {
            let before = self.window.prefetch();
            self.window.overflowed(now);
            let (queue, prefetch) = (&self.queue.name, self.window.prefetch());
            tracing::info!(
                queue,
                message_bytes,
                before,
                prefetch,
                "messages fill amqp.memory_budget_bytes; prefetch lowered"
            );
            self.unsubscribe(AfterSubscription::Resubscribe);
        } else {
            // Larger messages may arrive while the subscription ends.
            self.window.overflowed(now);
        }
    }

    fn regrow(&mut self, now: Instant) {
        if self.window.regrow_at().is_some_and(|at| at <= now)
            && matches!(self.intake, Intake::Subscribed { .. })
            && self.window.regrow(now, self.ledger.unsettled() == 0)
        {
            self.unsubscribe(AfterSubscription::Resubscribe);
        }
    }

    /// Hands over what the pipeline takes without waiting.
    fn hand_over(&mut self) {
        let Some(pipeline) = &self.pipeline else {
            return;
        };
        while let Some(delivery) = self.ready.pop_front() {
            if let Err(TrySendError::Full(delivery) | TrySendError::Closed(delivery)) = pipeline.try_send(delivery) {
                self.ready.push_front(delivery);
                return;
            }
        }
    }

    /// No more deliveries: what the pipeline has not got goes back, what it has is waited for.
    fn drain(&mut self) {
        self.pipeline = None;
        self.ready.clear();
        self.unsubscribe(AfterSubscription::Stop);
    }

    /// The gate closed: everything goes back, and what the pipeline says of it later is ignored.
    async fn leave(&mut self) -> Result<Ended, AmqpError> {
        self.drain();
        while matches!(self.intake, Intake::Ending { .. }) {
            let arrival = next_arrival(&mut self.intake).await;
            self.arrived(arrival)?;
        }
        while let Ok(settlement) = self.settlements.try_recv() {
            self.ledger.settle(settlement);
        }
        Ok(Ended::GateClosed)
    }
}
