//! A rollback takes back what its migration wrote, while PostgreSQL has it, and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use difylog::backfill::removal::RemovalLease;
use difylog::backfill::rollback::{Rollback, RollbackOutcome};
use difylog::domain::{BulkAction, Kind, Origin, Record, Revision, RunStatus, SinkFault, Verdict};
use difylog::store::lease::Lease;
use difylog::store::memory::MemoryState;
use difylog::store::payload::{PayloadSettings, PayloadStore};
use difylog::store::{BulkSink, Eraser, Erasure, Remains, StateStore, StoreError};
use difylog::telemetry::system_clock;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::lifecycle::harness::{Meanwhile, Pair, origin};
use crate::support::memory::MemoryStore;
use crate::support::postgres::Schema;

async fn roll_back(pair: &Pair, origin: Origin, execute: bool, force_missing: bool) -> RollbackOutcome {
    let store = &*pair.store;
    let alone = None;
    roll_back_by(pair, Means { eraser: store, sink: store, alone }, (origin, execute, force_missing)).await
}

/// By what a rollback is done.
struct Means<'a> {
    eraser: &'a dyn Eraser,
    sink: &'a dyn BulkSink,
    /// Under the leases.
    alone: Option<&'a RemovalLease>,
}

async fn roll_back_by(
    pair: &Pair,
    Means { eraser, sink, alone }: Means<'_>,
    (origin, execute, force_missing): (Origin, bool, bool),
) -> RollbackOutcome {
    let folder = tempfile::tempdir().unwrap();
    let texts = PayloadStore::open(&PayloadSettings { dir: folder.path().into(), s3: None }).unwrap();
    let rollback = Rollback {
        database: &pair.database,
        reader: &*pair.store,
        eraser,
        sink,
        overview: &*pair.store,
        texts: &texts,
        origin,
        force_missing,
        execute,
        progress: &|_| {},
        stop: &|| false,
    };
    match alone {
        Some(lease) => rollback.run_alone(lease, &CancellationToken::new()).await.unwrap(),
        None => rollback.run().await.unwrap(),
    }
}

#[tokio::test]
async fn only_what_the_migration_wrote_goes() {
    let pair = Pair::sample(Schema::V10).await;
    let all = pair.store.copies_of_all().len();
    // A live message has overwritten one run, and another migration wrote a node.
    let (live, theirs) = (pair.store.ids(Kind::WorkflowRun)[5], pair.store.ids(Kind::NodeExecution)[5]);
    pair.store.change_each(|document| {
        if document.key().id == live {
            let Record::Run(run) = &mut document.record else { panic!() };
            run.status = RunStatus::Stopped;
            document.revision = Revision::from_stored(document.revision.value() + 1);
            document.origin = None;
        }
        if document.key().id == theirs {
            document.origin = Some(Origin::new(Uuid::from_u128(8)));
        }
    });
    let dry = roll_back(&pair, origin(), false, false).await;
    assert_eq!(pair.store.copies_of_all().len(), all);
    let outcome = roll_back(&pair, origin(), true, false).await;
    assert_eq!(dry, outcome);
    let left: Vec<_> = pair.store.copies_of_all().iter().map(|document| document.record.id()).collect();
    assert_eq!(left.len(), 2);
    assert!(left.contains(&live) && left.contains(&theirs));
    assert_eq!(outcome.removed.values().sum::<u64>(), all as u64 - 2);
    let nothing = roll_back(&pair, origin(), true, false).await;
    assert_eq!(nothing.removed.values().sum::<u64>(), 0);
}

#[tokio::test]
async fn what_postgresql_does_not_have_any_more_stays() {
    let pair = Pair::sample(Schema::V12).await;
    pair.clean(&Pair::plan(true)).await;
    let gone = pair.store.copies_of_all().len() as u64 - pair.counts().iter().sum::<u64>();
    let outcome = roll_back(&pair, origin(), true, false).await;
    assert_eq!(outcome.without_row, gone);
    assert_eq!(outcome.named.len(), 1_000);
    assert_eq!(pair.store.copies_of_all().len() as u64, gone);
    let forced = roll_back(&pair, origin(), true, true).await;
    assert_eq!(forced.removed.values().sum::<u64>(), gone);
    assert!(pair.store.copies_of_all().is_empty());
}

/// As Dify's own deletion does it: after the look at the row, before the document is gone.
fn delete_three(pair: &Pair) {
    pair.postgres
        .sql("DELETE FROM workflow_runs WHERE id IN (SELECT id FROM workflow_runs ORDER BY created_at, id LIMIT 3)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_whose_row_goes_meanwhile_comes_back() {
    let pair = Pair::sample(Schema::V10).await;
    let all = pair.store.copies_of_all().len() as u64;
    let eraser = Meanwhile::new(&*pair.store, || delete_three(&pair));
    let means = Means { eraser: &eraser, sink: &*pair.store, alone: None };
    let outcome = roll_back_by(&pair, means, (origin(), true, false)).await;
    let left = pair.store.copies_of_all();
    let absent: Vec<_> =
        left.iter().map(|document| (document.kind(), document.tenant_id(), document.record.id())).collect();
    assert_eq!((left.len(), outcome.without_row), (3, 3), "what PostgreSQL has no more is in the store");
    assert!(outcome.named.iter().all(|named| absent.contains(named)), "{:?}", outcome.named);
    assert_eq!(outcome.removed.values().sum::<u64>(), all - 3);
    assert!(outcome.complete);
}

/// A store that remembers the versions of what was deleted for a moment, as engines do.
struct Remembering<'a> {
    store: &'a MemoryStore,
    has_forgotten: AtomicBool,
}

#[async_trait]
impl BulkSink for Remembering<'_> {
    async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault> {
        if self.has_forgotten.swap(true, Ordering::Relaxed) {
            return self.store.apply(actions).await;
        }
        Ok(vec![Verdict::Superseded; actions.len()])
    }

    async fn probe(&self) -> Result<(), SinkFault> {
        self.store.probe().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_comes_back_although_the_store_remembers_that_it_went() {
    let pair = Pair::sample(Schema::V10).await;
    let eraser = Meanwhile::new(&*pair.store, || delete_three(&pair));
    let sink = Remembering { store: &pair.store, has_forgotten: AtomicBool::new(false) };
    let means = Means { eraser: &eraser, sink: &sink, alone: None };
    let outcome = roll_back_by(&pair, means, (origin(), true, false)).await;
    assert!(sink.has_forgotten.load(Ordering::Relaxed));
    assert_eq!((pair.store.copies_of_all().len(), outcome.without_row), (3, 3));
}

/// An eraser that tries to take the lease of the migration, as `migrate` does.
struct Migrating<'a> {
    store: &'a MemoryStore,
    state: Arc<dyn StateStore>,
    name: String,
    taken: Mutex<Vec<bool>>,
}

#[async_trait]
impl Eraser for Migrating<'_> {
    async fn erase(&self, erasures: &[Erasure], remains: Remains) -> Result<Vec<bool>, StoreError> {
        let state = Arc::clone(&self.state);
        let taken = Lease::acquire(state, &self.name, "migrate", Duration::from_secs(60), system_clock()()).await?;
        self.taken.lock().unwrap().push(taken.is_ok());
        self.store.erase(erasures, remains).await
    }
}

#[tokio::test]
async fn nothing_is_copied_while_it_is_taken_back() {
    let pair = Pair::sample(Schema::V10).await;
    let state: Arc<dyn StateStore> = Arc::new(MemoryState::default());
    let entry = format!("migration/{}", origin().uuid());
    let name = format!("lease/{entry}");
    state.put_state(&entry, &serde_json::json!({}), None).await.unwrap();
    let (clock, duration, holder) = (system_clock(), Duration::from_secs(60), "a rollback".to_owned());
    let lease = RemovalLease { state: Arc::clone(&state), clock, duration, holder };
    let eraser =
        Migrating { store: &pair.store, state: Arc::clone(&state), name: name.clone(), taken: Mutex::default() };
    let means = Means { eraser: &eraser, sink: &*pair.store, alone: Some(&lease) };
    let outcome = roll_back_by(&pair, means, (origin(), true, false)).await;
    assert!(outcome.complete && pair.store.copies_of_all().is_empty(), "{outcome:?}");
    let taken = eraser.taken.into_inner().unwrap();
    assert!(!taken.is_empty() && taken.iter().all(|taken| !taken), "{taken:?}");
    assert!(state.states("").await.unwrap().is_empty(), "it is forgotten, and the leases are given back");
}
