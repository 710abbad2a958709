//! Keys come, go and end while `difylog serve` runs, and what is read with them is a line in its log.

use std::time::Duration;

use difylog::domain::Record;
use difylog::http::api::ApiKey;
use difylog::store::sqlite::SqliteStore;
use difylog::store::{BulkSink as _, StoreAdmin as _};

use super::serving::Serving;
use crate::support::records;
use crate::support::site::{Site, StoreUnderTest};

fn key(name: &str, more: &str) -> String {
    format!("[[keys]]\nname = \"{name}\"\nsha256 = \"{}\"\nadmin = true\n{more}\n", records::sha256(name))
}

/// A site with one run whose keys are in a file.
async fn site(keys: &str) -> (Site, difylog::domain::WorkflowRun, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    std::fs::write(&path, keys).unwrap();
    let more = format!("[serve]\nkeys_file = \"{}\"\n", path.display());
    let site = Site::with(&StoreUnderTest::Sqlite, "amqp://127.0.0.1:9", &more);
    let store = SqliteStore::new(site.settings.store.sqlite.clone()).unwrap();
    store.install().await.unwrap();
    let run = records::run(records::tenant(), records::app(), records::at("2025-12-01T00:00:00Z"));
    store.apply(&records::actions(Record::Run(Box::new(run.clone())))).await.unwrap();
    store.close().await;
    (site, run, folder)
}

/// Asks until the answer has this status.
async fn until(serving: &Serving, path: &str, key: &str, status: u16) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let answer = serving.ask("GET", path, key).await;
        if answer.starts_with(&format!("HTTP/1.1 {status}")) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{key}: {answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_keys_is_read_again_when_it_changes() {
    let (site, run, _folder) = site(&key("first", "expires = \"2099-01-01\"")).await;
    let file = site.settings.serve.keys_file.clone().unwrap();
    let serving = Serving::start(site).await;
    let path = format!("/v1/tenants/{}/runs/{}", run.tenant_id, run.id);
    until(&serving, &path, "first", 200).await;
    let past = key("past", "expires = \"2020-01-01T00:00:00Z\"");
    // In place of the other file, as an editor or a mounted secret does it.
    let replaced = file.with_extension("new");
    std::fs::write(&replaced, format!("{}{past}", key("second", ""))).unwrap();
    std::fs::rename(&replaced, &file).unwrap();
    until(&serving, &path, "second", 200).await;
    until(&serving, &path, "first", 401).await;
    until(&serving, &path, "past", 401).await;
    std::fs::write(&file, "[[keys]]\nname = \"broken\"\nsha256 = \"a-secret\"\n").unwrap();
    serving.logged("the keys stay as they were").await;
    until(&serving, &path, "second", 200).await;
    std::fs::write(&file, "").unwrap();
    until(&serving, &path, "second", 401).await;
    assert!(!serving.log().contains("a-secret"), "{}", serving.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_a_line_with_the_key_and_the_ids() {
    let (site, run, _folder) = site(&key("reader", "")).await;
    let serving = Serving::start(site).await;
    let base = format!("/v1/tenants/{}", run.tenant_id);
    until(&serving, &format!("{base}/runs/{}?full=true", run.id), "reader", 200).await;
    serving.logged(&format!("run_id={}", run.id)).await;
    until(&serving, &format!("{base}/export/runs?q=hello"), "reader", 200).await;
    serving.logged("audit=\"export\"").await;
    until(&serving, &format!("{base}/runs?q=hello"), "reader", 200).await;
    let absent = records::id();
    until(&serving, &format!("{base}/runs/{absent}"), "reader", 404).await;
    let log = serving.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("audit=")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].contains("key=\"reader\"") && lines[0].contains(&run.tenant_id.to_string()), "{log}");
    assert!(!log.contains("hello") && !log.contains(&absent.to_string()), "{log}");
}

#[test]
fn a_key_whose_end_is_no_date_is_named() {
    let key = ApiKey {
        name: "me".into(),
        sha256: records::sha256("x").to_string(),
        tenants: Vec::new(),
        admin: true,
        apps: None,
        rights: vec![difylog::http::api::Right::Read],
        expires: Some("soon".into()),
    };
    let settings = difylog::http::api::ServeSettings { keys: vec![key], ..Default::default() };
    let said = settings.validate().unwrap_err().to_string();
    assert!(said.contains("keys: me: expires") && said.contains("2026-12-31"), "{said}");
}
