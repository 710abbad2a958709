//! Dify's recorded HTTP answers, in their shapes.

use std::sync::Arc;

use difylog::domain::TenantId;
use difylog::http::api::ServeSettings;
use serde_json::Value;

use crate::api::harness::{ADMIN_KEY, Server};
use crate::golden::load;
use crate::support::memory::MemoryStore;

/// Same fields, same values. Two differ on purpose: `next` is ours, and a log list that is not asked for them
/// (`errors=true`) reads no error texts of runs.
fn same(path: &str, ours: &Value, difys: &Value, with_errors: bool) {
    match (ours, difys) {
        (Value::Object(ours), Value::Object(difys)) => {
            let extra: Vec<_> = ours.keys().filter(|key| !difys.contains_key(*key) && *key != "next").collect();
            assert!(extra.is_empty() || path.contains("/inputs") || path.contains("outputs"), "{path}: {extra:?}");
            for (key, value) in difys {
                if path.ends_with("/workflow_run") && key == "error" && !with_errors {
                    assert!(ours[key].is_null());
                    continue;
                }
                let own = ours.get(key).unwrap_or_else(|| panic!("{path}: no {key}"));
                same(&format!("{path}/{key}"), own, value, with_errors);
            }
        }
        (Value::Array(ours), Value::Array(difys)) => {
            assert_eq!(ours.len(), difys.len(), "{path}");
            ours.iter().zip(difys).enumerate().for_each(|(place, (one, other))| {
                same(&format!("{path}/{place}"), one, other, with_errors);
            });
        }
        _ => assert_eq!(ours, difys, "{path}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn difys_answers_over_http() {
    let loaded = load::double().await;
    let server = Server::over(
        loaded.service.clone(),
        Arc::new(MemoryStore::default()),
        TenantId::new(uuid::Uuid::new_v4()),
        ServeSettings::default(),
        tempfile::tempdir().unwrap(),
    );
    let mut asked = 0;
    for case in load::cases() {
        let Some(endpoint) = case["method"].as_str().unwrap().strip_prefix("http:GET ") else { continue };
        let args = &case["args"];
        let text = |name: &str| args[name].as_str().unwrap_or_default().to_owned();
        let path = if endpoint == "workflow-runs/{id}" {
            // The recorded call names the run only.
            let run =
                server.ask("GET", &format!("/v1/admin/runs/{}", text("run_id")), Some(ADMIN_KEY), None).await.json();
            let part = |name: &str| run[name].as_str().unwrap().to_owned();
            format!("{}/apps/{}/workflow-runs/{}", part("tenant_id"), part("app_id"), text("run_id"))
        } else {
            let query: Vec<_> = ["triggered_from", "limit", "page", "status", "keyword"]
                .iter()
                .filter(|name| !args[**name].is_null())
                .map(|name| {
                    format!("{name}={}", args[*name].as_str().map_or_else(|| args[*name].to_string(), str::to_owned))
                })
                .collect();
            let endpoint = endpoint.replace("{id}", &text("run_id"));
            let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
            format!("{}/apps/{}/{endpoint}{query}", text("tenant_id"), text("app_id"))
        };
        let is_logs = endpoint == "workflow-app-logs";
        let ways = [("", !is_logs), ("&errors=false", !is_logs), ("&errors=true", true)];
        for (more, with_errors) in ways.into_iter().take(if is_logs { 3 } else { 1 }) {
            let answer = server.ask("GET", &format!("/v1/tenants/{path}{more}"), Some(ADMIN_KEY), None).await;
            assert_eq!(answer.status, 200, "{path}{more}: {}", answer.text);
            same(endpoint, &answer.json(), &case["result"], with_errors);
        }
        asked += 1;
    }
    assert_eq!(asked, 9);
}
