//! Connections: several hosts, credentials, compression.

use std::io::Read as _;

use difylog::domain::FaultKind;
use difylog::store::elastic::{ElasticSettings, ElasticStore, Secret};
use difylog::store::{BulkSink as _, StoreAdmin as _, StoreOverview as _};

use crate::elastic::BULK;
use crate::elastic::app_logs;
use crate::elastic::settings;
use crate::support::scripted_engine::{Reply, ScriptedEngine};

/// An address where nothing listens.
async fn dead_host() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn hosts_take_turns() {
    let engines = [ScriptedEngine::start().await, ScriptedEngine::start().await];
    let hosts = engines.iter().map(|engine| engine.url.clone()).collect();
    let store = ElasticStore::new(ElasticSettings { hosts, ..ElasticSettings::default() }).unwrap();
    let actions = app_logs(1);
    for _ in 0..20 {
        // The engines are no cluster: what one created, the other has not.
        store.apply(&actions).await.unwrap();
    }
    for engine in &engines {
        assert!(engine.requests(BULK).len() >= 9);
    }
}

#[tokio::test]
async fn a_dead_host_is_passed_over() {
    let engine = ScriptedEngine::start().await;
    let hosts = vec![dead_host().await, engine.url.clone(), dead_host().await];
    let store = ElasticStore::new(ElasticSettings { hosts, ..ElasticSettings::default() }).unwrap();
    let actions = app_logs(1);
    for _ in 0..10 {
        store.apply(&actions).await.unwrap();
    }
    // A connection that breaks is no end either: the others are asked, and all of them failing is a fault.
    engine.script(BULK, Reply::Reset);
    assert_eq!(store.apply(&actions).await.unwrap_err().kind, FaultKind::Unreachable);
    assert!(store.apply(&actions).await.is_ok(), "a host in retirement is asked when there is no other");
}

#[tokio::test]
async fn credentials_and_media_types_are_sent() {
    let engine = ScriptedEngine::start().await;
    let store = ElasticStore::new(ElasticSettings {
        username: Some("elastic".into()),
        password: Some(Secret::new("pass:word")),
        ..settings(&engine)
    });
    store.unwrap().apply(&app_logs(1)).await.unwrap();
    let request = &engine.requests(BULK)[0];
    assert_eq!(request.headers["authorization"], "Basic ZWxhc3RpYzpwYXNzOndvcmQ=");
    assert_eq!(request.headers["content-type"], "application/x-ndjson");
    assert_eq!(request.headers["accept"], "application/json");
    let expected =
        "filter_path=items.*.status%2Citems.*._seq_no%2Citems.*.error.type%2Citems.*.error.reason&timeout=2000ms";
    assert_eq!(request.query, expected);
    let created = &engine.requests("PUT /dify-workflow-app-logs-")[0];
    assert_eq!(created.headers["content-type"], "application/json");
}

#[tokio::test]
async fn bodies_are_compressed_on_request() {
    let engine = ScriptedEngine::start().await;
    engine.script(BULK, Reply::items("index", &[201]));
    let store = ElasticStore::new(ElasticSettings { gzip: true, ..settings(&engine) }).unwrap();
    store.apply(&app_logs(1)).await.unwrap();
    let request = &engine.requests(BULK)[0];
    assert_eq!(request.headers["content-encoding"], "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(request.body.as_slice()).read_to_string(&mut text).unwrap();
    assert!(text.starts_with(r#"{"index":{"_index":"dify-workflow-app-logs-"#));
}

/// A host that accepts connections and never answers, and one that answers what no engine says.
#[tokio::test]
async fn a_silent_or_foreign_host_is_passed_over_by_reads_and_writes() {
    let engine = ScriptedEngine::start().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            held.push(stream);
        }
    });
    let foreign = ScriptedEngine::start().await;
    for method in ["GET", "POST", "PUT"] {
        foreign.script_prefix(method, Reply::text(200, "<html>welcome</html>"));
    }
    for bad in [silent_url, foreign.url.clone()] {
        // Whichever comes first: the good one is asked.
        for hosts in [[bad.clone(), engine.url.clone()], [engine.url.clone(), bad.clone()]] {
            let hosts = hosts.to_vec();
            let store =
                ElasticStore::new(ElasticSettings { hosts, timeout_seconds: 600, ..settings(&engine) }).unwrap();
            store.install().await.unwrap();
            store.check().await.unwrap();
            for _ in 0..3 {
                store.apply(&app_logs(1)).await.unwrap();
                store.probe().await.unwrap();
            }
        }
    }
    held.abort();
}

#[tokio::test]
async fn a_redirect_is_no_answer_and_names_the_address() {
    let moved =
        |status| Reply::text(status, "").header("location", "https://user:secret@search.example.com:9243/x?y=secret");
    for status in [301, 302, 303, 307, 308] {
        let engine = ScriptedEngine::start().await;
        for method in ["GET", "POST", "PUT"] {
            engine.script_prefix(method, moved(status));
        }
        let store = ElasticStore::new(settings(&engine)).unwrap();
        let fault = store.apply(&app_logs(1)).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unreachable);
        for result in [store.check().await, store.install().await] {
            let words = result.unwrap_err().to_string();
            for word in ["https://search.example.com:9243", "store.elastic.hosts", &status.to_string()] {
                assert!(words.contains(word), "{words}");
            }
            assert!(!words.contains("secret"), "{words}");
        }
        assert!(engine.requests("GET /_bulk").is_empty());
    }
}

#[tokio::test]
async fn a_port_that_speaks_the_other_protocol_is_named() {
    let engine = ScriptedEngine::start().await;
    let hosts = vec![engine.url.replace("http://", "https://")];
    let store = ElasticStore::new(ElasticSettings { hosts, verify_certs: false, ..settings(&engine) }).unwrap();
    let fault = store.apply(&app_logs(1)).await.unwrap_err();
    assert!(fault.detail.contains("http://"), "{}", fault.detail);
}

#[tokio::test]
async fn a_byte_order_mark_is_no_part_of_an_answer() {
    let engine = ScriptedEngine::start().await;
    engine.script(BULK, Reply::text(200, "\u{feff}{\"items\":[{\"index\":{\"status\":201}}]}"));
    let store = ElasticStore::new(settings(&engine)).unwrap();
    assert_eq!(store.apply(&app_logs(1)).await.unwrap(), [difylog::domain::Verdict::Stored]);
}
