//! How much memory messages may take: a budget shared by all consumers of the process, and each consumer's prefetch
//! window that follows from it. Counts and computes; talks to nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A message in flight is its body and properties, the records decoded from it, and the request that carries them to the store: three
/// times the body, near enough.
const COPIES: u64 = 3;

/// What a message of that size counts, its properties included.
pub fn weight(message_bytes: usize) -> u64 {
    COPIES.saturating_mul(message_bytes as u64)
}

/// The budget, in weight.
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    peak: AtomicU64,
    released: Notify,
}

impl Budget {
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0), peak: AtomicU64::new(0), released: Notify::new() })
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Takes the body of a message in, whose properties have so many bytes, or gives it back when there is no room. One
    /// heavier than the whole budget is taken in when it is alone. Its weight is counted until the last clone of the
    /// answer is dropped, wherever that is; the properties are kept no longer than the body.
    ///
    /// # Errors
    /// The body.
    pub fn admit(self: &Arc<Self>, body: Vec<u8>, properties: usize) -> Result<Bytes, Vec<u8>> {
        let weight = weight(body.len().saturating_add(properties));
        let fits = |used: u64| used.checked_add(weight).filter(|&sum| sum <= self.limit || used == 0);
        match self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits) {
            Ok(before) => {
                self.peak.fetch_max(before + weight, Ordering::Relaxed);
                Ok(Bytes::from_owner(Body { data: body, weight, budget: Arc::clone(self) }))
            }
            Err(_) => Err(body),
        }
    }

    /// Returns when `wanted` fits into the budget, or nothing is in it.
    pub async fn room_for(&self, wanted: u64) {
        loop {
            let mut released = std::pin::pin!(self.released.notified());
            // Registers before looking, so that a release in between is not missed.
            released.as_mut().enable();
            let used = self.used();
            if used == 0 || used.saturating_add(wanted) <= self.limit {
                return;
            }
            released.await;
        }
    }
}

/// A body that is counted as long as it lives.
struct Body {
    data: Vec<u8>,
    weight: u64,
    budget: Arc<Budget>,
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.weight, Ordering::AcqRel);
        self.budget.released.notify_waiters();
    }
}

/// The prefetch of one consumer: as configured, until messages turn out too large for the budget.
pub struct Window {
    configured: u16,
    current: u16,
    /// This consumer's part of the budget.
    share: u64,
    /// Weight of the heaviest message since the last quiet period ended.
    heaviest: u64,
    quiet: Duration,
    quiet_since: Instant,
}

impl Window {
    pub fn new(configured: u16, share: u64, quiet: Duration, now: Instant) -> Self {
        Self { configured, current: configured, share, heaviest: 0, quiet, quiet_since: now }
    }

    pub fn prefetch(&self) -> u16 {
        self.current
    }

    /// What the window can hold at most, if no message is heavier than those seen.
    pub fn full_weight(&self) -> u64 {
        self.heaviest.saturating_mul(u64::from(self.current))
    }

    /// Notes a message.
    pub fn saw(&mut self, body_bytes: usize) {
        self.heaviest = self.heaviest.max(weight(body_bytes));
    }

    /// A message did not fit: narrows the window to what fits surely.
    pub fn overflowed(&mut self, now: Instant) {
        self.current = self.safe().min(self.current);
        self.quiet_since = now;
    }

    /// When the next quiet period ends; `None` while the window is as configured.
    pub fn regrow_at(&self) -> Option<Instant> {
        (self.current < self.configured).then(|| self.quiet_since + self.quiet)
    }

    /// A quiet period ended: doubles the window as far as the messages of that period allow. Answers whether it grew.
    pub fn regrow(&mut self, now: Instant) -> bool {
        let grown = self.current.saturating_mul(2).min(self.configured).min(self.safe());
        let grew = grown > self.current;
        self.current = grown.max(self.current);
        self.heaviest = 0;
        self.quiet_since = now;
        grew
    }

    /// The widest window that cannot overflow.
    fn safe(&self) -> u16 {
        let messages = self.share.checked_div(self.heaviest).unwrap_or(u64::MAX);
        u16::try_from(messages).unwrap_or(u16::MAX).max(1)
    }
}

#[cfg(test)]
mod tests;
