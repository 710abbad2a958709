//! The dead-letter limit: when refusals come in a run or in bulk, the fault is ours (a broken mapping, a new message
//! format), and draining the queue into the dead-letter queue helps nobody. The worker pauses instead, loudly.

use serde::Deserialize;

use crate::domain::RefusalClass;

/// When refusals are too many.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RefusalLimits {
    /// Refusals by the store in a row, without one document stored between them, before the worker pauses.
    pub store_run: u32,
    /// Messages that cannot be decoded, in a row, before the worker pauses.
    pub decode_run: u32,
    /// Share of refusals by the store among the latest 1,000 verdicts, from 200 verdicts on, before the worker pauses.
    pub store_ratio: f64,
    /// Seconds of pause before one message is tried; 0: paused until restarted.
    pub pause_seconds: u64,
}

impl Default for RefusalLimits {
    fn default() -> Self {
        Self { store_run: 50, decode_run: 5_000, store_ratio: 0.5, pause_seconds: 60 }
    }
}

const WINDOW: u32 = 1_000;
const LEAST: u32 = 200;

/// Counts outcomes and says when to pause.
pub struct RefusalLimit {
    limits: RefusalLimits,
    store_run: u32,
    decode_run: u32,
    /// Verdicts and store refusals in the window; halved when it is full, so that old outcomes fade.
    verdicts: u32,
    refused: u32,
    /// After a pause: the next refusal pauses again at once, the next success forgets all.
    on_trial: bool,
}

/// Whether a refusal may become a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    DeadLetter,
    /// Give the delivery back and pause.
    Pause,
}

impl RefusalLimit {
    pub fn new(limits: RefusalLimits) -> Self {
        Self { limits, store_run: 0, decode_run: 0, verdicts: 0, refused: 0, on_trial: false }
    }

    /// A document was stored or found superseded.
    pub fn stored(&mut self) {
        self.store_run = 0;
        self.decode_run = 0;
        self.on_trial = false;
        self.count(false);
    }

    /// A message or a document was refused.
    pub fn refused(&mut self, class: RefusalClass) -> Admission {
        if self.on_trial {
            return Admission::Pause;
        }
        let over = if class == RefusalClass::RefusedByStore {
            self.store_run += 1;
            self.count(true);
            self.store_run > self.limits.store_run || self.ratio_exceeded()
        } else {
            self.decode_run += 1;
            self.decode_run > self.limits.decode_run
        };
        if over { Admission::Pause } else { Admission::DeadLetter }
    }

    /// The pause is over: one refusal more and it begins again.
    pub fn resume(&mut self) {
        *self = Self::new(self.limits);
        self.on_trial = true;
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
        let admitted =
            (0..1_000).filter(|_| limit.refused(RefusalClass::RefusedByStore) == Admission::DeadLetter).count();
        assert_eq!(admitted, 50);
        limit.resume();
        assert_eq!(limit.refused(RefusalClass::RefusedByStore), Admission::Pause, "a trial costs none");
        limit.resume();
        limit.stored();
        assert_eq!(limit.refused(RefusalClass::RefusedByStore), Admission::DeadLetter);
    }

    #[test]
    fn a_steady_fifth_of_bad_messages_passes() {
        let mut limit = limit();
        for turn in 0..10_000 {
            match turn % 10 {
                0 => assert_eq!(limit.refused(RefusalClass::RefusedByStore), Admission::DeadLetter),
                1 => assert_eq!(limit.refused(RefusalClass::InvalidId), Admission::DeadLetter),
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
            match (limit.refused(RefusalClass::RefusedByStore), limit.refused(RefusalClass::RefusedByStore)) {
                (Admission::DeadLetter, Admission::DeadLetter) => letters += 2,
                _ => break,
            }
        }
        assert!((100..300).contains(&letters), "{letters}");
    }
}
