//! Growing, jittered pauses. The randomness is an input.

use std::time::Duration;

use rand::Rng;

/// How pauses grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first pause.
    pub first: Duration,
    /// Upper bound of every pause.
    pub max: Duration,
}

impl Backoff {
    /// From this attempt on pauses do not grow, whatever their bound.
    pub const LONGEST: u32 = 21;

    /// Returns the pause before attempt number `attempt` (1 is the first retry): between half and all of `first *
    /// 2^(attempt - 1)`, at most `max`. The jitter keeps workers that failed together from returning together.
    pub fn pause(&self, attempt: u32, rng: &mut impl Rng) -> Duration {
        let doublings = attempt.clamp(1, Self::LONGEST) - 1;
        let ceiling = self.first.saturating_mul(1 << doublings).min(self.max);
        ceiling.mul_f64(rng.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn grows_to_its_bound_and_stays_there() {
        let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) };
        let mut rng = StdRng::seed_from_u64(1);
        for (attempt, ceiling) in [(1, 100), (2, 200), (3, 400), (6, 3_200), (7, 5_000), (u32::MAX, 5_000)] {
            let pause = backoff.pause(attempt, &mut rng).as_millis();
            assert!((ceiling / 2..=ceiling).contains(&pause), "attempt {attempt}: {pause} ms");
        }
    }
}
