//! Counters of one process. The conservation law holds at every quiet moment:
//! received = acked + requeued + dead-lettered + lost + in flight.
//!
//! Only counts; decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::budget::MemoryBudget;
use crate::domain::RefusalClass;

/// The counters. Cheap to read at any time.
pub struct BrokerStats {
    received: AtomicU64,
    acked: AtomicU64,
    requeued: AtomicU64,
    dead_lettered: AtomicU64,
    lost: AtomicU64,
    forwarded: AtomicU64,
    publish_failures: AtomicU64,
    consuming: AtomicUsize,
    letters: [AtomicU64; RefusalClass::ALL.len()],
    /// Why the broker blocks publishers, while it does.
    blocked: watch::Receiver<Option<String>>,
    /// Per consumer, milliseconds from `epoch` to the receipt of its oldest unsettled delivery; `NOTHING` without one.
    oldest: Box<[AtomicU64]>,
    epoch: Instant,
    budget: Arc<MemoryBudget>,
}

const NOTHING: u64 = u64::MAX;

impl BrokerStats {
    pub(super) fn new(consumers: usize, budget: Arc<MemoryBudget>, blocked: watch::Receiver<Option<String>>) -> Self {
        Self {
            received: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            requeued: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            forwarded: AtomicU64::new(0),
            publish_failures: AtomicU64::new(0),
            consuming: AtomicUsize::new(0),
            letters: std::array::from_fn(|_| AtomicU64::new(0)),
            blocked,
            oldest: (0..consumers).map(|_| AtomicU64::new(NOTHING)).collect(),
            epoch: Instant::now(),
            budget,
        }
    }

    /// Deliveries that came from the broker, redeliveries included.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Deliveries acked because they are stored or superseded.
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Deliveries given back on purpose.
    pub fn requeued(&self) -> u64 {
        self.requeued.load(Ordering::Relaxed)
    }

    /// Deliveries acked because the broker confirmed their dead letters.
    pub fn dead_lettered(&self) -> u64 {
        self.dead_lettered.load(Ordering::Relaxed)
    }

    /// Deliveries whose channel was lost; the broker delivers them again.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Deliveries forwarded to a second queue before their ack.
    pub fn forwarded(&self) -> u64 {
        self.forwarded.load(Ordering::Relaxed)
    }

    /// Attempts to publish a dead letter or a forwarded message that the broker did not confirm.
    pub fn publish_failures(&self) -> u64 {
        self.publish_failures.load(Ordering::Relaxed)
    }

    /// Deliveries received and not settled.
    pub fn in_flight(&self) -> u64 {
        // Received is read last: it can only be too large, so the difference never wraps.
        let settled = self.acked() + self.requeued() + self.dead_lettered() + self.lost();
        self.received().saturating_sub(settled)
    }

    /// Confirmed dead letters of a class. A delivery of several events can make several letters.
    pub fn letters(&self, class: RefusalClass) -> u64 {
        self.letters.get(class as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Returns why the broker blocks publishers, while it does: dead letters and forwarded messages wait, and with them
    /// their deliveries. A broker says so only when something is published.
    pub fn publishing_blocked(&self) -> Option<String> {
        self.blocked.borrow().clone()
    }

    /// Consumers that are subscribed now.
    pub fn consuming(&self) -> usize {
        self.consuming.load(Ordering::Relaxed)
    }

    /// Consumers that are configured.
    pub fn consumers(&self) -> usize {
        self.oldest.len()
    }

    /// Weight of the messages in memory: three times the bytes of their bodies and headers.
    pub fn bytes_in_flight(&self) -> u64 {
        self.budget.used()
    }

    /// Returns the largest `bytes_in_flight` so far.
    pub fn peak_bytes_in_flight(&self) -> u64 {
        self.budget.peak()
    }

    /// Returns how long the oldest unsettled delivery has been held.
    pub fn oldest_unacked(&self, now: Instant) -> Option<Duration> {
        let oldest = self.oldest.iter().map(|oldest| oldest.load(Ordering::Relaxed)).min()?;
        (oldest != NOTHING).then(|| now.saturating_duration_since(self.epoch + Duration::from_millis(oldest)))
    }

    pub(super) fn add_received(&self, count: u64) {
        self.received.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn add_acked(&self, count: u64) {
        self.acked.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn add_requeued(&self, count: u64) {
        self.requeued.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn add_dead_lettered(&self, count: u64) {
        self.dead_lettered.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn add_lost(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn add_forwarded(&self) {
        self.forwarded.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_publish_failures(&self, count: u64) {
        self.publish_failures.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn add_letter(&self, class: RefusalClass) {
        if let Some(count) = self.letters.get(class as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn set_oldest(&self, consumer: usize, received: Option<Instant>) {
        let millis = received.map_or(NOTHING, |at| {
            u64::try_from(at.saturating_duration_since(self.epoch).as_millis()).unwrap_or(NOTHING)
        });
        if let Some(oldest) = self.oldest.get(consumer) {
            oldest.store(millis, Ordering::Relaxed);
        }
    }

    /// Counts a consumer as subscribed until the answer is dropped.
    pub(super) fn subscribed(self: &Arc<Self>) -> Subscribed {
        self.consuming.fetch_add(1, Ordering::Relaxed);
        Subscribed(Arc::clone(self))
    }
}

pub(super) struct Subscribed(Arc<BrokerStats>);

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.0.consuming.fetch_sub(1, Ordering::Relaxed);
    }
}
