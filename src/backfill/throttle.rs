//! At most so many rows a second, evenly, over all chunks.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Lets rows pass one by one; none at once makes up for a time when none came.
pub(super) struct Throttle {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Throttle {
    /// `rate` in rows a second; `None`: unbounded.
    pub fn new(rate: Option<NonZeroU32>) -> Self {
        let interval = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get());
        Self { interval, next: Mutex::new(Instant::now()) }
    }

    /// Waits for the turn of one row.
    pub async fn pass(&self) {
        self.pass_rows(1).await;
    }

    /// Waits for the turn of rows that go together; those after them wait for all of them.
    pub async fn pass_rows(&self, rows: u64) {
        if self.interval.is_zero() {
            return;
        }
        let share = self.interval.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX));
        let turn = {
            let mut next = self.next.lock().await;
            let turn = (*next).max(Instant::now());
            *next = turn + share;
            turn
        };
        sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept() {
        let throttle = Throttle::new(NonZeroU32::new(200));
        let begin = Instant::now();
        for _ in 0..501 {
            throttle.pass().await;
        }
        throttle.pass_rows(499).await;
        throttle.pass().await;
        let took = begin.elapsed().as_millis();
        assert!((5_000..5_050).contains(&took), "{took} ms");
    }
}
