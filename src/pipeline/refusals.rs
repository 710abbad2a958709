//! What becomes of refusals: a dead letter, or a pause when they are too many and the messages are not to blame
//! (`suspicion.rs`).
//!
//! A pause gives everything back once. What ends it depends on its cause. If the store refused documents, some of them are
//! kept and tried again, without a delivery; when that has failed for long, the messages behind the refused ones are looked
//! at, too. If messages could not be decoded, they will not be decoded later, either. Looking means that the consumers take
//! one message at a time: each that is refused becomes a letter and begins the pause anew, so that no message stands in the
//! way for ever. The broker gets nothing back but at the beginning, so that a queue that counts returns loses nothing.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::limit::Cause;
use super::prepare::Envelope;
use super::stats::PipelineStats;
use super::suspicion::{MappingPlace, Suspicion};
use super::worker::Pipeline;
use crate::domain::Refusal;

/// Trials of refused documents that fail before consumers look at single messages: a store whose templates are mended within
/// some minutes costs no letter more.
const LOOK_AFTER: u32 = 10;

/// A pause for too many refusals.
pub(super) struct Pause {
    pub cause: Cause,
    /// In words for the operator.
    pub reason: String,
    phase: Phase,
    /// Consumers take single messages beside what else is tried.
    looking: bool,
    /// They have done so since it began.
    looked: bool,
    /// Trials of documents that failed since it began.
    failed: u32,
}

enum Phase {
    /// Until then; `None`: until a restart.
    Waiting(Option<Instant>),
    Trying,
}

impl Pause {
    pub const fn is_trying(&self) -> bool {
        matches!(self.phase, Phase::Trying)
    }

    /// Returns whether consumers take single messages.
    pub const fn is_looking(&self) -> bool {
        self.looking
    }

    /// Returns when the next trial is due.
    pub const fn next_trial(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(until) => until,
            Phase::Trying => None,
        }
    }
}

impl Pipeline {
    /// Dead-letters a message that cannot become a document, unless such messages are too many: then the delivery is given
    /// back and the worker pauses. A message counts once.
    pub(super) fn refuse(&mut self, refused: Envelope<Refusal>) {
        let first = refused.receipt.is_first_refusal();
        match &self.paused {
            None if first && self.refusals.undecodable() => return self.pause(Cause::Messages, &refused.payload),
            // Given back already. After a trial it is not: then nothing goes back any more.
            Some(pause) if pause.cause == Cause::Messages && !pause.looked => return,
            Some(pause) if pause.cause == Cause::Messages && pause.is_trying() => self.wait_again(),
            _ => {}
        }
        self.write_letter(refused, first);
    }

    /// Dead-letters what the store refused, unless refusals are too many: then it is parked until it is known whose fault
    /// they are. `in_a_row`: nothing of the same request was stored.
    pub(super) fn refuse_document(&mut self, refused: Envelope<Refusal>, place: MappingPlace, in_a_row: bool) {
        let first = refused.receipt.is_first_refusal();
        match &mut self.paused {
            None => {
                let excess = if first { self.refusals.refused(in_a_row) } else { None };
                let excess = excess.or(self.suspicion.as_ref().map(Suspicion::excess));
                if let Some(excess) = excess {
                    return self.suspect(refused, place, excess);
                }
            }
            Some(pause) if pause.cause == Cause::Store && !pause.looked => return,
            Some(pause) if pause.cause == Cause::Store && pause.looking => {
                pause.looking = false;
                self.update_gate();
            }
            Some(_) => {}
        }
        self.write_letter(refused, first);
    }

    pub(super) fn dead_letter(&mut self, refused: Envelope<Refusal>) {
        let first = refused.receipt.is_first_refusal();
        self.write_letter(refused, first);
    }

    fn write_letter(&self, refused: Envelope<Refusal>, first: bool) {
        PipelineStats::add(&self.ports.stats.refused, "refused", 1);
        if first {
            // One line per message, however many of its events are refused.
            warn!(reason = %refused.payload.class, detail = %refused.payload.detail, "dead-lettering");
        }
        refused.dead_letter();
    }

    pub(super) fn pause(&mut self, cause: Cause, latest: &Refusal) {
        let pause_seconds = self.settings.refusal_limits.pause_seconds;
        error!(%latest, pause_seconds, "too many refusals: pausing instead of draining the queue into the dead-letter queue");
        let reason = format!("too many refusals, the latest: {latest}");
        let phase = Phase::Waiting(self.pause_end());
        self.paused = Some(Pause { cause, reason, phase, looking: false, looked: false, failed: 0 });
        self.update_gate();
    }

    fn pause_end(&self) -> Option<Instant> {
        match self.settings.refusal_limits.pause_seconds {
            0 => None,
            seconds => Some(Instant::now() + Duration::from_secs(seconds)),
        }
    }

    /// Begins the trial of a pause that is due. Returns whether kept documents are to be tried.
    pub(super) fn begin_pause_trial(&mut self, now: Instant) -> bool {
        let Some(pause) = &mut self.paused else { return false };
        if pause.next_trial().is_none_or(|due| due > now) {
            return false;
        }
        if pause.cause == Cause::Store {
            return true;
        }
        info!("pause for undecodable messages is over: trying them one by one");
        pause.phase = Phase::Trying;
        (pause.looking, pause.looked) = (true, true);
        self.refusals.reset();
        self.update_gate();
        false
    }

    /// The trial failed: the pause begins anew.
    pub(super) fn wait_again(&mut self) {
        let end = self.pause_end();
        if let Some(pause) = &mut self.paused {
            warn!(reason = pause.reason, "still refused: pausing again");
            pause.phase = Phase::Waiting(end);
            pause.failed += 1;
            pause.looking = pause.cause == Cause::Store && pause.failed >= LOOK_AFTER;
            pause.looked |= pause.looking;
        }
        self.update_gate();
    }

    pub(super) fn end_pause(&mut self) {
        info!("pause for too many refusals is over");
        self.paused = None;
        self.refusals.reset();
        self.recently_refused.clear();
        self.update_gate();
    }
}
