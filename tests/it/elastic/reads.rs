//! Reads while an index is only being created, and while shards are lost.

use difylog::domain::TenantSet;
use difylog::domain::query::{Page, RunQuery};
use difylog::store::{Eraser as _, LogReader as _};

use crate::elastic::store;
use crate::support::records;
use crate::support::scripted_engine::{Reply, ScriptedEngine};

const NO_SHARD: &str =
    r#"{"error":{"type":"search_phase_execution_exception","reason":"all shards failed"},"status":503}"#;

async fn newest_runs(engine: &ScriptedEngine) -> bool {
    let (tenant_id, app_id) = (records::tenant(), records::app());
    let index = r#"{"dify-workflow-runs-2026.11":{"aliases":{}}}"#;
    engine.script_prefix("GET /dify-workflow-runs-", Reply::text(200, index));
    let filter = RunQuery { app_id: Some(app_id), ..RunQuery::default() }.within(tenant_id);
    store(engine).runs(&filter, &Page::newest(10)).await.is_ok()
}

#[tokio::test]
async fn shards_that_are_starting_are_waited_for() {
    let engine = ScriptedEngine::start().await;
    engine.script_prefix_times(2, "POST /dify-workflow-runs-", Reply::text(503, NO_SHARD));
    engine.script_prefix_times(2, "GET /_cluster/health/", Reply::text(200, "{}"));
    engine.script_prefix("POST /dify-workflow-runs-", Reply::text(200, r#"{"timed_out":false,"hits":{"hits":[]}}"#));
    assert!(newest_runs(&engine).await);
    assert_eq!(engine.requests("GET /_cluster/health/dify-workflow-*").len(), 2);
}

#[tokio::test]
async fn lost_shards_are_an_error_and_not_a_gap() {
    let engine = ScriptedEngine::start().await;
    engine.script_prefix("POST /dify-workflow-runs-", Reply::text(503, NO_SHARD));
    engine.script_prefix("GET /_cluster/health/", Reply::text(408, r#"{"timed_out":true}"#));
    assert!(!newest_runs(&engine).await);
    assert_eq!(engine.requests("POST /dify-workflow-runs-").len(), 5, "bounded");
}

#[tokio::test]
async fn a_shard_that_is_not_refreshed_is_an_error_and_not_a_gap() {
    let engine = ScriptedEngine::start().await;
    let partial = r#"{"_shards":{"total":2,"successful":1,"failed":1},"hits":{"hits":[]}}"#;
    engine.script_prefix("POST /dify-workflow-", Reply::text(200, partial));
    let month = records::at("2026-11-01T00:00:00").month();
    let named = store(&engine).named_texts(records::tenant(), month, &[records::sha256("a")]).await;
    assert!(named.unwrap_err().to_string().contains("1 shards did not take part"));
}

/// A count passes over shards of which no copy is there, and calls that no failure.
#[tokio::test]
async fn a_month_is_not_dropped_while_a_shard_of_it_is_away() {
    let engine = ScriptedEngine::start().await;
    engine.script_prefix("GET /dify-workflow-", Reply::text(200, r#"{"dify-workflow-runs-2026.10":{"aliases":{}}}"#));
    engine.script_prefix("GET /dify-difylog-state/", Reply::text(404, r#"{"found":false}"#));
    engine.script_prefix("PUT /dify-difylog-state/", Reply::text(201, r#"{"_seq_no":0,"_primary_term":1}"#));
    let partial = r#"{"count":0,"_shards":{"total":5,"successful":4,"skipped":0,"failed":0}}"#;
    engine.script_prefix("POST /dify-workflow-", Reply::text(200, partial));
    engine.script_prefix("DELETE /", Reply::text(200, r#"{"acknowledged":true}"#));
    let (past, at) = (TenantSet::AllBut([records::tenant()].into()), records::at("2026-11-30T00:00:00"));
    let retired = store(&engine).retire_month("2026-10".parse().unwrap(), &past, at).await;
    assert!(engine.requests("DELETE /").is_empty(), "{retired:?}");
    assert!(retired.unwrap_err().to_string().contains("1 shards did not take part"));
}

#[tokio::test]
async fn a_search_that_times_out_is_an_error_and_not_a_gap() {
    let engine = ScriptedEngine::start().await;
    let partial = Reply::text(200, r#"{"timed_out":true,"hits":{"hits":[]}}"#);
    engine.script_prefix("POST /dify-workflow-runs-", partial);
    engine.script_prefix("GET /_cluster/health/", Reply::text(200, "{}"));
    assert!(!newest_runs(&engine).await);
    assert_eq!(engine.requests("POST /dify-workflow-runs-").len(), 5, "bounded");
}
