//! A rollback takes back what its migration wrote, while PostgreSQL has it, and nothing else.

use difylog::backfill::rollback::{Rollback, RollbackOutcome};
use difylog::domain::{Kind, Origin, Record, Revision, RunStatus};
use difylog::store::Eraser;
use difylog::store::payload::{PayloadSettings, PayloadStore};
use uuid::Uuid;

use crate::lifecycle::harness::{Meanwhile, Pair, origin};
use crate::support::postgres::Schema;

async fn roll_back(pair: &Pair, origin: Origin, execute: bool, force_missing: bool) -> RollbackOutcome {
    roll_back_by(&*pair.store, pair, origin, execute, force_missing).await
}

async fn roll_back_by(
    eraser: &dyn Eraser,
    pair: &Pair,
    origin: Origin,
    execute: bool,
    force_missing: bool,
) -> RollbackOutcome {
    let folder = tempfile::tempdir().unwrap();
    let texts = PayloadStore::open(&PayloadSettings { dir: folder.path().into(), s3: None }).unwrap();
    let rollback = Rollback {
        database: &pair.database,
        reader: &*pair.store,
        eraser,
        sink: &*pair.store,
        overview: &*pair.store,
        texts: &texts,
        origin,
        force_missing,
        execute,
        progress: &|_| {},
        stop: &|| false,
    };
    rollback.run().await.unwrap()
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

#[tokio::test(flavor = "multi_thread")]
async fn a_document_whose_row_goes_meanwhile_comes_back() {
    let pair = Pair::sample(Schema::V10).await;
    let all = pair.store.copies_of_all().len() as u64;
    // As Dify's own deletion does it: after the look at the row, before the document is gone.
    let eraser = Meanwhile::new(&*pair.store, || {
        pair.postgres.sql(
            "DELETE FROM workflow_runs WHERE id IN (SELECT id FROM workflow_runs ORDER BY created_at, id LIMIT 3)",
        );
    });
    let outcome = roll_back_by(&eraser, &pair, origin(), true, false).await;
    let left = pair.store.copies_of_all();
    let absent: Vec<_> =
        left.iter().map(|document| (document.kind(), document.tenant_id(), document.record.id())).collect();
    assert_eq!((left.len(), outcome.without_row), (3, 3), "what PostgreSQL has no more is in the store");
    assert!(outcome.named.iter().all(|named| absent.contains(named)), "{:?}", outcome.named);
    assert_eq!(outcome.removed.values().sum::<u64>(), all - 3);
    assert!(outcome.complete);
}
