//! How much memory messages may take: a budget shared by all consumers of the process, and each consumer's prefetch
//! window that follows from it. Counts and computes; does no I/O.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// A message in flight is its body and properties, the records decoded from it, and the request that carries them to the store: three
/// times the body, near enough.
const COPIES: u64 = 3;

/// Returns what a message of that size counts, its properties included.
pub fn weight(message_bytes: usize) -> u64 {
    COPIES.saturating_mul(message_bytes as u64)
}

/// The budget, in weight. Those who wait for room get it in the order in which they came, so that a heavy message is not
/// overtaken by light ones for ever.
pub struct MemoryBudget {
    limit: u64,
    permits: Arc<Semaphore>,
    /// Weight per permit: a semaphore counts in 32 bits.
    unit: u64,
    used: AtomicU64,
    peak: AtomicU64,
}

/// Room that was waited for. What is not used of it is given back when it is dropped.
#[derive(Default)]
pub struct Reservation(Option<OwnedSemaphorePermit>);

impl MemoryBudget {
    pub fn new(limit: u64) -> Arc<Self> {
        let unit = (limit >> 31) + 1;
        let permits = usize::try_from(limit / unit).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(permits));
        Arc::new(Self { limit, permits, unit, used: AtomicU64::new(0), peak: AtomicU64::new(0) })
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

    /// Takes the body of a message in, whose properties have so many bytes, or gives it back when there is no room. Room that
    /// is reserved is used first. One heavier than the whole budget is taken in when it is alone. Its weight is counted until
    /// the last clone of the answer is dropped, wherever that is; the properties are kept no longer than the body.
    ///
    /// # Errors
    /// The body.
    pub fn admit(
        self: &Arc<Self>,
        body: Vec<u8>,
        properties: usize,
        reserved: &mut Reservation,
    ) -> Result<Bytes, Vec<u8>> {
        let weight = weight(body.len().saturating_add(properties));
        let Some(permit) = reserved.take(&self.permits, self.permits_for(weight)) else {
            return Err(body);
        };
        let before = self.used.fetch_add(weight, Ordering::AcqRel);
        self.peak.fetch_max(before + weight, Ordering::Relaxed);
        Ok(Bytes::from_owner(Body { data: body, weight, budget: Arc::clone(self), _permit: permit }))
    }

    /// Waits until `wanted` fits into the budget, or all of it if that is less, and reserves it.
    pub async fn reserve(self: Arc<Self>, wanted: u64) -> Reservation {
        let permits = self.permits_for(wanted);
        // The semaphore is never closed.
        Reservation(Arc::clone(&self.permits).acquire_many_owned(permits).await.ok())
    }

    fn permits_for(&self, weight: u64) -> u32 {
        u32::try_from(weight.min(self.limit).div_ceil(self.unit).min((self.limit / self.unit).max(1)))
            .unwrap_or(u32::MAX)
    }
}

impl Reservation {
    /// So many permits, out of the reservation as far as it goes.
    fn take(&mut self, permits: &Arc<Semaphore>, wanted: u32) -> Option<OwnedSemaphorePermit> {
        let wanted_here = wanted as usize;
        match &mut self.0 {
            Some(reserved) if reserved.num_permits() >= wanted_here => reserved.split(wanted_here),
            Some(reserved) => {
                let missing = u32::try_from(wanted_here - reserved.num_permits()).unwrap_or(u32::MAX);
                let more = Arc::clone(permits).try_acquire_many_owned(missing).ok()?;
                reserved.merge(more);
                self.0.take()
            }
            None => Arc::clone(permits).try_acquire_many_owned(wanted).ok(),
        }
    }

    /// Returns whether something is reserved.
    pub const fn is_some(&self) -> bool {
        self.0.is_some()
    }
}

/// A body that is counted as long as it lives.
struct Body {
    data: Vec<u8>,
    weight: u64,
    budget: Arc<MemoryBudget>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.weight, Ordering::AcqRel);
    }
}

/// The prefetch of one consumer: as configured, until messages turn out too large for the budget.
pub struct PrefetchWindow {
    configured: u16,
    current: u16,
    /// This consumer's part of the budget.
    share: u64,
    /// Weight of the heaviest message since the last quiet period ended.
    heaviest: u64,
    quiet: Duration,
    quiet_since: Instant,
}

impl PrefetchWindow {
    pub fn new(configured: u16, share: u64, quiet: Duration, now: Instant) -> Self {
        Self { configured, current: configured, share, heaviest: 0, quiet, quiet_since: now }
    }

    pub fn prefetch(&self) -> u16 {
        self.current
    }

    /// Returns what the window can hold at most, if no message is heavier than those seen.
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

    /// Returns when the next quiet period ends; `None` while the window is as configured.
    pub fn regrow_at(&self) -> Option<Instant> {
        (self.current < self.configured).then(|| self.quiet_since + self.quiet)
    }

    /// A quiet period ended: doubles the window as far as the messages of that period allow. Returns whether it grew. A
    /// window whose messages are not settled and that saw none stays: it would return the next ones at once, again and again.
    pub fn regrow(&mut self, now: Instant, is_idle: bool) -> bool {
        self.quiet_since = now;
        if self.heaviest == 0 && !is_idle {
            return false;
        }
        let grown = self.current.saturating_mul(2).min(self.configured).min(self.safe());
        let grew = grown > self.current;
        self.current = grown.max(self.current);
        self.heaviest = 0;
        grew
    }

    /// Returns the widest window that cannot overflow.
    fn safe(&self) -> u16 {
        let messages = self.share.checked_div(self.heaviest).unwrap_or(u64::MAX);
        u16::try_from(messages).unwrap_or(u16::MAX).max(1)
    }
}

#[cfg(test)]
mod tests;
