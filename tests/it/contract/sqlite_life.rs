//! The life of the data over SQLite: the contract, files of an earlier version, copies of months.

use std::path::Path;
use std::sync::Arc;

use difylog::domain::{AppLog, NodeExecution, Record, Verdict};
use difylog::store::copies::{CopyName, MonthCopies as _, VaultId};
use difylog::store::sqlite::{SqliteCopies, SqliteSettings, SqliteStore};
use difylog::store::{BulkSink as _, LogReader as _, StateReader as _, StateStore as _, StoreAdmin as _, StoreError};
use serde_json::json;

use crate::support::records::{self, actions, app, app_log, at, id, json as text, node, run, tenant};

fn store(dir: &Path) -> SqliteStore {
    SqliteStore::new(SqliteSettings { dir: dir.to_owned(), ..SqliteSettings::default() }).unwrap()
}

/// The tables of schema 1, and a node in them.
fn file_of_version_1(dir: &Path, node: &NodeExecution) {
    let file = rusqlite::Connection::open(dir.join("difylog-2026-11.db")).unwrap();
    file.execute_batch(include_str!("../../corpus/sqlite_schema_1.sql")).unwrap();
    file.execute_batch("PRAGMA application_id = 0x64796c67; PRAGMA user_version = 1; PRAGMA journal_mode = wal")
        .unwrap();
    let insert = "INSERT INTO workflow_node_executions (tenant_id, id, app_id, workflow_id, revision, created_at, \
        workflow_run_id, triggered_from, \"index\", node_execution_id, node_id, node_type, title, status, elapsed_time, \
        created_by_role, created_by, execution_metadata) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
    let revision = difylog::domain::Revision::of(&Record::Node(Box::new(node.clone()))).value();
    let values = rusqlite::params![
        node.tenant_id.as_bytes(),
        node.id.as_bytes(),
        node.app_id.as_bytes(),
        node.workflow_id.as_bytes(),
        revision,
        node.created_at.micros(),
        node.workflow_run_id.map(|id| *id.as_bytes()),
        &*node.triggered_from,
        node.index,
        node.node_execution_id.as_deref(),
        &*node.node_id,
        &*node.node_type,
        &*node.title,
        node.status.as_str(),
        node.elapsed_time,
        &*node.created_by_role,
        node.created_by.as_bytes(),
        node.execution_metadata.as_ref().map(difylog::domain::JsonText::as_str),
    ];
    file.execute(insert, values).unwrap();
}

fn old_node() -> NodeExecution {
    let node = node(tenant(), app(), id(), 1, at("2026-11-05T00:00:00"));
    NodeExecution { execution_metadata: text(r#"{"iteration_id": "1733", "total_tokens": 5}"#), ..node }
}

fn creator() -> Record {
    let log = app_log(tenant(), app(), id(), at("2026-11-06T00:00:00"));
    Record::AppLog(Box::new(AppLog { creator: Some("session-你好".into()), ..log }))
}

async fn assert_upgraded(store: &SqliteStore, node: NodeExecution, dir: &Path) {
    let expected = records::whole(Record::Node(Box::new(node)));
    assert_eq!(store.record(expected.key()).await, Ok(Some(expected)));
    let log = creator();
    assert_eq!(store.apply(&actions(log.clone())).await, Ok(vec![Verdict::Stored]));
    assert_eq!(store.record(log.key()).await, Ok(Some(records::whole(log))));
    let file = rusqlite::Connection::open(dir.join("difylog-2026-11.db")).unwrap();
    let enclosing: String =
        file.query_row("SELECT iteration_id FROM workflow_node_executions", (), |row| row.get(0)).unwrap();
    assert_eq!(enclosing, "1733");
}

#[tokio::test]
async fn setup_brings_an_older_file_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let node = old_node();
    file_of_version_1(dir.path(), &node);
    let store = store(dir.path());
    let key = Record::Node(Box::new(node.clone())).key();
    let refused = store.record(key).await.unwrap_err();
    assert!(matches!(&refused, StoreError::NotSetUp(detail) if detail.contains("older schema 1")), "{refused}");
    store.install().await.unwrap();
    assert_upgraded(&store, node, dir.path()).await;
}

#[tokio::test]
async fn the_first_write_brings_an_older_file_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let node = old_node();
    file_of_version_1(dir.path(), &node);
    let store = store(dir.path());
    assert_eq!(store.apply(&actions(creator())).await, Ok(vec![Verdict::Stored]));
    assert_upgraded(&store, node, dir.path()).await;
}

#[tokio::test]
async fn state_is_shared_with_processes_that_do_not_write_records() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, other) = (store(dir.path()), store(dir.path()));
    writer.install().await.unwrap();
    assert_eq!(other.state("lease").await, Ok(None));
    assert!(!dir.path().join("state.sqlite").exists(), "looking leaves no trace");
    let version = other.put_state("lease", &json!("mine"), None).await.unwrap();
    assert_eq!(writer.put_state("lease", &json!("theirs"), None).await, Ok(None));
    assert_eq!(writer.put_state("lease", &json!("theirs"), version).await.map(|version| version.is_some()), Ok(true));
    assert_eq!(other.state("lease").await.unwrap().unwrap().value, json!("theirs"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_is_copied_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(store(dir.path()));
    store.install().await.unwrap();
    let (tenant_id, app) = (tenant(), app());
    let new = || Record::Run(Box::new(run(tenant_id, app, at("2026-11-07T00:00:00"))));
    let before: Vec<_> = (0..50).map(|_| new()).collect();
    for record in &before {
        store.apply(&actions(record.clone())).await.unwrap();
    }
    let writing = {
        let store = Arc::clone(&store);
        let records: Vec<_> = (0..100).map(|_| new()).collect();
        tokio::spawn(async move {
            for record in records {
                let actions = actions(record);
                assert_eq!(store.apply(&actions).await, Ok(vec![Verdict::Stored; actions.len()]));
            }
        })
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = SqliteSettings { dir: dir.path().into(), ..SqliteSettings::default() };
    let copies = SqliteCopies::new(settings, folder.path().into(), difylog::telemetry::system_clock());
    let name: CopyName = "2026-11-20261125t093000z".parse().unwrap();
    let vault = VaultId("a vault".into());
    assert_eq!(copies.copy(&name, &vault).await, Ok(true));
    assert_eq!(copies.copy(&"2026-10-20261125t093000z".parse().unwrap(), &vault).await, Ok(false));
    assert_eq!(copies.copies().await, Ok(vec![name.clone()]));
    writing.await.unwrap();
    let states = copies.months().await.unwrap();
    assert_eq!((states.len(), states[0].month, &states[0].mark), (1, name.month, &None), "written a moment ago");
    let copy = folder.path().join(name.to_string());
    let names: Vec<_> = std::fs::read_dir(&copy).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["difylog-2026-11.db"]);
    let restored = self::store(&copy);
    for record in before {
        assert_eq!(restored.record(record.key()).await, Ok(Some(records::whole(record))));
    }
    let checked = rusqlite::Connection::open(copy.join("difylog-2026-11.db")).unwrap();
    let sound: String = checked.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}
