//! A writer killed at any moment: what it was told is stored is there.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use difylog::domain::record::RecordKey;
use difylog::domain::{Kind, Record, RecordId, TenantId, Verdict};
use difylog::store::sqlite::{SqliteSettings, SqliteStore};
use difylog::store::{BulkSink as _, LogReader as _, StoreAdmin as _};

use crate::support::records::{actions, app, at, ended, json, later, run};

/// Tells the case that it is the child, and its directory.
const DIR: &str = "DIFYLOG_TEST_KILL_DIR";
const CASE: &str = "contract::sqlite_kill::what_was_stored_survives_the_kill_of_the_process";

fn store(dir: &str) -> SqliteStore {
    SqliteStore::new(SqliteSettings { dir: dir.into(), ..SqliteSettings::default() }).unwrap()
}

/// Stores runs for ever and prints each once it has its verdict.
async fn child(dir: &str) {
    let store = store(dir);
    let (tenant, app) = (crate::support::records::tenant(), app());
    let mut out = std::io::stdout();
    for number in 0.. {
        let mut run = ended(run(tenant, app, later(at("2026-11-01T00:00:00"), number)), 1_000);
        run.inputs = json(&format!(r#""{}""#, "text ".repeat(400)));
        let key = (run.tenant_id, run.id);
        let verdicts = store.apply(&actions(Record::Run(Box::new(run)))).await.unwrap();
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Stored));
        writeln!(out, "stored {} {}", key.0, key.1).unwrap();
    }
}

#[tokio::test]
async fn what_was_stored_survives_the_kill_of_the_process() {
    if let Ok(dir) = std::env::var(DIR) {
        return child(&dir).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    store(path).install().await.unwrap();
    for lines in [1, 50, 333] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", CASE, "--nocapture"])
            .env(DIR, path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut output = output.filter_map(|line| key(&line));
        let mut told: Vec<RecordKey> = output.by_ref().take(lines).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before it was killed.
        told.extend(output);
        assert!(told.len() >= lines, "the child ended by itself");
        let store = store(path);
        for key in told {
            let document = store.record(key).await.unwrap().unwrap();
            let Record::Run(run) = document.record else { unreachable!() };
            assert!(run.graph.is_some());
        }
    }
}

fn key(line: &str) -> Option<RecordKey> {
    let (tenant_id, id) = line.split_once("stored ")?.1.split_once(' ')?;
    let (tenant_id, id): (TenantId, RecordId) = (tenant_id.parse().ok()?, id.parse().ok()?);
    Some(RecordKey { tenant_id, kind: Kind::WorkflowRun, id })
}
