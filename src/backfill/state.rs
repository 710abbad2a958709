//! What a migration leaves in the store's state: who works on it (a lease), and how far each kind is (a checkpoint). A
//! checkpoint is written after the verdicts of everything before it, and only while the lease is held.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::error::MigrateError;
use super::tally::Tally;
use crate::domain::query::TimeRange;
use crate::domain::{Kind, TenantId, Timestamp};
use crate::postgres::{Order, Place};
use crate::store::lease::{names, put_own};
use crate::store::{StateReader, StateStore, StateVersion, StoreError};
use crate::telemetry::Clock;

/// Prefix of every entry of migrations.
pub const PREFIX: &str = "migration/";

/// What a migration copies: with the database, its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
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

impl Scope {
    #[must_use]
    pub fn new(server: &str, tenants: &[TenantId], created: TimeRange) -> Self {
        let mut tenants: Vec<String> = tenants.iter().map(ToString::to_string).collect();
        tenants.sort();
        tenants.dedup();
        let micros = |at: Option<Timestamp>| at.map(Timestamp::micros);
        let (from, until) = (micros(created.from), micros(created.until));
        Self { server: server.to_owned(), database: None, tenants, from, until }
    }

    /// The same scope of a database that said which it is.
    #[must_use]
    pub fn of_database(self, database: Option<String>) -> Self {
        Self { database, ..self }
    }

    /// What tells the database from others.
    fn place(&self) -> &str {
        self.database.as_deref().unwrap_or(&self.server)
    }

    /// The migration's id: the same rows, the same id.
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

/// A migration as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationEntry {
    pub scope: Scope,
    /// Microseconds since 1970.
    pub started_at: i64,
    /// Who holds the lease, and until when.
    pub holder: Option<Uuid>,
    pub leased_until: i64,
}

impl MigrationEntry {
    /// Whether a process works on it; `now` in microseconds since 1970.
    #[must_use]
    pub const fn is_held(&self, now: i64) -> bool {
        self.holder.is_some() && self.leased_until > now
    }
}

/// How far a kind is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub order: Order,
    /// Everything up to here is settled.
    pub after: Option<Place>,
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
}

/// Every migration that the store knows, by id.
///
/// # Errors
/// The store cannot be read, or holds a state that another version of difylog wrote.
pub async fn migrations(store: &dyn StateReader) -> Result<Vec<MigrationStatus>, MigrateError> {
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
    let known =
        |(id, (entry, kinds)): (Uuid, (Option<MigrationEntry>, _))| Some(MigrationStatus { id, entry: entry?, kinds });
    Ok(found.into_iter().filter_map(known).collect())
}

/// The state of one migration, leased by this process.
pub(super) struct MigrationState {
    store: Arc<dyn StateStore>,
    id: Uuid,
    holder: Uuid,
    /// The entry as last written; the lock keeps renewals in order.
    entry: Mutex<(MigrationEntry, StateVersion)>,
    clock: Clock,
    lease_seconds: u32,
    /// Versions of the checkpoints as last written, by kind; 0: none.
    versions: [AtomicU64; 4],
}

impl MigrationState {
    /// Takes the lease. One that was left behind by a process that died is waited for.
    pub async fn acquire(
        store: Arc<dyn StateStore>,
        scope: Scope,
        clock: Clock,
        lease_seconds: u32,
    ) -> Result<Self, MigrateError> {
        let scope = known_scope(&*store, scope).await?;
        let (id, holder) = (scope.id(), Uuid::new_v4());
        let key = key(id);
        refuse_overlap(&*store, id, &scope, clock().micros()).await?;
        let mut waited_for = None;
        let (entry, version) = loop {
            let now = clock().micros();
            let found = store.state(&key).await?;
            let expected = found.as_ref().map(|found| found.version);
            let known: Option<MigrationEntry> = found.map(|found| parse(&key, found.value)).transpose()?;
            if let Some(known) = known.as_ref().filter(|known| known.is_held(now)) {
                if waited_for.is_some_and(|version| Some(version) != expected) {
                    return Err(busy(id, known));
                }
                waited_for = expected;
                let rest = u64::try_from(known.leased_until - now).unwrap_or_default();
                tracing::warn!(migration = %id, seconds = rest / 1_000_000 + 1,
                    "another process holds this migration, or died: waiting for the end of its lease");
                tokio::time::sleep(std::time::Duration::from_micros(rest + 1_000)).await;
                continue;
            }
            let started_at = known.map_or(now, |known| known.started_at);
            let leased_until = now + i64::from(lease_seconds) * 1_000_000;
            let entry = MigrationEntry { scope: scope.clone(), started_at, holder: Some(holder), leased_until };
            if let Some(version) = put_own(&*store, &key, &json(&entry)?, expected, names("holder", holder)).await? {
                break (entry, version);
            }
        };
        let versions = [const { AtomicU64::new(0) }; 4];
        Ok(Self { store, id, holder, entry: Mutex::new((entry, version)), clock, lease_seconds, versions })
    }

    pub const fn id(&self) -> Uuid {
        self.id
    }

    pub async fn started_at(&self) -> Timestamp {
        Timestamp::from_micros(self.entry.lock().await.0.started_at).unwrap_or(Timestamp::MIN)
    }

    /// Forgets every checkpoint, and that it ever began.
    pub async fn restart(&self) -> Result<(), MigrateError> {
        for found in self.store.states(&format!("{}/", key(self.id))).await? {
            self.store.delete_state(&found.key, found.version).await?;
        }
        let now = (self.clock)().micros();
        self.renew_with(|entry| entry.started_at = now).await
    }

    /// Holds the lease for as long as this runs; ends with why it could not.
    pub async fn keep(&self) -> MigrateError {
        let pause = std::time::Duration::from_millis(u64::from(self.lease_seconds) * 1_000 / 3);
        loop {
            tokio::time::sleep(pause).await;
            match self.renew_with(|_| ()).await {
                Ok(()) => {}
                // As long as the lease lasts, a store that is away for a moment does not matter; and while it is away,
                // nobody else can take the lease either.
                Err(error) if error.is_retriable() => tracing::warn!(%error, "the lease could not be renewed"),
                Err(error) => return error,
            }
        }
    }

    /// Gives the lease back.
    pub async fn release(&self) -> Result<(), MigrateError> {
        self.renew_with(|entry| entry.holder = None).await
    }

    async fn renew_with(&self, change: impl FnOnce(&mut MigrationEntry)) -> Result<(), MigrateError> {
        let mut kept = self.entry.lock().await;
        let mut entry = kept.0.clone();
        entry.leased_until = (self.clock)().micros() + i64::from(self.lease_seconds) * 1_000_000;
        change(&mut entry);
        let key = key(self.id);
        match put_own(&*self.store, &key, &json(&entry)?, Some(kept.1), names("holder", self.holder)).await? {
            Some(version) => {
                *kept = (entry, version);
                Ok(())
            }
            None => Err(MigrateError::Overtaken),
        }
    }

    /// Where a kind's walk goes on; from its start if it was walked in another order (an index came or went).
    pub async fn checkpoint(&self, kind: Kind, order: Order) -> Result<Checkpoint, MigrateError> {
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
                self.renew_with(|_| ()).await?;
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

/// The scope as an earlier version named it, where that has begun this migration: by the address of the database.
async fn known_scope(store: &dyn StateStore, scope: Scope) -> Result<Scope, MigrateError> {
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

fn busy(id: Uuid, entry: &MigrationEntry) -> MigrateError {
    let until = Timestamp::from_micros(entry.leased_until).unwrap_or(Timestamp::MAX);
    MigrateError::Busy { id: id.to_string(), until: until.to_string() }
}

/// Other migrations that are at work on some of the same rows.
async fn refuse_overlap(store: &dyn StateStore, id: Uuid, scope: &Scope, now: i64) -> Result<(), MigrateError> {
    let others = migrations(store).await?;
    match others.iter().find(|other| other.id != id && other.entry.is_held(now) && other.entry.scope.overlaps(scope)) {
        Some(other) => Err(busy(other.id, &other.entry)),
        None => Ok(()),
    }
}

fn json(value: &impl Serialize) -> Result<serde_json::Value, MigrateError> {
    serde_json::to_value(value).map_err(|error| StoreError::Corrupt(error.to_string()).into())
}

fn parse<T: DeserializeOwned>(key: &str, value: serde_json::Value) -> Result<T, MigrateError> {
    serde_json::from_value(value).map_err(|error| StoreError::Corrupt(format!("state {key}: {error}")).into())
}

#[cfg(test)]
mod tests;
