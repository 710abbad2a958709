//! Looks at everything there is: store, database, broker, and what difylog remembers of its own work. Changes nothing; a
//! part that cannot be seen does not hide the others.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{AppError, Readers, knows_postgres, open_readers};
use crate::amqp::{BrokerState, QueueDepth, broker_state, queue_depths};
use crate::backfill::VALIDATION;
use crate::backfill::state::{MigrationStatus, migrations};
use crate::config::Settings;
use crate::domain::query::{MonthCount, MonthSize, Scan};
use crate::domain::{Kind, Month, Timestamp};
use crate::postgres::Database;
use crate::retention::schedule::LAST as RETENTION;
use crate::store::{ReadStore, StoreError};
use crate::telemetry::system_clock;

/// One part of the picture, or why it cannot be seen.
pub type StatusPart<T> = Result<T, String>;

/// What a month holds of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MonthStatus {
    /// `None`: not counted apart.
    pub documents: Option<u64>,
    pub bytes: Option<u64>,
    pub shards: Option<u64>,
}

/// The name of what is not told apart by kind.
pub const ALL_KINDS: &str = "all";

/// The whole picture.
#[derive(Debug)]
pub struct Status {
    /// The server's version, and what difylog has set up there.
    pub store: StatusPart<Vec<String>>,
    /// Where full texts are kept.
    pub payloads: StatusPart<String>,
    /// By month and kind.
    pub months: StatusPart<BTreeMap<(Month, &'static str), MonthStatus>>,
    pub migrations: StatusPart<Vec<MigrationStatus>>,
    /// The outcome of the last validation, as it was written.
    pub validation: StatusPart<Option<Value>>,
    /// The last retention by a worker.
    pub retention: StatusPart<Option<Value>>,
    /// PostgreSQL's version; `None` where no setting names one.
    pub database: StatusPart<Option<String>>,
    /// Which broker it is, and whether it takes messages.
    pub broker: StatusPart<BrokerState>,
    pub queues: StatusPart<Vec<QueueDepth>>,
    pub lag: StatusPart<Lag>,
}

/// How far the store is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Messages that wait in the consumed queues.
    pub waiting: u64,
    /// When the newest record of the store was created.
    pub newest: Option<Timestamp>,
    /// Since then, if messages wait: the oldest of them is about as old. `None`: there is nothing to tell it by.
    pub seconds: Option<u64>,
}

impl Lag {
    fn of(waiting: u64, newest: Option<Timestamp>, now: Timestamp) -> Self {
        let since = |newest: Timestamp| u64::try_from((now.micros() - newest.micros()) / 1_000_000).unwrap_or(0);
        let seconds = if waiting == 0 { Some(0) } else { newest.map(since) };
        Self { waiting, newest, seconds }
    }
}

/// Looks at everything the settings name.
///
/// # Errors
/// Settings that cannot be used; what cannot be reached is part of the picture.
pub async fn status(settings: &Settings) -> Result<Status, AppError> {
    let Readers { store, payloads } = open_readers(settings)?;
    let version =
        async { if knows_postgres(settings) { postgres_version(settings).await.map(Some) } else { Ok(None) } };
    let queues = async { queue_depths(&settings.amqp).await.map_err(|error| error.to_string()) };
    let broker = async { broker_state(&settings.amqp).await.map_err(|error| error.to_string()) };
    let (database, broker, queues) = tokio::join!(version, broker, queues);
    let lag = match &queues {
        Ok(depths) => shown(newest(&*store).await.map(|newest| {
            let is_consumed = |depth: &&QueueDepth| settings.amqp.queues.iter().any(|queue| queue.name == depth.queue);
            let waiting = depths.iter().filter(is_consumed).map(|depth| depth.ready).sum();
            Lag::of(waiting, newest, system_clock()())
        })),
        Err(_) => Err("the queues cannot be seen".to_owned()),
    };
    let picture = Status {
        store: shown(store.check().await),
        payloads: payloads.look().await.map_err(|error| error.to_string()),
        months: shown(months(&*store).await),
        migrations: migrations(&*store, system_clock()()).await.map_err(|error| error.to_string()),
        validation: shown(remembered(&*store, VALIDATION).await),
        retention: shown(remembered(&*store, RETENTION).await),
        database,
        broker,
        queues,
        lag,
    };
    Ok(picture)
}

async fn postgres_version(settings: &Settings) -> StatusPart<String> {
    let database = Database::open(&settings.postgres).map_err(|error| error.to_string())?;
    let client = database.client().await.map_err(|error| error.to_string())?;
    let row = client.query_one("SHOW server_version", &[]).await.map_err(|error| error.to_string())?;
    row.try_get(0).map_err(|error| error.to_string())
}

fn shown<T>(found: Result<T, StoreError>) -> StatusPart<T> {
    found.map_err(|error| error.to_string())
}

async fn remembered(store: &dyn ReadStore, key: &str) -> Result<Option<Value>, StoreError> {
    Ok(store.state(key).await?.map(|entry| entry.value))
}

/// Returns when the newest record was created.
async fn newest(store: &dyn ReadStore) -> Result<Option<Timestamp>, StoreError> {
    let mut newest = None;
    for kind in Kind::ALL {
        newest = newest.max(store.scan_end(&Scan::all(kind, 1)).await?.map(|end| end.created_at));
    }
    Ok(newest)
}

async fn months(store: &dyn ReadStore) -> Result<BTreeMap<(Month, &'static str), MonthStatus>, StoreError> {
    let mut months: BTreeMap<_, MonthStatus> = BTreeMap::new();
    for MonthCount { month, kind, documents } in store.counts().await? {
        months.entry((month, kind)).or_default().documents = Some(documents);
    }
    for MonthSize { month, kind, bytes, shards } in store.sizes().await? {
        let found = months.entry((month, kind.unwrap_or(ALL_KINDS))).or_default();
        (found.bytes, found.shards) = (Some(bytes), Some(shards));
    }
    Ok(months)
}

impl Status {
    /// Returns whether every part could be seen.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.store.is_ok()
            && self.payloads.is_ok()
            && self.months.is_ok()
            && self.migrations.is_ok()
            && self.validation.is_ok()
            && self.retention.is_ok()
            && self.database.is_ok()
            && self.broker.is_ok()
            && self.queues.is_ok()
            && self.lag.is_ok()
    }

    /// For programs. A part that could not be seen is `{"error": "…"}`, a PostgreSQL that no setting names `null`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let months = |months: &BTreeMap<(Month, &'static str), MonthStatus>| {
            let row = |((month, kind), found): (&(Month, &'static str), &MonthStatus)| {
                json!({
                    "month": month.to_string(), "kind": kind,
                    "documents": found.documents, "bytes": found.bytes, "shards": found.shards,
                })
            };
            Value::Array(months.iter().map(row).collect())
        };
        let queue =
            |depth: &QueueDepth| json!({ "queue": depth.queue, "ready": depth.ready, "consumers": depth.consumers });
        let lag = |lag: &Lag| {
            let newest = lag.newest.map(|newest| newest.to_string());
            json!({ "waiting": lag.waiting, "newest_record_at": newest, "seconds": lag.seconds })
        };
        json!({
            "difylog": env!("CARGO_PKG_VERSION"),
            "store": part(&self.store, |lines| json!(lines)),
            "payloads": part(&self.payloads, |place| json!({ "place": place })),
            "months": part(&self.months, months),
            "migrations": part(&self.migrations, |found| json!(found)),
            "validation": part(&self.validation, |found| json!(found)),
            "retention": part(&self.retention, |found| json!(found)),
            "postgres": part(&self.database, |version| version.as_ref().map_or(Value::Null, |version| json!({ "version": version }))),
            "broker": part(&self.broker, |broker| {
                json!({
                    "address": broker.address, "virtual_host": broker.virtual_host, "publishers_blocked": broker.blocked,
                })
            }),
            "queues": part(&self.queues, |depths| depths.iter().map(queue).collect()),
            "lag": part(&self.lag, lag),
        })
    }
}

fn part<T>(part: &StatusPart<T>, json: impl FnOnce(&T) -> Value) -> Value {
    match part {
        Ok(found) => json(found),
        Err(error) => json!({ "error": error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_waits_is_behind() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000).unwrap();
        for (waiting, newest, seconds) in [
            (0, Some(at(40)), Some(0)),
            (0, None, Some(0)),
            (3, Some(at(40)), Some(60)),
            // A producer's clock may be ahead.
            (3, Some(at(140)), Some(0)),
            (3, None, None),
        ] {
            assert_eq!(Lag::of(waiting, newest, at(100)).seconds, seconds, "{waiting} {newest:?}");
        }
    }
}
