//! Live messages bring whole payloads, of which Dify leaves previews in PostgreSQL: no fault, and never copied over.

use difylog::app::{Stores, open_stores};
use difylog::domain::document::PayloadField;
use difylog::domain::record::RecordKey;
use difylog::domain::{BulkAction, Document, Kind, Record};
use difylog::store::{Erasure, Remains};

use crate::lifecycle::commands::{json, refused, site};
use crate::support::postgres::{Postgres, Schema};
use crate::support::records;
use crate::support::site::{Site, StoreUnderTest};

/// A node whose outputs Dify has truncated, and their whole text.
fn offloaded(postgres: &Postgres, storage: &std::path::Path) -> (RecordKey, String) {
    let line = postgres.sql(
        "SELECT n.tenant_id || '|' || n.id || '|' || f.key FROM workflow_node_execution_offload o \
         JOIN workflow_node_executions n ON n.id = o.node_execution_id JOIN upload_files f ON f.id = o.file_id \
         WHERE o.type = 'outputs' AND n.outputs LIKE '%...%' ORDER BY n.id LIMIT 1",
    );
    let mut parts = line.trim().split('|');
    let mut part = || parts.next().unwrap();
    let key = RecordKey { tenant_id: part().parse().unwrap(), kind: Kind::NodeExecution, id: part().parse().unwrap() };
    (key, std::fs::read_to_string(storage.join(part())).unwrap())
}

/// Puts the document in the store that a live message leaves there.
async fn live(site: &Site, key: RecordKey, outputs: &str) {
    let store = site.store();
    let mut document = store.record(key).await.unwrap().unwrap();
    let Record::Node(node) = &mut document.record else { panic!("a node") };
    node.outputs = Some(difylog::domain::JsonText::from_clean(outputs));
    let document = Document { origin: None, extra: None, truncated: Vec::new(), ..document };
    assert_eq!(store.erase(&[Erasure { key, revision: None }], Remains::Nothing).await.unwrap(), [true]);
    store.apply(&[BulkAction::Document(std::sync::Arc::new(document))]).await.unwrap();
    store.refresh().await.unwrap();
    store.close().await;
}

async fn outputs(site: &Site, key: RecordKey) -> String {
    let store = site.store();
    let found = store.record(key).await.unwrap().unwrap();
    store.close().await;
    let Record::Node(node) = found.record else { panic!("a node") };
    node.outputs.unwrap().as_str().to_owned()
}

/// The whole text that the document's mark leads to.
async fn whole_text(site: &Site, key: RecordKey) -> Option<String> {
    let Stores { store, payloads } = open_stores(&site.settings).unwrap();
    let found = store.record(key).await.unwrap().unwrap();
    store.close().await;
    let mark = found.truncated.iter().find(|mark| mark.field == PayloadField::Outputs)?;
    let text = payloads.get(key.tenant_id, found.month(), mark.sha256).await.unwrap();
    text.map(|text| text.as_str().to_owned())
}

/// Puts an older copy of a node into an earlier month, as a pause leaves it there.
async fn pause_before(site: &Site, key: RecordKey) {
    let store = site.store();
    let mut paused = store.record(key).await.unwrap().unwrap().record;
    let Record::Node(node) = &mut paused else { panic!("a node") };
    node.created_at = "2024-12-31T23:00:00Z".parse().unwrap();
    node.status = "paused".into();
    node.finished_at = None;
    store.apply(&records::actions(paused)).await.unwrap();
    store.refresh().await.unwrap();
    store.close().await;
}

async fn whole_payloads_stay(store: &StoreUnderTest) {
    let postgres = Postgres::sample(Schema::V12);
    let storage = tempfile::tempdir().unwrap();
    Postgres::unpack_storage(storage.path());
    let site = site(store, &postgres).await;
    site.ok(&["migrate"]);
    let (key, whole) = offloaded(&postgres, storage.path());
    live(&site, key, &whole).await;
    let report = site.file("report.json");
    let report = report.to_str().unwrap();
    let validate = ["validate", "--report", report, "--json"];
    let validated = json(&site.ok(&validate));
    assert_eq!(validated["report"]["counts"]["poorer"], 1, "{}", validated["report"]["counts"]);
    let changed = json(&site.ok(&["migrate", "--changed", "--json"]));
    assert!(changed["kinds"].as_object().unwrap().is_empty(), "{changed}");
    assert_eq!(outputs(&site, key).await, whole);

    // What else differs is a fault, and no reason to lose the payload.
    postgres.sql(&format!("UPDATE workflow_node_executions SET title = 'changed' WHERE id = '{}'", key.id));
    refused(&site, &["migrate", "--changed"], "1 rows are not in the store");
    assert_eq!(outputs(&site, key).await, whole);

    // With Dify's storage the whole text is compared, and kept by a copy.
    let settings = std::fs::read_to_string(site.file("difylog.toml")).unwrap();
    let with_storage = format!("{settings}[migrate]\ndify_storage_dir = \"{}\"\n", storage.path().display());
    let configure = |text: &str| std::fs::write(site.file("difylog.toml"), text).unwrap();
    configure(&with_storage);
    let copied = json(&site.ok(&["migrate", "--changed", "--json"]));
    assert_eq!(copied["kinds"]["node_execution"]["copied"], 1, "{copied}");
    site.ok(&validate);
    assert_eq!(whole_text(&site, key).await.as_ref(), Some(&whole));

    // Without it, what came from there is nowhere else.
    configure(&settings);
    postgres.sql(&format!("UPDATE workflow_node_executions SET title = 'again' WHERE id = '{}'", key.id));
    refused(&site, &["migrate", "--changed"], "1 rows are not in the store");
    assert_eq!(whole_text(&site, key).await.as_ref(), Some(&whole));
    configure(&with_storage);
    site.ok(&["migrate", "--changed"]);
    pause_before(&site, key).await;
    configure(&settings);
    let validated = json(&site.ok(&validate));
    assert_eq!(validated["report"]["counts"]["copies"], 1, "{}", validated["report"]["counts"]);
    refused(&site, &["migrate", "--from-report", report], "1 rows are not in the store");
    assert_eq!(whole_text(&site, key).await.as_ref(), Some(&whole));
    configure(&with_storage);
    site.ok(&["migrate", "--from-report", report]);
    assert_eq!(whole_text(&site, key).await.as_ref(), Some(&whole));
    // Of another text the row could have the same preview.
    let mut other = whole.clone();
    other.insert(whole.rfind('"').unwrap(), 'x');
    live(&site, key, &other).await;
    refused(&site, &["validate", "--report", report], "the sides differ");
    live(&site, key, &whole).await;
    site.ok(&validate);
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_payloads_stay_over_sqlite() {
    whole_payloads_stay(&StoreUnderTest::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_payloads_stay_over_an_engine() {
    whole_payloads_stay(&StoreUnderTest::engine("shared")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_payloads_stay_that_are_masked() {
    let postgres = Postgres::sample(Schema::V12);
    let storage = tempfile::tempdir().unwrap();
    Postgres::unpack_storage(storage.path());
    let site = site(&StoreUnderTest::Sqlite, &postgres).await;
    let settings = std::fs::read_to_string(site.file("difylog.toml")).unwrap();
    std::fs::write(site.file("difylog.toml"), format!("{settings}[redact]\nfields = [\"token\"]\n")).unwrap();
    let (key, _) = offloaded(&postgres, storage.path());
    let text = "x".repeat(5_000);
    postgres.sql(&format!(
        r#"UPDATE workflow_node_executions SET outputs = '{{"token": "t-1", "text": "{}..."}}' WHERE id = '{}'"#,
        &text[..100],
        key.id
    ));
    site.ok(&["migrate"]);
    let whole = format!(r#"{{"token":"***","text":"{text}"}}"#);
    live(&site, key, &whole).await;
    postgres.sql(&format!("UPDATE workflow_node_executions SET title = 'changed' WHERE id = '{}'", key.id));
    refused(&site, &["migrate", "--changed"], "1 rows are not in the store");
    assert_eq!(outputs(&site, key).await, whole);
}
