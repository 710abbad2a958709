//! State in memory, for what must leave no trace: a dry run of a migration. It keeps nothing on disk.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{StateEntry, StateReader, StateStore, StateVersion, StoreError};

/// State that ends with its process.
#[derive(Default)]
pub struct MemoryState {
    entries: Mutex<MemoryEntries>,
    #[cfg(test)]
    loses_answer: std::sync::atomic::AtomicBool,
}

#[derive(Default)]
struct MemoryEntries {
    by_key: BTreeMap<String, StateEntry>,
    latest: StateVersion,
}

impl MemoryState {
    /// The next write is done, and its writer told that it failed.
    #[cfg(test)]
    pub fn lose_next_answer(&self) {
        self.loses_answer.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, MemoryEntries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl StateReader for MemoryState {
    async fn state(&self, key: &str) -> Result<Option<StateEntry>, StoreError> {
        Ok(self.lock().by_key.get(key).cloned())
    }

    async fn states(&self, prefix: &str) -> Result<Vec<StateEntry>, StoreError> {
        let entries = self.lock();
        Ok(entries.by_key.values().filter(|entry| entry.key.starts_with(prefix)).cloned().collect())
    }
}

#[async_trait]
impl StateStore for MemoryState {
    async fn put_state(
        &self,
        key: &str,
        value: &serde_json::Value,
        expected: Option<StateVersion>,
    ) -> Result<Option<StateVersion>, StoreError> {
        let mut entries = self.lock();
        if entries.by_key.get(key).map(|entry| entry.version) != expected {
            return Ok(None);
        }
        entries.latest += 1;
        let version = entries.latest;
        entries.by_key.insert(key.to_owned(), StateEntry { key: key.to_owned(), value: value.clone(), version });
        #[cfg(test)]
        if self.loses_answer.swap(false, std::sync::atomic::Ordering::Relaxed) {
            return Err(StoreError::Unavailable("the answer was lost".to_owned()));
        }
        Ok(Some(version))
    }

    async fn delete_state(&self, key: &str, expected: StateVersion) -> Result<bool, StoreError> {
        let mut entries = self.lock();
        let found = entries.by_key.get(key).is_some_and(|entry| entry.version == expected);
        if found {
            entries.by_key.remove(key);
        }
        Ok(found)
    }
}
