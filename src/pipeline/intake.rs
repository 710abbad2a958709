//! Deliveries into the window: decoded here, or beside the flow if that takes long or unfolds a message.
//!
//! What a compressed message unfolds to is charged to a budget of its own before it is decoded: 500 bytes can unfold to
//! 128 MiB. The charge lasts until all that came of the message is settled.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::error;

use super::limit::Cause;
use super::prepare::{Envelope, Preparation, PrepareLimits, Prepared, prepare};
use super::receipt::{Delivery, DeliveryContent};
use super::stats::PipelineStats;
use super::worker::{Pipeline, TaskResult};
use crate::codec::{self, Cleaned};
use crate::telemetry::how_it_ended;

/// Messages decoded at once beside the flow. One that waits for room in the budget takes a place: what is heavy waits in
/// order, and what is neither large nor compressed passes by.
const DECODERS: usize = 2;

/// A body from which on decoding takes longer than the flow may stand still.
const LARGE_BODY: usize = 1 << 20;

/// A message counts so many times what it unfolds to: the text, and the records decoded from it.
const COPIES: u64 = 2;

/// Bytes per permit: a semaphore counts in 32 bits.
const UNIT: u64 = 1024;

/// The memory for unfolded messages.
#[derive(Clone)]
pub(super) struct UnfoldBudget {
    permits: Arc<Semaphore>,
    limit: u32,
}

/// What one message takes of it, until dropped.
pub struct Charge(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl UnfoldBudget {
    pub fn new(bytes: u64) -> Self {
        let limit = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).max(1);
        Self { permits: Arc::new(Semaphore::new(limit as usize)), limit }
    }

    /// Waits in order until a message of that size fits; one that is heavier than the whole budget takes it whole.
    async fn charge(&self, unfolded: u64) -> Option<Arc<Charge>> {
        let wanted = u32::try_from(unfolded.saturating_mul(COPIES).div_ceil(UNIT)).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let permit = Arc::clone(&self.permits).acquire_many_owned(wanted.min(self.limit)).await.ok()?;
        Some(Arc::new(Charge(permit)))
    }
}

/// Decodes beside the flow. A task that ends early gives its delivery back.
async fn decode_beside(
    delivery: Delivery,
    limits: PrepareLimits,
    budget: UnfoldBudget,
    received: Instant,
) -> Preparation {
    let charge = match &delivery.content {
        DeliveryContent::Message(message) if codec::is_compressed(message) => {
            let (message, decode) = (message.clone(), limits.decode);
            // A panic in here comes again while decoding, where it is a refusal.
            let measured = spawn_blocking(move || codec::unfolded_bytes(&message, decode)).await;
            budget.charge(measured.unwrap_or_default()).await
        }
        _ => None,
    };
    let prepared = spawn_blocking(move || prepare(delivery, &limits, received, charge.as_ref())).await;
    prepared.unwrap_or_else(|crash| {
        error!(how = how_it_ended(&crash), "decoding ended early; the delivery is given back");
        Preparation::default()
    })
}

fn is_heavy(delivery: &Delivery) -> bool {
    match &delivery.content {
        DeliveryContent::Message(message) => message.body.len() >= LARGE_BODY || codec::is_compressed(message),
        DeliveryContent::Prepared(_) => false,
    }
}

impl Pipeline {
    /// Prepares deliveries and puts them into the window. What is left when the gate closes is given back.
    pub(super) fn take_in(&mut self, inbox: &mut Vec<Delivery>) {
        let now = Instant::now();
        self.limits.months = self.settings.months((self.ports.clock)());
        let mut cleaned = Cleaned::default();
        let collapsed_before = self.collapsed();
        for delivery in inbox.drain(..) {
            if self.is_closed() {
                continue;
            }
            if is_heavy(&delivery) {
                // Bounded by the consumers' windows, and counted in their budget.
                self.undecoded.push_back((delivery, now));
                continue;
            }
            let preparation = prepare(delivery, &self.limits, now, None);
            cleaned += self.admit(preparation, now);
        }
        PipelineStats::add(&self.ports.stats.collapsed, "collapsed", self.collapsed() - collapsed_before);
        PipelineStats::cleaned(&cleaned);
    }

    /// Takes what a decoder brought.
    pub(super) fn take_decoded(&mut self, preparation: Preparation) {
        self.decoding -= 1;
        let collapsed_before = self.collapsed();
        let cleaned = self.admit(preparation, Instant::now());
        PipelineStats::add(&self.ports.stats.collapsed, "collapsed", self.collapsed() - collapsed_before);
        PipelineStats::cleaned(&cleaned);
    }

    fn admit(&mut self, preparation: Preparation, now: Instant) -> Cleaned {
        let Preparation { envelopes, refusals, cleaned } = preparation;
        if !envelopes.is_empty() {
            self.message_understood();
        }
        for refusal in refusals {
            self.refuse(refusal);
        }
        for envelope in envelopes {
            self.enqueue(envelope, now);
        }
        cleaned
    }

    /// Puts an envelope where it waits for a request; gives it back if the gate is closed.
    pub(super) fn enqueue(&mut self, envelope: Envelope<Prepared>, now: Instant) {
        if self.is_closed() {
            return;
        }
        if envelope.payload.offloads.is_empty() {
            self.window.add(envelope, now);
        } else {
            self.uploads.add(envelope, now);
        }
    }

    /// Starts decoders for what waits for one.
    pub(super) fn start_decoders(&mut self) {
        while self.decoding < DECODERS
            && let Some((delivery, received)) = self.undecoded.pop_front()
        {
            let decoded = decode_beside(delivery, self.limits.clone(), self.unfold.clone(), received);
            self.decoding += 1;
            self.tasks.spawn(async move { TaskResult::Decoded(Box::new(decoded.await)) });
        }
    }

    /// A message could be decoded: if it was tried after a pause for those that could not, the pause is over.
    fn message_understood(&mut self) {
        if self.paused.as_ref().is_some_and(|pause| pause.cause == Cause::Messages && pause.is_trying()) {
            self.end_pause();
        }
    }
}
