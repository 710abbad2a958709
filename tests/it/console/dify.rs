//! A stand-in for Dify's API server: sessions by cookie and CSRF header, workspaces, apps, and the console's lists over
//! rows that a test puts in. It answers as Dify 1.10 does where the bridge can see it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get};
use difylog::domain::{AppId, AppLog, TenantId, WorkflowRun};
use serde_json::{Value, json};

/// A request with this header is told which ones came.
pub const ECHO_HEADERS: &str = "x-echo-headers";

/// Who signed in with a cookie.
#[derive(Clone)]
pub struct User {
    pub tenants: Vec<TenantId>,
    /// Index of the current workspace.
    pub current: usize,
}

/// A fault that the next answers show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Html,
    Redirect,
    ServerError,
    Hang,
    /// The current workspace changes with every question about it.
    Fickle,
}

#[derive(Default)]
pub struct Tables {
    pub users: HashMap<String, User>,
    pub apps: HashMap<AppId, (TenantId, &'static str)>,
    pub runs: Vec<WorkflowRun>,
    pub logs: Vec<AppLog>,
    /// Of Dify; as 1.10.1, if it is empty.
    pub version: &'static str,
    /// Keys of the service API.
    pub keys: HashMap<String, AppId>,
    pub fault: Option<Fault>,
}

#[derive(Clone, Default)]
pub struct Dify {
    pub tables: Arc<Mutex<Tables>>,
    /// Questions to the console's lists, counts and pages, but not about who asks.
    pub asked: Arc<AtomicU64>,
    turn: Arc<AtomicU64>,
}

type Parameters = Query<HashMap<String, String>>;

fn seconds(at: difylog::domain::Timestamp) -> i64 {
    at.micros().div_euclid(1_000_000)
}

fn refusal(status: StatusCode, code: &str) -> Response {
    (status, axum::Json(json!({ "code": code, "message": "refused", "status": status.as_u16() }))).into_response()
}

impl Dify {
    /// Listens on a free port; answers its address.
    pub async fn serve(self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let app = "/console/api/apps/{app_id}";
        let router = Router::new()
            .route("/console/api/account/profile", get(profile))
            .route("/console/api/workspaces", get(workspaces))
            .route(app, get(one_app))
            .route(&format!("{app}/workflow-runs"), get(runs))
            .route(&format!("{app}/advanced-chat/workflow-runs"), get(runs))
            .route(&format!("{app}/workflow-runs/count"), any(anything))
            .route(&format!("{app}/workflow-runs/{{run_id}}"), get(run))
            .route(&format!("{app}/workflow-app-logs"), get(logs))
            .route("/health", get(health))
            .route("/v1/workflows/run/{run_id}", get(service_run))
            .route("/v1/workflows/logs", get(service_logs))
            .fallback(any(anything))
            .layer(from_fn_with_state(self.clone(), faulty))
            .layer(from_fn(allowing))
            .with_state(self);
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn user(&self, headers: &HeaderMap) -> Option<User> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = text("cookie").strip_prefix("access_token=")?;
        if text("x-csrf-token") != format!("csrf-{token}") {
            return None;
        }
        self.tables.lock().unwrap().users.get(token).cloned()
    }

    fn tenant(&self, headers: &HeaderMap) -> Option<TenantId> {
        let user = self.user(headers)?;
        user.tenants.get(user.current).copied()
    }

    /// Whether the caller's workspace has the app, and its mode.
    fn mode(&self, headers: &HeaderMap, app_id: AppId) -> Result<&'static str, Box<Response>> {
        let tenant = self.tenant(headers).ok_or_else(|| Box::new(refusal(StatusCode::UNAUTHORIZED, "unauthorized")))?;
        match self.tables.lock().unwrap().apps.get(&app_id) {
            Some((owner, mode)) if *owner == tenant => Ok(mode),
            _ => Err(Box::new(refusal(StatusCode::NOT_FOUND, "app_not_found"))),
        }
    }
}

/// Tells a browser which pages may read an answer, as Dify does.
async fn allowing(request: Request, next: Next) -> Response {
    let origin = request.headers().get("origin").cloned();
    let mut response = next.run(request).await;
    if let Some(origin) = origin {
        response.headers_mut().insert("access-control-allow-origin", origin);
    }
    response
}

async fn faulty(State(dify): State<Dify>, request: Request, next: Next) -> Response {
    let fault = dify.tables.lock().unwrap().fault;
    match fault {
        Some(Fault::Html) => axum::response::Html("<h1>Bad gateway</h1>").into_response(),
        Some(Fault::Redirect) => Redirect::temporary("/somewhere").into_response(),
        Some(Fault::ServerError) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "unknown"),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Fickle) | None => next.run(request).await,
    }
}

async fn profile(State(dify): State<Dify>, headers: HeaderMap) -> Response {
    match dify.user(&headers) {
        Some(_) => axum::Json(json!({ "id": "x", "name": "n", "timezone": "Asia/Shanghai" })).into_response(),
        None => refusal(StatusCode::UNAUTHORIZED, "unauthorized"),
    }
}

async fn workspaces(State(dify): State<Dify>, headers: HeaderMap) -> Response {
    let Some(user) = dify.user(&headers) else { return refusal(StatusCode::UNAUTHORIZED, "unauthorized") };
    let turn = match dify.tables.lock().unwrap().fault {
        Some(Fault::Fickle) => usize::try_from(dify.turn.fetch_add(1, Ordering::Relaxed)).unwrap(),
        _ => 0,
    };
    let current = (user.current + turn) % user.tenants.len();
    let all: Vec<_> = user
        .tenants
        .iter()
        .enumerate()
        .map(|(index, id)| json!({ "id": id.to_string(), "name": "w", "current": index == current }))
        .collect();
    axum::Json(json!({ "workspaces": all })).into_response()
}

async fn one_app(State(dify): State<Dify>, headers: HeaderMap, Path(app_id): Path<uuid::Uuid>) -> Response {
    match dify.mode(&headers, AppId::new(app_id)) {
        Ok(mode) => axum::Json(json!({ "id": app_id.to_string(), "name": "a", "mode": mode })).into_response(),
        Err(refusal) => *refusal,
    }
}

fn run_item(run: &WorkflowRun) -> Value {
    json!({
        "id": run.id.to_string(), "version": run.version, "status": run.status.as_str(),
        "elapsed_time": run.elapsed_time, "total_tokens": run.total_tokens, "total_steps": run.total_steps,
        "created_by_account": null, "created_at": seconds(run.created_at),
        "finished_at": run.finished_at.map(seconds), "exceptions_count": run.exceptions_count, "retry_index": null,
    })
}

async fn runs(
    State(dify): State<Dify>,
    headers: HeaderMap,
    Path(app_id): Path<uuid::Uuid>,
    Query(parameters): Parameters,
) -> Response {
    let app_id = AppId::new(app_id);
    if let Err(refusal) = dify.mode(&headers, app_id) {
        return *refusal;
    }
    dify.asked.fetch_add(1, Ordering::Relaxed);
    let limit: usize = parameters.get("limit").map_or(Ok(20), |limit| limit.parse()).unwrap_or(0);
    if !(1..=100).contains(&limit) {
        return refusal(StatusCode::BAD_REQUEST, "invalid_param");
    }
    let trigger = parameters.get("triggered_from").map_or("debugging", String::as_str);
    let tables = dify.tables.lock().unwrap();
    let mut found: Vec<_> = tables
        .runs
        .iter()
        .filter(|run| run.app_id == app_id && *run.triggered_from == *trigger)
        .filter(|run| parameters.get("status").is_none_or(|status| run.status.as_str() == status))
        .collect();
    found.sort_by_key(|run| std::cmp::Reverse((run.created_at, run.id)));
    if let Some(last_id) = parameters.get("last_id") {
        // Rows that share the cursor's instant are skipped, as in 1.10.
        match found.iter().find(|run| run.id.to_string() == *last_id).map(|run| run.created_at) {
            Some(created_at) => found.retain(|run| run.created_at < created_at),
            None => return refusal(StatusCode::BAD_REQUEST, "invalid_param"),
        }
    }
    let data: Vec<_> = found.iter().take(limit).map(|run| run_item(run)).collect();
    axum::Json(json!({ "limit": limit, "has_more": found.len() > limit, "data": data })).into_response()
}

async fn run(
    State(dify): State<Dify>,
    headers: HeaderMap,
    Path((app_id, run_id)): Path<(uuid::Uuid, uuid::Uuid)>,
) -> Response {
    let app_id = AppId::new(app_id);
    if let Err(refusal) = dify.mode(&headers, app_id) {
        return *refusal;
    }
    one_run(&dify, app_id, run_id)
}

fn one_run(dify: &Dify, app_id: AppId, run_id: uuid::Uuid) -> Response {
    dify.asked.fetch_add(1, Ordering::Relaxed);
    let tables = dify.tables.lock().unwrap();
    match tables.runs.iter().find(|run| run.app_id == app_id && run.id.uuid() == run_id) {
        Some(run) => {
            let known = json!({
                "id": run.id.to_string(), "status": run.status.as_str(), "created_at": seconds(run.created_at),
                "answered_by": "dify", "error": run.error,
            });
            // As Flask writes half of an emoji that a row holds.
            let text = known.to_string().replace("HALF", "\\ud83d");
            ([("content-type", "application/json")], text).into_response()
        }
        // A run that is not there is an object of nulls.
        None => axum::Json(json!({ "id": null, "status": null, "created_at": null })).into_response(),
    }
}

async fn logs(
    State(dify): State<Dify>,
    headers: HeaderMap,
    Path(app_id): Path<uuid::Uuid>,
    Query(parameters): Parameters,
) -> Response {
    let app_id = AppId::new(app_id);
    match dify.mode(&headers, app_id) {
        Ok("workflow") => {}
        Ok(_) => return refusal(StatusCode::NOT_FOUND, "app_not_found"),
        Err(refusal) => return *refusal,
    }
    log_page(&dify, app_id, &parameters)
}

fn log_page(dify: &Dify, app_id: AppId, parameters: &HashMap<String, String>) -> Response {
    dify.asked.fetch_add(1, Ordering::Relaxed);
    let number = |name: &str, default: usize| parameters.get(name).map_or(default, |text| text.parse().unwrap());
    let (page, limit) = (number("page", 1), number("limit", 20));
    let after = parameters.get("created_at__after").map(|text| records_at(text));
    let tables = dify.tables.lock().unwrap();
    let mut found: Vec<_> = tables
        .logs
        .iter()
        .filter(|log| log.app_id == app_id && after.is_none_or(|after| log.created_at >= after))
        .collect();
    found.sort_by_key(|log| std::cmp::Reverse((log.created_at, log.id)));
    let total = found.len();
    let item = |log: &&AppLog| json!({ "id": log.id.to_string(), "created_at": seconds(log.created_at), "workflow_run": null });
    let data: Vec<_> = found.iter().skip((page - 1) * limit).take(limit).map(item).collect();
    axum::Json(json!({ "page": page, "limit": limit, "total": total, "has_more": total > page * limit, "data": data }))
        .into_response()
}

impl Dify {
    /// The app that a request's key opens.
    fn app_of_key(&self, headers: &HeaderMap) -> Result<AppId, Box<Response>> {
        let text = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let key = text.split_once(' ').map(|(_, key)| key).unwrap_or_default();
        let found = self.tables.lock().unwrap().keys.get(key).copied();
        found.ok_or_else(|| Box::new(refusal(StatusCode::UNAUTHORIZED, "unauthorized")))
    }
}

async fn health(State(dify): State<Dify>) -> Response {
    let version = dify.tables.lock().unwrap().version;
    let version = if version.is_empty() { "1.10.1" } else { version };
    ([("x-version", version)], axum::Json(json!({ "status": "ok", "version": version }))).into_response()
}

async fn service_run(State(dify): State<Dify>, headers: HeaderMap, Path(run_id): Path<uuid::Uuid>) -> Response {
    match dify.app_of_key(&headers) {
        Ok(app_id) => one_run(&dify, app_id, run_id),
        Err(refusal) => *refusal,
    }
}

async fn service_logs(State(dify): State<Dify>, headers: HeaderMap, Query(parameters): Parameters) -> Response {
    match dify.app_of_key(&headers) {
        Ok(app_id) => log_page(&dify, app_id, &parameters),
        Err(refusal) => *refusal,
    }
}

fn records_at(text: &str) -> difylog::domain::Timestamp {
    text.parse().unwrap()
}

/// Everything else says what it got.
async fn anything(State(dify): State<Dify>, headers: HeaderMap, request: Request) -> Response {
    if dify.user(&headers).is_none() {
        return refusal(StatusCode::UNAUTHORIZED, "unauthorized");
    }
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let mut echo = json!({
        "method": parts.method.as_str(), "path": parts.uri.to_string(), "body": String::from_utf8_lossy(&body),
    });
    // A proxy on the way adds some: told only to who asks for it.
    if headers.contains_key(ECHO_HEADERS) {
        echo["headers"] = headers.keys().map(HeaderName::as_str).collect();
    }
    ([("set-cookie", "seen=1")], axum::Json(echo)).into_response()
}
