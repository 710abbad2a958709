//! Processes beside a worker on one SQLite folder: a server that reads and deletes, and a second worker.

use std::process::Stdio;

use difylog::domain::{Kind, Record};
use sha2::{Digest as _, Sha256};

use crate::support::load::Load;
use crate::support::server::Killed;
use crate::support::site::{Site, StoreUnderTest, eventually, free_address, needed};

const KEY: &str = "key-of-the-test";

/// `difylog serve` as a process; killed when dropped.
struct Server {
    _child: Killed,
    base: String,
}

/// A site over SQLite whose API has one key for everything.
fn site() -> (Site, String) {
    let address = free_address();
    let hash = difylog::domain::document::ContentHash::new(Sha256::digest(KEY).into());
    let more = format!(
        "[serve]\nlisten = \"{address}\"\n[[serve.keys]]\nname = \"test\"\nsha256 = \"{hash}\"\nadmin = true\n\
         rights = [\"read\", \"delete\"]\n"
    );
    (Site::with(&StoreUnderTest::Sqlite, &needed("DIFYLOG_TEST_AMQP_URL"), &more), address)
}

fn serve(site: &Site, address: &str) -> Server {
    let log = std::fs::File::create(site.file("serve.log")).unwrap();
    let child = site.command(&["serve"]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    Server { _child: Killed(child), base: format!("http://{address}") }
}

impl Server {
    async fn ready(&self) {
        eventually(60, "the server is ready", async || {
            reqwest::get(format!("{}/readyz", self.base)).await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }

    async fn delete(&self, record: &Record) -> (u16, String) {
        let url = format!("{}/v1/tenants/{}/runs/{}?related=true", self.base, record.tenant_id(), record.id());
        let answer = reqwest::Client::new().delete(url).bearer_auth(KEY).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

fn publish(site: &Site, load: &Load) {
    let path = site.file("events.jsonl");
    load.write_events(&path);
    site.ok(&["publish", "--events", path.to_str().unwrap()]);
}

fn runs(load: &Load) -> Vec<&Record> {
    let mut runs: Vec<&Record> = load.records.iter().filter(|record| record.key().kind == Kind::WorkflowRun).collect();
    runs.sort_by_key(|run| run.id());
    runs.dedup_by_key(|run| run.id());
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_keeps_no_worker_out_and_its_deletions_are_done() {
    let (site, address) = site();
    site.setup();
    // The server is there first, and is asked whether it is ready.
    let server = serve(&site, &address);
    server.ready().await;
    let load = Load::new(71, 400);
    publish(&site, &load);
    let mut worker = site.worker();
    worker.ready().await;
    worker.acked(120, load.records.len()).await;
    server.ready().await;
    let runs = runs(&load);
    // The worker does it while it runs, the server by itself once it has ended.
    let (status, text) = server.delete(runs[0]).await;
    assert_eq!(status, 200, "{text}");
    assert!(worker.is_ready().await);
    assert_eq!(server.delete(runs[0]).await.0, 404, "it is gone");
    assert!(worker.terminate().await.success(), "{}", site.log());
    let (status, text) = server.delete(runs[1]).await;
    assert_eq!(status, 200, "{text}");
    let mut worker = site.worker();
    worker.ready().await;
    for run in &runs[..2] {
        assert_eq!(site.store().record(run.key()).await, Ok(None));
    }
    assert!(site.store().record(runs[2].key()).await.unwrap().is_some());
    assert!(worker.has_ended().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_ends_before_it_takes_a_message() {
    let (site, _) = site();
    site.setup();
    let mut first = site.worker();
    first.ready().await;
    let second = site.command(&["worker"]).env("DIFYLOG__HTTP__LISTEN", "").output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(4), "{said}");
    assert!(said.contains(&format!("another difylog (pid {}) writes to", first.pid())), "{said}");
    let load = Load::new(72, 300);
    publish(&site, &load);
    load.stored(60, &site, &first).await;
    first.acked(60, load.records.len()).await;
}
