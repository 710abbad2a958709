//! Looks at everything there is: store, database, broker, and what difylog remembers of its own work. Changes nothing; a
//! part that cannot be seen does not hide the others.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{AppError, Stores, open_stores};
use crate::amqp::{QueueDepth, queue_depths};
use crate::backfill::VALIDATION;
use crate::backfill::state::{MigrationStatus, migrations};
use crate::config::Settings;
use crate::domain::Month;
use crate::domain::query::{MonthCount, MonthSize};
use crate::postgres::Database;
use crate::retention::schedule::LAST as RETENTION;
use crate::store::{Store, StoreError};

/// One part of the picture, or why it cannot be seen.
pub type Part<T> = Result<T, String>;

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
    pub store: Part<Vec<String>>,
    /// By month and kind.
    pub months: Part<BTreeMap<(Month, &'static str), MonthStatus>>,
    pub migrations: Part<Vec<MigrationStatus>>,
    /// The outcome of the last validation, as it was written.
    pub validation: Part<Option<Value>>,
    /// The last retention by a worker.
    pub retention: Part<Option<Value>>,
    /// PostgreSQL's version.
    pub database: Part<String>,
    pub queues: Part<Vec<QueueDepth>>,
}

/// Looks at everything the settings name.
///
/// # Errors
/// Settings that cannot be used; what cannot be reached is part of the picture.
pub async fn status(settings: &Settings) -> Result<Status, AppError> {
    let Stores { store, .. } = open_stores(settings)?;
    let database = Database::open(&settings.postgres);
    let version = async {
        let client = database.map_err(|error| error.to_string())?.client().await.map_err(|error| error.to_string())?;
        let row = client.query_one("SHOW server_version", &[]).await.map_err(|error| error.to_string())?;
        row.try_get(0).map_err(|error| error.to_string())
    };
    let queues = async { queue_depths(&settings.amqp).await.map_err(|error| error.to_string()) };
    let (database, queues) = tokio::join!(version, queues);
    let picture = Status {
        store: shown(store.check().await),
        months: shown(months(&*store).await),
        migrations: migrations(&*store).await.map_err(|error| error.to_string()),
        validation: shown(remembered(&*store, VALIDATION).await),
        retention: shown(remembered(&*store, RETENTION).await),
        database,
        queues,
    };
    store.close().await;
    Ok(picture)
}

fn shown<T>(found: Result<T, StoreError>) -> Part<T> {
    found.map_err(|error| error.to_string())
}

async fn remembered(store: &dyn Store, key: &str) -> Result<Option<Value>, StoreError> {
    Ok(store.state(key).await?.map(|entry| entry.value))
}

async fn months(store: &dyn Store) -> Result<BTreeMap<(Month, &'static str), MonthStatus>, StoreError> {
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
    /// Whether every part could be seen.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.store.is_ok()
            && self.months.is_ok()
            && self.migrations.is_ok()
            && self.validation.is_ok()
            && self.retention.is_ok()
            && self.database.is_ok()
            && self.queues.is_ok()
    }

    /// For programs. A part that could not be seen is `{"error": "…"}`.
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
        json!({
            "difylog": env!("CARGO_PKG_VERSION"),
            "store": part(&self.store, |lines| json!(lines)),
            "months": part(&self.months, months),
            "migrations": part(&self.migrations, |found| json!(found)),
            "validation": part(&self.validation, |found| json!(found)),
            "retention": part(&self.retention, |found| json!(found)),
            "postgres": part(&self.database, |version| json!({ "version": version })),
            "queues": part(&self.queues, |depths| depths.iter().map(queue).collect()),
        })
    }
}

fn part<T>(part: &Part<T>, json: impl FnOnce(&T) -> Value) -> Value {
    match part {
        Ok(found) => json(found),
        Err(error) => json!({ "error": error }),
    }
}
