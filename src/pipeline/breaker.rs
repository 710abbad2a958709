//! The breaker: after repeated faults of whole requests it opens, and the pipeline stops pulling and sending until a
//! probe succeeds. It keeps no timers; it says how long to pause.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::backoff::Backoff;

/// A pause that is too long for an instant ends after so long.
const LONGEST: Duration = Duration::from_hours(1);

/// Returns the instant so long after another, however long that is.
pub(super) fn later(now: Instant, pause: Duration) -> Instant {
    now.checked_add(pause).unwrap_or(now + LONGEST)
}

/// State of the connection to the store, as the pipeline sees it.
pub struct Breaker {
    threshold: u32,
    backoff: Backoff,
    /// Faults in a row, failed probes included.
    faults: u32,
    open: Option<Open>,
}

struct Open {
    since: Instant,
    next_probe: Instant,
}

impl Breaker {
    /// Opens at `threshold` faults in a row (at least 1).
    pub fn new(threshold: u32, backoff: Backoff) -> Self {
        Self { threshold: threshold.max(1), backoff, faults: 0, open: None }
    }

    /// Returns a request or a probe failed as a whole. Returns whether this opened the breaker.
    pub fn failed(&mut self, now: Instant, retry_after: Option<Duration>, rng: &mut impl Rng) -> bool {
        self.faults = self.faults.saturating_add(1);
        let pause = self.pause(rng).max(retry_after.unwrap_or_default());
        match &mut self.open {
            Some(open) => {
                open.next_probe = later(now, pause);
                false
            }
            None if self.faults >= self.threshold => {
                self.open = Some(Open { since: now, next_probe: later(now, pause) });
                true
            }
            None => false,
        }
    }

    /// Returns a request or a probe succeeded. Returns whether this closed the breaker.
    pub fn succeeded(&mut self) -> bool {
        self.faults = 0;
        self.open.take().is_some()
    }

    /// Opens it whatever was counted, to be probed after a pause. Returns whether this opened the breaker.
    pub fn trip(&mut self, now: Instant, rng: &mut impl Rng) -> bool {
        self.faults = self.faults.max(self.threshold.saturating_sub(1));
        self.failed(now, None, rng)
    }

    /// Returns whether one more fault opens it.
    pub const fn opens_next(&self) -> bool {
        self.open.is_none() && self.faults.saturating_add(1) >= self.threshold
    }

    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Returns when to probe next; `None` while closed.
    pub fn next_probe(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.next_probe)
    }

    /// Returns how long it has been open.
    pub fn open_for(&self, now: Instant) -> Duration {
        self.open.as_ref().map_or(Duration::ZERO, |open| now.saturating_duration_since(open.since))
    }

    /// Returns the pause that the faults so far deserve.
    pub fn pause(&self, rng: &mut impl Rng) -> Duration {
        self.backoff.pause(self.faults.max(1), rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[tokio::test(start_paused = true)]
    async fn opens_at_the_threshold_and_closes_on_success() {
        let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) };
        let mut breaker = Breaker::new(3, backoff);
        let mut rng = StdRng::seed_from_u64(1);
        let now = Instant::now();
        assert!(!breaker.failed(now, None, &mut rng));
        assert!(!breaker.failed(now, None, &mut rng));
        assert!(breaker.failed(now, None, &mut rng) && breaker.is_open());
        let first_probe = breaker.next_probe().unwrap();
        assert!(!breaker.failed(first_probe, Some(Duration::from_secs(60)), &mut rng));
        assert_eq!(breaker.next_probe().unwrap(), first_probe + Duration::from_secs(60));
        assert!(!breaker.failed(first_probe, Some(Duration::MAX), &mut rng), "and no pause ends the flow");
        assert!(breaker.succeeded() && !breaker.is_open());
        assert!(!breaker.failed(now, None, &mut rng), "the count starts again");
    }
}
