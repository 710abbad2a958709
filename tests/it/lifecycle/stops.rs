//! What is stopped before its end says so and fails; the same command goes on.

use std::process::{Command, Output};

use difylog::backfill::Task;
use difylog::backfill::cleanup::{Cleanup, CleanupPlan};
use difylog::backfill::restore::{Restore, RestorePlan};
use difylog::domain::query::TimeRange;
use difylog::domain::{Kind, TenantId};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::lifecycle::commands::{json, site};
use crate::lifecycle::harness::Pair;
use crate::lifecycle::removal::{changed, opened};
use crate::support::postgres::{Postgres, Schema};
use crate::support::server::Killed;
use crate::support::site::{Site, StoreUnderTest, eventually};

/// Starts a command, stops it once it has done something, and waits for its end.
async fn stopped(site: &Site, arguments: &[&str], has_begun: impl Fn() -> bool) -> Output {
    let mut command = site.command(arguments);
    // Into files: a pipe that is full would hold the command up.
    let at = |name: &str| std::fs::File::create(site.file(name)).unwrap();
    let mut child = Killed(command.stdout(at("stopped.out")).stderr(at("stopped.err")).spawn().unwrap());
    eventually(60, "the command does something", async || has_begun()).await;
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let mut status = None;
    eventually(20, "it ends, without waiting for its pace", async || {
        status = child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    let said = |name: &str| std::fs::read(site.file(name)).unwrap();
    Output { status: status.unwrap(), stdout: said("stopped.out"), stderr: said("stopped.err") }
}

fn is_told(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("stopped; the same command goes on"), "{said}");
    let printed = json(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(printed["complete"], false, "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cleanup_and_a_restore_that_are_stopped_fail_and_go_on() {
    let postgres = Postgres::sample(Schema::V12);
    let site = site(&StoreUnderTest::Sqlite, &postgres).await;
    site.ok(&["migrate"]);
    let report = site.file("report.json");
    let report = report.to_str().unwrap();
    site.ok(&["validate", "--report", report]);
    let count = || postgres.number("SELECT count(*) FROM workflow_runs");
    let all = count();
    let clean = ["cleanup-pg", "--report", report, "--before", "2025-12-01", "--execute", "--json"];
    // A batch is some 250 rows: at this pace the next one is minutes away.
    is_told(&stopped(&site, &[&clean[..], &["--rate", "1"]].concat(), || count() < all).await);
    let left = count();
    assert!(left > all / 2, "{left}");
    assert_eq!(json(&site.ok(&clean))["complete"], true);
    let least = count();
    assert!(least < left);
    let restore = ["restore-pg", "--execute", "--kind", "runs", "--json", "--batch-size", "100"];
    is_told(&stopped(&site, &[&restore[..], &["--rate", "1"]].concat(), || count() > least).await);
    assert!(count() < all);
    assert_eq!(json(&site.ok(&restore))["complete"], true);
    assert_eq!(count(), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recopy_that_is_stopped_while_it_compares_copies_nothing_and_says_so() {
    let postgres = Postgres::sample(Schema::V12);
    let site = site(&StoreUnderTest::Sqlite, &postgres).await;
    site.ok(&["migrate"]);
    let stop = CancellationToken::new();
    let run = opened(&site, Task::default(), stop.clone()).await;
    stop.cancel();
    let (_, eraser) = run.side().unwrap();
    let outcome = changed(&run, eraser, 10).await;
    assert!(!outcome.complete && outcome.kinds.is_empty(), "{outcome:?}");
    run.close(false).await;
}

#[tokio::test]
async fn a_stop_is_heeded_where_nothing_is_wanted() {
    let pair = Pair::sample(Schema::V12).await;
    let strangers = vec![TenantId::new(Uuid::from_u128(1))];
    let plan = CleanupPlan { tenants: strangers.clone(), ..Pair::plan(false) };
    let clean = async |stop| {
        let (database, store) = (&pair.database, pair.store.side());
        Cleanup { database, store, plan: &plan, progress: &|_| {}, stop: &|| stop }.run().await.unwrap().complete
    };
    assert!(clean(false).await && !clean(true).await);
    let plan = RestorePlan {
        tenants: strangers,
        kinds: Kind::ALL.to_vec(),
        created: TimeRange::default(),
        batch: 100,
        rate: None,
        execute: false,
    };
    let restore = async |stop| {
        let (database, store) = (&pair.database, pair.store.side());
        Restore { database, store, plan: &plan, progress: &|_| {}, stop: &|| stop }.run().await.unwrap().complete
    };
    assert!(restore(false).await && !restore(true).await);
}
