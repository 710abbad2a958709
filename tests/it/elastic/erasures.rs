//! Removal of which an engine does a part.

use difylog::domain::Kind;
use difylog::domain::record::RecordKey;
use difylog::store::{Eraser as _, Erasure, Remains};
use serde_json::json;

use crate::elastic::{BULK, store};
use crate::support::records;
use crate::support::scripted_engine::{Reply, ScriptedEngine};

const INDEX: &str = "dify-workflow-runs-2026.11";

#[tokio::test]
async fn what_went_before_a_fault_can_be_written_again_at_once() {
    let engine = ScriptedEngine::start().await;
    engine.script_prefix("GET /dify-workflow-runs-", Reply::json(200, &json!({ INDEX: { "aliases": {} } })));
    let tenant_id = records::tenant();
    let keys = [records::id(), records::id()].map(|id| RecordKey { tenant_id, kind: Kind::WorkflowRun, id });
    let hit = |key: RecordKey| {
        let (tenant, id) = (tenant_id.to_string(), key.id.to_string());
        json!({ "_index": INDEX, "_id": format!("{tenant}:{id}"), "_routing": tenant, "sort": [1_763_911_714_000_000_000_i64, id],
            "fields": { "id": [id], "tenant_id": [tenant], "revision": [7] } })
    };
    let found = json!({ "timed_out": false, "hits": { "hits": keys.map(hit) } });
    engine.script_prefix("POST /dify-workflow-runs-", Reply::json(200, &found));
    engine.script(BULK, Reply::items("delete", &[200, 429]));
    let erasures = keys.map(|key| Erasure { key, revision: None });
    let error = store(&engine).erase(&erasures, Remains::Nothing).await.unwrap_err();
    assert!(error.to_string().contains("429"), "{error}");
    // The engine forgets the version of what it deleted with a refresh.
    let asked: Vec<_> = engine.requests("POST /").into_iter().map(|request| request.target).collect();
    assert_eq!(asked.last(), Some(&format!("POST /{INDEX}/_refresh")), "{asked:?}");
}
