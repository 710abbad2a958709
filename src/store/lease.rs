//! Leases: at most one holder of a name at a time, among processes that share a store. A dead holder's lease expires.
//!
//! A lease protects from waste, and makes harm unlikely: whatever is done under it must be safe, or be taken back, if two do it
//! at once, because clocks differ and a paused process does not know that its lease is over.

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{StateReader, StateStore, StateVersion, StoreError};
use crate::domain::Timestamp;
use crate::telemetry::Clock;

/// How often the end of another's lease is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// A name that is held.
pub struct Lease {
    state: Arc<dyn StateStore>,
    key: String,
    holder: String,
    /// Of this lease alone: two holders may look the same to people.
    id: Uuid,
    duration: Duration,
    version: StateVersion,
}

impl Lease {
    /// Takes a name for `duration`, if it is free or its holder's time is over; else returns its holder. `holder` is for
    /// people.
    ///
    /// # Errors
    /// [`StoreError`] if the state cannot be read or written; the same call may succeed later.
    pub async fn acquire(
        state: Arc<dyn StateStore>,
        key: &str,
        holder: &str,
        duration: Duration,
        now: Timestamp,
    ) -> Result<Result<Self, LeaseHolder>, StoreError> {
        let id = Uuid::new_v4();
        let value = value(holder, id, now, duration);
        loop {
            let found = state.state(key).await?;
            if let Some(held) =
                found.as_ref().and_then(|entry| LeaseHolder::read(&entry.value)).filter(|held| held.until > now)
            {
                return Ok(Err(held));
            }
            let known = found.map(|entry| entry.version);
            if let Some(version) = put_own(&*state, key, &value, known, id).await? {
                return Ok(Ok(Self { state, key: key.to_owned(), holder: holder.to_owned(), id, duration, version }));
            }
            // Another process took it between the look and the write; the next look says which.
        }
    }

    /// As [`Self::acquire`], but waits for the end of a lease that nobody renews: its holder may have died. Answers the
    /// holder once he has renewed it, which one that is at work does after a third of its time.
    ///
    /// # Errors
    /// [`StoreError`], as there.
    pub async fn acquire_or_wait(
        state: &Arc<dyn StateStore>,
        key: &str,
        holder: &str,
        duration: Duration,
        clock: &Clock,
    ) -> Result<Result<Self, LeaseHolder>, StoreError> {
        let mut waited_for = None;
        loop {
            let now = clock();
            let held = match Self::acquire(Arc::clone(state), key, holder, duration, now).await? {
                Ok(lease) => return Ok(Ok(lease)),
                Err(held) => held,
            };
            let rest = Duration::from_micros(u64::try_from(held.until.micros() - now.micros()).unwrap_or_default());
            match &waited_for {
                None => tracing::warn!(lease = key, holder = %held.holder, seconds = rest.as_secs() + 1,
                    "another process holds the lease, or died: waiting for the end of its lease"),
                Some(waited_for) if *waited_for != held => return Ok(Err(held)),
                Some(_) => {}
            }
            waited_for = Some(held);
            tokio::time::sleep(rest.min(LOOK) + Duration::from_millis(1)).await;
        }
    }

    /// Holds it for another `duration` from `now` on. Returns whether it is still held; once it is not, it never is again.
    ///
    /// # Errors
    /// [`StoreError`] if the state cannot be written; the lease then lasts as long as it did.
    pub async fn renew(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        let value = value(&self.holder, self.id, now, self.duration);
        let renewed = put_own(&*self.state, &self.key, &value, Some(self.version), self.id).await?;
        self.version = renewed.unwrap_or(self.version);
        Ok(renewed.is_some())
    }

    /// Gives the name back, unless another process holds it by now.
    ///
    /// # Errors
    /// [`StoreError`] if the state cannot be written; the lease then ends by itself, and nothing that was done under it is
    /// spoilt.
    pub async fn release(&self) -> Result<(), StoreError> {
        if !self.state.delete_state(&self.key, self.version).await?
            && let Some(found) = self.state.state(&self.key).await?.filter(|found| is_of(&found.value, self.id))
        {
            self.state.delete_state(&self.key, found.version).await?;
        }
        Ok(())
    }

    /// As [`Self::release`]; a failure is a line in the log.
    pub async fn give_back(self) {
        if let Err(error) = self.release().await {
            tracing::warn!(%error, lease = self.key, "the lease was not given back; it ends by itself");
        }
    }
}

/// Writes the entry of a lease. Returns its new version, or `None` if another process holds it.
///
/// A write that timed out, or was given up on the way, may have been done all the same. Then the entry has another
/// version than its holder knows, and its id tells that it is the holder's.
async fn put_own(
    state: &dyn StateStore,
    key: &str,
    value: &Value,
    known: Option<StateVersion>,
    id: Uuid,
) -> Result<Option<StateVersion>, StoreError> {
    if let Some(version) = state.put_state(key, value, known).await? {
        return Ok(Some(version));
    }
    match state.state(key).await?.filter(|found| is_of(&found.value, id)) {
        Some(found) => state.put_state(key, value, Some(found.version)).await,
        None => Ok(None),
    }
}

fn is_of(entry: &Value, id: Uuid) -> bool {
    entry.get("id").and_then(Value::as_str) == Some(id.to_string().as_str())
}

/// The holder of a name, and the end of its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeaseHolder {
    pub holder: String,
    #[serde(serialize_with = "as_text")]
    pub until: Timestamp,
}

impl LeaseHolder {
    /// Returns the holder of a name at `now`; `None`: the name is free.
    ///
    /// # Errors
    /// [`StoreError`] if the state cannot be read; the same call may succeed later.
    pub async fn find(state: &dyn StateReader, key: &str, now: Timestamp) -> Result<Option<Self>, StoreError> {
        let found = state.state(key).await?;
        Ok(found.and_then(|entry| Self::read(&entry.value)).filter(|held| held.until > now))
    }

    /// `None`: an entry that says nothing of a holder holds nothing.
    fn read(value: &Value) -> Option<Self> {
        let text = |name| value.get(name).and_then(Value::as_str);
        Some(Self { holder: text("holder")?.to_owned(), until: text("until")?.parse().ok()? })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn as_text<S: Serializer>(until: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(until)
}

fn value(holder: &str, id: Uuid, now: Timestamp, duration: Duration) -> Value {
    json!({ "holder": holder, "until": after(now, duration).to_string(), "id": id })
}

fn after(now: Timestamp, duration: Duration) -> Timestamp {
    let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.micros().saturating_add(micros)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryState;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(time: &str) -> Timestamp {
        format!("2026-11-24T{time}").parse().unwrap()
    }

    async fn acquire(state: &Arc<MemoryState>, now: Timestamp) -> Result<Lease, LeaseHolder> {
        Lease::acquire(Arc::clone(state) as _, "lease/x", "a host", MINUTE, now).await.unwrap()
    }

    #[tokio::test]
    async fn a_holder_whose_write_was_done_without_an_answer_still_holds() {
        let state = Arc::new(MemoryState::default());
        state.lose_next_answer();
        let lost = Lease::acquire(Arc::clone(&state) as _, "lease/x", "a host", MINUTE, at("12:00:00")).await;
        assert!(matches!(lost, Err(StoreError::Unavailable(_))), "nobody may act on a lease he does not know of");
        let mut lease = acquire(&state, at("12:01:01")).await.unwrap();
        for _ in 0..2 {
            state.lose_next_answer();
            assert!(lease.renew(at("12:01:30")).await.is_err());
        }
        assert_eq!(lease.renew(at("12:02:00")).await, Ok(true));
        assert!(acquire(&state, at("12:02:59")).await.is_err());
        state.lose_next_answer();
        assert!(lease.renew(at("12:02:59")).await.is_err());
        lease.release().await.unwrap();
        assert!(acquire(&state, at("12:03:00")).await.is_ok());
    }

    #[tokio::test]
    async fn a_lease_taken_over_is_lost_even_to_one_of_the_same_name() {
        let state = Arc::new(MemoryState::default());
        let mut first = acquire(&state, at("12:00:00")).await.unwrap();
        let mut second = acquire(&state, at("12:01:01")).await.unwrap();
        assert_eq!(first.renew(at("12:01:02")).await, Ok(false));
        first.release().await.unwrap();
        assert_eq!(second.renew(at("12:01:03")).await, Ok(true), "what is another's is not given back");
    }
}
