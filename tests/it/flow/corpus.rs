//! Dify's own captured messages, through a real broker and a worker, end in the rows that Dify made of them, but for
//! the deviations that `expected_rows` lists by name.

use difylog::app::Stores;
use difylog::domain::document::PayloadField;
use difylog::domain::record::RecordKey;
use difylog::domain::{Document, JsonText, Kind, Record};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::Value;

use crate::support::corpus::lines;
use crate::support::expected_rows::compare;
use crate::support::site::{Site, StoreUnderTest};
use crate::support::stored::documents;

/// The records that a store holds under the ids of the expected rows, graphs put back and full texts fetched.
pub async fn stored(Stores { store, payloads, .. }: &Stores, expected: &[Value]) -> Vec<Record> {
    store.refresh().await.unwrap();
    let keys = expected.iter().map(|row| {
        let id = |column: &str| row["row"][column].as_str().unwrap();
        let kind = if row["table"] == "workflow_runs" { Kind::WorkflowRun } else { Kind::NodeExecution };
        RecordKey { tenant_id: id("tenant_id").parse().unwrap(), kind, id: id("id").parse().unwrap() }
    });
    let mut records = Vec::new();
    for mut document in documents(&**store, keys).await.into_values() {
        for mark in document.truncated.clone() {
            let full = payloads.get(document.tenant_id(), document.month(), mark.sha256).await.unwrap();
            put_back(&mut document, mark.field, full.unwrap());
        }
        records.push(document.record);
    }
    records
}

fn put_back(document: &mut Document, field: PayloadField, full: JsonText) {
    let place = match (&mut document.record, field) {
        (Record::Run(run), PayloadField::Inputs) => &mut run.inputs,
        (Record::Run(run), PayloadField::Outputs) => &mut run.outputs,
        (Record::Node(node), PayloadField::Inputs) => &mut node.inputs,
        (Record::Node(node), PayloadField::ProcessData) => &mut node.process_data,
        (Record::Node(node), PayloadField::Outputs) => &mut node.outputs,
        (record, field) => panic!("{}: unexpected truncation of {field:?}", record.kind()),
    };
    *place = Some(full);
}

async fn through_the_worker(store: StoreUnderTest, order: impl FnOnce(&mut Vec<Value>)) {
    let site = Site::new(&store);
    site.setup();
    let mut messages = lines("celery_messages.jsonl");
    order(&mut messages);
    let edge = lines("celery_edge_messages.jsonl");
    let twice = messages.iter().chain(&messages).chain(&edge);
    let mut text = String::new();
    let mut published = 0;
    for message in twice {
        let mut message = message.clone();
        message["routing_key"] = site.celery_queue().into();
        // An expired message never reaches a consumer; the capture's hour has passed by nobody's fault.
        message["properties"].as_object_mut().unwrap().remove("expiration");
        text.push_str(&message.to_string());
        text.push('\n');
        published += 1;
    }
    std::fs::write(site.file("captured.jsonl"), text).unwrap();
    let mut worker = site.worker();
    worker.ready().await;
    site.ok(&["publish", "--captured", site.file("captured.jsonl").to_str().unwrap()]);
    worker.acked(60, published).await;
    assert_eq!(site.depth("dead").await, 0);
    let expected = lines("celery_expected_rows.jsonl");
    let stores = difylog::app::open_stores(&site.settings).unwrap();
    let (differences, _) = compare(&expected, &stored(&stores, &expected).await);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn shuffled(seed: u64) -> impl FnOnce(&mut Vec<Value>) {
    move |messages| messages.shuffle(&mut StdRng::seed_from_u64(seed))
}

#[tokio::test(flavor = "multi_thread")]
async fn over_sqlite_in_order() {
    through_the_worker(StoreUnderTest::Sqlite, |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_sqlite_reversed() {
    through_the_worker(StoreUnderTest::Sqlite, |messages| messages.reverse()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_sqlite_shuffled() {
    through_the_worker(StoreUnderTest::Sqlite, shuffled(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_engine_in_order() {
    through_the_worker(StoreUnderTest::engine("dedicated"), |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_engine_reversed() {
    through_the_worker(StoreUnderTest::engine("dedicated"), |messages| messages.reverse()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_engine_shuffled_with_shared_tenancy() {
    through_the_worker(StoreUnderTest::engine("shared"), shuffled(2)).await;
}
