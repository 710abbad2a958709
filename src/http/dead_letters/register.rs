//! Replays as every replica sees them: an entry of the store's state for each, and one lease, which the process that runs a
//! replay renews. A replay that says it runs while nobody holds its lease is one whose process ended.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::amqp::ReplayReport;
use crate::domain::Timestamp;
use crate::store::lease::{Lease, LeaseHolder};
use crate::store::{StateEntry, StateStore, StoreError};
use crate::telemetry::Clock;

const PREFIX: &str = "replay/";
/// Key of the lease; its holder is the id of the replay.
const LEASE: &str = "lease/replay";
/// How long a replay is thought to run after its process last said so.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// Replays that are remembered, the newest.
pub(super) const REMEMBERED: usize = 20;
/// Attempts at a write that another one came before, and at a lease that is about to be given back.
const ATTEMPTS: usize = 3;
const PAUSE: Duration = Duration::from_millis(300);
/// Characters of a reason that are kept.
const REASON: usize = 300;

/// How a replay ended, or that it has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) enum ReplayState {
    Running,
    Done,
    Stopped,
    /// In the broker's words, for operators.
    Failed(String),
    /// Its process ended, or lost the store, before it said how the replay ended.
    Abandoned,
}

/// A replay in the background, of this process or of another.
#[derive(Debug, Clone)]
pub(in crate::http) struct ReplayJob {
    pub id: Uuid,
    /// The name of the key that began it.
    pub by: String,
    pub begun_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub rate: Option<NonZeroU32>,
    /// What was selected when it began.
    pub expected: u64,
    /// So far.
    pub report: ReplayReport,
    pub state: ReplayState,
}

/// The entry of a replay.
#[derive(Serialize, Deserialize)]
struct ReplayEntry {
    by: String,
    begun_at: String,
    ended_at: Option<String>,
    rate: Option<NonZeroU32>,
    expected: u64,
    walked: u64,
    selected: u64,
    replayed: u64,
    skipped: u64,
    doubt: Option<(u64, String)>,
    refused: u64,
    complaints: Vec<(u64, String)>,
    state: String,
    reason: Option<String>,
}

impl From<&ReplayJob> for ReplayEntry {
    fn from(job: &ReplayJob) -> Self {
        let report = job.report.clone();
        let (state, reason) = match &job.state {
            ReplayState::Running => ("running", None),
            ReplayState::Done => ("done", None),
            ReplayState::Stopped => ("stopped", None),
            ReplayState::Failed(reason) => ("failed", Some(reason.chars().take(REASON).collect())),
            ReplayState::Abandoned => ("abandoned", None),
        };
        Self {
            by: job.by.clone(),
            begun_at: job.begun_at.to_string(),
            ended_at: job.ended_at.map(|at| at.to_string()),
            rate: job.rate,
            expected: job.expected,
            walked: report.walked,
            selected: report.selected,
            replayed: report.replayed,
            skipped: report.skipped,
            doubt: report.doubt,
            refused: report.refused,
            complaints: report.complaints,
            state: state.to_owned(),
            reason,
        }
    }
}

impl ReplayEntry {
    /// `None`: it says nothing that this version reads.
    fn job(self, id: Uuid) -> Option<ReplayJob> {
        let state = match self.state.as_str() {
            "running" => ReplayState::Running,
            "done" => ReplayState::Done,
            "stopped" => ReplayState::Stopped,
            "failed" => ReplayState::Failed(self.reason.unwrap_or_default()),
            "abandoned" => ReplayState::Abandoned,
            _ => return None,
        };
        Some(ReplayJob {
            id,
            by: self.by,
            begun_at: self.begun_at.parse().ok()?,
            ended_at: self.ended_at.and_then(|at| at.parse().ok()),
            rate: self.rate,
            expected: self.expected,
            report: ReplayReport {
                walked: self.walked,
                selected: self.selected,
                replayed: self.replayed,
                skipped: self.skipped,
                doubt: self.doubt,
                refused: self.refused,
                complaints: self.complaints,
            },
            state,
        })
    }
}

fn key(id: Uuid) -> String {
    format!("{PREFIX}{id}")
}

/// Returns key of the wish that a replay stops.
fn stop_key(id: Uuid) -> String {
    format!("{PREFIX}{id}/stop")
}

fn read(entry: &StateEntry) -> Option<ReplayJob> {
    let id = entry.key.strip_prefix(PREFIX)?.parse().ok()?;
    serde_json::from_value::<ReplayEntry>(entry.value.clone()).ok()?.job(id)
}

/// See the module.
pub(super) struct ReplayRegister {
    state: Arc<dyn StateStore>,
    clock: Clock,
}

impl ReplayRegister {
    pub fn new(state: Arc<dyn StateStore>, clock: Clock) -> Self {
        Self { state, clock }
    }

    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Takes the lease for a replay, or returns the replay that has it. One that has ended gives it back in a moment.
    pub async fn take(&self, id: Uuid) -> Result<Result<Lease, Uuid>, StoreError> {
        let mut attempt = 0;
        loop {
            let state = Arc::clone(&self.state);
            let held = match Lease::acquire(state, LEASE, &id.to_string(), LEASE_DURATION, self.now()).await? {
                Ok(lease) => return Ok(Ok(lease)),
                Err(held) => held.holder.parse().unwrap_or_default(),
            };
            attempt += 1;
            if attempt == ATTEMPTS || self.running().await?.is_some() {
                return Ok(Err(held));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes what is known of a replay. Only the process that runs it does.
    pub async fn put(&self, job: &ReplayJob) -> Result<(), StoreError> {
        let value =
            serde_json::to_value(ReplayEntry::from(job)).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        for _ in 0..ATTEMPTS {
            let known = self.state.state(&key(job.id)).await?.map(|entry| entry.version);
            if self.state.put_state(&key(job.id), &value, known).await?.is_some() {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable("the state of a replay is written by another process".to_owned()))
    }

    /// Returns a replay of any replica, one of the newest.
    pub async fn find(&self, id: Uuid) -> Result<Option<ReplayJob>, StoreError> {
        let Some(mut job) = self.state.state(&key(id)).await?.as_ref().and_then(read) else { return Ok(None) };
        if job.state == ReplayState::Running && self.holder().await? != Some(id) {
            // It may have ended between the two looks.
            let again = self.state.state(&key(id)).await?;
            job = again.as_ref().and_then(read).unwrap_or(job);
            if job.state == ReplayState::Running {
                job.state = ReplayState::Abandoned;
            }
        }
        Ok(Some(job))
    }

    /// Returns the replay that is under way on any replica.
    pub async fn running(&self) -> Result<Option<Uuid>, StoreError> {
        let Some(id) = self.holder().await? else { return Ok(None) };
        let job = self.state.state(&key(id)).await?.as_ref().and_then(read);
        // One without an entry is about to begin.
        Ok(job.is_none_or(|job| job.state == ReplayState::Running).then_some(id))
    }

    async fn holder(&self) -> Result<Option<Uuid>, StoreError> {
        let held = LeaseHolder::find(&*self.state, LEASE, self.now()).await?;
        Ok(held.and_then(|held| held.holder.parse().ok()))
    }

    /// Asks the process that runs a replay to stop it.
    pub async fn ask_to_stop(&self, id: Uuid) -> Result<(), StoreError> {
        // If another wish comes first, it is the same.
        self.state.put_state(&stop_key(id), &serde_json::Value::Bool(true), None).await?;
        Ok(())
    }

    /// Returns whether some replica asked for the end of a replay.
    pub async fn is_to_stop(&self, id: Uuid) -> Result<bool, StoreError> {
        Ok(self.state.state(&stop_key(id)).await?.is_some())
    }

    /// Removes the entries of all but the newest replays.
    pub async fn forget_old(&self) -> Result<(), StoreError> {
        let entries = self.state.states(PREFIX).await?;
        let mut jobs: Vec<_> = entries.iter().filter_map(read).collect();
        jobs.sort_by_key(|job| std::cmp::Reverse((job.begun_at, job.id)));
        let kept: Vec<String> = jobs.iter().take(REMEMBERED).map(|job| key(job.id)).collect();
        // What cannot be read is of a newer version, and for that to remove.
        let known: Vec<String> = jobs.iter().map(|job| key(job.id)).collect();
        for entry in &entries {
            let of = entry.key.strip_suffix("/stop").unwrap_or(&entry.key).to_owned();
            if known.contains(&of) && !kept.contains(&of) {
                self.state.delete_state(&entry.key, entry.version).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
