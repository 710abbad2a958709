//! What removes on one side because the other side has it: one command at a time, and no row or document is lost to another
//! that is deleted meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use difylog::app::{MigrationRun, open_migration};
use difylog::backfill::Task;
use difylog::backfill::recopy::{Recopy, RecopyOutcome};
use difylog::backfill::removal::LEASE;
use difylog::backfill::report::ValidationReport;
use difylog::backfill::validate::{Validation, ValidationRequest};
use difylog::domain::Timestamp;
use difylog::store::lease::{Lease, LeaseHolder};
use difylog::store::{Eraser, Erasure, Remains, StoreError};
use difylog::telemetry::system_clock;
use tokio_util::sync::CancellationToken;

use crate::backfill::place::counts;
use crate::lifecycle::commands::{json, refused, site};
use crate::lifecycle::harness::{Meanwhile, Pair};
use crate::support::postgres::{Postgres, Schema};
use crate::support::site::{Site, StoreUnderTest};

/// The first runs that have ended, changed after their end.
fn change(postgres: &Postgres, runs: u64) {
    postgres.sql(&format!(
        "UPDATE workflow_runs SET outputs = '{{\"answer\": \"changed\"}}' WHERE id IN \
         (SELECT id FROM workflow_runs WHERE status = 'succeeded' ORDER BY id LIMIT {runs})"
    ));
}

pub async fn opened(site: &Site, task: Task, stop: CancellationToken) -> MigrationRun {
    open_migration(site.settings.clone(), task, stop, CancellationToken::new()).await.unwrap()
}

fn recopy<'a>(run: &'a MigrationRun, eraser: &'a dyn Eraser) -> Recopy<'a> {
    let (store, sink) = run.side().unwrap();
    Recopy { migration: &run.migration, store, eraser, sink, lift_tombstones: false }
}

pub async fn changed(run: &MigrationRun, eraser: &dyn Eraser, named: usize) -> RecopyOutcome {
    try_changed(run, eraser, named).await.unwrap()
}

async fn try_changed(
    run: &MigrationRun,
    eraser: &dyn Eraser,
    named: usize,
) -> Result<RecopyOutcome, difylog::backfill::MigrateError> {
    let recopy = recopy(run, eraser);
    let validation = Validation {
        database: run.migration.database(),
        store: recopy.store,
        limits: run.limits(),
        clock: system_clock(),
        seed: 0,
        named,
        progress: &|_, _| {},
    };
    let request = ValidationRequest { store_name: run.places.1.clone(), ..Pair::request() };
    recopy.changed(&validation, &request).await
}

async fn a_row_goes_while_it_is_copied(store: &StoreUnderTest) {
    let postgres = Postgres::sample(Schema::V12);
    let site = site(store, &postgres).await;
    site.ok(&["migrate"]);
    let before = counts(&*site.store()).await;
    change(&postgres, 5);
    let run = opened(&site, Task::default(), CancellationToken::new()).await;
    let (_, eraser) = run.side().unwrap();
    let eraser = Meanwhile::new(eraser, || {
        postgres.sql(
            "DELETE FROM workflow_runs WHERE outputs LIKE '%changed%' AND id IN \
                      (SELECT id FROM workflow_runs WHERE outputs LIKE '%changed%' ORDER BY id LIMIT 2)",
        );
    });
    let outcome = changed(&run, &eraser, 10_000).await;
    drop(eraser);
    run.close(false).await;
    let found = outcome.kinds[&difylog::domain::Kind::WorkflowRun];
    assert_eq!((found.copied, found.gone, found.erased, found.left), (3, 2, 0, 0), "{outcome:?}");
    assert_eq!(counts(&*site.store()).await, before, "the documents of the rows that went are there");
    let said = site.run(&["validate", "--json", "--tolerate", "extra", "--report", site.file("r").to_str().unwrap()]);
    let report = json(&String::from_utf8_lossy(&said.stdout));
    assert_eq!((&report["report"]["counts"]["extra"], &report["report"]["passed"]), (&2.into(), &true.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_goes_while_it_is_copied_leaves_its_document_over_sqlite() {
    a_row_goes_while_it_is_copied(&StoreUnderTest::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_goes_while_it_is_copied_leaves_its_document_over_an_engine() {
    a_row_goes_while_it_is_copied(&StoreUnderTest::engine("shared")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_not_asked_for_keep_their_documents() {
    let postgres = Postgres::sample(Schema::V12);
    let site = site(&StoreUnderTest::Sqlite, &postgres).await;
    site.ok(&["migrate"]);
    let before = counts(&*site.store()).await;
    change(&postgres, 40);
    let report = site.file("report.json");
    refused(&site, &["validate", "--report", report.to_str().unwrap()], "the sides differ");
    let tenant = "bd9c66b3-ad3c-4d6d-9a3d-1fa7bc8960a9";
    let of_tenant =
        format!("SELECT count(*) FROM workflow_runs WHERE outputs LIKE '%changed%' AND tenant_id = '{tenant}'");
    let expected = postgres.number(&of_tenant);
    assert!(expected > 0 && expected < 40, "{expected}");
    let arguments = ["migrate", "--from-report", report.to_str().unwrap(), "--json"];
    let nodes = json(&site.ok(&[&arguments[..], &["--kind", "nodes"]].concat()));
    assert!(nodes["kinds"].as_object().unwrap().is_empty(), "{nodes}");
    let one = json(&site.ok(&[&arguments[..], &["--tenant-id", tenant]].concat()));
    assert_eq!(one["kinds"]["workflow_run"]["copied"], expected, "{one}");
    assert_eq!(counts(&*site.store()).await, before);
    // What the report does not name is no success.
    let text = std::fs::read_to_string(&report).unwrap();
    let mut unnamed: ValidationReport = ValidationReport::read(&text).unwrap();
    unnamed.findings.clear();
    std::fs::write(&report, unnamed.sign().unwrap()).unwrap();
    refused(&site, &["migrate", "--from-report", report.to_str().unwrap()], "40 more rows differ");
}

/// As a command does that works: holds a lease and renews it.
async fn hold(site: &Site, name: &str) -> tokio::task::JoinHandle<()> {
    let store = difylog::app::open_stores(&site.settings).unwrap().store;
    let three = Duration::from_secs(3);
    let lease = Lease::acquire(store, name, "the other one", three, system_clock()()).await.unwrap();
    let mut lease = lease.unwrap_or_else(|held| panic!("{held:?}"));
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(three / 10).await;
            assert!(lease.renew(system_clock()()).await.unwrap());
        }
    })
}

async fn one_at_a_time(store: &StoreUnderTest) {
    let postgres = Postgres::sample(Schema::V10);
    let site = site(store, &postgres).await;
    let migrated = json(&site.ok(&["migrate", "--json"]));
    let report = site.file("report.json");
    let report = report.to_str().unwrap();
    site.ok(&["validate", "--report", report]);
    let rows = postgres.number("SELECT count(*) FROM workflow_runs");
    let holding = hold(&site, LEASE).await;
    let clean = ["cleanup-pg", "--report", report, "--before", "2025-12-01"];
    let roll_back = ["rollback", "--migration", migrated["migration"].as_str().unwrap()];
    for arguments in [
        [&clean[..], &["--execute"]].concat(),
        vec!["migrate", "--changed"],
        vec!["migrate", "--from-report", report],
        [&roll_back[..], &["--execute"]].concat(),
    ] {
        refused(&site, &arguments, "another command removes rows or documents: the other one");
    }
    // What removes nothing waits for nobody.
    site.ok(&clean);
    site.ok(&roll_back);
    assert_eq!(postgres.number("SELECT count(*) FROM workflow_runs"), rows);
    holding.abort();
    let _ = holding.await;
    let of_migration = format!("lease/migration/{}", migrated["migration"].as_str().unwrap());
    let holding = hold(&site, &of_migration).await;
    refused(&site, &[&roll_back[..], &["--execute"]].concat(), "is running: end it first");
    holding.abort();
    let _ = holding.await;
    // Its holder died: the lease is waited for.
    site.ok(&[&roll_back[..], &["--execute"]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_removes_at_a_time_over_sqlite() {
    one_at_a_time(&StoreUnderTest::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_removes_at_a_time_over_an_engine() {
    one_at_a_time(&StoreUnderTest::engine("shared")).await;
}

/// An eraser that looks whether both leases are held whenever it erases, at first until they must have been renewed.
struct Watching<'a> {
    store: &'a dyn difylog::store::Store,
    names: [String; 2],
    held: std::sync::Mutex<Vec<usize>>,
}

impl Watching<'_> {
    /// The ends of those that are held.
    async fn ends(&self) -> Vec<Timestamp> {
        let mut ends = Vec::new();
        for name in &self.names {
            let found = LeaseHolder::find(self.store, name, system_clock()()).await.unwrap();
            ends.extend(found.map(|held| held.until));
        }
        ends
    }
}

#[async_trait::async_trait]
impl Eraser for Watching<'_> {
    async fn erase(&self, erasures: &[Erasure], remains: Remains) -> Result<Vec<bool>, StoreError> {
        if self.held.lock().unwrap().is_empty() {
            let first = self.ends().await;
            let deadline = Instant::now() + Duration::from_secs(10);
            while first.iter().any(|until| *until >= system_clock()()) {
                assert!(Instant::now() < deadline, "what was held at first is over");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let held = self.ends().await.len();
        self.held.lock().unwrap().push(held);
        self.store.erase(erasures, remains).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leases_are_held_from_the_first_round_to_the_last() {
    let postgres = Postgres::sample(Schema::V12);
    let mut site = site(&StoreUnderTest::Sqlite, &postgres).await;
    site.ok(&["migrate"]);
    change(&postgres, 7);
    site.settings.migrate.lease_seconds = std::num::NonZeroU32::MIN;
    let run = opened(&site, Task::default(), CancellationToken::new()).await;
    let (_, store) = run.side().unwrap();
    let names = [LEASE.to_owned(), format!("lease/migration/{}", run.migration.id())];
    let watching = Watching { store, names, held: std::sync::Mutex::default() };
    let outcome = changed(&run, &watching, 3).await;
    assert_eq!(outcome.copied(), 7, "{outcome:?}");
    assert!(outcome.complete && outcome.unnamed == 0, "{outcome:?}");
    assert_eq!(*watching.held.lock().unwrap(), [2, 2, 2], "three rounds, and both leases in each");
    run.close(false).await;
    let store: Arc<dyn difylog::store::Store> = difylog::app::open_stores(&site.settings).unwrap().store;
    assert!(store.states("lease/").await.unwrap().is_empty(), "they are given back");
    store.close().await;
}

/// An eraser during whose work another process takes a lease over, and the rows go. It waits until that is noticed.
struct Overtaken<'a> {
    store: &'a dyn difylog::store::Store,
    lease: String,
    postgres: &'a Postgres,
    stop: CancellationToken,
}

#[async_trait::async_trait]
impl Eraser for Overtaken<'_> {
    async fn erase(&self, erasures: &[Erasure], remains: Remains) -> Result<Vec<bool>, StoreError> {
        let erased = self.store.erase(erasures, remains).await?;
        let theirs = serde_json::json!({ "holder": "the other one", "until": "2099-01-01T00:00:00Z", "id": "theirs" });
        let mut taken = None;
        // The holder may renew it between the look and the write.
        for _ in 0..100 {
            let held = self.store.state(&self.lease).await?.map(|held| held.version);
            taken = self.store.put_state(&self.lease, &theirs, held).await?;
            if taken.is_some() {
                break;
            }
        }
        assert!(taken.is_some(), "the other one takes the lease over");
        self.postgres.sql("DELETE FROM workflow_runs WHERE outputs LIKE '%changed%'");
        let noticed = tokio::time::timeout(Duration::from_secs(30), self.stop.cancelled()).await;
        assert!(noticed.is_ok(), "the loss is noticed, and what works is told to stop");
        Ok(erased)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_erased_when_a_lease_is_lost_come_back() {
    for of_migration in [false, true] {
        let postgres = Postgres::sample(Schema::V12);
        let mut site = site(&StoreUnderTest::Sqlite, &postgres).await;
        site.ok(&["migrate"]);
        let before = counts(&*site.store()).await;
        change(&postgres, 3);
        site.settings.migrate.lease_seconds = std::num::NonZeroU32::MIN;
        let stop = CancellationToken::new();
        let run = opened(&site, Task::default(), stop.clone()).await;
        let (_, store) = run.side().unwrap();
        let lease = if of_migration { format!("lease/migration/{}", run.migration.id()) } else { LEASE.to_owned() };
        let eraser = Overtaken { store, lease, postgres: &postgres, stop };
        let error = try_changed(&run, &eraser, 10_000).await.unwrap_err().to_string();
        assert!(error.contains("another process has taken"), "{error}");
        run.close(false).await;
        assert_eq!(counts(&*site.store()).await, before, "the documents of the rows that went are there");
    }
}
