//! An answer that is no verdict is a fault of the whole request, of the kind that says how to react.

use std::time::Duration;

use difylog::domain::{FaultKind, SinkFault};
use difylog::store::elastic::{ElasticSettings, ElasticStore};
use difylog::store::{BulkSink as _, StoreAdmin as _, StoreError, StoreOverview as _};

use crate::elastic::BULK;
use crate::elastic::app_logs;
use crate::elastic::settings;
use crate::elastic::store;
use crate::support::scripted_engine::{Reply, ScriptedEngine};

async fn fault(reply: Reply) -> SinkFault {
    let engine = ScriptedEngine::start().await;
    engine.script(BULK, reply);
    store(&engine).apply(&app_logs(2)).await.unwrap_err()
}

const REJECTED: &str = r#"{"error":{"type":"es_rejected_execution_exception","reason":"queue full"},"status":429}"#;

#[tokio::test]
async fn every_fault_has_its_kind() {
    use FaultKind::{Malformed, Overloaded, TooLarge, Unauthorized, Unreachable};
    for (reply, kind, words) in [
        (Reply::text(429, REJECTED), Overloaded, "queue full"),
        (Reply::text(500, "oops"), Overloaded, "HTTP 500"),
        (Reply::text(502, "<html>bad gateway</html>"), Overloaded, "HTTP 502"),
        (Reply::text(503, ""), Overloaded, "HTTP 503"),
        (Reply::text(504, ""), Overloaded, "HTTP 504"),
        (Reply::text(401, ""), Unauthorized, "HTTP 401"),
        (Reply::text(403, ""), Unauthorized, "HTTP 403"),
        (Reply::text(413, ""), TooLarge, "HTTP 413"),
        (Reply::text(400, r#"{"error":"no handler found"}"#), Malformed, "no handler found"),
        (Reply::text(404, ""), Malformed, "HTTP 404"),
        (Reply::text(200, "<html>login</html>"), Malformed, "JSON"),
        (Reply::text(200, "{}"), Malformed, "JSON"),
        (Reply::items("index", &[201]), Malformed, "1 items for 2 actions"),
        (Reply::items("index", &[201, 201, 201]), Malformed, "3 items for 2 actions"),
        (Reply::BreakOff, Unreachable, "broke off"),
        (Reply::Reset, Unreachable, "127.0.0.1"),
    ] {
        let label = format!("{reply:?}");
        let fault = fault(reply).await;
        assert_eq!(fault.kind, kind, "{label}");
        assert!(fault.detail.contains(words), "{label}: {}", fault.detail);
        assert_eq!(fault.retry_after, None);
    }
}

#[tokio::test]
async fn retry_after_is_passed_on_up_to_a_minute() {
    for (said, seconds) in [("7", 7), ("3600", 60), ("18446744073709551615", 60)] {
        let fault = fault(Reply::text(429, REJECTED).header("retry-after", said)).await;
        assert_eq!((fault.kind, fault.retry_after), (FaultKind::Overloaded, Some(Duration::from_secs(seconds))));
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_unreachable_in_time() {
    let engine = ScriptedEngine::start().await;
    engine.script(BULK, Reply::Silence);
    let store = ElasticStore::new(ElasticSettings { timeout_seconds: 1, ..settings(&engine) }).unwrap();
    let fault = store.apply(&app_logs(1)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable);
    assert!(fault.detail.contains("timeout_seconds"), "{}", fault.detail);
}

#[tokio::test]
async fn a_fault_leaves_the_store_usable() {
    let engine = ScriptedEngine::start().await;
    let (store, actions) = (store(&engine), app_logs(1));
    for reply in [Reply::Reset, Reply::BreakOff, Reply::text(503, "")] {
        engine.script(BULK, reply);
        assert!(store.apply(&actions).await.is_err());
        assert!(store.apply(&actions).await.is_ok());
    }
}

#[tokio::test]
async fn a_probe_tells_the_state_of_the_set_up() {
    let engine = ScriptedEngine::start().await;
    let store = store(&engine);
    let fault = store.probe().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotSetUp);
    assert!(fault.detail.contains("difylog setup"), "{}", fault.detail);
    store.install().await.unwrap();
    assert_eq!(store.probe().await, Ok(()));
    engine.script("GET /_index_template/dify-workflow-*", Reply::text(503, ""));
    assert_eq!(store.probe().await.unwrap_err().kind, FaultKind::Overloaded);
}

#[tokio::test]
async fn a_server_of_another_kind_is_refused_by_name() {
    let engine = ScriptedEngine::start().await;
    engine.script("GET /", Reply::text(200, r#"{"version":{"number":"6.8.0"}}"#));
    let Err(StoreError::Corrupt(words)) = store(&engine).check().await else { panic!("refused") };
    assert!(words.contains("Elasticsearch 6.8.0") && words.contains("supported are"), "{words}");
}
