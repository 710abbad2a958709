//! What was looked up lately, within bounds.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::query::directory::{DirectoryError, KnownNames};

/// Values remembered of each sort.
const REMEMBERED: usize = 10_000;
/// How long a name may be out of date while the database answers.
const FRESH: Duration = Duration::from_secs(60);

/// When it is full, what is no longer fresh goes; if all is fresh, everything.
pub(super) struct Cache<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// Returns the values that are remembered, and the keys of the others.
    pub(super) fn split(&self, keys: impl Iterator<Item = K>) -> (Vec<V>, Vec<K>) {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for key in keys {
            match cache.get(&key).filter(|(since, _)| since.elapsed() < FRESH) {
                Some((_, value)) => known.push(value.clone()),
                None => unknown.push(key),
            }
        }
        (known, unknown)
    }

    fn remember(&self, key: K, value: V) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= REMEMBERED {
            cache.retain(|_, (since, _)| since.elapsed() < FRESH);
        }
        if cache.len() >= REMEMBERED {
            cache.clear();
        }
        cache.insert(key, (Instant::now(), value));
    }
}

impl<K: Hash + Eq + Copy, V: Clone> Cache<K, Option<V>> {
    /// Returns what is known, with what was found now; whoever was asked for and not found is remembered as unknown.
    /// Where nothing could be asked, what was remembered counts, however old it is.
    pub(super) fn completed(
        &self,
        known: Vec<Option<V>>,
        asked: Vec<K>,
        found: Result<Vec<(K, V)>, DirectoryError>,
    ) -> KnownNames<V> {
        let mut all: Vec<V> = known.into_iter().flatten().collect();
        let Ok(found) = found else {
            let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let old: Vec<_> = asked.iter().filter_map(|key| cache.get(key)).map(|(_, value)| value.clone()).collect();
            let complete = old.len() == asked.len();
            all.extend(old.into_iter().flatten());
            return KnownNames { found: all, complete };
        };
        let mut absent: HashSet<K> = asked.into_iter().collect();
        for (key, value) in found {
            absent.remove(&key);
            self.remember(key, Some(value.clone()));
            all.push(value);
        }
        for key in absent {
            self.remember(key, None);
        }
        KnownNames { found: all, complete: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_known_outlives_an_outage() {
        let cache = Cache::default();
        cache.completed(Vec::new(), vec![1, 2], Ok(vec![(1, "one")]));
        tokio::time::advance(10 * FRESH).await;
        let away = || Err(DirectoryError("away".into()));
        let ask = |keys: &[i32]| {
            let (known, unknown) = cache.split(keys.iter().copied());
            cache.completed(known, unknown, away())
        };
        assert_eq!(ask(&[1, 2]), KnownNames { found: vec!["one"], complete: true });
        assert_eq!(ask(&[1, 3]), KnownNames { found: vec!["one"], complete: false });
    }

    #[tokio::test(start_paused = true)]
    async fn a_cache_forgets_by_age_and_never_outgrows_its_bound() {
        let cache = Cache::default();
        cache.remember(1, "one");
        assert_eq!(cache.split([1, 2].into_iter()), (vec!["one"], vec![2]));
        tokio::time::advance(FRESH).await;
        assert_eq!(cache.split([1].into_iter()), (vec![], vec![1]));
        for key in 0..3 * REMEMBERED {
            cache.remember(key, "many");
            assert!(cache.0.lock().unwrap().len() <= REMEMBERED);
        }
    }
}
