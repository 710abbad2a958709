//! What goes wrong with files: full, locked, damaged, foreign, gone. Never a panic, never a verdict `Stored` for what is
//! not there.

use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use difylog::domain::{BulkAction, Document, FaultKind, Record, RecordId, Revision, SinkFault, TenantId, Verdict};
use difylog::store::sqlite::{SqliteSettings, SqliteStore};
use difylog::store::{BulkSink as _, LogReader as _, StoreAdmin as _, StoreError, StoreOverview as _};
use tempfile::TempDir;

use crate::support::nodes::nodes_of_run;
use crate::support::records::{app, at, json, node, tenant};

const OCTOBER: &str = "2026-10-15T10:00:00";
const NOVEMBER: &str = "2026-11-15T10:00:00";

fn settings(dir: &Path) -> SqliteSettings {
    SqliteSettings { dir: dir.to_owned(), busy_timeout_ms: 20, ..SqliteSettings::default() }
}

fn file(dir: &TempDir, month: &str) -> PathBuf {
    dir.path().join(format!("difylog-{month}.db"))
}

async fn installed(dir: &TempDir) -> SqliteStore {
    let store = SqliteStore::new(settings(dir.path())).unwrap();
    store.install().await.unwrap();
    store
}

fn action(record: &Record) -> BulkAction {
    crate::support::records::actions(record.clone()).pop().unwrap()
}

/// Nodes that start at these instants.
fn nodes(instants: &[&str]) -> Vec<Record> {
    let (tenant, app, run_id) = (tenant(), app(), crate::support::records::id());
    instants
        .iter()
        .zip(1..)
        .map(|(start, index)| Record::Node(Box::new(node(tenant, app, run_id, index, at(start)))))
        .collect()
}

fn actions(records: &[Record]) -> Vec<BulkAction> {
    records.iter().map(action).collect()
}

fn assert_storage_fault(answer: Result<Vec<Verdict>, SinkFault>, parts: &[&str]) {
    let fault = answer.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Storage, "{fault}");
    assert!(parts.iter().all(|part| fault.detail.contains(part)), "{fault}");
}

async fn assert_stored(store: &SqliteStore, records: &[Record]) {
    assert_eq!(store.apply(&actions(records)).await, Ok(vec![Verdict::Stored; records.len()]));
    for record in records {
        assert!(store.record(record.key()).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_full_disk_holds_the_request_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let limited = SqliteSettings { max_file_bytes: NonZeroU64::new(600_000), compress: false, ..settings(dir.path()) };
    let store = SqliteStore::new(limited).unwrap();
    store.install().await.unwrap();
    let mut stored = Vec::new();
    let held = loop {
        let mut batch = nodes(&[NOVEMBER; 10]);
        for record in &mut batch {
            let Record::Node(node) = record else { unreachable!() };
            node.inputs = json(&format!(r#""{}""#, "x".repeat(2_000)));
        }
        match store.apply(&actions(&batch)).await {
            Ok(verdicts) => {
                assert_eq!(verdicts, vec![Verdict::Stored; 10]);
                stored.extend(batch);
            }
            fault => {
                assert_storage_fault(fault, &["difylog-2026-11.db", "full", "free disk space"]);
                break batch;
            }
        }
    };
    for record in &held {
        assert_eq!(store.record(record.key()).await, Ok(None), "no half of a transaction");
    }
    assert_stored(&store, &nodes(&[OCTOBER])).await;
    drop(store);
    let store = installed(&dir).await;
    assert_stored(&store, &held).await;
    for record in &stored {
        assert!(store.record(record.key()).await.unwrap().is_some());
    }
}

/// Locks the file of a month, as another program does that writes to it.
fn locked(dir: &tempfile::TempDir, month: &str) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(file(dir, month)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

#[tokio::test]
async fn a_locked_file_holds_the_request() {
    let dir = tempfile::tempdir().unwrap();
    let store = installed(&dir).await;
    assert_stored(&store, &nodes(&[NOVEMBER])).await;
    let other = locked(&dir, "2026-11");
    let batch = nodes(&[NOVEMBER]);
    assert_storage_fault(
        store.apply(&actions(&batch)).await,
        &["difylog-2026-11.db", "another program holds the file"],
    );
    other.execute_batch("ROLLBACK").unwrap();
    assert_stored(&store, &batch).await;
}

#[tokio::test]
async fn a_locked_month_holds_only_its_own_actions_while_others_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = installed(&dir).await;
    let before = nodes(&[NOVEMBER, OCTOBER]);
    assert_stored(&store, &before).await;
    let other = locked(&dir, "2026-10");
    let batch = actions(&nodes(&[OCTOBER, NOVEMBER]));
    // What is superseded is not written: there it is tried whether the directory takes anything.
    let BulkAction::Document(stored) = action(&before[0]) else { unreachable!() };
    let revision = Revision::from_stored(stored.revision.value() - 1);
    let older = BulkAction::Document(Arc::new(Document { revision, ..Document::clone(&stored) }));
    for (beside, expected) in [(batch[1].clone(), Verdict::Stored), (older, Verdict::Superseded)] {
        let verdicts = store.apply(&[batch[0].clone(), beside]).await.unwrap();
        assert!(
            matches!(&verdicts[0], Verdict::Retry(cause) if cause.detail.contains("another program holds the file"))
        );
        assert_eq!(verdicts[1], expected);
    }
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.apply(&batch[..1]).await, Ok(vec![Verdict::Stored]));
}

/// Overwrites part of a month's file.
fn damage(dir: &TempDir, month: &str, from: usize) {
    let path = file(dir, month);
    let mut bytes = fs::read(&path).unwrap();
    bytes[from..].fill(0xa5);
    fs::write(&path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_month_holds_only_its_own_actions() {
    // From the first byte: no database at all. From the second page: the tables.
    for from in [0, 8_192] {
        let dir = tempfile::tempdir().unwrap();
        let store = installed(&dir).await;
        let old = nodes(&[OCTOBER, NOVEMBER]);
        assert_stored(&store, &old).await;
        store.close().await;
        drop(store);
        damage(&dir, "2026-10", from);

        let store = installed_despite(&dir);
        let batch = nodes(&[OCTOBER, NOVEMBER, OCTOBER, NOVEMBER]);
        let verdicts = store.apply(&actions(&batch)).await.unwrap();
        for (verdict, number) in verdicts.iter().zip(0..) {
            match verdict {
                Verdict::Stored => assert_eq!(number % 2, 1),
                Verdict::Retry(cause) => {
                    assert_eq!(number % 2, 0);
                    assert!(cause.detail.contains("difylog-2026-10.db"), "{cause:?}");
                    assert!(cause.detail.contains("restore or move it away"), "{cause:?}");
                }
                other => panic!("{other:?}"),
            }
        }
        let read = store.record(batch[0].key()).await.unwrap_err();
        assert!(matches!(&read, StoreError::Corrupt(detail) if detail.contains("difylog-2026-10.db")), "{read}");
        let checked = store.check().await.unwrap_err();
        assert!(matches!(&checked, StoreError::Corrupt(detail) if detail.contains("difylog-2026-10.db")), "{checked}");

        // Moved away under the running store: the month starts anew.
        fs::rename(file(&dir, "2026-10"), dir.path().join("damaged")).unwrap();
        assert_stored(&store, &batch).await;
        assert!(store.record(old[1].key()).await.unwrap().is_some());
    }
}

/// Without `install`, which would name the damaged file and stop.
fn installed_despite(dir: &TempDir) -> SqliteStore {
    SqliteStore::new(settings(dir.path())).unwrap()
}

#[tokio::test]
async fn a_file_that_vanishes_under_the_store_is_not_written_into() {
    let dir = tempfile::tempdir().unwrap();
    let store = installed(&dir).await;
    assert_stored(&store, &nodes(&[NOVEMBER])).await;
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(dir.path().join(format!("difylog-2026-11.db{suffix}"))).unwrap();
    }
    assert_stored(&store, &nodes(&[NOVEMBER, NOVEMBER])).await;
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_not_set_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::new(settings(&dir.path().join("absent"))).unwrap();
    let fault = store.apply(&actions(&nodes(&[NOVEMBER]))).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotSetUp, "{fault}");
    assert_eq!(store.probe().await.unwrap_err().kind, FaultKind::NotSetUp);
    assert!(matches!(store.check().await, Err(StoreError::NotSetUp(_))));
    assert!(!dir.path().join("absent").exists(), "only install creates it: the volume may not be mounted");
    store.install().await.unwrap();
    assert_stored(&store, &nodes(&[NOVEMBER])).await;
    assert_eq!(store.probe().await, Ok(()));
}

#[tokio::test]
async fn a_file_in_place_of_the_directory_is_a_clear_fault() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs");
    fs::write(&path, "").unwrap();
    let store = SqliteStore::new(settings(&path)).unwrap();
    assert_storage_fault(store.apply(&actions(&nodes(&[NOVEMBER]))).await, &["logs", "check the directory"]);
    assert!(matches!(store.install().await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn a_second_writer_is_refused_and_a_reader_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let first = installed(&dir).await;
    let batch = nodes(&[NOVEMBER]);
    assert_stored(&first, &batch).await;
    let second = SqliteStore::new(settings(dir.path())).unwrap();
    assert!(second.record(batch[0].key()).await.unwrap().is_some());
    let pid = format!("another difylog (pid {}) writes to", std::process::id());
    assert_storage_fault(second.apply(&actions(&batch)).await, &[&pid]);
    assert_eq!(second.probe().await.unwrap_err().kind, FaultKind::Storage);
    assert!(second.drop_month("2026-11".parse().unwrap()).await.is_err());
    first.close().await;
    assert_stored(&second, &batch).await;
}

#[tokio::test]
async fn a_newer_schema_and_a_foreign_file_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = installed(&dir).await;
    assert_stored(&store, &nodes(&[NOVEMBER])).await;
    store.close().await;
    drop(store);
    let newer = rusqlite::Connection::open(file(&dir, "2026-11")).unwrap();
    newer.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(newer);
    let foreign = rusqlite::Connection::open(file(&dir, "2026-10")).unwrap();
    foreign.execute_batch("CREATE TABLE theirs (a)").unwrap();
    drop(foreign);
    let before = [fs::read(file(&dir, "2026-10")).unwrap(), fs::read(file(&dir, "2026-11")).unwrap()];

    let store = installed_despite(&dir);
    let verdicts = store.apply(&actions(&nodes(&[OCTOBER, NOVEMBER]))).await.unwrap();
    for (verdict, text) in verdicts.iter().zip(["not a file of difylog", "upgrade difylog"]) {
        assert!(matches!(verdict, Verdict::Retry(cause) if cause.detail.contains(text)), "{verdict:?}");
    }
    assert!(matches!(store.check().await, Err(StoreError::Corrupt(_))));
    store.close().await;
    assert_eq!(before, [fs::read(file(&dir, "2026-10")).unwrap(), fs::read(file(&dir, "2026-11")).unwrap()]);
}

#[tokio::test]
async fn a_refused_value_concerns_its_action_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = installed(&dir).await;
    let mut batch = nodes(&[NOVEMBER; 3]);
    let Record::Node(node) = &mut batch[1] else { unreachable!() };
    node.elapsed_time = f64::NAN;
    let verdicts = store.apply(&actions(&batch)).await.unwrap();
    assert!(matches!(&verdicts[..], [Verdict::Stored, Verdict::Refused(_), Verdict::Stored]), "{verdicts:?}");
    for (record, there) in batch.iter().zip([true, false, true]) {
        assert_eq!(store.record(record.key()).await.unwrap().is_some(), there);
    }
}

#[tokio::test]
async fn closing_leaves_tidy_files_and_ends_writing() {
    let dir = tempfile::tempdir().unwrap();
    let store = installed(&dir).await;
    let batch = nodes(&[OCTOBER, NOVEMBER]);
    assert_stored(&store, &batch).await;
    store.close().await;
    store.close().await;
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["difylog-2026-10.db", "difylog-2026-11.db", "difylog.lock"]);
    assert_storage_fault(store.apply(&actions(&batch)).await, &["restart difylog"]);
    assert_stored(&installed(&dir).await, &batch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn months_are_dropped_while_reading_and_writing_go_on() {
    let dir = tempfile::tempdir().unwrap();
    // A file that is being created or closed makes readers wait, as long as the disk takes.
    let patient = SqliteSettings { dir: dir.path().to_owned(), ..SqliteSettings::default() };
    let store = Arc::new(SqliteStore::new(patient).unwrap());
    store.install().await.unwrap();
    let kept = nodes(&[NOVEMBER]);
    assert_stored(&store, &kept).await;
    let busy = |start: &'static str| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for _ in 0..50 {
                let batch = nodes(&[start; 5]);
                assert_eq!(store.apply(&actions(&batch)).await, Ok(vec![Verdict::Stored; 5]));
                store.record(batch[0].key()).await.unwrap();
                let Record::Node(node) = &batch[0] else { unreachable!() };
                let run: (TenantId, RecordId) = (node.tenant_id, node.workflow_run_id.unwrap());
                nodes_of_run(&*store, run.0, run.1).await.unwrap();
            }
        })
    };
    let tasks = [busy(OCTOBER), busy(NOVEMBER), busy(OCTOBER)];
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        store.drop_month("2026-10".parse().unwrap()).await.unwrap();
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(store.record(kept[0].key()).await.unwrap().is_some());
}
