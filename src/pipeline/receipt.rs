//! The right to settle one delivery, spent exactly once.
//!
//! A receipt rides with the value it belongs to. It is spent by [`Receipt::settle`]; dropping it means requeue and is
//! counted, never ack. Nothing here talks to a broker: settlements go to the ledger of the channel that the delivery
//! came on (`amqp::ledger`), which alone acks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedSender;

use super::prepare::Prepared;
use crate::codec::Message;
use crate::domain::{Disposition, Refusal, RefusalClass};

/// Refused events of one delivery that become letters of their own. More become one letter that holds the whole body, so
/// that a message cannot grow by being refused.
pub const MOST_LETTERS: usize = 16;

/// What comes into the pipeline, with the right to settle it.
pub struct Delivery {
    pub content: DeliveryContent,
    pub receipt: Receipt,
}

/// What a delivery brings.
pub enum DeliveryContent {
    /// A message of the broker, still to be decoded.
    Message(Message),
    /// A row of PostgreSQL, made ready where it was read.
    Prepared(Box<Prepared>),
}

/// The order to a ledger, one per delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The broker's delivery tag on its channel.
    pub tag: u64,
    pub outcome: LedgerAction,
}

/// What the ledger does with a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerAction {
    Ack,
    Requeue,
    /// Publish these letters, wait for their confirms, then ack. Never empty.
    DeadLetter(Vec<Letter>),
}

/// One dead letter: a refused delivery, or the refused part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub refusal: Refusal,
    /// Bytes of the delivery's body that hold the refused event; `None`: all of it.
    pub part: Option<Range<usize>>,
}

/// Where settlements go. Unbounded by type, bounded in fact: one settlement per delivery, and the broker's prefetch
/// window bounds the deliveries.
pub type Settlements = UnboundedSender<Settlement>;

/// Receipts that were dropped unspent since the process began: work abandoned on drain, or a defect.
static ABANDONED: AtomicU64 = AtomicU64::new(0);

/// Returns how many receipts were dropped unspent.
#[must_use]
pub fn abandoned() -> u64 {
    ABANDONED.load(Ordering::Relaxed)
}

/// The right to settle one or more deliveries with one disposition.
#[must_use = "a receipt that is dropped requeues its delivery"]
pub struct Receipt {
    /// Most receipts hold one ticket; a spent receipt holds none.
    first: Option<Ticket>,
    joined: Vec<Ticket>,
    returns: u32,
}

enum Ticket {
    Whole { tag: u64, settlements: Settlements },
    Part { shared: Arc<Shared>, part: Range<usize> },
}

/// A delivery that carries several events: settled when the last of its parts is.
struct Shared {
    tag: u64,
    settlements: Settlements,
    progress: Mutex<Progress>,
}

struct Progress {
    events: usize,
    open: usize,
    requeue: bool,
    /// Some part was counted as a refusal of this delivery.
    counted: bool,
    refused: Refused,
}

/// The refused parts of a delivery: the first as letters, all by their class.
#[derive(Default)]
struct Refused {
    letters: Vec<Letter>,
    classes: BTreeMap<RefusalClass, usize>,
}

impl Refused {
    fn add(&mut self, refusal: &Refusal, part: Range<usize>) {
        *self.classes.entry(refusal.class).or_default() += 1;
        if self.letters.len() < MOST_LETTERS {
            self.letters.push(Letter { refusal: refusal.clone(), part: Some(part) });
        }
    }

    fn into_letters(mut self, events: usize) -> Vec<Letter> {
        let refused: usize = self.classes.values().sum();
        if refused <= MOST_LETTERS || self.letters.is_empty() {
            return self.letters;
        }
        let first = self.letters.swap_remove(0).refusal;
        let mut detail = format!("{refused} of {events} events refused");
        for (position, (class, count)) in self.classes.iter().enumerate() {
            let _ = write!(detail, "{}{class} {count}", if position == 0 { ": " } else { ", " });
        }
        let _ = write!(detail, "; the first: {first}");
        let most = self.classes.iter().max_by_key(|(_, count)| **count).map_or(first.class, |(class, _)| *class);
        vec![Letter { refusal: Refusal { status: first.status, ..Refusal::new(most, detail) }, part: None }]
    }
}

impl Receipt {
    /// Returns the receipt of a whole delivery.
    pub fn new(tag: u64, settlements: Settlements) -> Self {
        Self { first: Some(Ticket::Whole { tag, settlements }), joined: Vec::new(), returns: 0 }
    }

    /// Returns the receipt of nothing: for a document that is tried without a delivery behind it.
    pub(super) const fn of_nothing() -> Self {
        Self { first: None, joined: Vec::new(), returns: 0 }
    }

    /// Notes how often the broker says that the delivery was given back before. Only quorum queues count it, and only
    /// they drop a message for it.
    pub const fn returned(mut self, times: u32) -> Self {
        self.returns = times;
        self
    }

    /// Returns how often a delivery of this receipt was given back before, at most; 0 where the queue does not count.
    #[must_use]
    pub const fn returns(&self) -> u32 {
        self.returns
    }

    /// Returns whether this is the first refusal of its delivery: the other parts then answer false.
    #[must_use]
    pub fn is_first_refusal(&self) -> bool {
        match &self.first {
            Some(Ticket::Part { shared, .. }) => !std::mem::replace(&mut shared.lock().counted, true),
            _ => true,
        }
    }

    /// Divides the receipt of a delivery that carries several events into one receipt per event. The delivery is
    /// acked when all are; requeued if any is; the refused parts become dead letters of their own, or one together if they
    /// are more than [`MOST_LETTERS`].
    ///
    /// An empty list of parts returns no receipt and acks: there is nothing in the delivery to lose.
    pub fn split(mut self, parts: Vec<Range<usize>>) -> Vec<Self> {
        if parts.is_empty() {
            self.settle(&Disposition::Ack);
            return Vec::new();
        }
        let Some(Ticket::Whole { tag, settlements }) = self.first.take() else {
            return Vec::new();
        };
        let (events, returns) = (parts.len(), self.returns);
        let progress = Progress { events, open: events, requeue: false, counted: false, refused: Refused::default() };
        let shared = Arc::new(Shared { tag, settlements, progress: Mutex::new(progress) });
        let ticket = |part| Ticket::Part { shared: Arc::clone(&shared), part };
        parts.into_iter().map(|part| Self { first: Some(ticket(part)), joined: Vec::new(), returns }).collect()
    }

    /// Joins another receipt to this one: both are settled together.
    pub fn join(&mut self, mut other: Self) {
        self.returns = self.returns.max(other.returns);
        self.joined.extend(other.first.take());
        self.joined.append(&mut other.joined);
    }

    /// Spends the receipt.
    pub fn settle(mut self, disposition: &Disposition) {
        self.spend(disposition);
    }

    fn spend(&mut self, disposition: &Disposition) {
        for ticket in self.first.take().into_iter().chain(self.joined.drain(..)) {
            ticket.settle(disposition);
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if self.first.is_some() || !self.joined.is_empty() {
            ABANDONED.fetch_add(1, Ordering::Relaxed);
            self.spend(&Disposition::Requeue);
        }
    }
}

impl Ticket {
    fn settle(self, disposition: &Disposition) {
        match self {
            Self::Whole { tag, settlements } => {
                let outcome = match disposition {
                    Disposition::Ack => LedgerAction::Ack,
                    Disposition::Requeue => LedgerAction::Requeue,
                    Disposition::DeadLetter(refusal) => {
                        LedgerAction::DeadLetter(vec![Letter { refusal: refusal.clone(), part: None }])
                    }
                };
                // A ledger that is gone has lost its channel: the broker has requeued the delivery by itself.
                let _ = settlements.send(Settlement { tag, outcome });
            }
            Self::Part { shared, part } => shared.settle_part(part, disposition),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle_part(&self, part: Range<usize>, disposition: &Disposition) {
        let mut progress = self.lock();
        match disposition {
            Disposition::Ack => {}
            Disposition::Requeue => progress.requeue = true,
            Disposition::DeadLetter(refusal) => progress.refused.add(refusal, part),
        }
        progress.open -= 1;
        if progress.open > 0 {
            return;
        }
        // A requeued delivery comes back whole, with its refused parts: they become letters then.
        let letters = std::mem::take(&mut progress.refused).into_letters(progress.events);
        let outcome = match (progress.requeue, letters) {
            (true, _) => LedgerAction::Requeue,
            (false, letters) if letters.is_empty() => LedgerAction::Ack,
            (false, letters) => LedgerAction::DeadLetter(letters),
        };
        let _ = self.settlements.send(Settlement { tag: self.tag, outcome });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::unbounded_channel;

    fn refusal() -> Refusal {
        Refusal::new(RefusalClass::MissingField, "id")
    }

    #[test]
    fn settles_once_and_dropping_requeues() {
        let (settlements, mut ledger) = unbounded_channel();
        Receipt::new(1, settlements.clone()).settle(&Disposition::Ack);
        drop(Receipt::new(2, settlements));
        assert_eq!(ledger.try_recv().unwrap(), Settlement { tag: 1, outcome: LedgerAction::Ack });
        assert_eq!(ledger.try_recv().unwrap(), Settlement { tag: 2, outcome: LedgerAction::Requeue });
        assert!(ledger.try_recv().is_err());
    }

    #[test]
    fn joined_receipts_settle_together() {
        let (settlements, mut ledger) = unbounded_channel();
        let mut receipt = Receipt::new(1, settlements.clone());
        receipt.join(Receipt::new(2, settlements));
        receipt.settle(&Disposition::Ack);
        let tags: Vec<u64> = std::iter::from_fn(|| ledger.try_recv().ok()).map(|settlement| settlement.tag).collect();
        assert_eq!(tags, [1, 2]);
    }

    #[test]
    fn parts_settle_as_one_delivery_with_letters_of_their_own() {
        let (settlements, mut ledger) = unbounded_channel();
        let mut parts = Receipt::new(7, settlements).split(vec![1..5, 6..9, 10..12]);
        parts.pop().unwrap().settle(&Disposition::Ack);
        parts.pop().unwrap().settle(&Disposition::DeadLetter(refusal()));
        assert!(ledger.try_recv().is_err(), "one part is still open");
        parts.pop().unwrap().settle(&Disposition::Ack);
        let letter = Letter { refusal: refusal(), part: Some(6..9) };
        assert_eq!(ledger.try_recv().unwrap(), Settlement { tag: 7, outcome: LedgerAction::DeadLetter(vec![letter]) });
    }

    #[test]
    fn one_requeued_part_requeues_the_delivery() {
        let (settlements, mut ledger) = unbounded_channel();
        let mut parts = Receipt::new(7, settlements).split(vec![1..5, 6..9]);
        parts.pop().unwrap().settle(&Disposition::DeadLetter(refusal()));
        drop(parts.pop().unwrap());
        assert_eq!(ledger.try_recv().unwrap(), Settlement { tag: 7, outcome: LedgerAction::Requeue });
    }

    #[test]
    fn many_refused_parts_become_one_letter_of_the_whole_and_count_once() {
        let (settlements, mut ledger) = unbounded_channel();
        let parts = Receipt::new(7, settlements).split((0..1_000).map(|start| start..start + 1).collect());
        assert_eq!(parts.iter().filter(|part| part.is_first_refusal()).count(), 1);
        for (position, part) in parts.into_iter().enumerate() {
            let refused = Refusal::new(RefusalClass::InvalidId, "record.id");
            let refusal = if position == 0 { refused } else { refusal() };
            part.settle(&if position < 900 { Disposition::DeadLetter(refusal) } else { Disposition::Ack });
        }
        let LedgerAction::DeadLetter(letters) = ledger.try_recv().unwrap().outcome else { panic!("dead letters") };
        let [letter] = letters.as_slice() else { panic!("one letter: {}", letters.len()) };
        assert_eq!((letter.part.clone(), letter.refusal.class), (None, RefusalClass::MissingField));
        let said = "900 of 1000 events refused: missing-field 899, invalid-id 1; the first: invalid-id: record.id";
        assert_eq!(letter.refusal.detail, said);
    }

    #[test]
    fn a_delivery_without_events_is_acked() {
        let (settlements, mut ledger) = unbounded_channel();
        assert!(Receipt::new(7, settlements).split(Vec::new()).is_empty());
        assert_eq!(ledger.try_recv().unwrap(), Settlement { tag: 7, outcome: LedgerAction::Ack });
    }
}
