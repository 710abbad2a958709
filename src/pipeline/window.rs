//! The window in which envelopes gather into batches: collapse, fairness, and when a batch is due.
//!
//! Within the window the newest snapshot of a record wins and the receipts are joined: all of them are settled by the
//! fate of that one. Batches take from the tenants in turn, so that a loud one does not starve the others.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::prepare::{DocumentSlot, Envelope, Prepared};
use crate::domain::TenantId;

/// When a batch is large or old enough.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Documents per batch.
    pub actions: usize,
    /// Bytes per batch, about; a single larger document goes alone.
    pub bytes: usize,
    /// Longest wait of a document for company.
    pub linger: Duration,
    /// Silence after which waiting for company is pointless.
    pub idle: Duration,
}

/// Envelopes waiting for a request to carry them.
pub struct Window {
    limits: BatchLimits,
    waiting: HashMap<DocumentSlot, Envelope<Prepared>>,
    /// Order of arrival per tenant. Each waiting slot is in exactly one queue, once.
    queues: HashMap<TenantId, VecDeque<DocumentSlot>>,
    /// Tenants with something waiting, the next to be served first.
    turns: VecDeque<TenantId>,
    bytes: usize,
    oldest: Option<Instant>,
    newest: Instant,
    collapsed: u64,
}

impl Window {
    pub fn new(limits: BatchLimits, now: Instant) -> Self {
        Self {
            limits,
            waiting: HashMap::new(),
            queues: HashMap::new(),
            turns: VecDeque::new(),
            bytes: 0,
            oldest: None,
            newest: now,
            collapsed: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns what waits, in no order.
    pub fn envelopes(&self) -> impl Iterator<Item = &Envelope<Prepared>> {
        self.waiting.values()
    }

    /// Documents waiting.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns whether two full batches are waiting: no more should be pulled.
    pub fn is_crowded(&self) -> bool {
        self.waiting.len() >= self.limits.actions * 2 || self.bytes >= self.limits.bytes.saturating_mul(2)
    }

    /// Snapshots that a newer one replaced in here, since the beginning.
    pub fn collapsed(&self) -> u64 {
        self.collapsed
    }

    /// Adds an envelope, collapsing it with a waiting snapshot of the same record.
    pub fn add(&mut self, mut envelope: Envelope<Prepared>, now: Instant) {
        let slot = envelope.payload.slot();
        self.newest = now;
        self.oldest.get_or_insert(now);
        self.bytes += envelope.payload.bytes;
        if let Some(mut waiting) = self.waiting.remove(&slot) {
            self.collapsed += 1;
            // Of equal revisions the later arrival counts, as it does in the stores.
            if waiting.payload.revision() > envelope.payload.revision() {
                std::mem::swap(&mut waiting, &mut envelope);
            }
            self.bytes -= waiting.payload.bytes;
            envelope.payload.received = envelope.payload.received.min(waiting.payload.received);
            envelope.receipt.join(waiting.receipt);
        } else {
            let tenant = slot.0.tenant_id;
            let queue = self.queues.entry(tenant).or_default();
            if queue.is_empty() {
                self.turns.push_back(tenant);
            }
            queue.push_back(slot);
        }
        self.waiting.insert(slot, envelope);
    }

    /// Returns when the next batch is due: `None` while empty, in the past when full.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let oldest = self.oldest?;
        if self.waiting.len() >= self.limits.actions || self.bytes >= self.limits.bytes {
            return Some(now);
        }
        Some((oldest + self.limits.linger).min(self.newest + self.limits.idle))
    }

    /// Takes the next batch: tenants in turn, each in order of arrival.
    pub fn take(&mut self, now: Instant) -> Vec<Envelope<Prepared>> {
        let mut batch = Vec::with_capacity(self.waiting.len().min(self.limits.actions));
        let mut bytes = 0;
        while batch.len() < self.limits.actions {
            let Some(envelope) = self.next_within(self.limits.bytes.saturating_sub(bytes), batch.is_empty()) else {
                break;
            };
            bytes += envelope.payload.bytes;
            batch.push(envelope);
        }
        self.bytes -= bytes;
        self.oldest = (!self.waiting.is_empty()).then_some(now);
        batch
    }

    /// Returns the envelope whose turn it is, unless it is larger than `room` and the batch already has something.
    fn next_within(&mut self, room: usize, first: bool) -> Option<Envelope<Prepared>> {
        let tenant = self.turns.front().copied()?;
        let queue = self.queues.get_mut(&tenant)?;
        let slot = *queue.front()?;
        if !first && self.waiting.get(&slot).is_some_and(|envelope| envelope.payload.bytes > room) {
            return None;
        }
        queue.pop_front();
        self.turns.pop_front();
        if queue.is_empty() {
            self.queues.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        self.waiting.remove(&slot)
    }

    /// Gives up everything that waits; dropping it requeues.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.queues.clear();
        self.turns.clear();
        self.bytes = 0;
        self.oldest = None;
    }
}

#[cfg(test)]
mod tests;
