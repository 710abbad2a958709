//! Erasures that a process asks of the one that writes: entries of the shared state, each changed over its version only.
//!
//! ```text
//! asker: Asked ──▶ writer: Taken ──▶ erased ──▶ Answered or Failed ──▶ asker removes the entry
//! ```
//!
//! Only the holder of the directory's lock takes a request, and it takes one only while somebody waits for it, so none is
//! carried out twice or long after its asker was told that it failed. A writer that dies in between leaves the entry
//! `Taken`: the next one carries it out again, which finds the same tombstones, and answers as if it had been once.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;

use super::erase;
use super::fault::SqliteFault;
use super::files::WriteFiles;
use super::state::StateFile;
use crate::domain::record::RecordKey;
use crate::domain::{Kind, Revision, Timestamp};
use crate::store::{Erasure, Remains, StateEntry, StateVersion};

/// What the keys of requests begin with. They are of the moment: no backup keeps them.
pub const PREFIX: &str = "erasure/";

/// How long an entry stays after its time: a writer may be at it, or its asker about to read it.
const FORGOTTEN: i64 = 60_000_000;

/// How far a request has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    Asked,
    Taken,
    /// Per erasure, whether there was a record and it is gone.
    Answered(Vec<bool>),
    /// Why it could not be carried out.
    Failed(String),
}

/// A request as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErasureRequest {
    pub step: RequestState,
    /// Until when it may be taken, in microseconds since the epoch.
    pub until: i64,
    /// The instant of the tombstones; `None`: nothing remains.
    at: Option<i64>,
    records: Vec<RecordName>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct RecordName {
    tenant: String,
    kind: String,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<i64>,
}

impl ErasureRequest {
    pub fn new(erasures: &[Erasure], remains: Remains, until: i64) -> Self {
        let at = match remains {
            Remains::Tombstone(at) => Some(at.micros()),
            Remains::Nothing => None,
        };
        let name = |erasure: &Erasure| RecordName {
            tenant: erasure.key.tenant_id.to_string(),
            kind: erasure.key.kind.to_string(),
            id: erasure.key.id.to_string(),
            revision: erasure.revision.map(Revision::value),
        };
        Self { step: RequestState::Asked, until, at, records: erasures.iter().map(name).collect() }
    }

    /// `None`: not a request of this version.
    pub fn of(value: &Value) -> Option<Self> {
        serde_json::from_value(value.clone()).ok()
    }

    pub fn to_value(&self) -> Value {
        // Texts, numbers and lists: there is nothing in it that JSON cannot hold.
        serde_json::to_value(self).unwrap_or_default()
    }

    fn erasures(&self) -> Option<(Vec<Erasure>, Remains)> {
        let erasure = |name: &RecordName| {
            let (tenant_id, id) = (name.tenant.parse().ok()?, name.id.parse().ok()?);
            let key = RecordKey { tenant_id, kind: name.kind.parse::<Kind>().ok()?, id };
            Some(Erasure { key, revision: name.revision.map(Revision::from_stored) })
        };
        let remains = match self.at {
            Some(at) => Remains::Tombstone(Timestamp::from_micros(at).ok()?),
            None => Remains::Nothing,
        };
        Some((self.records.iter().map(erasure).collect::<Option<_>>()?, remains))
    }

    fn is_over(&self, now: i64) -> bool {
        match self.step {
            // Its asker has been told that it was not taken, or has gone away.
            RequestState::Asked => now > self.until,
            RequestState::Taken | RequestState::Answered(_) | RequestState::Failed(_) => {
                now > self.until.saturating_add(FORGOTTEN)
            }
        }
    }
}

/// Carries out every request that waits, and sweeps up those that are no longer waited for. Called by the holder of the lock.
pub fn serve(files: &mut WriteFiles, state: &StateFile, now: Timestamp) -> Result<(), SqliteFault> {
    for entry in state.list(PREFIX)? {
        let Some(request) = ErasureRequest::of(&entry.value) else {
            warn!(key = entry.key, "a request that is not of this version is removed");
            state.delete(&entry.key, entry.version)?;
            continue;
        };
        if request.is_over(now.micros()) {
            state.delete(&entry.key, entry.version)?;
        } else if matches!(request.step, RequestState::Asked | RequestState::Taken) {
            carry_out(files, state, &entry, request)?;
        }
    }
    Ok(())
}

fn carry_out(
    files: &mut WriteFiles,
    state: &StateFile,
    entry: &StateEntry,
    mut request: ErasureRequest,
) -> Result<(), SqliteFault> {
    // No other process takes requests, so one that is taken was left behind by a writer that died.
    let is_left_behind = request.step == RequestState::Taken;
    request.step = RequestState::Taken;
    let Some(taken) = advance(state, &entry.key, &request, entry.version)? else {
        // Its asker has just given it up.
        return Ok(());
    };
    request.step = match request.erasures() {
        None => RequestState::Failed("the request names records that are none".to_owned()),
        Some((erasures, remains)) => match erase_again(files, &erasures, remains, is_left_behind) {
            Ok(gone) => RequestState::Answered(gone),
            Err(fault) => RequestState::Failed(fault.detail()),
        },
    };
    advance(state, &entry.key, &request, taken)?;
    Ok(())
}

fn erase_again(
    files: &mut WriteFiles,
    erasures: &[Erasure],
    remains: Remains,
    is_left_behind: bool,
) -> Result<Vec<bool>, SqliteFault> {
    let mut gone = erase::erase(files, erasures, remains)?;
    if is_left_behind && let Remains::Tombstone(at) = remains {
        let before = erase::erased_at(&files.question(), erasures, at)?;
        gone.iter_mut().zip(before).for_each(|(gone, before)| *gone |= before);
    }
    Ok(gone)
}

fn advance(
    state: &StateFile,
    key: &str,
    request: &ErasureRequest,
    version: StateVersion,
) -> Result<Option<StateVersion>, SqliteFault> {
    state.put(key, &request.to_value(), Some(version))
}
