//! Connections: several hosts, credentials, compression.

use std::io::Read as _;

use difylog::domain::FaultKind;
use difylog::store::BulkSink as _;
use difylog::store::elastic::{ElasticSettings, ElasticStore, Secret};

use crate::scripted_engine::{Reply, ScriptedEngine};
use crate::{BULK, app_logs, settings};

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
    let expected = "filter_path=items.*.status%2Citems.*.error.type%2Citems.*.error.reason&timeout=15000ms";
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
