//! A database with the sample, and a store that holds what a migration of it stored.

use std::sync::Mutex;

use async_trait::async_trait;
use difylog::backfill::cleanup::{self, Cleanup};
use difylog::backfill::report::{MAX_NAMED, ValidationReport};
use difylog::backfill::validate::{Validation, ValidationRequest};
use difylog::codec::truncate::Limits;
use difylog::domain::query::TimeRange;
use difylog::domain::{Kind, Origin, Timestamp};
use difylog::postgres::Database;
use difylog::store::{Eraser, Erasure, Remains, StoreError};
use difylog::telemetry::Clock;
use uuid::Uuid;

use crate::lifecycle::migrated::Migrated;
use crate::support::postgres::{Postgres, Schema};

/// The sample ends on 2025-12-20; this is later.
pub fn now() -> Timestamp {
    "2026-01-10T00:00:00Z".parse().unwrap()
}

pub fn clock() -> Clock {
    std::sync::Arc::new(now)
}

pub fn origin() -> Origin {
    Origin::new(Uuid::from_u128(7))
}

pub struct Pair {
    pub postgres: Postgres,
    pub database: Database,
    pub store: Migrated,
    pub limits: Limits,
    /// Most findings of each fault that a validation names.
    pub named: usize,
}

impl Pair {
    pub async fn sample(schema: Schema) -> Self {
        Self::with(Postgres::sample(schema), Limits::default()).await
    }

    pub async fn with(postgres: Postgres, limits: Limits) -> Self {
        let database = postgres.database();
        let store = Migrated::of(&database, limits, Some(origin())).await;
        Self { postgres, database, store, limits, named: MAX_NAMED }
    }

    pub fn request() -> ValidationRequest {
        ValidationRequest {
            tenants: Vec::new(),
            kinds: Kind::ALL.to_vec(),
            created: TimeRange::default(),
            sample: None,
            tolerated: Vec::new(),
            store_name: "double".into(),
        }
    }

    pub async fn validate(&self, request: ValidationRequest) -> ValidationReport {
        let validation = Validation {
            database: &self.database,
            store: self.store.side(),
            limits: self.limits,
            clock: clock(),
            seed: 7,
            named: self.named,
            progress: &|_, _| {},
        };
        validation.run(request).await.unwrap()
    }

    pub fn plan(execute: bool) -> cleanup::CleanupPlan {
        cleanup::CleanupPlan {
            tenants: Vec::new(),
            created: TimeRange { from: None, until: Some(now()) },
            batch: 100,
            rate: None,
            lock_timeout_ms: 200,
            allow_changed: false,
            // The sample has trigger logs of some runs.
            ignored_references: vec!["workflow_trigger_logs".into()],
            unended_before: None,
            execute,
        }
    }

    pub async fn clean(&self, plan: &cleanup::CleanupPlan) -> cleanup::CleanupOutcome {
        let cleanup =
            Cleanup { database: &self.database, store: self.store.side(), plan, progress: &|_| {}, stop: &|| false };
        cleanup.run().await.unwrap()
    }

    pub fn counts(&self) -> [u64; 4] {
        let count = |table| self.postgres.number(&format!("SELECT count(*) FROM {table}"));
        [
            count("workflow_runs"),
            count("workflow_node_executions"),
            count("workflow_app_logs"),
            count("workflow_node_execution_offload"),
        ]
    }
}

/// Does something once, after documents were erased and before anything else follows.
pub struct Meanwhile<'a> {
    eraser: &'a dyn Eraser,
    deed: Mutex<Option<Box<dyn FnOnce() + Send + 'a>>>,
}

impl<'a> Meanwhile<'a> {
    pub fn new(eraser: &'a dyn Eraser, deed: impl FnOnce() + Send + 'a) -> Self {
        Self { eraser, deed: Mutex::new(Some(Box::new(deed))) }
    }
}

#[async_trait]
impl Eraser for Meanwhile<'_> {
    async fn erase(&self, erasures: &[Erasure], remains: Remains) -> Result<Vec<bool>, StoreError> {
        let erased = self.eraser.erase(erasures, remains).await?;
        let deed = self.deed.lock().unwrap().take();
        if let Some(deed) = deed {
            deed();
        }
        Ok(erased)
    }
}
