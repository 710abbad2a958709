//! A deletion goes on without its request, and the server does not end before it.

use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use difylog::domain::{BulkAction, Record};
use difylog::http::api::{Api, Right, ServeSettings};
use difylog::query::NoDirectory;
use difylog::store::BulkSink as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::subscriber::NoSubscriber;

use crate::support::keys::key;
use crate::support::memory::MemoryStore;
use crate::support::records;
use crate::support::service::service;
use crate::support::site::eventually;

const KEY: &str = "key-that-deletes";

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// All on one thread: its subscriber is this test's alone.
#[tokio::test]
async fn a_server_that_stops_waits_for_a_deletion_whose_request_is_gone() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    // As long as there is one subscriber alone, the thread that comes to a line first says for all threads whether anybody
    // reads it (tracing-core, `Rebuilder::JustOne`): another case that deletes would silence this one's line.
    let _another = tracing::Dispatch::new(NoSubscriber::default());
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::default());
    let service = service(&store, folder.path(), NoDirectory);
    let (tenant, app) = (records::tenant(), records::app());
    let run = records::run(tenant, app, records::at("2025-12-01T00:00:00Z"));
    let actions: Vec<BulkAction> = records::actions(Record::Run(Box::new(run)));
    store.apply(&actions).await.unwrap();
    let keys = vec![key("deleter", KEY, vec![tenant.to_string()], &[Right::Delete])];
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
    let stop = CancellationToken::new();
    let settings = ServeSettings { keys, ..ServeSettings::default() };
    let api = Api::new(service, settings, store.clone(), metrics, stop.clone()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(api.serve(listener));

    let held_back = store.hold().await;
    let mut request = TcpStream::connect(address).await.unwrap();
    let head = format!("DELETE /v1/tenants/{tenant}/apps/{app}/workflow-runs HTTP/1.1\r\nHost: x\r\n");
    request.write_all(format!("{head}Authorization: Bearer {KEY}\r\n\r\n").as_bytes()).await.unwrap();
    store.held().await;
    drop(request);
    stop.cancel();
    eventually(30, "the server takes no connection", async || TcpStream::connect(address).await.is_err()).await;
    // Whatever can go on without the deletion has gone on.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(!serving.is_finished() && !log.text().contains("deleted all runs"), "{}", log.text());
    drop(held_back);
    serving.await.unwrap().unwrap();
    let text = log.text();
    let line = text.lines().find(|line| line.contains("deleted all runs of an app")).expect(&text);
    assert!(line.contains("audit=\"delete\"") && line.contains(&app.to_string()), "{line}");
    assert!(store.ids(difylog::domain::Kind::WorkflowRun).is_empty());
}
