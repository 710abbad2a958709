//! Indices are created before they are written to, with difylog's shape, or the actions wait with a clear cause.

use difylog::domain::{FaultKind, Verdict};
use difylog::store::BulkSink as _;

use crate::elastic::BULK;
use crate::elastic::app_logs;
use crate::elastic::store;
use crate::support::scripted_engine::{Reply, ScriptedEngine};

/// The cause for which all actions are held.
async fn cause(engine: &ScriptedEngine) -> String {
    let actions = app_logs(2);
    let verdicts = store(engine).apply(&actions).await.unwrap();
    let [Verdict::Retry(first), Verdict::Retry(_)] = verdicts.as_slice() else { panic!("{verdicts:?}") };
    assert!(engine.requests(BULK).is_empty(), "nothing is written");
    first.detail.clone()
}

#[tokio::test]
async fn a_new_index_carries_mapping_and_settings_itself() {
    let engine = ScriptedEngine::start().await;
    store(&engine).apply(&app_logs(1)).await.unwrap();
    let created = engine.requests("PUT /dify-workflow-app-logs-");
    let body: serde_json::Value = serde_json::from_slice(&created[0].body).unwrap();
    assert_eq!(body["mappings"]["dynamic"], false);
    assert_eq!(body["mappings"]["properties"]["created_at"]["type"], "date_nanos");
    assert_eq!(body["settings"]["index"]["translog"]["durability"], "request");
}

#[tokio::test]
async fn a_full_cluster_is_said_before_its_limit() {
    let engine = ScriptedEngine::start().await;
    let health = r#"{"active_shards":900,"initializing_shards":0,"unassigned_shards":49,"number_of_data_nodes":1}"#;
    engine.script("GET /_cluster/health", Reply::text(200, health));
    let cause = cause(&engine).await;
    assert!(cause.contains("takes 1000 shards") && cause.contains("max_shards_per_node"), "{cause}");
}

#[tokio::test]
async fn a_cluster_that_does_not_tell_its_limit_decides_itself() {
    let engine = ScriptedEngine::start().await;
    engine.script("GET /_cluster/settings", Reply::text(403, ""));
    assert_eq!(store(&engine).apply(&app_logs(1)).await, Ok(vec![Verdict::Stored]));
}

#[tokio::test]
async fn an_index_that_something_else_created_is_left_alone() {
    let engine = ScriptedEngine::start().await;
    engine.script_prefix("GET /dify-workflow-app-logs-", Reply::text(200, "{}"));
    let cause = cause(&engine).await;
    assert!(cause.contains("was not created by difylog"), "{cause}");
}

#[tokio::test]
async fn losing_the_race_to_create_is_no_fault() {
    let engine = ScriptedEngine::start().await;
    let exists = r#"{"error":{"type":"resource_already_exists_exception","reason":"exists"},"status":400}"#;
    engine.script_prefix("PUT /dify-workflow-app-logs-", Reply::text(400, exists));
    assert_eq!(store(&engine).apply(&app_logs(1)).await, Ok(vec![Verdict::Stored]));
}

#[tokio::test]
async fn the_engine_s_own_limit_holds_the_actions() {
    let engine = ScriptedEngine::start().await;
    let full = r#"{"error":{"type":"validation_exception","reason":"Validation Failed: 1: this action would add [2] shards, but this cluster currently has [1000]/[1000] maximum shards open;"},"status":400}"#;
    engine.script_prefix("PUT /dify-workflow-app-logs-", Reply::text(400, full));
    let cause = cause(&engine).await;
    assert!(cause.contains("max_shards_per_node"), "{cause}");
}

#[tokio::test]
async fn missing_rights_hold_the_whole_request() {
    let engine = ScriptedEngine::start().await;
    engine.script_prefix("PUT /dify-workflow-app-logs-", Reply::text(403, ""));
    let fault = store(&engine).apply(&app_logs(1)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unauthorized);
}
