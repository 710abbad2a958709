//! What stays on the disk, and who may read it: nothing of what was erased, and nobody but the owner.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use difylog::domain::query::{Page, RunQuery, TextField, TextFilter};
use difylog::domain::{Record, Verdict, WorkflowRun};
use difylog::store::copies::{MonthCopies as _, VaultId};
use difylog::store::sqlite::{SqliteCopies, SqliteEraser, SqliteSettings, SqliteStore};
use difylog::store::{BulkSink as _, Eraser as _, Erasure, LogReader as _, Remains, StateStore as _, StoreAdmin as _};
use serde_json::json;

use crate::support::records::{actions, app, at, ended, json as text, run, tenant};

const SECRET: &str = "Zq7-the-secret-of-one-run";

fn settings(dir: &Path) -> SqliteSettings {
    SqliteSettings { dir: dir.to_owned(), ..SqliteSettings::default() }
}

async fn installed(dir: &Path) -> SqliteStore {
    let store = SqliteStore::new(settings(dir)).unwrap();
    store.install().await.unwrap();
    store
}

async fn stored(store: &SqliteStore, run: &WorkflowRun) {
    let actions = actions(Record::Run(Box::new(run.clone())));
    assert_eq!(store.apply(&actions).await, Ok(vec![Verdict::Stored; actions.len()]));
}

/// The files of a folder that hold a text, whatever the case.
fn holders(dir: &Path, text: &str) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap_or_default().to_ascii_lowercase();
        bytes.windows(text.len()).any(|window| window == text.to_ascii_lowercase().as_bytes())
    };
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(holds).collect()
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn erasure(run: &WorkflowRun) -> Erasure {
    Erasure { key: Record::Run(Box::new(run.clone())).key(), revision: None }
}

/// Runs with the secret in short texts, in one that fills many pages, and in snapshots that were written over.
async fn secret_runs(store: &SqliteStore) -> Vec<WorkflowRun> {
    let mut short = run(tenant(), app(), at("2026-11-05T00:00:00"));
    short.inputs = text(&format!(r#"{{"q": "{SECRET}"}}"#));
    stored(store, &short).await;
    let mut short = ended(short, 1_000);
    short.outputs = text(&format!(r#"{{"a": "{SECRET} {SECRET}"}}"#));
    stored(store, &short).await;
    let mut long = ended(run(tenant(), app(), at("2026-11-06T00:00:00")), 1_000);
    long.inputs = text(&format!(r#"{{"q": "{}"}}"#, format!("{SECRET} and more, ").repeat(4_000)));
    stored(store, &long).await;
    vec![short, long]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_of_an_erased_record_stays_in_the_files() {
    // With a worker that goes on, and with none.
    for is_running in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let uncompressed = SqliteSettings { compress: false, ..settings(dir.path()) };
        let mut store = Some(SqliteStore::new(uncompressed.clone()).unwrap());
        let writer = store.as_ref().unwrap();
        writer.install().await.unwrap();
        let kept = ended(run(tenant(), app(), at("2026-11-07T00:00:00")), 1_000);
        stored(writer, &kept).await;
        let erased = secret_runs(writer).await;
        writer.catch_up().await.unwrap();
        assert!(!holders(dir.path(), SECRET).is_empty());
        if !is_running {
            writer.close().await;
            store = None;
        }
        let port = SqliteEraser::new(uncompressed);
        let wanted: Vec<_> = erased.iter().map(erasure).collect();
        let buried = Remains::Tombstone(at("2026-11-08T00:00:00"));
        assert_eq!(port.erase(&wanted, buried).await, Ok(vec![true, true]));
        until("no file holds it", async || holders(dir.path(), SECRET).is_empty()).await;
        drop(store);
        assert_eq!(holders(dir.path(), SECRET), Vec::<PathBuf>::new());
        let store = installed(dir.path()).await;
        assert!(store.record(Record::Run(Box::new(kept)).key()).await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_gives_the_space_back_and_search_finds_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = installed(dir.path()).await;
    let (tenant_id, app) = (tenant(), app());
    let runs: Vec<WorkflowRun> = (0..300)
        .map(|number| {
            let mut run = ended(run(tenant_id, app, at("2026-11-05T00:00:00")), 1_000);
            let words = (0..400).map(|word| format!("{:x}", (word * 7_919 + number * 104_729) % 65_536));
            let noise = words.collect::<Vec<_>>().join(" ");
            run.inputs = text(&format!(r#"{{"number": "n{number}n", "noise": "{noise}"}}"#));
            run
        })
        .collect();
    for run in &runs {
        stored(&store, run).await;
    }
    store.catch_up().await.unwrap();
    let (gone, kept) = runs.split_at(290);
    let wanted: Vec<_> = gone.iter().map(erasure).collect();
    assert_eq!(store.erase(&wanted, Remains::Nothing).await.unwrap(), vec![true; wanted.len()]);
    let size = || fs::metadata(dir.path().join("difylog-2026-11.db")).unwrap().len();
    until("the log is emptied", async || {
        fs::metadata(dir.path().join("difylog-2026-11.db-wal")).is_ok_and(|metadata| metadata.len() == 0)
    })
    .await;
    let before = size();
    let lines = store.compact().await.unwrap();
    assert!(lines.len() == 1 && lines[0].contains("KiB given back"), "{lines:?}");
    assert!(size() < before / 2, "{} of {before} bytes", size());
    // Before and after the index is made anew.
    for is_indexed in [false, true] {
        if is_indexed {
            store.catch_up().await.unwrap();
        }
        for (run, is_there) in [(&kept[3], true), (&gone[3], false)] {
            let number = runs.iter().position(|other| other.id == run.id).unwrap();
            let keyword = format!("n{number}n");
            let filter =
                RunQuery { text: Some(TextFilter { keyword, fields: vec![TextField::Inputs] }), ..RunQuery::default() }
                    .within(tenant_id);
            let found = store.runs(&filter, &Page::newest(10)).await.unwrap();
            assert_eq!(
                found.iter().map(|found| found.id).collect::<Vec<_>>(),
                if is_there { vec![run.id] } else { vec![] }
            );
        }
    }
}

fn assert_private(path: &Path) {
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", entry.path().display());
        if entry.file_type().unwrap().is_dir() {
            assert_private(&entry.path());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_owner_may_read_the_files() {
    let place = tempfile::tempdir().unwrap();
    let (dir, backups) = (place.path().join("data/sqlite"), place.path().join("backups/months"));
    let store = installed(&dir).await;
    stored(&store, &run(tenant(), app(), at("2026-11-05T00:00:00"))).await;
    store.put_state("known", &json!(1), None).await.unwrap();
    store.probe().await.unwrap();
    let copies = SqliteCopies::new(settings(&dir), backups.clone(), difylog::telemetry::system_clock());
    copies.prepare().await.unwrap();
    let name = "2026-11-20261125t093000z".parse().unwrap();
    assert_eq!(copies.copy(&name, &VaultId("a vault".into())).await, Ok(true));
    let names = |dir: &Path| fs::read_dir(dir).unwrap().count();
    assert!(names(&dir) >= 5, "the databases, their logs, the lock");
    assert_private(place.path());
    store.drop_month("2026-11".parse().unwrap()).await.unwrap();
    store.close().await;
    copies.restore(&name).await.unwrap();
    assert_private(place.path());
}

#[tokio::test]
async fn a_link_in_the_folder_leads_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    fs::write(&target, "another's").unwrap();
    let data = dir.path().join("data");
    let store = installed(&data).await;
    symlink(&target, data.join("difylog.probe")).unwrap();
    store.probe().await.unwrap();
    store.close().await;
    drop(store);
    fs::remove_file(data.join("difylog.lock")).unwrap();
    symlink(&target, data.join("difylog.lock")).unwrap();
    let store = SqliteStore::new(settings(&data)).unwrap();
    assert!(store.claim().await.is_err());
    assert_eq!(fs::read_to_string(&target).unwrap(), "another's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_removed_by_hand_is_noticed_and_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(installed(dir.path()).await);
    let run = ended(run(tenant(), app(), at("2026-11-05T00:00:00")), 1_000);
    stored(&store, &run).await;
    let before = store.generation();
    assert_eq!(store.generation(), before);
    let path = dir.path().join("difylog-2026-11.db");
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(dir.path().join(format!("difylog-2026-11.db{suffix}")));
    }
    until("it is noticed without a write", async || store.generation() != before).await;
    let key = Record::Run(Box::new(run.clone())).key();
    assert_eq!(store.record(key).await, Ok(None));
    stored(&store, &run).await;
    assert!(path.exists());
    assert!(store.record(key).await.unwrap().is_some());
    let deleted = || {
        let links =
            fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        links
            .filter(|link| link.to_string_lossy().starts_with(&*path.to_string_lossy()))
            .any(|link| link.to_string_lossy().ends_with("(deleted)"))
    };
    until("nothing keeps the removed file open", async || !deleted()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_search_index_keeps_up_with_writing_that_never_pauses() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(installed(dir.path()).await);
    let (tenant_id, app) = (tenant(), app());
    let writers = (0..4).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for _ in 0..8 {
                let runs = (0..1_000).map(|_| ended(run(tenant_id, app, at("2026-11-05T00:00:00")), 1_000));
                let actions: Vec<_> = runs.filter_map(|run| actions(Record::Run(Box::new(run))).pop()).collect();
                assert_eq!(store.apply(&actions).await.unwrap(), vec![Verdict::Stored; 1_000]);
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let file = rusqlite::Connection::open(dir.path().join("difylog-2026-11.db")).unwrap();
    let behind: i64 = file
        .query_row(
            "SELECT (SELECT max(rowid) FROM workflow_runs) - row FROM search_indexed WHERE of = 'workflow_runs'",
            (),
            |row| row.get(0),
        )
        .unwrap();
    assert!(behind <= 16_000, "{behind} of 32,000 rows are not indexed");
}
