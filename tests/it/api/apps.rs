//! A key that is limited to apps: no answer of any path tells that its tenant has another app. The paths are those of the
//! OpenAPI document, so that a new one is asked as well. Over SQLite.

use std::collections::BTreeSet;
use std::sync::Arc;

use difylog::domain::TenantId;
use difylog::http::api::{ApiKey, Right, ServeSettings};
use serde_json::{Value, json};

use crate::support::app_records::{AppRecords, AppsDirectory};
use crate::support::keys::key;
use crate::support::records;
use crate::ui::harness::{Beside, Place};

const APP_KEY: &str = "key-of-an-app";
const TENANT_KEY: &str = "key-of-the-tenant";
/// Methods in the order in which they are asked: what deletes comes last.
const METHODS: [&str; 3] = ["get", "post", "delete"];

fn keys(tenant_id: TenantId, app: &AppRecords) -> Vec<ApiKey> {
    let tenants = vec![tenant_id.to_string()];
    let rights = [Right::Read, Right::Delete];
    let of_app = key("app", APP_KEY, tenants.clone(), &rights);
    vec![ApiKey { apps: Some(vec![app.app_id.to_string()]), ..of_app }, key("tenant", TENANT_KEY, tenants, &rights)]
}

/// A server of these apps' records.
async fn serving(tenant_id: TenantId, ours: &AppRecords, apps: Vec<AppRecords>) -> Place {
    let beside = Beside { directory: Arc::new(AppsDirectory(apps.clone())), ..Beside::default() };
    let place = Place::of(tenant_id, keys(tenant_id, ours), beside).await;
    place.store(apps.iter().flat_map(AppRecords::records)).await;
    place
}

#[derive(Debug, Clone)]
struct Question {
    method: String,
    /// As the document spells it.
    template: String,
    path: String,
    body: Option<Value>,
}

/// What a parameter of a path may be, of both apps.
fn of_path(name: &str, tenant_id: TenantId, [ours, theirs]: [&AppRecords; 2]) -> Vec<String> {
    let both = |of: fn(&AppRecords) -> String| vec![of(ours), of(theirs)];
    match name {
        "tenant_id" => vec![tenant_id.to_string()],
        "app_id" => both(|app| app.app_id.to_string()),
        "run_id" => both(|app| app.run.id.to_string()),
        "with" => both(|app| app.other_run.id.to_string()),
        "id" => [both(|app| app.run.id.to_string()), both(|app| app.node.id.to_string())].concat(),
        "node_execution_id" => both(|app| app.node.id.to_string()),
        "conversation_id" => both(|app| app.conversation_id.to_string()),
        "message_id" => both(|app| app.message_id.to_string()),
        "person_id" | "end_user_id" => both(|app| app.run.created_by.to_string()),
        "statistic" => vec!["daily-conversations".into(), "daily-terminals".into(), "token-costs".into()],
        "replay_id" => vec![records::id().to_string()],
        "sha256" => vec![records::sha256("a letter").to_string()],
        _ => panic!("say here which values of {name} are of the one app and of the other"),
    }
}

/// What a parameter of a query may be to find out about another app.
fn of_query(name: &str, theirs: &AppRecords) -> Vec<String> {
    match name {
        "q" | "keyword" => vec![theirs.word.to_owned(), "a".to_owned(), theirs.run.id.to_string()],
        "app_id" => vec![theirs.app_id.to_string()],
        "workflow_id" => vec![theirs.run.workflow_id.to_string()],
        "created_by" => vec![theirs.run.created_by.to_string(), theirs.node.created_by.to_string()],
        "workflow_run_id" | "last_id" => vec![theirs.run.id.to_string()],
        "created_by_end_user_session_id" => vec![format!("{}-session", theirs.word)],
        "created_by_account" => vec![format!("{}@example.org", theirs.word)],
        "by" => ["status", "app_id", "triggered_from", "created_by", "node_type"].map(Into::into).into(),
        "full" | "errors" | "related" => vec!["true".into()],
        "format" => vec!["csv".into()],
        "limit" | "values" | "seconds" => vec!["1".into()],
        "sort" => vec!["elapsed_time".into()],
        "status" => vec!["failed".into()],
        _ => Vec::new(),
    }
}

/// The bodies of a request that has one.
fn bodies(template: &str, [ours, theirs]: [&AppRecords; 2]) -> Vec<Value> {
    let all = [ours.other_run.id, theirs.run.id, theirs.other_run.id].map(|id| id.to_string());
    match template {
        "/v1/tenants/{tenant_id}/deletions" => {
            [true, false].map(|dry_run| json!({ "run_ids": all, "related": true, "dry_run": dry_run })).into()
        }
        _ if template.starts_with("/v1/dead-letters/") => vec![json!({})],
        _ => panic!("say here which bodies of {template} are about both apps"),
    }
}

/// Every question of the document, about the one app and about the other.
fn questions(document: &Value, tenant_id: TenantId, apps: [&AppRecords; 2]) -> Vec<Question> {
    let mut all = Vec::new();
    for method in METHODS {
        for (template, operations) in document["paths"].as_object().unwrap() {
            let unknown = operations.as_object().unwrap().keys().find(|found| !METHODS.contains(&found.as_str()));
            assert_eq!(unknown, None, "{template}: the method is not asked here yet");
            let Some(operation) = operations.get(method) else { continue };
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let mut paths = vec![template.clone()];
            for parameter in parameters.iter().filter(|parameter| parameter["in"] == "path") {
                let name = parameter["name"].as_str().unwrap();
                let values = of_path(name, tenant_id, apps);
                let filled = |path: &String| {
                    values.iter().map(|value| path.replace(&format!("{{{name}}}"), value)).collect::<Vec<_>>()
                };
                paths = paths.iter().flat_map(filled).collect();
            }
            let queries: Vec<_> = parameters.iter().filter(|parameter| parameter["in"] == "query").collect();
            let needed = queries.iter().filter(|query| query["required"] == true).flat_map(|query| {
                let name = query["name"].as_str().unwrap();
                of_query(name, apps[1]).into_iter().take(1).map(move |value| (name, value))
            });
            let needed: Vec<_> = needed.collect();
            let asked = queries.iter().flat_map(|query| {
                let name = query["name"].as_str().unwrap();
                of_query(name, apps[1]).into_iter().map(move |value| (name, value))
            });
            let with = |more: Option<(&str, String)>| {
                let mut pairs: Vec<_> = needed
                    .iter()
                    .filter(|(name, _)| more.as_ref().is_none_or(|more| more.0 != *name))
                    .cloned()
                    .collect();
                pairs.extend(more);
                url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
            };
            let queries: Vec<String> = [with(None)].into_iter().chain(asked.map(|pair| with(Some(pair)))).collect();
            let bodies = match operation.get("requestBody") {
                Some(_) => bodies(template, apps).into_iter().map(Some).collect(),
                None => vec![None],
            };
            for path in &paths {
                for query in &queries {
                    for body in &bodies {
                        let path = format!("{path}?{query}");
                        let (method, template) = (method.to_owned(), template.clone());
                        all.push(Question { method, template, path, body: body.clone() });
                    }
                }
            }
        }
    }
    all
}

async fn ask(place: &Place, client: &reqwest::Client, question: &Question, key: &str) -> (u16, String) {
    let method = question.method.to_uppercase().parse().unwrap();
    let mut request = client.request(method, format!("{}{}", place.base, question.path)).bearer_auth(key);
    if let Some(body) = &question.body {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_one_app_cannot_tell_whether_there_is_another() {
    let tenant_id = records::tenant();
    let (ours, theirs) = (AppRecords::new(tenant_id, "quince"), AppRecords::new(tenant_id, "zebra"));
    let both = serving(tenant_id, &ours, vec![ours.clone(), theirs.clone()]).await;
    let alone = serving(tenant_id, &ours, vec![ours.clone()]).await;
    let client = reqwest::Client::new();
    let document = client.get(format!("{}/openapi.json", both.base)).send().await.unwrap();
    let document: Value = serde_json::from_str(&document.text().await.unwrap()).unwrap();
    let secrets = theirs.secrets();
    // A problem may repeat what was asked for.
    let told = |text: &str, asked: &str| {
        secrets.iter().find(|secret| text.contains(secret.as_str()) && !asked.contains(secret.as_str())).cloned()
    };
    let (mut found, mut telling) = (BTreeSet::new(), BTreeSet::new());
    for question in questions(&document, tenant_id, [&ours, &theirs]) {
        let (status, text) = ask(&both, &client, &question, APP_KEY).await;
        assert_eq!((status, text.clone()), ask(&alone, &client, &question, APP_KEY).await, "{question:?}");
        assert_eq!(told(&text, &question.path), None, "{question:?}: {text}");
        if status == 200 {
            found.insert((question.method.clone(), question.template.clone()));
        }
        if !question.template.contains("{tenant_id}") && question.template != "/v1/me" {
            assert_eq!(status, 403, "{question:?}: {text}");
            assert!(text.contains("limited to apps"), "{text}");
        } else if question.template.contains("{app_id}") && question.path.contains(&theirs.app_id.to_string()) {
            assert!(status == 404 && text.contains("no such app"), "{question:?}: {text}");
        }
        if question.method == "get" && told(&ask(&both, &client, &question, TENANT_KEY).await.1, "").is_some() {
            telling.insert(question.template);
        }
    }
    // The questions are good ones: the app's own key is answered, and the tenant's key learns of the other app.
    let asked = document["paths"].as_object().unwrap().keys().filter(|path| path.contains("{tenant_id}"));
    let unanswered: Vec<_> = asked.filter(|path| !found.iter().any(|(_, answered)| answered == *path)).collect();
    assert_eq!(unanswered, Vec::<&String>::new());
    assert!(telling.len() >= 20, "{telling:?}");
    assert_everything_is_there(&both, &client, &theirs).await;
    let gone = format!("/v1/tenants/{tenant_id}/runs/{}", ours.run.id);
    let gone = Question { method: "get".into(), template: String::new(), path: gone, body: None };
    assert_eq!(ask(&both, &client, &gone, TENANT_KEY).await.0, 404);
}

/// No delete of the other key took a record of this app.
async fn assert_everything_is_there(place: &Place, client: &reqwest::Client, app: &AppRecords) {
    let base = format!("/v1/tenants/{}", app.run.tenant_id);
    let get = async |path: String| {
        let question =
            Question { method: "get".into(), template: String::new(), path: format!("{base}{path}"), body: None };
        ask(place, client, &question, TENANT_KEY).await.1
    };
    let runs = get("/export/runs".into()).await;
    assert!(runs.contains(&app.run.id.to_string()) && runs.contains(&app.other_run.id.to_string()), "{runs}");
    assert!(get("/export/nodes".into()).await.contains(&app.node.id.to_string()));
    assert!(get("/export/app-logs".into()).await.contains(&app.log.id.to_string()));
}

#[tokio::test]
async fn me_says_which_apps_a_key_reaches() {
    let tenant_id = records::tenant();
    let (ours, theirs) = (AppRecords::new(tenant_id, "quince"), AppRecords::new(tenant_id, "zebra"));
    let place = serving(tenant_id, &ours, vec![ours.clone(), theirs]).await;
    let client = reqwest::Client::new();
    let me = Question { method: "get".into(), template: String::new(), path: "/v1/me".into(), body: None };
    let mine: Value = serde_json::from_str(&ask(&place, &client, &me, APP_KEY).await.1).unwrap();
    assert_eq!(mine["apps"], json!([{ "id": ours.app_id.to_string(), "name": "quince app" }]));
    let all: Value = serde_json::from_str(&ask(&place, &client, &me, TENANT_KEY).await.1).unwrap();
    assert_eq!(all["apps"], Value::Null);
}

#[test]
fn apps_that_make_no_sense_are_an_error_at_the_start() {
    let app = records::app().to_string();
    let tenants = vec![records::tenant().to_string()];
    let upper = app.to_uppercase();
    for (tenants, apps, said) in [
        (Vec::new(), vec![app.clone()], "keys: app: apps: with admin = true"),
        (tenants.clone(), Vec::new(), "keys: app: apps: the list is empty"),
        (tenants.clone(), vec!["my app".into()], "keys: app: apps: "),
        (tenants.clone(), vec![app.clone(), upper], "is there twice"),
        (tenants, vec![app; 1001], "at most 1000"),
    ] {
        let key = ApiKey { apps: Some(apps), ..key("app", APP_KEY, tenants, &[Right::Read]) };
        let settings = ServeSettings { keys: vec![key], ..ServeSettings::default() };
        let error = settings.validate().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
