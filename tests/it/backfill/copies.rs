//! The sample in every store, twice, in parts, and without writing anything.

use difylog::domain::{Kind, Record};
use serde_json::Value;

use crate::backfill::place::{counts, differences, failure, migrate, records, site};
use crate::support::postgres::{Postgres, Schema};
use crate::support::site::StoreUnderTest;
use crate::support::stored::documents;

async fn the_sample(store: StoreUnderTest, schema: Schema) {
    let postgres = Postgres::sample(schema);
    let storage = tempfile::tempdir().unwrap();
    Postgres::unpack_storage(storage.path());
    let site = site(&store, &postgres, &format!("dify_storage_dir = \"{}\"\n", storage.path().display()));
    if store != StoreUnderTest::Sqlite {
        difylog::app::open_stores(&site.settings).unwrap().store.install().await.unwrap();
    }
    let report = migrate(&site, &[]);
    assert_eq!(report["complete"], true);
    for (kind, rows) in [("workflow_run", 2184), ("node_execution", 3031), ("app_log", 1198), ("offload", 16)] {
        let tally = &report["kinds"][kind];
        assert_eq!(
            (&tally["read"], &tally["copied"], &tally["rejected"]),
            (&rows.into(), &rows.into(), &0.into()),
            "{kind}"
        );
    }
    let store = site.store();
    assert_eq!(differences(&postgres, &*store).await, Vec::<String>::new());
    full_texts_are_kept(&postgres, &site.settings).await;

    let again = migrate(&site, &["--restart"]);
    assert_eq!(again["kinds"]["node_execution"]["copied"], 3031);
    assert_eq!(again["stored"], 0, "nothing is written twice: {again}");
    assert_eq!(differences(&postgres, &*store).await, Vec::<String>::new());
}

/// The truncated column stays as Dify has it, and the mark leads to the full text.
async fn full_texts_are_kept(postgres: &Postgres, settings: &difylog::config::Settings) {
    let stores = difylog::app::open_stores(settings).unwrap();
    let mut found = 0;
    let records = records(postgres, Kind::NodeExecution).await;
    let documents = documents(&*stores.store, records.iter().map(Record::key)).await;
    for record in records {
        let kept = &documents[&record.key()];
        for mark in &kept.truncated {
            let text = stores.payloads.get(record.tenant_id(), record.month(), mark.sha256).await.unwrap().unwrap();
            assert_eq!(text.len() as u64, mark.original_bytes);
            let Record::Node(node) = &kept.record else { panic!() };
            let column = [&node.inputs, &node.process_data, &node.outputs]
                .map(|text| text.as_ref().map(difylog::domain::JsonText::as_str));
            assert!(!column.contains(&Some(text.as_str())), "the column is the truncated text");
            found += 1;
        }
    }
    assert_eq!(found, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_of_1_10_over_sqlite() {
    the_sample(StoreUnderTest::Sqlite, Schema::V10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_of_1_12_over_sqlite() {
    the_sample(StoreUnderTest::Sqlite, Schema::V12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_of_1_10_over_the_engine() {
    the_sample(StoreUnderTest::engine("dedicated"), Schema::V10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_of_1_12_over_the_engine() {
    the_sample(StoreUnderTest::engine("shared"), Schema::V12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_what_was_asked_for() {
    for schema in [Schema::V10, Schema::V12] {
        let postgres = Postgres::sample(schema);
        let site = site(&StoreUnderTest::Sqlite, &postgres, "");
        let tenant =
            postgres.sql("SELECT tenant_id FROM workflow_runs GROUP BY 1 ORDER BY count(*) LIMIT 1").trim().to_owned();
        let span = "created_at >= '2025-03-01' AND created_at < '2025-09-01 12:00:00.5'";
        let expected = |table: &str| {
            postgres.number(&format!("SELECT count(*) FROM {table} WHERE tenant_id = '{tenant}' AND {span}"))
        };
        let report = migrate(
            &site,
            &[
                "--tenant-id",
                &tenant,
                "--from",
                "2025-03-01",
                "--to",
                "2025-09-01T12:00:00.5",
                "--kind",
                "runs,app-logs",
                "--batch-size",
                "7",
            ]
            .map(|argument| if argument == "2025-03-01" { "2025-03-01T00:00:00" } else { argument }),
        );
        assert_eq!(report["kinds"]["workflow_run"]["copied"], expected("workflow_runs"));
        assert_eq!(report["kinds"]["app_log"]["copied"], expected("workflow_app_logs"));
        let stored = counts(&*site.store()).await;
        assert_eq!(stored.get(&Kind::WorkflowRun), Some(&expected("workflow_runs")), "{schema:?}");
        assert_eq!(stored.get(&Kind::NodeExecution).copied().unwrap_or_default(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing_and_predicts_the_real_one() {
    let postgres = Postgres::sample(Schema::V10);
    postgres.sql(BAD_ROWS);
    let storage = tempfile::tempdir().unwrap();
    let site =
        site(&StoreUnderTest::Sqlite, &postgres, &format!("dify_storage_dir = \"{}\"\n", storage.path().display()));
    let before = postgres.sql("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables");
    let predicted = migrate(&site, &["--dry-run"]);
    assert!(predicted["rejects"].is_null());
    for name in ["sqlite", "payloads"] {
        assert!(!site.file(name).exists(), "{name} was created");
    }
    assert!(!site.settings.migrate.rejects_dir.exists());
    assert_eq!(postgres.sql("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"), before);

    let real = migrate(&site, &[]);
    assert_eq!(predicted["kinds"], real["kinds"]);
    assert!(real["kinds"]["workflow_run"]["rejected"].as_u64().unwrap() > 0);
}

/// An impossible date; an id that is no uuid can only stand where the column is text; a payload that is no JSON; NaN; an
/// unknown status.
const BAD_ROWS: &str = "
    UPDATE workflow_runs SET created_at = 'infinity' WHERE id = (SELECT min(id::text)::uuid FROM workflow_runs);
    UPDATE workflow_runs SET finished_at = '1812-01-01' WHERE id = (SELECT max(id::text)::uuid FROM workflow_runs);
    UPDATE workflow_node_executions SET outputs = '{not json', status = 'from-the-future', elapsed_time = 'NaN'
        WHERE id = (SELECT min(id::text)::uuid FROM workflow_node_executions);
    ALTER TABLE workflow_app_logs ALTER COLUMN created_by TYPE varchar(255);
    UPDATE workflow_app_logs SET created_by = 'nobody' WHERE id = (SELECT min(id::text)::uuid FROM workflow_app_logs);";

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_are_kept_as_far_as_they_can_be_and_named() {
    let postgres = Postgres::sample(Schema::V12);
    postgres.sql(BAD_ROWS);
    let storage = tempfile::tempdir().unwrap();
    Postgres::unpack_storage(storage.path());
    let lost = postgres.sql("SELECT key FROM upload_files WHERE id = (SELECT file_id FROM workflow_node_execution_offload ORDER BY id LIMIT 1)");
    std::fs::remove_file(storage.path().join(lost.trim())).unwrap();
    let site =
        site(&StoreUnderTest::Sqlite, &postgres, &format!("dify_storage_dir = \"{}\"\n", storage.path().display()));
    let report = migrate(&site, &[]);
    assert_eq!(report["complete"], true);
    assert_eq!(report["kinds"]["workflow_run"]["reasons"], serde_json::json!({"date-out-of-range": 2}));
    assert_eq!(report["kinds"]["app_log"]["reasons"], serde_json::json!({"invalid-id": 1}));
    let nodes = &report["kinds"]["node_execution"];
    assert_eq!(
        (&nodes["rejected"], &nodes["missing_objects"], &nodes["full_texts"]),
        (&0.into(), &1.into(), &15.into())
    );
    assert_eq!(nodes["cleaned"]["not_json"], 1);

    let file = std::fs::read_to_string(report["rejects"].as_str().unwrap()).unwrap();
    let lines: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "{file}");
    let first = postgres.sql("SELECT id FROM workflow_runs WHERE created_at = 'infinity'");
    assert!(lines.iter().any(|line| line["id"] == first.trim() && line["reason"] == "date-out-of-range"), "{file}");
    assert!(lines.iter().any(|line| line["reason"] == "missing-object" && line["copied"] == true), "{file}");
    assert!(!file.contains("nobody") && !file.contains("not json"), "values of rows stay out of it: {file}");
    assert_eq!(differences(&postgres, &*site.store()).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_mean_nothing_are_refused() {
    let postgres = Postgres::empty(Schema::V10);
    let site = site(&StoreUnderTest::Sqlite, &postgres, "");
    for (arguments, code, words) in [
        (vec!["--from", "2025-02-01T00:00:00", "--to", "2025-01-01T00:00:00"], 1, "--from must be before --to"),
        (vec!["--tenant-id", "*"], 2, "not a uuid"),
        (vec!["--kind", "rows"], 2, "app-logs"),
        (vec!["--rate", "0"], 2, "--rate"),
        (vec!["--resume", "--restart"], 2, "--restart"),
        (vec!["--resume"], 1, "nothing to resume"),
    ] {
        let all: Vec<_> = ["migrate"].into_iter().chain(arguments.iter().copied()).collect();
        let (said, exit) = failure(&site.run(&all));
        assert!(exit == code && said.contains(words), "{arguments:?}: {exit}: {said}");
    }
}
