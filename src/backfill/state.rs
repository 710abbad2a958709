//! What a migration leaves in the store's state: who works on it (a lease), and how far each kind is (a checkpoint). A
//! checkpoint is written after the verdicts of everything before it, and only while the lease is held.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::error::MigrateError;
use super::tally::Tally;
use crate::domain::query::TimeRange;
use crate::domain::{Kind, TenantId, Timestamp};
use crate::postgres::{WalkOrder, WalkPlace};
use crate::store::lease::{Lease, LeaseHolder};
use crate::store::{StateReader, StateStore, StoreError};
use crate::telemetry::Clock;

/// Prefix of every entry of migrations.
pub const PREFIX: &str = "migration/";

/// What a migration copies: with the database, its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationScope {
    /// Host, port and database.
    pub server: String,
    /// The database itself, however it was reached; `None`: it did not say, or an earlier version wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Sorted; empty: all.
    pub tenants: Vec<String>,
    /// Microseconds since 1970; as everywhere, `until` is outside.
    pub from: Option<i64>,
    pub until: Option<i64>,
}

impl MigrationScope {
    #[must_use]
    pub fn new(server: &str, tenants: &[TenantId], created: TimeRange) -> Self {
        let mut tenants: Vec<String> = tenants.iter().map(ToString::to_string).collect();
        tenants.sort();
        tenants.dedup();
        let micros = |at: Option<Timestamp>| at.map(Timestamp::micros);
        let (from, until) = (micros(created.from), micros(created.until));
        Self { server: server.to_owned(), database: None, tenants, from, until }
    }

    /// Returns the same scope of a database that said which it is.
    #[must_use]
    pub fn of_database(self, database: Option<String>) -> Self {
        Self { database, ..self }
    }

    /// Returns what tells the database from others.
    fn place(&self) -> &str {
        self.database.as_deref().unwrap_or(&self.server)
    }

    /// Returns the migration's id: the same rows, the same id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        let text = format!("{}\n{}\n{:?}\n{:?}", self.place(), self.tenants.join(","), self.from, self.until);
        let mut bytes = [0; 16];
        for (byte, hashed) in bytes.iter_mut().zip(Sha256::digest(text)) {
            *byte = hashed;
        }
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    fn overlaps(&self, other: &Self) -> bool {
        let before =
            |until: Option<i64>, from: Option<i64>| until.is_some_and(|until| from.is_some_and(|from| until <= from));
        let tenants = self.tenants.is_empty()
            || other.tenants.is_empty()
            || self.tenants.iter().any(|tenant| other.tenants.contains(tenant));
        let is_same = match (&self.database, &other.database) {
            (Some(one), Some(other)) => one == other,
            _ => self.server == other.server,
        };
        is_same && tenants && !before(self.until, other.from) && !before(other.until, self.from)
    }
}

/// What is remembered of a migration from its first start on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationEntry {
    pub scope: MigrationScope,
    /// Microseconds since 1970.
    pub started_at: i64,
}

/// How far a kind is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub order: WalkOrder,
    /// Everything up to here is settled.
    pub after: Option<WalkPlace>,
    pub done: bool,
    pub tally: Tally,
}

/// A migration and how far its kinds are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationStatus {
    pub id: Uuid,
    #[serde(flatten)]
    pub entry: MigrationEntry,
    pub kinds: BTreeMap<String, Checkpoint>,
    /// The process that works on it; `None`: none does.
    pub held: Option<LeaseHolder>,
}

/// Returns every migration that the store knows, by id; `now` tells which of them are at work.
///
/// # Errors
/// The store cannot be read, or holds a state that another version of difylog wrote.
pub async fn migrations(store: &dyn StateReader, now: Timestamp) -> Result<Vec<MigrationStatus>, MigrateError> {
    let mut found: BTreeMap<Uuid, (Option<MigrationEntry>, BTreeMap<String, Checkpoint>)> = BTreeMap::new();
    for state in store.states(PREFIX).await? {
        let name = state.key.trim_start_matches(PREFIX);
        let (id, kind) = name.split_once('/').map_or((name, None), |(id, kind)| (id, Some(kind.to_owned())));
        // Another entry under the prefix is not a migration of this version.
        let Ok(id) = id.parse() else { continue };
        let (entry, kinds) = found.entry(id).or_default();
        match kind {
            None => *entry = Some(parse(&state.key, state.value)?),
            Some(kind) => drop(kinds.insert(kind, parse(&state.key, state.value)?)),
        }
    }
    let mut known = Vec::with_capacity(found.len());
    for (id, (entry, kinds)) in found {
        let Some(entry) = entry else { continue };
        known.push(MigrationStatus { id, entry, kinds, held: held_by(store, id, now).await? });
    }
    Ok(known)
}

/// The state of one migration, leased by this process.
pub(super) struct MigrationState {
    store: Arc<dyn StateStore>,
    id: Uuid,
    /// The lock keeps renewals in order.
    lease: Mutex<Lease>,
    /// Microseconds since 1970.
    started_at: AtomicI64,
    clock: Clock,
    duration: Duration,
    /// Versions of the checkpoints as last written, by kind; 0: none.
    versions: [AtomicU64; 4],
}

impl MigrationState {
    /// Takes the lease. One that was left behind by a process that died is waited for. `holder` is for people.
    pub async fn acquire(
        store: Arc<dyn StateStore>,
        scope: MigrationScope,
        clock: Clock,
        duration: Duration,
        holder: &str,
    ) -> Result<Self, MigrateError> {
        let scope = known_scope(&*store, scope).await?;
        let id = scope.id();
        refuse_overlap(&*store, id, &scope, clock()).await?;
        let lease = Lease::acquire_or_wait(&store, &lease_key(id), holder, duration, &clock).await?;
        let lease = lease.map_err(|held| busy(id, held))?;
        let found = store.state(&key(id)).await?;
        let started_at = match found {
            Some(found) => parse::<MigrationEntry>(&key(id), found.value)?.started_at,
            None => clock().micros(),
        };
        let versions = [const { AtomicU64::new(0) }; 4];
        let started_at = AtomicI64::new(started_at);
        let state = Self { store, id, lease: Mutex::new(lease), started_at, clock, duration, versions };
        state.put_entry(MigrationEntry { scope, started_at: state.started_at.load(Ordering::Relaxed) }).await?;
        Ok(state)
    }

    pub const fn id(&self) -> Uuid {
        self.id
    }

    pub fn started_at(&self) -> Timestamp {
        Timestamp::from_micros(self.started_at.load(Ordering::Relaxed)).unwrap_or(Timestamp::MIN)
    }

    /// Forgets every checkpoint, and that it ever began.
    pub async fn restart(&self) -> Result<(), MigrateError> {
        for found in self.store.states(&format!("{}/", key(self.id))).await? {
            self.store.delete_state(&found.key, found.version).await?;
        }
        let Some(found) = self.store.state(&key(self.id)).await? else { return Err(MigrateError::Overtaken) };
        let known: MigrationEntry = parse(&found.key, found.value)?;
        let started_at = (self.clock)().micros();
        self.put_entry(MigrationEntry { started_at, ..known }).await?;
        self.started_at.store(started_at, Ordering::Relaxed);
        Ok(())
    }

    /// Writes the entry whatever is there: only the holder of the lease writes it.
    async fn put_entry(&self, entry: MigrationEntry) -> Result<(), MigrateError> {
        let (key, value) = (key(self.id), json(&entry)?);
        let there = self.store.state(&key).await?;
        if there.as_ref().is_some_and(|there| there.value == value) {
            return Ok(());
        }
        let put = self.store.put_state(&key, &value, there.map(|there| there.version)).await?;
        put.map(drop).ok_or(MigrateError::Overtaken)
    }

    /// Holds the lease for as long as this runs; ends with why it could not.
    pub async fn keep(&self) -> MigrateError {
        loop {
            tokio::time::sleep(self.duration / 3).await;
            match self.renew().await {
                Ok(()) => {}
                // As long as the lease lasts, a store that is away for a moment does not matter; and while it is away,
                // no other process can take the lease either.
                Err(error) if error.is_retriable() => tracing::warn!(%error, "the lease could not be renewed"),
                Err(error) => return error,
            }
        }
    }

    /// Gives the lease back.
    pub async fn release(&self) -> Result<(), MigrateError> {
        Ok(self.lease.lock().await.release().await?)
    }

    async fn renew(&self) -> Result<(), MigrateError> {
        let mut lease = self.lease.lock().await;
        if lease.renew((self.clock)()).await? { Ok(()) } else { Err(MigrateError::Overtaken) }
    }

    /// Returns where a kind's walk goes on; from its start if it was walked in another order (an index came or went).
    pub async fn checkpoint(&self, kind: Kind, order: WalkOrder) -> Result<Checkpoint, MigrateError> {
        let key = kind_key(self.id, kind);
        let found = self.store.state(&key).await?;
        let fresh = Checkpoint { order, after: None, done: false, tally: Tally::default() };
        let Some(found) = found else { return Ok(fresh) };
        self.version(kind).store(found.version, Ordering::Relaxed);
        let known: Checkpoint = parse(&key, found.value)?;
        Ok(if known.order == order || known.done { known } else { fresh })
    }

    /// Keeps a checkpoint. Only the holder of the lease writes it, so while that is this process, whatever is there is its
    /// own: a write whose answer was lost, and after which the walk went on from the checkpoint before.
    pub async fn advance(&self, kind: Kind, checkpoint: &Checkpoint) -> Result<(), MigrateError> {
        let version = self.version(kind);
        let expected = Some(version.load(Ordering::Relaxed)).filter(|version| *version > 0);
        let key = kind_key(self.id, kind);
        let value = json(checkpoint)?;
        let next = match self.store.put_state(&key, &value, expected).await? {
            None => {
                self.renew().await?;
                let there = self.store.state(&key).await?.map(|found| found.version);
                self.store.put_state(&key, &value, there).await?
            }
            next => next,
        };
        version.store(next.ok_or(MigrateError::Overtaken)?, Ordering::Relaxed);
        Ok(())
    }

    fn version(&self, kind: Kind) -> &AtomicU64 {
        let [runs, nodes, logs, offloads] = &self.versions;
        match kind {
            Kind::WorkflowRun => runs,
            Kind::NodeExecution => nodes,
            Kind::AppLog => logs,
            Kind::Offload => offloads,
        }
    }
}

/// Returns the scope as an earlier version named it, where that has begun this migration: by the address of the
/// database.
async fn known_scope(store: &dyn StateStore, scope: MigrationScope) -> Result<MigrationScope, MigrateError> {
    let by_address = scope.clone().of_database(None);
    let is_known = store.state(&key(by_address.id())).await?.is_some();
    Ok(if is_known { by_address } else { scope })
}

fn key(id: Uuid) -> String {
    format!("{PREFIX}{id}")
}

fn kind_key(id: Uuid, kind: Kind) -> String {
    format!("{PREFIX}{id}/{kind}")
}

/// Returns the name of the lease of whoever works on a migration.
pub(super) fn lease_key(id: Uuid) -> String {
    format!("lease/migration/{id}")
}

fn busy(id: Uuid, LeaseHolder { holder, until }: LeaseHolder) -> MigrateError {
    MigrateError::Busy { id: id.to_string(), holder, until: until.to_string() }
}

/// Returns the process that works on a migration; `None`: none does.
///
/// # Errors
/// [`StoreError`] if the state cannot be read; the same call may succeed later.
pub(super) async fn held_by(
    state: &dyn StateReader,
    id: Uuid,
    now: Timestamp,
) -> Result<Option<LeaseHolder>, StoreError> {
    LeaseHolder::find(state, &lease_key(id), now).await
}

/// Refuses where another migration works on some of the same rows.
async fn refuse_overlap(
    store: &dyn StateStore,
    id: Uuid,
    scope: &MigrationScope,
    now: Timestamp,
) -> Result<(), MigrateError> {
    let others = migrations(store, now).await?;
    let overlapping = others.into_iter().filter(|other| other.id != id && other.entry.scope.overlaps(scope));
    for other in overlapping {
        if let Some(held) = other.held {
            return Err(busy(other.id, held));
        }
    }
    Ok(())
}

fn json(value: &impl Serialize) -> Result<serde_json::Value, MigrateError> {
    serde_json::to_value(value).map_err(|error| StoreError::Corrupt(error.to_string()).into())
}

fn parse<T: DeserializeOwned>(key: &str, value: serde_json::Value) -> Result<T, MigrateError> {
    serde_json::from_value(value).map_err(|error| StoreError::Corrupt(format!("state {key}: {error}")).into())
}

#[cfg(test)]
mod tests;
