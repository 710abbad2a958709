//! Names of creators: of members only, and never a reason to keep an answer back.

use std::sync::Arc;
use std::time::Duration;

use difylog::domain::Record;
use difylog::http::api::ServeSettings;
use difylog::postgres::{Database, PostgresSettings};
use difylog::query::{DifyDirectory, Directory as _};
use serde_json::json;

use crate::api::harness::{Server, TENANT_KEY};
use crate::support::memory::MemoryStore;
use crate::support::postgres::{Postgres, Schema};
use crate::support::records;
use crate::support::service::service;

/// An API whose names come from this database.
fn server(settings: &PostgresSettings) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let double = Arc::new(MemoryStore::default());
    let directory = DifyDirectory::new(Database::open(settings).unwrap()).within(Duration::from_secs(2));
    let service = service(&double, folder.path(), directory);
    Server::over(service, double, records::tenant(), ServeSettings::default(), folder)
}

#[tokio::test]
async fn without_the_database_answers_have_ids_and_say_so() {
    let away = PostgresSettings {
        url: "postgres://postgres@127.0.0.1:1/dify".parse().unwrap(),
        ..PostgresSettings::default()
    };
    let server = server(&away);
    let app = records::app();
    let run = records::run(server.tenant_id, app, records::at("2025-12-01T00:00:00Z"));
    let node = records::node(server.tenant_id, app, run.id, 1, run.created_at);
    let mut log = records::app_log(server.tenant_id, app, run.id, run.created_at);
    (log.created_by_role, log.creator) = ("account".into(), Some("carried@b.c".into()));
    let (id, creator) = (run.id, run.created_by.to_string());
    server.store([Record::Run(Box::new(run)), Record::Node(Box::new(node)), Record::AppLog(Box::new(log))]).await;
    let listed = server.ok(&format!("/apps/{app}/workflow-runs")).await;
    assert_eq!((&listed["names"], listed["data"].as_array().unwrap().len()), (&"unavailable".into(), 1));
    let shown = server.ok(&format!("/apps/{app}/workflow-runs/{id}")).await;
    assert_eq!(shown["names"], "unavailable");
    assert!(shown.to_string().contains(&creator), "{shown}");
    let nodes = server.ok(&format!("/apps/{app}/workflow-runs/{id}/node-executions")).await;
    assert_eq!(nodes["data"][0]["names"], "unavailable");
    let logs = server.ok(&format!("/apps/{app}/workflow-app-logs")).await;
    assert_eq!(
        (&logs["names"], &logs["data"][0]["created_by_account"]["email"]),
        (&"unavailable".into(), &"carried@b.c".into())
    );
    let found = server.ok(&format!("/apps/{app}/workflow-app-logs?keyword=x")).await;
    assert_eq!(found["incomplete"], true);
    for filter in ["created_by_account=a@b.c", "created_by_end_user_session_id=x"] {
        let answer = server.get(&format!("/apps/{app}/workflow-app-logs?{filter}")).await;
        assert_eq!((answer.status, answer.problem().as_str()), (503, "directory_unavailable"));
        assert!(!answer.text.contains("127.0.0.1") && answer.text.contains("leave it out"), "{}", answer.text);
    }
    for list in ["/runs", "/nodes"] {
        let found = server.ok(list).await;
        assert_eq!((&found["names"], &found["data"][0]["app_name"]), (&json!("unavailable"), &json!(null)), "{list}");
    }
    assert_eq!(server.ok("/apps").await["names"], "unavailable");
}

#[tokio::test]
async fn a_name_is_shown_to_the_tenants_of_its_account_only() {
    let postgres = Postgres::empty(Schema::V12);
    let [member, foreign] = [records::id(), records::id()];
    let [ours, theirs] = [records::tenant(), records::tenant()];
    postgres.sql(&format!(
        "INSERT INTO accounts (id, name, email) VALUES ('{member}', 'Ann', 'ann@ours'), ('{foreign}', 'Eve', 'eve@theirs')"
    ));
    let directory = DifyDirectory::new(postgres.database()).within(Duration::from_secs(30));
    let all = directory.accounts(theirs, &[member, foreign]).await;
    assert_eq!(
        (all.found.len(), all.complete),
        (2, true),
        "a database without memberships does not tell accounts apart"
    );
    postgres.sql(&format!(
        "CREATE TABLE tenant_account_joins (tenant_id uuid NOT NULL, account_id uuid NOT NULL);
         INSERT INTO tenant_account_joins VALUES ('{ours}', '{member}'), ('{theirs}', '{foreign}')"
    ));
    let directory = DifyDirectory::new(postgres.database()).within(Duration::from_secs(30));
    for _ in 0..2 {
        let found = directory.accounts(ours, &[member, foreign]).await;
        let names: Vec<_> = found.found.iter().map(|account| account.name.as_deref().unwrap()).collect();
        assert_eq!((names, found.complete), (vec!["Ann"], true));
    }
    assert_eq!(directory.accounts(theirs, &[member]).await.found, []);
}

#[tokio::test]
async fn apps_have_names_in_their_own_tenant_and_a_key_says_what_it_reaches() {
    let postgres = Postgres::empty(Schema::V12);
    let server = server(&postgres.settings());
    let (tenant, foreign) = (server.tenant_id, records::tenant());
    let [ours, theirs, unknown] = [records::app(), records::app(), records::app()];
    postgres.sql(&format!(
        "CREATE TABLE apps (id uuid PRIMARY KEY, tenant_id uuid NOT NULL, name varchar NOT NULL, mode varchar NOT NULL, \
           icon_type varchar, icon varchar);
         CREATE TABLE tenants (id uuid PRIMARY KEY, name varchar NOT NULL);
         INSERT INTO apps VALUES ('{ours}', '{tenant}', 'Parcel <desk>', 'workflow', 'emoji', '📦'), \
           ('{theirs}', '{foreign}', 'Secret plan', 'workflow', 'image', 'file-id');
         INSERT INTO tenants VALUES ('{tenant}', 'Ours'), ('{foreign}', 'Theirs')"
    ));
    let run = |app| Record::Run(Box::new(records::run(tenant, app, records::at("2025-12-01T00:00:00Z"))));
    // A run may name any app: it is what its producer says.
    server.store([run(ours), run(ours), run(theirs), run(unknown)]).await;
    let apps = server.ok("/apps").await;
    assert_eq!(
        apps["data"][0],
        json!({"id": ours.to_string(), "name": "Parcel <desk>", "mode": "workflow", "icon": "📦", "runs": 2})
    );
    assert_eq!((apps["data"].as_array().unwrap().len(), &apps["names"]), (3, &json!(null)));
    assert!(!apps.to_string().contains("Secret"), "{apps}");
    let found = server.ok("/runs").await;
    let mut names: Vec<_> = found["data"].as_array().unwrap().iter().map(|row| row["app_name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        (names, &found["names"]),
        (vec![None, None, Some("Parcel <desk>"), Some("Parcel <desk>")], &json!(null))
    );
    let me = server.ask("GET", "/v1/me", Some(TENANT_KEY), None).await.json();
    assert_eq!(me["tenants"], json!([{"id": tenant.to_string(), "name": "Ours"}]));
    assert_eq!(
        (&me["key"], &me["admin"], &me["rights"]),
        (&json!("tenant"), &json!(false), &json!(["read", "delete"]))
    );
    assert_eq!(server.ask("GET", "/v1/me", None, None).await.status, 401);
}
