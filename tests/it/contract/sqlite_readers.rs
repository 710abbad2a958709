//! Reading beside a writer: readers leave no trace and hold up no writer, and what they want erased goes to the writer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use difylog::domain::query::{Content, Cursor, Facet, ListFilter, Page, RunFilter, Scan};
use difylog::domain::{Kind, Record, Verdict};
use difylog::store::sqlite::{SqliteEraser, SqliteReader, SqliteSettings, SqliteStore};
use difylog::store::{
    BulkSink as _, Eraser as _, Erasure, LogReader as _, ReadStore, Remains, StateReader as _, StateStore as _,
    StoreAdmin as _, StoreError, StoreOverview as _,
};
use serde_json::json;

use crate::support::records::{actions, app, at, ended, later, run, tenant};

fn settings(dir: &Path) -> SqliteSettings {
    SqliteSettings { dir: dir.to_owned(), ..SqliteSettings::default() }
}

fn writer(dir: &Path) -> SqliteStore {
    SqliteStore::new(settings(dir)).unwrap()
}

/// Every file of a folder with its bytes, and when it was written.
fn files(dir: &Path) -> BTreeMap<String, (Vec<u8>, std::time::SystemTime)> {
    let entry = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, (fs::read(entry.path()).unwrap(), entry.metadata().unwrap().modified().unwrap()))
    };
    fs::read_dir(dir).unwrap().map(|found| entry(found.unwrap())).collect()
}

async fn stored(store: &SqliteStore, record: &Record) {
    let actions = actions(record.clone());
    assert_eq!(store.apply(&actions).await, Ok(vec![Verdict::Stored; actions.len()]));
}

fn runs(count: i64) -> Vec<Record> {
    let (tenant, app) = (tenant(), app());
    let start = at("2026-06-10T00:00:00");
    let month = 31 * 86_400 * 1_000_000;
    (0..count).map(|n| Record::Run(Box::new(ended(run(tenant, app, later(start, n * month)), 1_000)))).collect()
}

/// Asks everything that can be asked.
async fn ask_everything(reader: &dyn ReadStore, record: &Record) {
    let (tenant_id, id) = (record.tenant_id(), record.id());
    reader.ready().await.unwrap();
    assert!(reader.record(record.key()).await.unwrap().is_some());
    assert_eq!(reader.records(tenant_id, Kind::WorkflowRun, &[id]).await.unwrap().len(), 1);
    let filter = RunFilter::all(tenant_id);
    let all = reader.runs(&filter, &Page::newest(100)).await.unwrap().len();
    let subject = ListFilter::Runs(filter.clone());
    assert_eq!(reader.documents(&subject, &Page::newest(100), Content::Full).await.unwrap().documents.len(), all);
    assert_eq!(reader.search_runs(&filter, &Page::newest(1), Some(1_000)).await.unwrap().total.value, all as u64);
    assert_eq!(reader.facet(&subject, Facet::Status, 10).await.unwrap()[0].count, all as u64);
    reader.daily(&filter, chrono_tz::Tz::UTC).await.unwrap();
    let scan = Scan::all(Kind::WorkflowRun, 10);
    reader.scan(&scan).await.unwrap();
    let end: Option<Cursor> = reader.scan_end(&scan).await.unwrap();
    assert!(end.is_some());
    reader.children(tenant_id, &[id]).await.unwrap();
    reader.check().await.unwrap();
    reader.counts().await.unwrap();
    reader.sizes().await.unwrap();
    reader.state("anything").await.unwrap();
    reader.states("").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_leaves_no_trace_and_takes_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let store = writer(dir.path());
    store.install().await.unwrap();
    store.put_state("known", &json!(1), None).await.unwrap();
    let records = runs(3);
    for record in &records {
        stored(&store, record).await;
    }
    store.catch_up().await.unwrap();
    store.close().await;
    drop(store);

    let before = files(dir.path());
    let reader = SqliteReader::new(settings(dir.path()));
    ask_everything(&reader, &records[0]).await;
    assert_eq!(reader.state("known").await.unwrap().unwrap().value, json!(1));
    assert!(files(dir.path()) == before, "{:?}", files(dir.path()).keys());

    // While the reader lives and is asked, a writer can begin; the reader sees what it writes, then and afterwards.
    let store = writer(dir.path());
    store.claim().await.unwrap();
    let late = runs(1).remove(0);
    stored(&store, &late).await;
    assert!(reader.record(late.key()).await.unwrap().is_some());
    ask_everything(&reader, &records[1]).await;
    store.close().await;
    let last = runs(1).remove(0);
    let store = writer(dir.path());
    stored(&store, &last).await;
    assert!(reader.record(last.key()).await.unwrap().is_some());
    assert!(reader.record(late.key()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_reader_of_a_folder_that_is_not_set_up_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let reader = SqliteReader::new(settings(&dir.path().join("absent")));
    assert!(matches!(reader.ready().await, Err(StoreError::NotSetUp(_))));
    let empty = SqliteReader::new(settings(dir.path()));
    assert_eq!(empty.ready().await, Ok(()));
    assert_eq!(empty.counts().await, Ok(Vec::new()));
    assert!(files(dir.path()).is_empty());
    assert!(!dir.path().join("absent").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_writer_is_told_at_its_start_who_the_first_is() {
    let dir = tempfile::tempdir().unwrap();
    let first = writer(dir.path());
    first.install().await.unwrap();
    first.claim().await.unwrap();
    let second = writer(dir.path());
    let refused = second.claim().await.unwrap_err().to_string();
    assert!(refused.contains(&format!("another difylog (pid {}) writes to", std::process::id())), "{refused}");
    first.close().await;
    assert_eq!(second.claim().await, Ok(()));
}

/// A writer whose store holds so many runs, and the runs.
async fn holding(dir: &Path, number: i64) -> (SqliteStore, Vec<Record>) {
    let store = writer(dir);
    store.install().await.unwrap();
    let records = runs(number);
    for record in &records {
        stored(&store, record).await;
    }
    (store, records)
}

fn erasure(record: &Record) -> Erasure {
    Erasure { key: record.key(), revision: None }
}

const BURIED: Remains = Remains::Tombstone(difylog::domain::Timestamp::MAX);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_goes_to_the_process_that_writes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, records) = holding(dir.path(), 3).await;
    let eraser = SqliteEraser::new(settings(dir.path()));
    let wanted = [erasure(&records[0]), erasure(&runs(1)[0]), erasure(&records[2])];
    assert_eq!(eraser.erase(&wanted, BURIED).await, Ok(vec![true, false, true]));
    assert_eq!(store.record(records[0].key()).await, Ok(None));
    assert!(store.record(records[1].key()).await.unwrap().is_some());
    let again = actions(records[0].clone());
    assert_eq!(store.apply(&again).await.unwrap().last(), Some(&Verdict::Superseded), "it does not come back");
    assert_eq!(store.states("erasure/").await, Ok(Vec::new()), "no request is left behind");
    // The others need the right to write: the process that has it is named by what it holds.
    assert!(matches!(eraser.purge_tombstones(at("2026-01-01T00:00:00")).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_writer_a_deletion_is_done_by_the_process_that_wants_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, records) = holding(dir.path(), 2).await;
    store.close().await;
    drop(store);
    let eraser = SqliteEraser::new(settings(dir.path()));
    assert_eq!(eraser.erase(&[erasure(&records[0])], BURIED).await, Ok(vec![true]));
    let store = writer(dir.path());
    assert_eq!(store.claim().await, Ok(()), "the right to write was kept for the moment only");
    assert_eq!(store.record(records[0].key()).await, Ok(None));
}

/// A request as another process leaves it.
fn request(record: &Record, step: &serde_json::Value, until: i64) -> serde_json::Value {
    let key = record.key();
    let named = json!({"tenant": key.tenant_id.to_string(), "kind": key.kind.to_string(), "id": key.id.to_string()});
    json!({"step": step, "until": until, "at": difylog::domain::Timestamp::MAX.micros(), "records": [named]})
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(std::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_a_dead_writer_left_is_carried_out_by_the_next_as_if_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, records) = holding(dir.path(), 3).await;
    // The first died before it erased, the second after it.
    assert_eq!(store.erase(&[erasure(&records[1])], BURIED).await, Ok(vec![true]));
    store.close().await;
    drop(store);
    let other = writer(dir.path());
    let soon = difylog::telemetry::system_clock()().micros() + 30_000_000;
    for (key, record) in [("erasure/before", &records[0]), ("erasure/after", &records[1])] {
        other.put_state(key, &request(record, &json!("taken"), soon), None).await.unwrap();
    }
    // Nobody waits for this one any more.
    other.put_state("erasure/late", &request(&records[2], &json!("asked"), soon - 60_000_000), None).await.unwrap();
    let next = Arc::new(writer(dir.path()));
    next.claim().await.unwrap();
    let answer = async |key: &str| next.state(key).await.unwrap().map(|entry| entry.value["step"].clone());
    let answered = Some(json!({"answered": [true]}));
    until("both are answered", async || {
        answer("erasure/before").await == answered && answer("erasure/after").await == answered
    })
    .await;
    until("the abandoned one is swept up", async || answer("erasure/late").await.is_none()).await;
    assert_eq!(next.record(records[0].key()).await, Ok(None));
    assert!(next.record(records[2].key()).await.unwrap().is_some(), "its asker was told that it failed");
}
