//! The commands as an operator runs them.

use std::fs;
use std::sync::Arc;

use difylog::app::{self, Stores};
use difylog::domain::document::ContentHash;
use difylog::domain::{BulkAction, Month, Record, TenantId, Verdict};
use difylog::store::elastic::ElasticStore;
use difylog::store::payload::{PayloadSettings, PayloadStore};
use difylog::store::sqlite::SqliteStore;
use difylog::store::{BulkSink, StoreAdmin};

use crate::backup::cases::truncated;
use crate::backup::place::shared_directory;
use crate::support::records::{self, actions, at, ended, run, sha256, tenant};
use crate::support::site::{Site, StoreUnderTest, needed};

const NO_BROKER: &str = "amqp://127.0.0.1:9";

async fn fill(store: &(impl BulkSink + StoreAdmin)) {
    for created_at in ["2026-09-10T00:00:00Z", "2026-11-10T00:00:00Z"] {
        let run = ended(run(tenant(), records::app(), at(created_at)), 7);
        store.apply(&actions(Record::Run(Box::new(run)))).await.unwrap();
    }
    store.close().await;
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Stores a document with its full text, as a worker of the site would. Answers how the text is named.
async fn write_truncated(site: &Site, tenant_id: TenantId, created_at: &str) -> (Month, ContentHash) {
    let (document, text) = truncated(tenant_id, created_at);
    let (month, sha256) = (document.month(), sha256(text.as_str()));
    let Stores { store, payloads } = app::open_stores(&site.settings).unwrap();
    payloads.put(tenant_id, month, sha256, Arc::new(text)).await.unwrap();
    let verdicts = store.apply(&[BulkAction::Document(Arc::new(document))]).await.unwrap();
    assert_eq!(verdicts, [Verdict::Stored]);
    store.refresh().await.unwrap();
    store.close().await;
    (month, sha256)
}

/// Restores a backup beside the store that it is of, which was written to since and goes on.
async fn restored_beside_the_live_store(site: &Site, into: &str) {
    let tenant_id = tenant();
    let (month, before) = write_truncated(site, tenant_id, "2026-09-10T00:00:00Z").await;
    site.ok(&["backup", "create"]);
    let (_, since) = write_truncated(site, tenant_id, "2026-09-11T00:00:00Z").await;
    let said = site.ok(&["backup", "restore", "latest", "--into", into]);
    let live = PayloadStore::open(&site.settings.payloads).unwrap();
    for text in [before, since] {
        assert!(live.has(tenant_id, month, text).await.unwrap(), "a full text of the live store is gone");
    }
    // A sweep of either store removes what its own documents do not name.
    let place = said.split('"').nth(1).unwrap_or_else(|| panic!("no place of full texts is named: {said}"));
    let apart = PayloadStore::open(&PayloadSettings { dir: place.into(), s3: None }).unwrap();
    assert!(apart.has(tenant_id, month, before).await.unwrap(), "{said}");
    assert!(!apart.has(tenant_id, month, since).await.unwrap());
    let verified = site.ok(&["backup", "verify", "latest", "--in", into]);
    assert!(verified.contains("equal"), "{verified}");
    site.ok(&["backup", "verify", "latest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_restored_beside_the_live_store() {
    let site = Site::with(&StoreUnderTest::Sqlite, NO_BROKER, "");
    let text = fs::read_to_string(site.file("difylog.toml")).unwrap();
    let backup = format!("{text}\n[backup]\ndir = \"{}\"\n", site.file("backups").display());
    fs::write(site.file("difylog.toml"), backup).unwrap();
    app::open_stores(&site.settings).unwrap().store.install().await.unwrap();
    restored_beside_the_live_store(&site, site.file("elsewhere").to_str().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_is_restored_beside_the_live_store() {
    let url = needed("DIFYLOG_TEST_ENGINE_URL");
    let site = Site::with(&StoreUnderTest::engine("dedicated"), NO_BROKER, "");
    let text = fs::read_to_string(site.file("difylog.toml")).unwrap();
    let location = shared_directory(&url).await.join(&site.name);
    let (dir, location) = (site.file("backups"), location.display());
    let backup = format!("dir = \"{}\"\nrepository = \"{}\"\nlocation = \"{location}\"\n", dir.display(), site.name);
    fs::write(site.file("difylog.toml"), format!("{text}\n[backup]\n{backup}")).unwrap();
    app::open_stores(&site.settings).unwrap().store.install().await.unwrap();
    restored_beside_the_live_store(&site, &format!("x{}", site.name)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_from_the_command_line() {
    let site = Site::with(&StoreUnderTest::Sqlite, NO_BROKER, "");
    let backups = site.file("backups");
    let text = fs::read_to_string(site.file("difylog.toml")).unwrap();
    fs::write(site.file("difylog.toml"), format!("{text}\n[backup]\ndir = \"{}\"\n", backups.display())).unwrap();
    let none = site.run(&["backup", "verify", "latest"]);
    assert_eq!(none.status.code(), Some(1), "{}", said(&none));
    assert!(said(&none).contains("difylog backup create"), "{}", said(&none));
    assert!(site.run(&["setup"]).status.code().is_some());
    fill(&SqliteStore::new(site.settings.store.sqlite.clone()).unwrap()).await;

    let created: serde_json::Value = serde_json::from_str(&site.ok(&["backup", "create", "--json"])).unwrap();
    let id = created["id"].as_str().unwrap();
    assert!(site.ok(&["backup", "list"]).contains(id));
    assert!(site.ok(&["backup", "verify", id, "--copies"]).contains("equal"));

    fs::remove_dir_all(&site.settings.store.sqlite.dir).unwrap();
    let refused = site.run(&["backup", "verify", id]);
    assert_ne!(refused.status.code(), Some(0), "{}", said(&refused));
    site.ok(&["backup", "restore", "latest"]);
    let verified = site.ok(&["backup", "verify", "latest"]);
    assert_eq!(verified.matches("equal").count(), 2, "{verified}");
    let again = site.run(&["backup", "restore", "latest"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("--into"), "{}", said(&again));

    let elsewhere = site.file("elsewhere");
    site.ok(&["backup", "restore", id, "--into", elsewhere.to_str().unwrap()]);
    site.ok(&["backup", "verify", id, "--in", elsewhere.to_str().unwrap()]);
    // A byte of the copy changes.
    let copy = backups.join(format!("months/2026-09-{id}/difylog-2026-09.db"));
    let mut bytes = fs::read(&copy).unwrap();
    let answer = bytes.windows(4).position(|window| window == b"done").unwrap();
    bytes[answer] = b'D';
    fs::write(&copy, bytes).unwrap();
    let damaged = site.run(&["backup", "verify", id, "--copies"]);
    assert_eq!(damaged.status.code(), Some(1));
    assert!(said(&damaged).contains("DAMAGED"), "{}", said(&damaged));
    for wrong in ["../../etc/passwd", "20990101t000000z"] {
        let unknown = site.run(&["backup", "verify", wrong]);
        assert_eq!(unknown.status.code(), Some(1), "{}", said(&unknown));
        assert!(said(&unknown).contains("difylog backup list"), "{}", said(&unknown));
    }
    site.ok(&["backup", "delete", id]);
    assert!(!site.ok(&["backup", "list"]).contains(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn engine_from_the_command_line() {
    let url = needed("DIFYLOG_TEST_ENGINE_URL");
    let site = Site::with(&StoreUnderTest::engine("shared"), NO_BROKER, "");
    let text = fs::read_to_string(site.file("difylog.toml")).unwrap();
    let configure = |more: &str| {
        let backup = format!("{text}\n[backup]\ndir = \"{}\"\n{more}", site.file("backups").display());
        fs::write(site.file("difylog.toml"), backup).unwrap();
    };
    let store = ElasticStore::new(site.settings.store.elastic.clone()).unwrap();
    store.install().await.unwrap();
    fill(&store).await;

    configure(&format!("repository = \"{}\"\n", site.name));
    let missing = site.run(&["backup", "create"]);
    assert_eq!(missing.status.code(), Some(4));
    assert!(said(&missing).contains(&site.name) && said(&missing).contains("backup.location"), "{}", said(&missing));
    configure(&format!("repository = \"{}\"\nlocation = \"/not/allowed\"\n", site.name));
    let refused = site.run(&["backup", "create"]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(said(&refused).contains("path.repo"), "{}", said(&refused));

    let location = shared_directory(&url).await.join(&site.name);
    configure(&format!("repository = \"{}\"\nlocation = \"{}\"\n", site.name, location.display()));
    site.ok(&["backup", "create"]);
    let other = format!("x{}", site.name);
    site.ok(&["backup", "restore", "latest", "--into", &other]);
    let verified = site.ok(&["backup", "verify", "latest", "--in", &other]);
    assert_eq!(verified.matches("equal").count(), 2, "{verified}");
    site.ok(&["backup", "verify", "latest"]);
}
