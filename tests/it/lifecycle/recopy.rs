//! Rows that changed after they were copied, were erased from the store, or changed on their way into it: copied again on
//! request, and no reason to keep all others.

use crate::lifecycle::commands::{json, refused, site};
use crate::support::postgres::{Postgres, Schema};
use crate::support::records;
use crate::support::site::{Site, StoreUnderTest};
use difylog::domain::record::RecordKey;
use difylog::domain::{Kind, Record};
use difylog::store::{Erasure, Remains};

/// The outputs of a run in the store.
async fn outputs(site: &Site, tenant: &str, id: &str) -> Option<String> {
    let store = site.store();
    let key = RecordKey { tenant_id: tenant.parse().unwrap(), kind: Kind::WorkflowRun, id: id.parse().unwrap() };
    let found = store.record(key).await.unwrap();
    store.close().await;
    let Some(Record::Run(run)) = found.map(|document| document.record) else { return None };
    run.outputs.map(|json| json.as_str().to_owned())
}

fn picked(postgres: &Postgres, offset: u32) -> (String, String) {
    let sql = format!(
        "SELECT tenant_id || '|' || id FROM workflow_runs WHERE status = 'succeeded' AND outputs LIKE '{{\"%' ORDER BY id OFFSET {offset} LIMIT 1"
    );
    let line = postgres.sql(&sql);
    let (tenant, id) = line.trim().split_once('|').unwrap();
    (tenant.to_owned(), id.to_owned())
}

async fn copied_again(store: &StoreUnderTest, schema: Schema) {
    let postgres = Postgres::sample(schema);
    let site = site(store, &postgres).await;
    site.ok(&["migrate"]);
    let [redacted, erased, earlier] = [3, 40, 77].map(|offset| picked(&postgres, offset));
    let update = |set: &str, id: &str| postgres.sql(&format!("UPDATE workflow_runs SET {set} WHERE id = '{id}'"));
    update("outputs = '{\"answer\": \"[redacted]\"}'", &redacted.1);
    // Of a lower revision than its document.
    update("finished_at = finished_at - interval '1 hour', created_at = created_at - interval '2 hours'", &earlier.1);
    {
        let store = site.store();
        let key =
            RecordKey { tenant_id: erased.0.parse().unwrap(), kind: Kind::WorkflowRun, id: erased.1.parse().unwrap() };
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        let gone = store.erase(&[Erasure { key, revision: None }], Remains::Tombstone(at)).await.unwrap();
        assert_eq!(gone, [true]);
        store.close().await;
    }
    let report = site.file("report.json");
    let report = report.to_str().unwrap();
    let validate = ["validate", "--report", report];
    refused(&site, &validate, "the sides differ");
    let said = String::from_utf8_lossy(&site.run(&validate).stdout).into_owned();
    assert!(said.contains("migrate --from-report") && said.contains("--lift-tombstones"), "{said}");

    // One fault does not keep all else in PostgreSQL.
    let clean = |more: &[&'static str]| {
        [&["cleanup-pg", "--report", report, "--before", "2026-01-01", "--json"][..], more].concat()
    };
    refused(&site, &clean(&[]), "--pass-over-faults");
    let output = site.run(&clean(&["--pass-over-faults"]));
    let dry = json(&String::from_utf8_lossy(&output.stdout));
    assert!(dry["freed"]["workflow_run"]["rows"].as_u64() > Some(1_000), "{dry}");
    assert_eq!(
        (&dry["stayed"]["not in the store"], &dry["stayed"]["different in the store"]),
        (&1.into(), &2.into()),
        "{dry}"
    );

    refused(&site, &["migrate", "--from-report", report], "not in the store as PostgreSQL has them");
    assert!(outputs(&site, &redacted.0, &redacted.1).await.unwrap().contains("[redacted]"));
    assert_eq!(outputs(&site, &erased.0, &erased.1).await, None, "what was erased stays erased unless it is asked for");
    let lifted = json(&site.ok(&["migrate", "--from-report", report, "--lift-tombstones", "--json"]));
    assert_eq!(lifted["kinds"]["workflow_run"]["copied"], 1, "{lifted}");
    assert!(outputs(&site, &erased.0, &erased.1).await.is_some());
    site.ok(&validate);

    update("outputs = '{\"answer\": \"[again]\"}'", &redacted.1);
    let changed = json(&site.ok(&["migrate", "--changed", "--json"]));
    assert_eq!(changed["kinds"]["workflow_run"]["copied"], 1, "{changed}");
    assert!(outputs(&site, &redacted.0, &redacted.1).await.unwrap().contains("[again]"));
    site.ok(&validate);
}

/// A run that was paused in an earlier month left a copy there.
async fn copies_are_named_and_mended(store: &StoreUnderTest, schema: Schema) {
    let postgres = Postgres::sample(schema);
    let site = site(store, &postgres).await;
    site.ok(&["migrate"]);
    let (tenant, id) = picked(&postgres, 3);
    let key = RecordKey { tenant_id: tenant.parse().unwrap(), kind: Kind::WorkflowRun, id: id.parse().unwrap() };
    let copies = async || {
        let store = site.store();
        store.refresh().await.unwrap();
        let copies = store.copies(key.tenant_id, key.kind, &[key.id]).await.unwrap();
        store.close().await;
        copies.iter().map(|copy| (copy.record.created_at(), copy.revision)).collect::<Vec<_>>()
    };
    let [counting] = copies().await[..] else { panic!("one copy") };
    {
        let store = site.store();
        let mut paused = store.record(key).await.unwrap().unwrap();
        let Record::Run(run) = &mut paused.record else { panic!("a run") };
        run.created_at = "2024-12-31T23:00:00Z".parse().unwrap();
        run.status = "paused".into();
        run.finished_at = None;
        store.apply(&records::actions(paused.record)).await.unwrap();
        store.refresh().await.unwrap();
        store.close().await;
    }
    assert_eq!(copies().await.len(), 2);
    let report = site.file("report.json");
    let report = report.to_str().unwrap();
    let validated = json(&site.ok(&["validate", "--report", report, "--json"]));
    let validated = &validated["report"];
    let months = ["2024-12".to_owned(), counting.0.month().to_string()];
    let named = serde_json::json!([{
        "kind": "workflow_run", "tenant_id": tenant, "id": id, "fault": { "copies": { "months": [months[1], months[0]] } },
    }]);
    assert_eq!((&validated["counts"]["copies"], &validated["findings"]), (&1.into(), &named));
    assert_eq!(validated["passed"], true);
    let said = site.ok(&["validate", "--report", report]);
    assert!(said.contains("copies: no fault") && said.contains("migrate --from-report"), "{said}");

    let mended = json(&site.ok(&["migrate", "--from-report", report, "--json"]));
    assert_eq!(mended["kinds"]["workflow_run"]["copied"], 1, "{mended}");
    assert_eq!(copies().await, [counting]);
    let validated = json(&site.ok(&["validate", "--report", report, "--json"]));
    assert_eq!(validated["report"]["counts"]["copies"], 0, "{validated}");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_named_and_mended_over_sqlite() {
    copies_are_named_and_mended(&StoreUnderTest::Sqlite, Schema::V12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_named_and_mended_over_an_engine() {
    copies_are_named_and_mended(&StoreUnderTest::engine("dedicated"), Schema::V10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_copied_over_its_document_over_sqlite() {
    copied_again(&StoreUnderTest::Sqlite, Schema::V10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_copied_over_its_document_over_an_engine() {
    copied_again(&StoreUnderTest::engine("shared"), Schema::V12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_that_only_the_document_has_are_not_copied_over() {
    let postgres = Postgres::sample(Schema::V12);
    let site = site(&StoreUnderTest::Sqlite, &postgres).await;
    site.ok(&["migrate"]);
    let (tenant, id) = picked(&postgres, 3);
    let whole = outputs(&site, &tenant, &id).await.unwrap();
    // As newer versions of Dify commit a row before the message that has its payloads; and all rows differ.
    postgres.sql(&format!(
        "UPDATE workflow_runs SET graph = NULL, inputs = NULL, outputs = NULL WHERE id = '{id}'; \
         ALTER TABLE workflow_runs ADD note text DEFAULT 'new'"
    ));
    let output = site.run(&["migrate", "--changed", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let copied = json(&String::from_utf8_lossy(&output.stdout));
    let runs = postgres.number("SELECT count(*) FROM workflow_runs");
    let counts = &copied["kinds"]["workflow_run"];
    assert_eq!((&counts["left"], &counts["copied"]), (&1.into(), &(runs - 1).into()), "{counts}");
    let left = &copied["not_copied"][0];
    assert_eq!(left["id"], id.as_str(), "{left}");
    assert!(left["reason"].as_str().unwrap().contains("--lift-tombstones"), "{left}");
    assert_eq!(outputs(&site, &tenant, &id).await, Some(whole));
}
