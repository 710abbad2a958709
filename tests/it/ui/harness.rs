//! The log explorer on a free port over SQLite files or an engine, and a client that keeps cookies as a browser does.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use difylog::amqp::AmqpSettings;
use difylog::domain::{BulkAction, Record, TenantId, Timestamp};
use difylog::http::api::{Api, ApiKey, Entry, Right, ServeSettings};
use difylog::query::{Directory, LogService, NoDirectory, ServicePorts};
use difylog::store::elastic::{ElasticSettings, ElasticStore, Tenancy};
use difylog::store::payload::{PayloadSettings, PayloadStore};
use difylog::store::sqlite::{SqliteEraser, SqliteReader, SqliteSettings, SqliteStore};
use difylog::store::{Eraser, ReadStore, StateStore, Store};
use reqwest::header::{HeaderMap, HeaderValue};
use tokio_util::sync::CancellationToken;

use crate::support::keys::key;
use crate::support::namespace::Namespace;
use crate::support::records;

pub const TENANT_KEY: &str = "key-of-a-tenant";
pub const ADMIN_KEY: &str = "key-of-an-admin";
/// Reads every tenant's logs, and works on dead letters.
pub const OPERATE_KEY: &str = "key-that-operates";
/// Deletes, and does not read.
pub const DELETE_KEY: &str = "key-that-deletes";
/// What the link of the server signs in with.
pub const TOKEN: &str = "token-of-the-link";

/// The instant at which every page is asked for.
pub fn now() -> Timestamp {
    records::at("2025-12-20T12:00:00Z")
}

/// The servers beside the store.
pub struct Beside {
    pub broker: Option<AmqpSettings>,
    pub directory: Arc<dyn Directory>,
    pub settings: ServeSettings,
}

impl Default for Beside {
    fn default() -> Self {
        Self { broker: None, directory: Arc::new(NoDirectory), settings: ServeSettings::default() }
    }
}

impl Beside {
    pub fn broker(settings: AmqpSettings) -> Self {
        Self { broker: Some(settings), ..Self::default() }
    }

    pub fn directory(directory: impl Directory + 'static) -> Self {
        Self { directory: Arc::new(directory), ..Self::default() }
    }
}

pub struct Place {
    pub tenant_id: TenantId,
    pub base: String,
    pub store: Arc<dyn Store>,
    pub folder: tempfile::TempDir,
    stop: CancellationToken,
    /// In an engine.
    _namespace: Option<Namespace>,
}

/// The keys of a tenant.
pub fn keys(tenant_id: TenantId) -> Vec<ApiKey> {
    vec![
        key("tenant", TENANT_KEY, vec![tenant_id.to_string()], &[Right::Read]),
        key("deleter", DELETE_KEY, vec![tenant_id.to_string()], &[Right::Delete]),
        key("admin", ADMIN_KEY, Vec::new(), &[Right::Read]),
        key("operator", OPERATE_KEY, Vec::new(), &[Right::Read, Right::Operate]),
    ]
}

impl Place {
    pub async fn new() -> Self {
        Self::beside(Beside::default()).await
    }

    /// With these servers beside the store.
    pub async fn beside(beside: Beside) -> Self {
        let tenant_id = records::tenant();
        Self::of(tenant_id, keys(tenant_id), beside).await
    }

    /// Of a tenant that is known already, with these keys.
    pub async fn of(tenant_id: TenantId, keys: Vec<ApiKey>, beside: Beside) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = SqliteSettings { dir: folder.path().join("sqlite"), ..SqliteSettings::default() };
        let store = Arc::new(SqliteStore::new(settings).unwrap());
        Self::over(store, sqlite(folder.path()), (folder, None), (tenant_id, keys), beside).await
    }

    /// Over the engine under test.
    pub async fn over_engine() -> Self {
        let tenant_id = records::tenant();
        Self::over_engine_at(crate::support::site::needed("DIFYLOG_TEST_ENGINE_URL"), tenant_id, keys(tenant_id)).await
    }

    /// Over an engine, of a tenant that is known already, with these keys.
    pub async fn over_engine_at(url: String, tenant_id: TenantId, keys: Vec<ApiKey>) -> Self {
        let namespace = Namespace::new();
        let settings = ElasticSettings { hosts: vec![url], ..namespace.settings(Tenancy::default()) };
        let store = Arc::new(ElasticStore::new(settings).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let places = (folder, Some(namespace));
        Self::over(store.clone(), (store.clone(), store), places, (tenant_id, keys), Beside::default()).await
    }

    async fn over(
        store: Arc<dyn Store>,
        readers: Readers,
        (folder, namespace): (tempfile::TempDir, Option<Namespace>),
        (tenant_id, keys): (TenantId, Vec<ApiKey>),
        beside: Beside,
    ) -> Self {
        store.install().await.unwrap();
        let (base, stop) = serve(readers, store.clone(), folder.path(), keys, beside);
        Self { tenant_id, base, store, folder, stop, _namespace: namespace }
    }

    /// Another replica over the same files, with these keys.
    pub fn replica(&self, keys: Vec<ApiKey>) -> Self {
        self.replica_beside(keys, Beside::default())
    }

    /// Another replica with these servers beside it, whose state is read and written as by another process.
    pub fn replica_beside(&self, keys: Vec<ApiKey>, beside: Beside) -> Self {
        let settings = SqliteSettings { dir: self.folder.path().join("sqlite"), ..SqliteSettings::default() };
        let state = Arc::new(SqliteStore::new(settings).unwrap());
        let (base, stop) = serve(sqlite(self.folder.path()), state, self.folder.path(), keys, beside);
        let folder = tempfile::tempdir().unwrap();
        Self { tenant_id: self.tenant_id, base, store: Arc::clone(&self.store), folder, stop, _namespace: None }
    }

    pub async fn store(&self, records: impl IntoIterator<Item = Record>) {
        let actions: Vec<BulkAction> = records.into_iter().flat_map(records::actions).collect();
        self.store.apply(&actions).await.unwrap();
        self.store.catch_up().await.unwrap();
        self.store.refresh().await.unwrap();
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/ui/t/{}/{rest}", self.tenant_id)
    }

    pub fn client(&self) -> Client {
        Client::new(&self.base)
    }

    /// A client that is signed in.
    pub async fn signed_in(&self, key: &str) -> Client {
        let mut client = self.client();
        let answer = client.sign_in(key).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        client
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What is seen of the parts: the broker cannot be reached.
fn status() -> serde_json::Value {
    serde_json::json!({
        "store": ["SQLite"], "payloads": { "place": "/secret/folder" }, "postgres": { "error": "db.internal: refused" },
        "broker": { "error": "mq.internal: refused" }, "queues": [{ "queue": "difylog.events", "ready": 1234, "consumers": 2 }],
        "lag": { "waiting": 1234, "seconds": 61 },
        "months": [
            { "month": "2025-12", "kind": "workflow_run", "documents": 5678, "bytes": null },
            { "month": "2025-12", "kind": "all", "documents": null, "bytes": 3_145_728 },
        ],
    })
}

type Readers = (Arc<dyn ReadStore>, Arc<dyn Eraser>);

fn sqlite(folder: &Path) -> Readers {
    let settings = SqliteSettings { dir: folder.join("sqlite"), ..SqliteSettings::default() };
    (Arc::new(SqliteReader::new(settings.clone())), Arc::new(SqliteEraser::new(settings)))
}

fn serve(
    (reader, eraser): Readers,
    state: Arc<dyn StateStore>,
    folder: &Path,
    keys: Vec<ApiKey>,
    beside: Beside,
) -> (String, CancellationToken) {
    let payloads = PayloadSettings { dir: folder.join("payloads"), ..PayloadSettings::default() };
    let service = LogService::new(ServicePorts {
        logs: reader.clone(),
        eraser,
        payloads: Arc::new(PayloadStore::open(&payloads).unwrap()),
        directory: beside.directory,
        clock: Arc::new(now),
    });
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
    let stop = CancellationToken::new();
    let settings = ServeSettings { keys, ..beside.settings };
    let api = Api::new(service, settings, reader, metrics, stop.clone()).unwrap();
    let api = api.with_status(Arc::new(|| Box::pin(std::future::ready(status()))));
    let api = match beside.broker {
        Some(broker) => api.with_dead_letters(broker, state),
        None => api,
    };
    api.offer(&Entry { token: TOKEN.into(), key: OPERATE_KEY.into() });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(api.serve(listener));
    (base, stop)
}

/// Asks as a browser does: with its cookies, following nothing.
pub struct Client {
    base: String,
    requests: reqwest::Client,
    pub cookies: Vec<(String, String)>,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn location(&self) -> &str {
        self.headers.get("location").map_or("", |value| value.to_str().unwrap())
    }
}

impl Client {
    pub fn new(base: &str) -> Self {
        let requests = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { base: base.to_owned(), requests, cookies: Vec::new() }
    }

    /// The same cookies at another server.
    pub fn at(&self, base: &str) -> Self {
        Self { cookies: self.cookies.clone(), ..Self::new(base) }
    }

    pub async fn sign_in(&mut self, key: &str) -> Answer {
        self.post("/ui/sign-in", &[("key", key), ("next", "/ui/")], &[("sec-fetch-site", "same-origin")]).await
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    /// A page that must be there.
    pub async fn page(&mut self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.text
    }

    pub async fn get_with(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = self.requests.get(format!("{}{path}", self.base));
        self.send(request, headers).await
    }

    pub async fn post(&mut self, path: &str, form: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.requests.post(format!("{}{path}", self.base)).body(body);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        self.send(request, headers).await
    }

    async fn send(&mut self, mut request: reqwest::RequestBuilder, headers: &[(&str, &str)]) -> Answer {
        let cookies = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        request = request.header("cookie", cookies);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        for cookie in headers.get_all("set-cookie") {
            self.keep(cookie);
        }
        Answer { status, headers, text: answer.text().await.unwrap() }
    }

    fn keep(&mut self, cookie: &HeaderValue) {
        let text = cookie.to_str().unwrap();
        let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
        self.cookies.retain(|(known, _)| known != name);
        if !text.contains("Max-Age=0") {
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
    }
}
