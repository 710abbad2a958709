//! What a key without the right to reveal sees: the same records, with what is masked in no answer.

use difylog::codec::mask::MaskSettings;
use difylog::codec::truncate::Limits;
use difylog::domain::{NodeStatus, Record, RunStatus};
use difylog::http::api::ServeSettings;

use crate::api::harness::{READ_KEY, REVEAL_KEY, Server};
use crate::support::records;

/// A full text that is read back is masked as what it is, not as it is kept: `\n4111…` of JSON has no border of a word.
#[tokio::test]
async fn the_full_text_of_a_cut_error_is_the_text_and_is_masked() {
    let server = Server::with(settings());
    let error = format!("refused:\n4111111111111111 of \"Ann\"\\n{}", " again".repeat(2_000));
    let mut run =
        records::ended(records::run(server.tenant_id, records::app(), records::at("2025-12-01T00:00:00Z")), 7);
    (run.status, run.error) = (RunStatus::Failed, Some(error.as_str().into()));
    let mut node = records::node(server.tenant_id, run.app_id, run.id, 1, run.created_at);
    (node.status, node.error) = (NodeStatus::Failed, run.error.clone());
    let (run_id, node_id) = (run.id, node.id);
    for record in [Record::Run(Box::new(run)), Record::Node(Box::new(node))] {
        server.store_cut(record, &Limits { field_bytes: 1_000, ..Limits::default() }).await;
    }
    for path in [format!("runs/{run_id}"), format!("nodes/{node_id}")] {
        let ask = async |key, full| {
            let path = format!("/v1/tenants/{}/{path}?full={full}", server.tenant_id);
            server.ask("GET", &path, Some(key), None).await.json()["error"].as_str().unwrap().to_owned()
        };
        assert!(ask(REVEAL_KEY, false).await.len() < 1_100, "{path}");
        assert_eq!(ask(REVEAL_KEY, true).await, error, "{path}");
        assert_eq!(ask(READ_KEY, true).await, error.replace("4111111111111111", "***"), "{path}");
    }
}

const SECRETS: [&str; 3] = ["open sesame", "4111111111111111", "hunter2"];

fn settings() -> ServeSettings {
    let mask = MaskSettings {
        fields: vec!["password".into(), "inputs.user.word".into()],
        patterns: vec![r"\b\d{16}\b".into()],
    };
    ServeSettings { mask, ..ServeSettings::default() }
}

#[tokio::test]
async fn no_answer_holds_what_is_masked_and_a_key_that_reveals_sees_it() {
    let server = Server::with(settings());
    let (tenant, app) = (server.tenant_id, records::app());
    let mut run = records::ended(records::run(tenant, app, records::at("2025-12-01T00:00:00Z")), 1_000_000);
    run.inputs = records::json(r#"{"user": {"word": "open sesame"}, "card": 4111111111111111, "kept": 1.50}"#);
    run.outputs = records::json(r#"{"password": "hunter2", "text": "paid with 4111111111111111"}"#);
    (run.status, run.error) = (RunStatus::Failed, Some("no such card 4111111111111111".into()));
    let mut node = records::node(tenant, app, run.id, 1, run.created_at);
    (node.status, node.inputs) = (NodeStatus::Failed, run.outputs.clone());
    (node.process_data, node.error) = (run.outputs.clone(), run.error.clone());
    let log = records::app_log(tenant, app, run.id, run.created_at);
    let (id, node_id) = (run.id, node.id);
    server.store([Record::Run(Box::new(run)), Record::Node(Box::new(node)), Record::AppLog(Box::new(log))]).await;
    let mut revealed = 0;
    for path in [
        format!("/runs/{id}"),
        format!("/runs/{id}?full=true"),
        format!("/runs/{id}/compare/{id}"),
        format!("/nodes/{node_id}"),
        "/runs?q=card&in=inputs,outputs,error".into(),
        "/runs?q=hunter2&in=outputs".into(),
        "/nodes?q=card&in=error,inputs,process_data".into(),
        "/export/runs".into(),
        "/export/runs?format=csv".into(),
        "/export/nodes".into(),
        "/errors".into(),
        format!("/apps/{app}/workflow-runs"),
        format!("/apps/{app}/workflow-runs/{id}"),
        format!("/apps/{app}/workflow-runs/{id}/node-executions"),
        format!("/apps/{app}/workflow-app-logs?errors=true"),
    ] {
        let path = format!("/v1/tenants/{tenant}{path}");
        let masked = server.ask("GET", &path, Some(READ_KEY), None).await;
        assert_eq!(masked.status, 200, "{path}: {}", masked.text);
        for secret in SECRETS {
            assert!(!masked.text.contains(secret), "{path}: {}", masked.text);
        }
        let whole = server.ask("GET", &path, Some(REVEAL_KEY), None).await;
        revealed += usize::from(SECRETS.iter().any(|secret| whole.text.contains(secret)));
    }
    assert!(revealed >= 10, "{revealed}");
    let shown = server.ask("GET", &format!("/v1/tenants/{tenant}/runs/{id}"), Some(READ_KEY), None).await.json();
    assert_eq!(shown["inputs"].to_string(), r#"{"user":{"word":"***"},"card":"***","kept":1.5}"#);
    let admin = server.ask("GET", &format!("/v1/admin/runs/{id}"), Some(crate::api::harness::ADMIN_KEY), None).await;
    assert!(admin.status == 200 && !admin.text.contains("hunter2"), "{}", admin.text);
}
