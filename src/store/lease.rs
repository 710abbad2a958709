//! Leases: at most one holder of a name at a time, among processes that share a store. A dead holder's lease expires.
//!
//! A lease protects from waste, not from harm: whatever is done under it is safe if two do it at once, because clocks
//! differ and a paused process does not know that its lease is over.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{StateStore, StateVersion, StoreError};
use crate::domain::Timestamp;

/// A name that is held.
pub struct Lease {
    state: Arc<dyn StateStore>,
    key: String,
    holder: String,
    duration: Duration,
    version: StateVersion,
}

impl Lease {
    /// Takes a name for `duration`, if nobody holds it or the holder's time is over. `holder` is shown to others.
    ///
    /// # Errors
    /// [`StoreError`] if the state cannot be read or written.
    pub async fn acquire(
        state: Arc<dyn StateStore>,
        key: &str,
        holder: &str,
        duration: Duration,
        now: Timestamp,
    ) -> Result<Result<Self, Held>, StoreError> {
        let found = state.state(key).await?;
        if let Some(held) = found.as_ref().and_then(|entry| Held::read(&entry.value)).filter(|held| held.until > now) {
            return Ok(Err(held));
        }
        let value = value(holder, now, duration);
        match state.put_state(key, &value, found.map(|entry| entry.version)).await? {
            Some(version) => Ok(Ok(Self { state, key: key.to_owned(), holder: holder.to_owned(), duration, version })),
            // Another process took it between our look and our write.
            None => Ok(Err(Held { holder: "another process".to_owned(), until: after(now, duration) })),
        }
    }

    /// Holds it for another `duration` from `now` on. Answers whether it is still ours.
    ///
    /// # Errors
    /// [`StoreError`] if the state cannot be written; the lease then lasts as long as it did.
    pub async fn renew(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        let value = value(&self.holder, now, self.duration);
        match self.state.put_state(&self.key, &value, Some(self.version)).await? {
            Some(version) => {
                self.version = version;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Gives the name back.
    ///
    /// # Errors
    /// [`StoreError`] if the state cannot be written; the lease then ends by itself.
    pub async fn release(self) -> Result<(), StoreError> {
        self.state.delete_state(&self.key, self.version).await.map(|_| ())
    }
}

/// Who holds a name, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub holder: String,
    pub until: Timestamp,
}

impl Held {
    /// `None`: nobody can tell whose it is, so it is nobody's.
    fn read(value: &serde_json::Value) -> Option<Self> {
        let text = |name| value.get(name).and_then(serde_json::Value::as_str);
        Some(Self { holder: text("holder")?.to_owned(), until: text("until")?.parse().ok()? })
    }
}

fn value(holder: &str, now: Timestamp, duration: Duration) -> serde_json::Value {
    json!({ "holder": holder, "until": after(now, duration).to_string() })
}

fn after(now: Timestamp, duration: Duration) -> Timestamp {
    let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.micros().saturating_add(micros)).unwrap_or(Timestamp::MAX)
}
