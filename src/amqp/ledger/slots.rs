//! Which delivery tags of one channel are settled, and which acks say so. Pure.
//!
//! Only those are kept that the broker waits for: behind one that is held for long, any number come and go.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use tokio::time::Instant;

/// How a settled delivery ended, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Stored,
    DeadLettered,
}

/// The deliveries of a channel that the broker waits for, by their tags.
pub struct Slots<T> {
    window: BTreeMap<u64, Slot<T>>,
    unsettled: usize,
    settled: usize,
    returned: Vec<u64>,
}

enum Slot<T> {
    /// Out in the pipeline.
    InPipeline { item: T, received: Instant },
    /// Its item was taken to publish something that must be confirmed before the ack.
    AwaitingConfirm { _lender: Arc<()>, received: Instant },
    /// To be acked.
    Settled(Ending),
    /// To be nacked. No ack may pass it before: a multiple-ack would cover it.
    NackPending,
}

/// The holder of a lent item asks it before each attempt whether the delivery is still its own to settle.
pub type Claim = Weak<()>;

/// How many deliveries ended in which way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct EndingCounts {
    pub stored: u64,
    pub dead_lettered: u64,
}

impl EndingCounts {
    pub fn of(ending: Ending) -> Self {
        let mut tally = Self::default();
        tally.add(ending);
        tally
    }

    pub fn add(&mut self, ending: Ending) {
        match ending {
            Ending::Stored => self.stored += 1,
            Ending::DeadLettered => self.dead_lettered += 1,
        }
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { window: BTreeMap::new(), unsettled: 0, settled: 0, returned: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Deliveries that the broker waits for.
    pub fn outstanding(&self) -> usize {
        self.window.len()
    }

    /// Deliveries that the pipeline has not settled.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Returns whether settled deliveries wait behind an unsettled one.
    pub fn has_stragglers(&self) -> bool {
        self.settled > 0
    }

    /// Takes in the next delivery.
    pub fn hold(&mut self, tag: u64, item: T, received: Instant) {
        self.window.insert(tag, Slot::InPipeline { item, received });
        self.unsettled += 1;
    }

    /// The delivery is done. Returns false for a tag that was given back or settled before.
    pub fn settle(&mut self, tag: u64, ending: Ending) -> bool {
        let settled = self.end(tag, Slot::Settled(ending));
        self.settled += usize::from(settled);
        settled
    }

    /// Takes the item of a delivery out, to publish something before it is settled.
    pub fn lend(&mut self, tag: u64) -> Option<(T, Claim)> {
        let slot = self.window.get_mut(&tag)?;
        let Slot::InPipeline { received, .. } = *slot else {
            return None;
        };
        let lender = Arc::new(());
        let claim = Arc::downgrade(&lender);
        match std::mem::replace(slot, Slot::AwaitingConfirm { _lender: lender, received }) {
            Slot::InPipeline { item, .. } => Some((item, claim)),
            _ => None,
        }
    }

    /// The delivery goes back to the queue. Returns false for a tag that was given back or settled before.
    pub fn give_back(&mut self, tag: u64) -> bool {
        let returned = self.end(tag, Slot::NackPending);
        if returned {
            self.returned.push(tag);
        }
        returned
    }

    /// Returns the tags that were given back since the last call, each to be nacked now.
    pub fn take_returned(&mut self) -> Vec<u64> {
        let tags = std::mem::take(&mut self.returned);
        for tag in &tags {
            self.window.remove(tag);
        }
        tags
    }

    /// Removes the settled prefix. Returns the tag of the one ack that covers it, and what it covers: that tag is
    /// settled, and so is all before it that the broker still waits for.
    pub fn ack_prefix(&mut self) -> Option<(u64, EndingCounts)> {
        let mut tag = None;
        let mut tally = EndingCounts::default();
        while let Some(front) = self.window.first_entry()
            && let Slot::Settled(ending) = *front.get()
        {
            tag = Some(front.remove_entry().0);
            self.settled -= 1;
            tally.add(ending);
        }
        tag.map(|tag| (tag, tally))
    }

    /// Returns the settled tags behind the first unsettled one, each to be acked by itself.
    pub fn ack_stragglers(&mut self) -> Vec<(u64, Ending)> {
        let mut acks = Vec::with_capacity(self.settled);
        self.window.retain(|tag, slot| match slot {
            Slot::Settled(ending) => {
                acks.push((*tag, *ending));
                false
            }
            _ => true,
        });
        self.settled = 0;
        acks
    }

    /// Returns the oldest unsettled delivery. It is at the front, unless `ack_prefix` is due.
    pub fn oldest(&self) -> Option<(u64, Instant)> {
        self.window.iter().find_map(|(tag, slot)| match slot {
            Slot::InPipeline { received, .. } | Slot::AwaitingConfirm { received, .. } => Some((*tag, *received)),
            Slot::Settled(_) | Slot::NackPending => None,
        })
    }

    /// Ends an unsettled slot; returns false for any other.
    fn end(&mut self, tag: u64, with: Slot<T>) -> bool {
        match self.window.get_mut(&tag) {
            Some(slot @ (Slot::InPipeline { .. } | Slot::AwaitingConfirm { .. })) => *slot = with,
            _ => return false,
        }
        self.unsettled -= 1;
        true
    }
}

#[cfg(test)]
mod tests;
