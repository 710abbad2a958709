//! Dify's service API and the messages of chats, over Dify's own tables in a real PostgreSQL.

use difylog::domain::{AppId, Record, RunStatus, TenantId, WorkflowRun};
use difylog::postgres::{Database, PostgresSettings};

use crate::console::place::Place;
use crate::support::postgres::{Postgres, Schema};
use crate::support::records;

/// As Dify 1.10 makes them, without what nobody here reads.
const TABLES: &str = "
    CREATE TABLE tenants (id uuid PRIMARY KEY, status varchar(255) NOT NULL);
    CREATE TABLE tenant_account_joins (tenant_id uuid NOT NULL, account_id uuid NOT NULL, role varchar(16) NOT NULL);
    CREATE TABLE apps (id uuid PRIMARY KEY, tenant_id uuid NOT NULL, mode varchar(255) NOT NULL,
                       status varchar(255) NOT NULL DEFAULT 'normal', enable_api boolean NOT NULL);
    CREATE TABLE api_tokens (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), app_id uuid, type varchar(16) NOT NULL,
                             token varchar(255) NOT NULL, last_used_at timestamp, tenant_id uuid);
    CREATE INDEX api_token_token_idx ON api_tokens (token, type);
    CREATE TABLE messages (id uuid PRIMARY KEY, app_id uuid NOT NULL, conversation_id uuid NOT NULL,
                           workflow_run_id uuid, created_at timestamp NOT NULL DEFAULT now());
    CREATE INDEX message_app_id_idx ON messages (app_id, created_at);";

fn tables() -> Postgres {
    let postgres = Postgres::empty(Schema::V10);
    postgres.sql(TABLES);
    postgres
}

/// A workspace with an owner, and an app of a mode in it, in Dify's tables and in the stand-in.
fn app(place: &Place, postgres: &Postgres, mode: &'static str, key: &str) -> (TenantId, AppId) {
    let (tenant, owner) = (records::tenant(), records::id());
    let app = place.app(tenant, mode);
    place.dify.tables.lock().unwrap().keys.insert(key.to_owned(), app);
    postgres.sql(&format!(
        "INSERT INTO tenants VALUES ('{tenant}', 'normal');
         INSERT INTO accounts (id, name, email) VALUES ('{owner}', 'o', 'o@example.com');
         INSERT INTO tenant_account_joins VALUES ('{tenant}', '{owner}', 'owner');
         INSERT INTO apps VALUES ('{app}', '{tenant}', '{mode}', 'normal', true);
         INSERT INTO api_tokens (app_id, type, token) VALUES ('{app}', 'app', '{key}');"
    ));
    (tenant, app)
}

fn ended(tenant: TenantId, app: AppId) -> WorkflowRun {
    let mut run = records::run(tenant, app, records::at("2025-12-01T00:00:00.9Z"));
    run.status = RunStatus::Succeeded;
    run.finished_at = Some(records::later(run.created_at, 2_000_000));
    run.inputs = records::json(r#"{"q": "退款", "n": 1.0}"#);
    run.outputs = records::json(r#"{"answer": "stored"}"#);
    run
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apps_key_reads_its_runs_and_logs_from_the_store() {
    let postgres = tables();
    let place = Place::with(true, Some(postgres.database())).await;
    let (tenant, app) = app(&place, &postgres, "workflow", "app-one");
    let run = ended(tenant, app);
    let log = records::app_log(tenant, app, run.id, run.created_at);
    place.store([Record::Run(Box::new(run.clone())), Record::AppLog(Box::new(log.clone()))]).await;
    let found = place.ask_with_key("app-one", &format!("/v1/workflows/run/{}", run.id)).await;
    assert_eq!(place.asked(), 0, "Dify was not asked about a run that has ended");
    let found = found.json();
    // Payloads are the texts of Dify's columns, as Python spells them.
    assert_eq!(found["inputs"], r#"{"q": "\u9000\u6b3e", "n": 1.0}"#);
    assert_eq!(found["outputs"], r#"{"answer": "stored"}"#);
    assert_eq!((&found["id"], &found["status"]), (&run.id.to_string().into(), &"succeeded".into()));
    assert_eq!((&found["created_at"], &found["finished_at"]), (&1_764_547_200.into(), &1_764_547_202.into()));
    assert_eq!(found["workflow_id"], run.workflow_id.to_string());
    let names: Vec<_> = found.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names.len(), 11, "{names:?}");
    let page = place.ask_with_key("app-one", "/v1/workflows/logs?status=succeeded&limit=5").await.json();
    assert_eq!((&page["total"], &page["data"][0]["id"]), (&1.into(), &log.id.to_string().into()));
    // What Dify judges is Dify's: a status that its service API does not know.
    let asked = place.asked();
    place.ask_with_key("app-one", "/v1/workflows/logs?status=running").await;
    assert_eq!(place.asked(), asked + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outputs_have_the_shape_of_difys_version() {
    let postgres = tables();
    for (version, expected) in [
        ("1.12.1", serde_json::json!(r#"{"answer": "stored"}"#)),
        ("1.13.0", serde_json::json!({ "answer": "stored" })),
        // Of a version that cannot be told, the answer is Dify's own, which has no such run here.
        ("unknown", serde_json::Value::Null),
    ] {
        let place = Place::with(true, Some(postgres.database())).await;
        place.dify.tables.lock().unwrap().version = version;
        let (tenant, app) = app(&place, &postgres, "workflow", version);
        let (run, empty) = (ended(tenant, app), WorkflowRun { outputs: None, ..ended(tenant, app) });
        place.store([&run, &empty].map(|run| Record::Run(Box::new(run.clone())))).await;
        let outputs = async |run: &WorkflowRun| {
            let path = format!("/v1/workflows/run/{}", run.id);
            place.ask_with_key(version, &path).await.json()["outputs"].clone()
        };
        assert_eq!(outputs(&run).await, expected, "{version}");
        assert_eq!(outputs(&empty).await.is_null(), version != "1.13.0", "{version}: a run without outputs");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_opens_its_own_app_and_only_where_dify_would() {
    let postgres = tables();
    let place = Place::with(true, Some(postgres.database())).await;
    let (tenant, one) = app(&place, &postgres, "workflow", "app-one");
    app(&place, &postgres, "workflow", "app-other");
    let run = ended(tenant, one);
    place.store([Record::Run(Box::new(run.clone()))]).await;
    let path = format!("/v1/workflows/run/{}", run.id);
    let holds = async |key: &str| place.ask_with_key(key, &path).await.text.contains("stored");
    assert!(holds("app-one").await);
    for key in ["app-other", "app-none", "", "APP-ONE", "app-one app-one"] {
        assert!(!holds(key).await, "{key:?}");
    }
    for (key, fault) in [
        ("disabled", "UPDATE apps SET enable_api = false WHERE id = '{app}'"),
        ("gone", "UPDATE apps SET status = 'archived' WHERE id = '{app}'"),
        ("closed", "UPDATE tenants SET status = 'archive' WHERE id = '{tenant}'"),
        ("orphan", "DELETE FROM tenant_account_joins WHERE tenant_id = '{tenant}'"),
        ("dataset", "UPDATE api_tokens SET type = 'dataset' WHERE token = 'dataset'"),
        (
            "twice",
            "INSERT INTO api_tokens (app_id, type, token) SELECT id, 'app', 'twice' FROM apps WHERE id <> '{app}'",
        ),
    ] {
        let (tenant, app) = app(&place, &postgres, "workflow", key);
        let run = ended(tenant, app);
        place.store([Record::Run(Box::new(run.clone()))]).await;
        postgres.sql(&fault.replace("{app}", &app.to_string()).replace("{tenant}", &tenant.to_string()));
        let asked = place.asked();
        let answer = place.ask_with_key(key, &format!("/v1/workflows/run/{}", run.id)).await;
        assert!(!answer.text.contains("stored") && place.asked() == asked + 1, "{key}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tables_to_ask_the_service_api_is_difys_own() {
    let nobody =
        PostgresSettings { url: "postgres://u@127.0.0.1:1/dify".parse().unwrap(), ..PostgresSettings::default() };
    for database in [None, Some(Database::open(&nobody).unwrap())] {
        let place = Place::with(true, database).await;
        let tenant = records::tenant();
        let app = place.app(tenant, "workflow");
        place.dify.tables.lock().unwrap().keys.insert("app-one".to_owned(), app);
        let run = ended(tenant, app);
        place.store([Record::Run(Box::new(run.clone()))]).await;
        place.dify.tables.lock().unwrap().runs.push(run.clone());
        for _ in 0..2 {
            let answer = place.ask_with_key("app-one", &format!("/v1/workflows/run/{}", run.id)).await.json();
            assert_eq!(answer["answered_by"], "dify");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chats_runs_that_only_the_store_has_name_their_messages() {
    let postgres = tables();
    let place = Place::with(true, Some(postgres.database())).await;
    let (tenant, app) = app(&place, &postgres, "advanced-chat", "app-chat");
    place.user("anna", &[tenant]);
    let (answered, silent) = (ended(tenant, app), ended(tenant, app));
    place.store([&answered, &silent].map(|run| Record::Run(Box::new(run.clone())))).await;
    let (message, conversation) = (records::id(), records::id());
    postgres.sql(&format!(
        "INSERT INTO messages VALUES ('{message}', '{app}', '{conversation}', '{}');
         INSERT INTO messages VALUES (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), '{}');",
        answered.id, silent.id
    ));
    let path = format!("/console/api/apps/{app}/advanced-chat/workflow-runs?triggered_from=app-run");
    let page = place.ask("anna", &path).await.json();
    let row = |run: &WorkflowRun| {
        let found = page["data"].as_array().unwrap().iter().find(|row| row["id"] == run.id.to_string());
        found.unwrap_or_else(|| panic!("{page}")).clone()
    };
    assert_eq!(row(&answered)["message_id"], message.to_string());
    assert_eq!(row(&answered)["conversation_id"], conversation.to_string());
    // Another app's message is not its own.
    assert!(row(&silent)["message_id"].is_null() && row(&silent)["conversation_id"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_page_with_details_as_the_console_asks_for_it() {
    let postgres = tables();
    for database in [None, Some(postgres.database())] {
        let knows_notes = database.is_some();
        let place = Place::with(true, database).await;
        let tenant = records::tenant();
        let app = place.app(tenant, "workflow");
        place.user("anna", &[tenant]);
        let path = format!("/console/api/apps/{app}/workflow-app-logs?detail=true");
        let put = async |run: &WorkflowRun| {
            let log = records::app_log(tenant, app, run.id, run.created_at);
            place.store([Record::Run(Box::new(run.clone())), Record::AppLog(Box::new(log))]).await;
        };
        put(&ended(tenant, app)).await;
        let page = place.ask("anna", &path).await.json();
        assert_eq!(page["data"][0]["details"], serde_json::json!({ "trigger_metadata": {} }));
        let triggered = async |trigger: &str, note: &serde_json::Value| {
            let mut run = ended(tenant, app);
            run.triggered_from = trigger.into();
            postgres.sql(&format!(
                "INSERT INTO workflow_trigger_logs (tenant_id, app_id, workflow_id, workflow_run_id, root_node_id,
                    trigger_metadata, trigger_type, trigger_data, inputs, status, queue_name, retry_count, created_by_role,
                    created_by)
                 VALUES ('{tenant}', '{app}', '{app}', '{}', '1', '{note}', 'trigger-{trigger}', '{{}}', '{{}}',
                    'succeeded', 'q', 0, 'account', '{app}')",
                run.id
            ));
            put(&run).await;
            run.id.to_string()
        };
        let hooked = triggered("webhook", &serde_json::json!({ "type": "trigger-webhook" })).await;
        let note = serde_json::json!({ "type": "trigger-plugin", "icon_filename": "5f.svg", "icon_dark_filename": "" });
        let plugged = triggered("plugin", &note).await;
        let page = place.ask("anna", &path).await.json();
        // Without Dify's tables only Dify can tell, whose table of logs is empty here.
        assert_eq!(page["total"], if knows_notes { 3 } else { 0 }, "{page}");
        if knows_notes {
            let noted = |run: &str| {
                let rows = page["data"].as_array().unwrap();
                let row = rows.iter().find(|row| row["workflow_run"]["id"] == run).unwrap();
                row["details"]["trigger_metadata"].clone()
            };
            assert_eq!(noted(&hooked), serde_json::json!({ "type": "trigger-webhook" }));
            let icon = format!("/console/api/workspaces/current/plugin/icon?tenant_id={tenant}&filename=5f.svg");
            assert_eq!(
                (&noted(&plugged)["icon"], &noted(&plugged)["icon_dark"]),
                (&icon.into(), &serde_json::Value::Null)
            );
        }
    }
}
