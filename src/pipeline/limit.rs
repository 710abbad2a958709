//! The dead-letter limit: when refusals come in a run or in bulk, the fault is ours (a broken mapping, a new message
//! format), and draining the queue into the dead-letter queue mends nothing. The worker pauses instead, loudly.
//!
//! A message counts once, however many events it carries: one array of bad events must not stop every queue.

use serde::Deserialize;

use crate::domain::RefusalClass;

/// When refusals are too many.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RefusalLimits {
    /// Messages that the store refuses in a row, without one document stored between them, before the worker pauses.
    pub store_run: u32,
    /// Messages that cannot be decoded, in a row, before the worker pauses.
    pub decode_run: u32,
    /// Share of refusals by the store among the latest 1,000 verdicts, from 200 verdicts on, before the worker pauses.
    pub store_ratio: f64,
    /// Seconds of pause between trials; 0: paused until restarted.
    pub pause_seconds: u64,
}

impl Default for RefusalLimits {
    fn default() -> Self {
        Self { store_run: 50, decode_run: 5_000, store_ratio: 0.5, pause_seconds: 60 }
    }
}

const WINDOW: u32 = 1_000;
const LEAST: u32 = 200;

/// What is wrong when refusals are too many, and so what ends the pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The store: the same documents may be stored once it is mended.
    Store,
    /// The messages: the same message will be refused again.
    Messages,
}

impl Cause {
    pub const fn of(class: RefusalClass) -> Self {
        match class {
            RefusalClass::RefusedByStore => Self::Store,
            _ => Self::Messages,
        }
    }
}

/// In which way the store's refusals are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// One after the other, with nothing stored between them.
    Run,
    /// More than a share of all.
    Share,
}

/// Counts outcomes and says when they are too many.
pub struct RefusalLimit {
    limits: RefusalLimits,
    store_run: u32,
    decode_run: u32,
    /// Verdicts and store refusals in the window; halved when it is full, so that old outcomes fade.
    verdicts: u32,
    refused: u32,
}

impl RefusalLimit {
    pub fn new(limits: RefusalLimits) -> Self {
        Self { limits, store_run: 0, decode_run: 0, verdicts: 0, refused: 0 }
    }

    /// Notes a document that was stored or found superseded.
    pub fn stored(&mut self) {
        self.store_run = 0;
        self.decode_run = 0;
        self.count(false);
    }

    /// Notes a message that the store refused; returns in which way refusals are too many now, if they are. `in_a_row`:
    /// nothing of the same request was stored.
    pub fn refused(&mut self, in_a_row: bool) -> Option<Excess> {
        self.store_run += u32::from(in_a_row);
        self.count(true);
        if self.store_run > self.limits.store_run {
            return Some(Excess::Run);
        }
        self.ratio_exceeded().then_some(Excess::Share)
    }

    /// Notes a message that cannot be decoded; returns whether such messages are too many now.
    pub const fn undecodable(&mut self) -> bool {
        self.decode_run += 1;
        self.decode_run > self.limits.decode_run
    }

    /// Forgets everything counted.
    pub fn reset(&mut self) {
        *self = Self::new(self.limits);
    }

    fn count(&mut self, refused: bool) {
        if self.verdicts >= WINDOW {
            self.verdicts /= 2;
            self.refused /= 2;
        }
        self.verdicts += 1;
        self.refused += u32::from(refused);
    }

    fn ratio_exceeded(&self) -> bool {
        self.verdicts >= LEAST && f64::from(self.refused) > self.limits.store_ratio * f64::from(self.verdicts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> RefusalLimit {
        RefusalLimit::new(RefusalLimits::default())
    }

    #[test]
    fn a_broken_mapping_costs_fifty_dead_letters() {
        let mut limit = limit();
        let admitted = (0..1_000).position(|_| limit.refused(true) == Some(Excess::Run));
        assert_eq!(admitted, Some(50));
        limit.reset();
        assert_eq!(limit.refused(true), None);
    }

    #[test]
    fn refusals_beside_stored_documents_are_no_run() {
        let mut limit = limit();
        for _ in 0..10_000 {
            assert_eq!(limit.refused(false), None);
            limit.stored();
            limit.stored();
        }
    }

    #[test]
    fn a_steady_fifth_of_bad_messages_passes() {
        let mut limit = limit();
        for turn in 0..10_000 {
            match turn % 10 {
                0 => assert_eq!(limit.refused(true), None),
                1 => assert!(!limit.undecodable()),
                _ => limit.stored(),
            }
        }
    }

    #[test]
    fn a_ratio_of_refusals_pauses_without_a_run() {
        let mut limit = limit();
        let mut letters = 0;
        loop {
            limit.stored();
            if [limit.refused(true), limit.refused(true)].contains(&Some(Excess::Share)) {
                break;
            }
            letters += 2;
        }
        // The two hundredth verdict is the first at which the share is looked at.
        assert_eq!(letters, 132);
    }
}
