//! How many requests may be in flight, and how often one may start: additive increase, multiplicative decrease.
//!
//! Unlimited in rate until the store first says that it is overloaded (429, 503). Then the rate falls to below what
//! was last achieved and rises slowly, so that a store that admits N requests a second settles at N with well under 1 %
//! refusals; the number in flight halves and recovers as well.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Rate cut on overload.
const CUT: f64 = 0.8;
/// Rate gain per success: about 220 requests from one cut to the next overload.
const GAIN: f64 = 1.001;
/// Gap below which pacing no longer matters.
const UNPACED: Duration = Duration::from_micros(100);
/// Window over which the achieved rate is measured.
const WINDOW: Duration = Duration::from_secs(1);

/// The adaptive limit on requests to the store.
pub struct RequestPace {
    max_in_flight: usize,
    in_flight_limit: f64,
    /// Least time between two starts; zero while unpaced.
    gap: Duration,
    next_start: Instant,
    starts: VecDeque<Instant>,
    last_cut: Option<Instant>,
}

impl RequestPace {
    /// At most `max_in_flight` requests at once (at least 1).
    pub fn new(max_in_flight: usize, now: Instant) -> Self {
        let max_in_flight = max_in_flight.max(1);
        Self {
            max_in_flight,
            in_flight_limit: max_in_flight as f64,
            gap: Duration::ZERO,
            next_start: now,
            starts: VecDeque::new(),
            last_cut: None,
        }
    }

    /// Requests that may be in flight now.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn limit(&self) -> usize {
        (self.in_flight_limit as usize).clamp(1, self.max_in_flight)
    }

    /// Returns when the next request may start.
    pub fn next_start(&self) -> Instant {
        self.next_start
    }

    /// A request starts.
    pub fn started(&mut self, now: Instant) {
        self.next_start = self.next_start.max(now.checked_sub(self.gap).unwrap_or(now)) + self.gap;
        self.starts.push_back(now);
        while self.starts.len() > 1024 || self.starts.front().is_some_and(|start| now - *start > WINDOW) {
            self.starts.pop_front();
        }
    }

    /// A request was answered without overload.
    pub fn succeeded(&mut self) {
        self.in_flight_limit = (self.in_flight_limit + 1.0 / self.in_flight_limit).min(self.max_in_flight as f64);
        self.gap = self.gap.div_f64(GAIN);
        if self.gap < UNPACED {
            self.gap = Duration::ZERO;
        }
    }

    /// Forgets every sign of overload: the store was away, and what it said before then says nothing of what it takes now.
    /// Gains alone would need thousands of requests to make up for an outage that answered 429.
    pub fn reset(&mut self, now: Instant) {
        *self = Self::new(self.max_in_flight, now);
    }

    /// The store said that it is overloaded. Requests that were in flight together count as one sign.
    pub fn overloaded(&mut self, now: Instant) {
        let round = self.gap.max(Duration::from_millis(100)) * 2;
        if self.last_cut.is_some_and(|cut| now - cut < round) {
            return;
        }
        self.last_cut = Some(now);
        self.in_flight_limit = (self.in_flight_limit / 2.0).max(1.0);
        let span = self.starts.front().map_or(Duration::ZERO, |first| now - *first).max(Duration::from_millis(100));
        let achieved = span.div_f64(self.starts.len().max(1) as f64);
        self.gap = self.gap.max(achieved).div_f64(CUT).min(Duration::from_secs(5));
        self.next_start = self.next_start.max(now + self.gap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a server that admits `rate` requests a second (a bucket of a tenth of a second), driven for `seconds`.
    /// Returns (requests, refused) of the last 30 seconds.
    async fn drive(rate: f64, latency: Duration, seconds: u64) -> (u32, u32) {
        let begin = Instant::now();
        let mut pace = RequestPace::new(1, begin);
        let (mut bucket, mut filled) = (rate / 10.0, begin);
        let (mut requests, mut refused) = (0, 0);
        while begin.elapsed() < Duration::from_secs(seconds) {
            tokio::time::sleep_until(pace.next_start()).await;
            let now = Instant::now();
            pace.started(now);
            bucket = (bucket + (now - filled).as_secs_f64() * rate).min(rate / 10.0);
            filled = now;
            let counts = begin.elapsed() >= Duration::from_secs(seconds - 30);
            requests += u32::from(counts);
            let admitted = bucket >= 1.0;
            tokio::time::sleep(latency).await;
            if admitted {
                bucket -= 1.0;
                pace.succeeded();
            } else {
                refused += u32::from(counts);
                pace.overloaded(Instant::now());
            }
        }
        (requests, refused)
    }

    #[tokio::test(start_paused = true)]
    async fn settles_at_the_servers_rate_within_thirty_seconds() {
        for rate in [20.0, 50.0, 100.0] {
            let (requests, refused) = drive(rate, Duration::from_millis(2), 60).await;
            let share = f64::from(refused) / f64::from(requests);
            assert!(share < 0.01, "rate {rate}: {refused} of {requests} refused");
            assert!(f64::from(requests) > rate * 30.0 * 0.7, "rate {rate}: only {requests} requests");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn is_unpaced_until_the_first_overload() {
        let now = Instant::now();
        let mut pace = RequestPace::new(4, now);
        for _ in 0..1_000 {
            assert!(pace.next_start() <= now);
            pace.started(now);
            pace.succeeded();
        }
        assert_eq!(pace.limit(), 4);
        pace.overloaded(now);
        assert_eq!(pace.limit(), 2);
    }
}
