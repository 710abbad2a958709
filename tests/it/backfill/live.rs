//! Rows and live messages of the same records: the newest snapshot stays, whichever way and in whatever order it came.

use difylog::domain::{Document, Kind, Record, RunStatus, WorkflowRun};

use crate::backfill::place::{Running, migrate, records as rows_of, site, site_on};
use crate::support::postgres::{Postgres, Schema};
use crate::support::records;
use crate::support::site::{Site, StoreUnderTest, eventually, needed};
use crate::support::stored::documents;

/// Half of the runs get an older snapshot by message, the other half a newer one than PostgreSQL has.
fn snapshots(rows: &[WorkflowRun]) -> (Vec<Record>, Vec<Record>) {
    let (mut messages, mut newest) = (Vec::new(), Vec::new());
    for (position, row) in rows.iter().enumerate() {
        let mut message = row.clone();
        if !is_ended(row) {
            newest.push(Record::Run(Box::new(row.clone())));
        } else if position % 2 == 0 {
            (message.status, message.finished_at, message.outputs) = (RunStatus::Running, None, None);
            newest.push(Record::Run(Box::new(row.clone())));
        } else {
            message.outputs = Some(difylog::domain::JsonText::from_clean(r#"{"newer": true}"#));
            let ended = row.finished_at.unwrap_or(row.created_at).max(row.created_at);
            message.finished_at = difylog::domain::Timestamp::from_micros(ended.micros() + 1_000_000).ok();
            message.status = RunStatus::Succeeded;
            newest.push(Record::Run(Box::new(message.clone())));
        }
        messages.push(Record::Run(Box::new(message)));
    }
    (messages, newest)
}

/// Others may go back and forth, and a message of the same revision as the row's is no older one.
fn is_ended(run: &WorkflowRun) -> bool {
    matches!(run.status, RunStatus::Succeeded | RunStatus::Failed | RunStatus::Stopped | RunStatus::PartialSucceeded)
}

fn publish(site: &Site, records: &[Record]) {
    let lines: Vec<String> =
        records.iter().map(|record| String::from_utf8(difylog::codec::encode_native(record)).unwrap()).collect();
    std::fs::write(site.file("events.jsonl"), lines.join("\n")).unwrap();
    site.ok(&["publish", "--events", site.file("events.jsonl").to_str().unwrap()]);
}

async fn wrong(site: &Site, newest: &[Record]) -> Vec<String> {
    let documents = documents(&*site.store(), newest.iter().map(Record::key)).await;
    let is_wrong = |record: &&Record| documents.get(&record.key()).is_none_or(|document| document.record != **record);
    newest.iter().filter(is_wrong).take(5).map(|record| format!("{:?}", record.key())).collect()
}

async fn runs(postgres: &Postgres) -> Vec<WorkflowRun> {
    let of = |record| match record {
        Record::Run(run) => Some(*run),
        _ => None,
    };
    rows_of(postgres, Kind::WorkflowRun).await.into_iter().filter_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_race_with_the_copy_over_the_engine() {
    let postgres = Postgres::sample(Schema::V12);
    let site = site_on(&needed("DIFYLOG_TEST_AMQP_URL"), &StoreUnderTest::engine("shared"), &postgres, "");
    site.setup();
    let (messages, newest) = snapshots(&runs(&postgres).await);
    let mut worker = site.worker();
    worker.ready().await;
    let running = Running::start(&site, &["--rate", "1500"]);
    publish(&site, &messages);
    let output = running.finish().await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    worker.acked(60, messages.len()).await;
    site.store().refresh().await.unwrap();
    assert_eq!(wrong(&site, &newest).await, Vec::<String>::new());
}

/// SQLite has one writer: before, then after the copy.
#[tokio::test(flavor = "multi_thread")]
async fn messages_before_and_after_the_copy_over_sqlite() {
    let postgres = Postgres::sample(Schema::V10);
    let site = site_on(&needed("DIFYLOG_TEST_AMQP_URL"), &StoreUnderTest::Sqlite, &postgres, "");
    site.setup();
    let (messages, newest) = snapshots(&runs(&postgres).await);
    for (turn, part) in messages.chunks(messages.len().div_ceil(2)).enumerate() {
        if turn == 1 {
            migrate(&site, &[]);
        }
        let mut worker = site.worker();
        worker.ready().await;
        publish(&site, part);
        worker.acked(60, part.len()).await;
        assert!(worker.terminate().await.success());
    }
    assert_eq!(wrong(&site, &newest).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn following_copies_what_is_new_and_what_ends() {
    for schema in [Schema::V10, Schema::V12] {
        let postgres = Postgres::sample(schema);
        postgres.sql("UPDATE workflow_runs SET status = 'running', finished_at = NULL WHERE id IN (SELECT id FROM workflow_runs ORDER BY id LIMIT 5)");
        let site = site(&StoreUnderTest::Sqlite, &postgres, "follow_interval_seconds = 1\n");
        let running = Running::start(&site, &["--follow"]);
        let first: WorkflowRun = runs(&postgres).await.remove(0);
        eventually(60, "the copy is done", async || {
            !wrong_or_absent(&site, &Record::Run(Box::new(first.clone()))).await
        })
        .await;
        postgres.sql(
            "UPDATE workflow_runs SET status = 'succeeded', finished_at = timezone('UTC', now()) WHERE status = 'running';
             INSERT INTO workflow_runs (tenant_id, app_id, workflow_id, type, triggered_from, version, status, created_by_role, created_by, created_at)
             SELECT tenant_id, app_id, workflow_id, type, triggered_from, version, 'running', created_by_role, created_by, timezone('UTC', now())
             FROM workflow_runs ORDER BY id LIMIT 3",
        );
        let newest: Vec<Record> = runs(&postgres).await.into_iter().map(|run| Record::Run(Box::new(run))).collect();
        eventually(60, "changes are followed", async || {
            site.file("sqlite").exists() && wrong(&site, &newest).await.is_empty()
        })
        .await;
        running.interrupt();
        let output = running.finish().await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

async fn wrong_or_absent(site: &Site, record: &Record) -> bool {
    !site.file("sqlite").exists() || !wrong(site, std::slice::from_ref(record)).await.is_empty()
}

/// Dify's table keeps the first start of a run that was resumed, in October; the message that was stored has the later one.
async fn resumed_in_another_month(store: &StoreUnderTest) {
    let postgres = Postgres::sample(Schema::V12);
    let id = postgres.sql(
        "UPDATE workflow_runs SET created_at = '2025-10-20 08:00', finished_at = '2025-11-02 09:00' WHERE id = \
         (SELECT id FROM workflow_runs WHERE status = 'succeeded' ORDER BY id LIMIT 1) RETURNING id",
    );
    let row = runs(&postgres).await.into_iter().find(|run| run.id.to_string() == id.trim()).unwrap();
    let live = WorkflowRun { created_at: records::at("2025-11-01T10:00:00Z"), ..row.clone() };
    let site = site(store, &postgres, "");
    let opened = site.store();
    opened.install().await.unwrap();
    opened.apply(&records::actions(Record::Run(Box::new(live.clone())))).await.unwrap();
    opened.refresh().await.unwrap();
    opened.close().await;

    let report = migrate(&site, &[]);
    assert_eq!(report["kinds"]["workflow_run"]["copied"], report["kinds"]["workflow_run"]["read"], "{report}");
    let opened = site.store();
    opened.refresh().await.unwrap();
    let copies = opened.copies(row.tenant_id, Kind::WorkflowRun, &[row.id]).await.unwrap();
    let months: Vec<_> = copies.iter().map(Document::month).collect();
    assert_eq!(months, vec![live.created_at.month()], "the row became a second copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_resumed_in_another_month_is_not_copied_beside_its_document() {
    resumed_in_another_month(&StoreUnderTest::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_resumed_in_another_month_is_not_copied_beside_its_document_over_the_engine() {
    resumed_in_another_month(&StoreUnderTest::engine("shared")).await;
}
