//! The pace of work that must leave room for others: migrations, restores, replays, removals.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// At most so many items a second, spread evenly over everything that shares it. Time in which none came is not made up
/// for, so there are no bursts.
pub struct RateLimit {
    interval: Duration,
    next: Mutex<Instant>,
}

impl RateLimit {
    /// `rate` in items a second; `None`: no limit.
    #[must_use]
    pub fn new(rate: Option<NonZeroU32>) -> Self {
        let interval = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get());
        Self { interval, next: Mutex::new(Instant::now()) }
    }

    /// Waits until it is the turn of `items` that go together; what passes after them waits for the time of all of them.
    /// First come, first served. A call that is dropped while it waits keeps its turn: the time is spent.
    pub async fn pass(&self, items: u64) {
        if self.interval.is_zero() {
            return;
        }
        sleep_until(self.turn(items).await).await;
    }

    /// As [`Self::pass`], but returns at once where `stop` says `true`, which is asked ten times a second.
    pub async fn pass_unless(&self, items: u64, stop: &(dyn Fn() -> bool + Sync)) {
        if self.interval.is_zero() {
            return;
        }
        let turn = self.turn(items).await;
        while !stop() && Instant::now() < turn {
            sleep_until(turn.min(Instant::now() + Duration::from_millis(100))).await;
        }
    }

    async fn turn(&self, items: u64) -> Instant {
        let share = self.interval.saturating_mul(u32::try_from(items).unwrap_or(u32::MAX));
        let mut next = self.next.lock().await;
        let turn = (*next).max(Instant::now());
        *next = turn + share;
        turn
    }

    /// Returns how many items to send together, at least 1 and at most `most`, so that the rate is kept within about a
    /// tenth of a second.
    #[must_use]
    pub fn group(&self, most: usize) -> usize {
        let tenth = Duration::from_millis(100).as_nanos().div_ceil(self.interval.as_nanos().max(1));
        usize::try_from(tenth).unwrap_or(most).clamp(1, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept() {
        let limit = RateLimit::new(NonZeroU32::new(200));
        let begin = Instant::now();
        for _ in 0..501 {
            limit.pass(1).await;
        }
        limit.pass(499).await;
        limit.pass(1).await;
        let took = begin.elapsed().as_millis();
        assert!((5_000..5_050).contains(&took), "{took} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_a_stop() {
        let limit = RateLimit::new(NonZeroU32::new(1));
        let begin = Instant::now();
        let stop = || begin.elapsed() > Duration::from_secs(5);
        limit.pass_unless(3, &stop).await;
        limit.pass_unless(600, &stop).await;
        assert_eq!(begin.elapsed().as_secs(), 3);
        limit.pass_unless(1, &stop).await;
        assert_eq!(begin.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_is_a_tenth_of_a_second() {
        let group = |rate| RateLimit::new(NonZeroU32::new(rate)).group(200);
        assert_eq!([1, 100, 101, 1_000_000].map(group), [1, 10, 11, 200]);
        assert_eq!(RateLimit::new(None).group(200), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_waits_for_nothing() {
        let begin = Instant::now();
        RateLimit::new(None).pass(u64::MAX).await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
