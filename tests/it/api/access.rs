//! Who may ask what.

use difylog::domain::Record;
use serde_json::json;

use crate::api::harness::{ADMIN_KEY, READ_KEY, Server, TENANT_KEY};
use crate::support::records;

#[tokio::test]
async fn without_a_known_key_nothing_is_answered() {
    let server = Server::new();
    let path = format!("/v1/tenants/{}/runs", server.tenant_id);
    for key in [None, Some(""), Some("wrong"), Some("key-of-a-tenant2")] {
        let answer = server.ask("GET", &path, key, None).await;
        assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthorized"), "{key:?}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    assert_eq!(server.ask("GET", &path, Some(TENANT_KEY), None).await.status, 200);
}

#[tokio::test]
async fn a_foreign_tenant_is_as_if_absent() {
    let server = Server::new();
    let (foreign, app_id) = (records::tenant(), records::app());
    let run = records::run(foreign, app_id, records::at("2025-12-01T00:00:00Z"));
    let id = run.id;
    server.store([Record::Run(Box::new(run))]).await;
    for path in [
        format!("/runs/{id}"),
        "/runs".into(),
        format!("/apps/{app_id}/workflow-runs"),
        format!("/apps/{app_id}/workflow-runs/{id}"),
        "/export/runs".into(),
    ] {
        let there = server.ask("GET", &format!("/v1/tenants/{foreign}{path}"), Some(TENANT_KEY), None).await;
        assert_eq!((there.status, there.problem().as_str()), (404, "not_found"), "{path}");
        assert!(!there.text.contains(&id.to_string()));
        let by_admin = server.ask("GET", &format!("/v1/tenants/{foreign}{path}"), Some(ADMIN_KEY), None).await;
        assert_eq!(by_admin.status, 200, "{path}: {}", by_admin.text);
        assert!(by_admin.text.contains(&id.to_string()), "{path}");
    }
    assert_eq!(server.get(&format!("/runs/{id}")).await.status, 404);
}

#[tokio::test]
async fn reading_deleting_and_crossing_tenants_are_separate_rights() {
    let server = Server::new();
    let run = records::run(server.tenant_id, records::app(), records::at("2025-12-01T00:00:00Z"));
    let node = records::node(server.tenant_id, run.app_id, run.id, 1, run.created_at);
    let path = format!("/v1/tenants/{}/runs/{}?related=true", server.tenant_id, run.id);
    let admin = format!("/v1/admin/runs/{}", run.id);
    server.store([Record::Run(Box::new(run)), Record::Node(Box::new(node))]).await;
    assert_eq!(server.ask("DELETE", &path, Some(READ_KEY), None).await.problem(), "forbidden");
    assert_eq!(server.ask("GET", &admin, Some(TENANT_KEY), None).await.problem(), "forbidden");
    assert_eq!(server.ask("GET", &admin, Some(ADMIN_KEY), None).await.status, 200);
    let deleted = server.ask("DELETE", &path, Some(TENANT_KEY), None).await;
    assert_eq!(deleted.json(), json!({"runs": 1, "node_executions": 1, "offloads": 0, "app_logs": 0}));
    assert_eq!(server.ask("DELETE", &path, Some(TENANT_KEY), None).await.status, 404);
    assert_eq!(server.ask("GET", &admin, Some(ADMIN_KEY), None).await.status, 404);
}
