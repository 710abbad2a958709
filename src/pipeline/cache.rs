//! What is known to be durable: a bounded memory that only saves work.
//!
//! It is told after the durable write, never before, and forgets by generations, so that its size and the age of its
//! entries are bounded. With capacity 0 it knows nothing, and nothing but speed changes.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// Remembers the newest durable value per key in two generations: when the young one is full or old, it becomes the
/// old one, and what was old is forgotten.
pub struct DurableCache<K, V> {
    capacity: usize,
    max_age: Duration,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    young_since: Instant,
}

impl<K: Eq + Hash, V: Copy + Ord> DurableCache<K, V> {
    /// Holds at most `capacity` entries, none longer than twice `max_age`.
    pub fn new(capacity: usize, max_age: Duration, now: Instant) -> Self {
        Self { capacity, max_age, young: HashMap::new(), old: HashMap::new(), young_since: now }
    }

    /// Returns whether `key` is durable at `value` or newer.
    pub fn holds(&self, key: &K, value: V) -> bool {
        self.young.get(key).or_else(|| self.old.get(key)).is_some_and(|durable| *durable >= value)
    }

    /// Forgets everything.
    pub fn clear(&mut self, now: Instant) {
        *self = Self::new(self.capacity, self.max_age, now);
    }

    /// Notes a durable write. Never call this before the store has confirmed it.
    pub fn tell(&mut self, key: K, value: V, now: Instant) {
        if self.capacity == 0 {
            return;
        }
        if self.young.len() >= self.capacity.div_ceil(2) || now - self.young_since >= self.max_age {
            self.old = std::mem::take(&mut self.young);
            self.young_since = now;
        }
        let known = self.old.get(&key).copied();
        let newest = self.young.entry(key).or_insert(value);
        *newest = (*newest).max(value).max(known.unwrap_or(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn knows_the_newest_and_only_what_it_was_told() {
        let now = Instant::now();
        let mut cache = DurableCache::new(10, AGE, now);
        assert!(!cache.holds(&"a", 1));
        cache.tell("a", 2, now);
        cache.tell("a", 1, now);
        assert!(cache.holds(&"a", 1) && cache.holds(&"a", 2) && !cache.holds(&"a", 3));
    }

    #[tokio::test(start_paused = true)]
    async fn is_bounded_in_number_and_age() {
        let now = Instant::now();
        let mut cache = DurableCache::new(10, AGE, now);
        for key in 0..1_000 {
            cache.tell(key, 1, now);
            assert!(cache.young.len() + cache.old.len() <= 10);
        }
        assert!(cache.holds(&999, 1) && !cache.holds(&0, 1));
        cache.tell(1_000, 1, now + AGE);
        cache.tell(1_001, 1, now + AGE * 2);
        assert!(!cache.holds(&999, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn capacity_zero_knows_nothing() {
        let now = Instant::now();
        let mut cache = DurableCache::new(0, AGE, now);
        cache.tell("a", 1, now);
        assert!(!cache.holds(&"a", 1));
    }
}
