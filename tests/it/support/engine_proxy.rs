//! A proxy in front of an engine that can take the engine's place: full disk, rights to read only, a redirect, gone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What the proxy does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Every item of a bulk request is blocked, as on a disk past its flood stage.
    Flood,
    /// Writes are answered with 403, everything else passes.
    ReadOnly,
    /// Bulk requests are answered with 429, everything else passes.
    Overloaded,
    /// Writes are sent elsewhere.
    Redirect,
    /// Nothing is answered but that there is nobody.
    Gone,
    /// Bulk requests reach the engine only once there is another mode.
    Held,
}

#[derive(Clone)]
struct Shared {
    engine: String,
    client: reqwest::Client,
    mode: Arc<Mutex<Mode>>,
    held: Arc<AtomicUsize>,
}

pub struct EngineProxy {
    pub url: String,
    /// Bulk requests that were held so far.
    pub held: Arc<AtomicUsize>,
    mode: Arc<Mutex<Mode>>,
    task: JoinHandle<()>,
}

impl EngineProxy {
    pub async fn start(engine: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mode = Arc::new(Mutex::new(Mode::Pass));
        let held = Arc::<AtomicUsize>::default();
        let shared = Shared { engine, client, mode: Arc::clone(&mode), held: Arc::clone(&held) };
        let router =
            Router::new().fallback(answer).layer(axum::extract::DefaultBodyLimit::disable()).with_state(shared);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, held, mode, task }
    }

    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }
}

impl Drop for EngineProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(shared): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mode = *shared.mode.lock().unwrap_or_else(PoisonError::into_inner);
    let bulk = uri.path().ends_with("/_bulk");
    let writes = bulk || method == Method::PUT || method == Method::DELETE;
    match mode {
        Mode::Flood if bulk => blocked(&body),
        Mode::Overloaded if bulk => StatusCode::TOO_MANY_REQUESTS.into_response(),
        Mode::ReadOnly if writes => {
            let error =
                json!({ "error": { "type": "security_exception", "reason": "action is unauthorized" }, "status": 403 });
            (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "application/json")], error.to_string()).into_response()
        }
        Mode::Redirect if writes => {
            (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, format!("{}{uri}", shared.engine))]).into_response()
        }
        Mode::Gone => StatusCode::BAD_GATEWAY.into_response(),
        Mode::Held if bulk => {
            shared.held.fetch_add(1, Ordering::Relaxed);
            while *shared.mode.lock().unwrap_or_else(PoisonError::into_inner) == Mode::Held {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            pass(&shared, method, &uri, &headers, body).await
        }
        _ => pass(&shared, method, &uri, &headers, body).await,
    }
}

async fn pass(shared: &Shared, method: Method, uri: &Uri, headers: &HeaderMap, body: Bytes) -> Response {
    let mut request = shared.client.request(method, format!("{}{uri}", shared.engine)).body(body);
    for name in [header::CONTENT_TYPE, header::ACCEPT, header::CONTENT_ENCODING] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value);
        }
    }
    let Ok(answer) = request.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if *name != header::TRANSFER_ENCODING && *name != header::CONTENT_LENGTH {
            response = response.header(name, value);
        }
    }
    response.body(Body::from(answer.bytes().await.unwrap_or_default())).unwrap()
}

/// The answer of an engine whose indices are all blocked.
fn blocked(body: &[u8]) -> Response {
    let error = json!({ "type": "cluster_block_exception", "reason": "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage \
        exceeded flood-stage watermark, index has read-only-allow-delete block];" });
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).step_by(2);
    let items: Vec<Value> = lines
        .map(|line| {
            let action: serde_json::Map<String, Value> = serde_json::from_slice(line).unwrap();
            let operation = action.keys().next().unwrap().clone();
            json!({ operation: { "status": 429, "error": error } })
        })
        .collect();
    let answer = json!({ "took": 1, "errors": true, "items": items });
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}
