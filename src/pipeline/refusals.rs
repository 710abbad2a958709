//! What becomes of refusals: a dead letter, or a pause when they are too many.
//!
//! A pause gives everything back once. What ends it depends on its cause. If the store refused documents, some of them are
//! kept and tried again, without a delivery. If messages could not be decoded, they will not be decoded later, either: the
//! consumers then take one at a time, and each that is refused becomes a letter and begins the pause anew. Either way the
//! broker gets nothing back but at the beginning, so that a queue that counts returns loses nothing.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::limit::Cause;
use super::prepare::Envelope;
use super::stats::PipelineStats;
use super::worker::Pipeline;
use crate::domain::Refusal;

/// A pause for too many refusals.
pub(super) struct Pause {
    pub cause: Cause,
    /// In words for the operator.
    pub reason: String,
    phase: Phase,
    /// Consumers have taken single messages since it began.
    looked: bool,
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

    /// When the next trial is due.
    pub const fn next_trial(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(until) => until,
            Phase::Trying => None,
        }
    }
}

impl Pipeline {
    /// Dead-letters, unless refusals have become too many: then the delivery is given back and the worker pauses. A message
    /// counts once. `in_a_row`: nothing of the same request was stored.
    pub(super) fn refuse(&mut self, refused: Envelope<Refusal>, in_a_row: bool) {
        let cause = Cause::of(refused.payload.class);
        let first = refused.receipt.is_first_refusal();
        match &self.paused {
            None if first && self.refusals.refused(cause, in_a_row) => return self.pause(cause, &refused.payload),
            // Given back already. After a trial it is not: then nothing goes back any more.
            Some(pause) if pause.cause == cause && !pause.looked => return,
            Some(pause) if pause.cause == cause && pause.is_trying() => self.wait_again(),
            _ => {}
        }
        PipelineStats::add(&self.ports.stats.refused, "refused", 1);
        if first {
            // One line per message, however many of its events are refused.
            warn!(reason = %refused.payload.class, detail = %refused.payload.detail, "dead-lettering");
        }
        refused.dead_letter();
    }

    fn pause(&mut self, cause: Cause, latest: &Refusal) {
        let pause_seconds = self.settings.refusal_limits.pause_seconds;
        error!(%latest, pause_seconds, "too many refusals: pausing instead of draining the queue into the dead-letter queue");
        let reason = format!("too many refusals, the latest: {latest}");
        self.paused = Some(Pause { cause, reason, phase: Phase::Waiting(self.pause_end()), looked: false });
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
        pause.looked = true;
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
