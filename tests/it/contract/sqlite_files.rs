//! How many files reading takes: bounded, whatever the number of months and of askers.

use std::process::Command;
use std::sync::Arc;

use difylog::domain::query::{Page, RunFilter, RunQuery, TextField, TextFilter, TimeRange};
use difylog::domain::record::RecordKey;
use difylog::domain::{BulkAction, Kind, Record, RecordId, TenantId, Verdict};
use difylog::store::sqlite::{SqliteReader, SqliteSettings, SqliteStore, Synchronous};
use difylog::store::{BulkSink as _, LogReader as _, StoreAdmin as _};

use crate::support::records::{actions, app, at, ended, id, run};

/// Tells the child its directory; without it the child's test has nothing to do.
const DIR: &str = "DIFYLOG_TEST_FILES_DIR";
/// Files that the child may have open.
const LIMIT: usize = 256;
/// Three files each would be many more than that.
const MONTHS: i64 = 120;
/// Runs that have not ended, each of which is looked up in all other months.
const RUNNING: i64 = 1;
const CLIENTS: u64 = 60;

const TENANT: u128 = 0x51;

fn settings(dir: &str) -> SqliteSettings {
    SqliteSettings { dir: dir.into(), synchronous: Synchronous::Normal, ..SqliteSettings::default() }
}

fn tenant_id() -> TenantId {
    TenantId::new(uuid::Uuid::from_u128(TENANT))
}

/// An ended run in every month, and a running one in the newest.
fn records() -> Vec<Record> {
    let app = app();
    let month = |number: i64| (2_010 + number / 12, 1 + number % 12);
    (0..MONTHS)
        .flat_map(|number| {
            let (year, month) = month(number);
            let start = at(&format!("{year:04}-{month:02}-10T00:00:00"));
            let running = run(tenant_id(), app, start);
            let running = (number >= MONTHS - RUNNING).then_some(running);
            std::iter::once(ended(run(tenant_id(), app, start), 1_000))
                .chain(running)
                .map(|run| Record::Run(Box::new(run)))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Files that this process has open.
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

async fn ask(reader: &SqliteReader, client: u64, known: RecordId) {
    let all = RunFilter::all(tenant_id());
    let total = u64::try_from(MONTHS + RUNNING).unwrap();
    for turn in 0..2 {
        match (client + turn) % 4 {
            0 => assert_eq!(reader.runs(&all, &Page::newest(100)).await.unwrap().len(), 100),
            1 => {
                let found = reader.search_runs(&all, &Page::newest(1), Some(10_000)).await.unwrap();
                assert_eq!((found.total.value, found.total.exact), (total, true));
            }
            2 => {
                let text = TextFilter { keyword: "hello".into(), fields: vec![TextField::Inputs] };
                let found = reader
                    .runs(
                        &RunQuery { text: Some(text), ..RunQuery::default() }.within(all.tenant_id),
                        &Page::newest(1_000),
                    )
                    .await;
                assert_eq!(found.unwrap().len() as u64, total);
            }
            _ => {
                let key = |id| RecordKey { tenant_id: tenant_id(), kind: Kind::WorkflowRun, id };
                assert!(reader.record(key(known)).await.unwrap().is_some());
                assert!(reader.record(key(id())).await.unwrap().is_none());
            }
        }
    }
}

/// The child: asks a store of many months from many clients at once, with few files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_with_few_files() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let reader = Arc::new(SqliteReader::new(settings(&dir)));
    let newest = reader.runs(&RunFilter::all(tenant_id()), &Page::newest(1)).await.unwrap();
    let known = newest[0].id;
    let asked = (0..CLIENTS).map(|client| {
        let reader = Arc::clone(&reader);
        tokio::spawn(async move { ask(&reader, client, known).await })
    });
    for client in asked.collect::<Vec<_>>() {
        client.await.unwrap();
        assert!(open_files() < LIMIT * 3 / 4, "{} files are open", open_files());
    }
}

#[tokio::test]
async fn many_months_and_clients_take_few_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let store = SqliteStore::new(settings(path)).unwrap();
    store.install().await.unwrap();
    let actions: Vec<BulkAction> = records().into_iter().flat_map(actions).collect();
    assert_eq!(store.apply(&actions).await.unwrap(), vec![Verdict::Stored; actions.len()]);
    store.close().await;
    drop(store);
    let child = Command::new("sh")
        .args(["-c", &format!("ulimit -n {LIMIT}; exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "contract::sqlite_files::child_with_few_files", "--nocapture"])
        .env(DIR, path)
        .output()
        .unwrap();
    let said = [child.stdout, child.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_outside_the_span_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let store = SqliteStore::new(settings(path)).unwrap();
    store.install().await.unwrap();
    let app = app();
    let of = |start: &str| Record::Run(Box::new(ended(run(tenant_id(), app, at(start)), 1_000)));
    let records = [of("2026-09-01T00:00:00"), of("2026-10-01T00:00:00"), of("2026-11-01T00:00:00")];
    for record in &records {
        store.apply(&actions(record.clone())).await.unwrap();
    }
    store.close().await;
    drop(store);
    // Whatever opens this one fails.
    std::fs::write(dir.path().join("difylog-2026-10.db"), "no database").unwrap();
    let reader = SqliteReader::new(settings(path));
    let all = RunFilter::all(tenant_id());
    for (record, from, until) in [
        (&records[0], "2026-09-01T00:00:00", "2026-10-01T00:00:00"),
        (&records[2], "2026-11-01T00:00:00", "2026-12-01T00:00:00"),
    ] {
        let created = TimeRange { from: Some(at(from)), until: Some(at(until)) };
        let filter = RunQuery { created, ..RunQuery::default() }.within(all.tenant_id);
        let found = reader.search_runs(&filter, &Page::newest(10), Some(100)).await.unwrap();
        assert_eq!((found.rows.len(), found.total.value, found.rows[0].id), (1, 1, record.id()));
    }
    assert!(reader.record(records[2].key()).await.unwrap().is_some(), "found ended in the newest month");
    assert!(reader.record(records[0].key()).await.is_err(), "the damaged month lies on the way");
}
