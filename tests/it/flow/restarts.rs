//! The broker and the engine are restarted under load, and nobody touches the worker.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::effort::rounds;
use crate::support::load::Load;
use crate::support::site::{Site, StoreUnderTest, needed};

/// A server of this test alone, driven by the scripts in `tests/servers`; stopped when dropped.
struct Server {
    script: &'static str,
    /// Arguments between the verb and the folder: the engine's name.
    name: Option<String>,
    folder: TempDir,
}

impl Server {
    fn start(script: &'static str, name: Option<String>) -> Self {
        let server = Self { script, name, folder: TempDir::new().unwrap() };
        server.verb("start");
        server
    }

    fn verb(&self, verb: &str) -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(self.script);
        let mut command = Command::new(script);
        command.arg(verb).args(&self.name).arg(self.folder.path().join("node"));
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {verb} failed: {errors}", self.script);
        String::from_utf8(output.stdout).unwrap()
    }

    fn url(&self) -> String {
        self.verb("env").lines().find_map(|line| line.split_once('=')).unwrap().1.trim_matches(['"', '\'']).to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(self.script);
        let _ = Command::new(script).arg("stop").args(&self.name).arg(self.folder.path().join("node")).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_and_engine_restart_again_and_again() {
    let broker = Server::start("rabbitmq.sh", None);
    let engine = Server::start("engine.sh", Some(needed("DIFYLOG_TEST_ENGINE_NAME")));
    let store = StoreUnderTest::Engine { url: engine.url(), tenancy: "dedicated" };
    let site = Site::with(&store, &broker.url(), "");
    site.setup();
    let mut worker = site.worker();
    let pid = worker.pid();
    worker.ready().await;

    let mut loads = Vec::new();
    for round in 0..rounds(3, 5_u64) {
        let load = Load::new(100 + round, 3_000);
        load.write_events(&site.file("events.jsonl"));
        site.ok(&["publish", "--events", site.file("events.jsonl").to_str().unwrap()]);
        loads.push(load);
        // Both in the middle of the work: the messages were confirmed a moment ago.
        broker.verb("restart");
        if round % 2 == 0 {
            engine.verb(if round == 2 { "kill" } else { "stop" });
            engine.verb("start");
        }
    }
    Load::joined(loads).stored(180, &site, &worker).await;
    assert_eq!(worker.has_ended(), None, "the worker is still the first one");
    assert_eq!(worker.pid(), pid);
    assert_eq!(site.depth("dead").await, 0);
}
