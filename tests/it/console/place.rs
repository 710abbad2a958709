//! A bridge over a store in memory, before a stand-in for Dify.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use difylog::domain::{AppId, BulkAction, Record, TenantId};
use difylog::http::api::{Api, ServeSettings};
use difylog::http::console::Bridge;
use difylog::postgres::WalkOrder;
use difylog::query::NoDirectory;
use difylog::store::{BulkSink as _, ReadStore, StateStore as _, StoreAdmin as _};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::console::dify::{Dify, User};
use crate::support::memory::MemoryStore;
use crate::support::records;
use crate::support::service::service;

pub struct Place {
    pub dify: Dify,
    pub double: Arc<MemoryStore>,
    pub base: String,
    pub dify_base: String,
    pub client: reqwest::Client,
    pub stop: CancellationToken,
    _folder: tempfile::TempDir,
}

/// The same requests to another address.
pub struct Through<'a> {
    client: &'a reqwest::Client,
    base: &'a str,
}

/// Waits until a condition holds.
pub async fn eventually(condition: impl AsyncFn() -> bool) {
    let held = async {
        while !condition().await {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), held).await.expect("the condition did not come true");
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A state of its own: one finished migration of everything, or none.
async fn state(migrated: bool) -> (Arc<dyn ReadStore>, tempfile::TempDir) {
    use difylog::store::sqlite::{SqliteSettings, SqliteStore};
    let folder = tempfile::tempdir().unwrap();
    let settings = SqliteSettings { dir: folder.path().join("state"), ..SqliteSettings::default() };
    let store = SqliteStore::new(settings).unwrap();
    store.install().await.unwrap();
    if migrated {
        let id = uuid::Uuid::new_v4();
        let scope = difylog::backfill::state::MigrationScope::new(
            "a server",
            &[],
            difylog::domain::query::TimeRange::default(),
        );
        let entry = difylog::backfill::state::MigrationEntry { scope, started_at: 1 };
        let entry = serde_json::to_value(entry).unwrap();
        store.put_state(&format!("migration/{id}"), &entry, None).await.unwrap();
        // A walk that has ended.
        let done = json!({ "order": WalkOrder::PrimaryKey, "after": null, "done": true, "tally": {} });
        for kind in ["workflow_run", "app_log"] {
            store.put_state(&format!("migration/{id}/{kind}"), &done, None).await.unwrap();
        }
    }
    (Arc::new(store), folder)
}

impl Place {
    pub async fn new(migrated: bool) -> Self {
        Self::with(migrated, None).await
    }

    /// With Dify's tables, if they are given.
    pub async fn with(migrated: bool, database: Option<difylog::postgres::Database>) -> Self {
        Self::made(migrated, database, 60, None).await
    }

    /// Over a migrated store, with a bridge that believes Dify's word for so long.
    pub async fn trusting(trust_seconds: u64) -> Self {
        Self::made(true, None, trust_seconds, None).await
    }

    /// Before another server than the stand-in for Dify.
    pub async fn before(url: String) -> Self {
        Self::made(true, None, 60, Some(url)).await
    }

    async fn made(
        migrated: bool,
        database: Option<difylog::postgres::Database>,
        trust_seconds: u64,
        url: Option<String>,
    ) -> Self {
        let (state, folder) = state(migrated).await;
        let dify = Dify::default();
        let url = match url {
            Some(url) => url,
            None => dify.clone().serve().await,
        };
        let double = Arc::new(MemoryStore::default());
        let service = service(&double, folder.path(), NoDirectory);
        let of_dify = json!({ "url": &url, "answer_ms": 1000, "pass_seconds": 2, "trust_seconds": trust_seconds });
        // Beside the bridge, people come through a proxy to the log explorer.
        let forward_auth = json!({
            "user_header": "x-forwarded-user", "groups_header": "x-forwarded-groups", "trusted_proxies": ["127.0.0.1"],
            "shared_secret": { "header": "x-proxy-secret", "sha256": "0".repeat(64) },
            "access": [{ "user": "ops", "admin": true }],
        });
        let settings = json!({ "dify": of_dify, "forward_auth": forward_auth });
        let settings: ServeSettings = serde_json::from_value(settings).unwrap();
        let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
        let stop = CancellationToken::new();
        let bridge = Bridge::new(service.clone(), state, database, settings.dify.clone().unwrap(), 64).unwrap();
        let api = Api::new(service, settings, double.clone(), metrics, stop.clone()).unwrap().with_bridge(bridge);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(api.serve(listener));
        Self {
            dify,
            double,
            base,
            dify_base: url,
            client: reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap(),
            stop,
            _folder: folder,
        }
    }

    /// A workspace with an app of a mode.
    pub fn app(&self, tenant: TenantId, mode: &'static str) -> AppId {
        let app = records::app();
        self.dify.tables.lock().unwrap().apps.insert(app, (tenant, mode));
        app
    }

    /// Somebody who signed in.
    pub fn user(&self, token: &str, tenants: &[TenantId]) {
        let user = User { tenants: tenants.to_vec(), current: 0 };
        self.dify.tables.lock().unwrap().users.insert(token.to_owned(), user);
    }

    pub async fn store(&self, records: impl IntoIterator<Item = Record>) {
        let actions: Vec<BulkAction> = records.into_iter().flat_map(records::actions).collect();
        self.double.apply(&actions).await.unwrap();
    }

    pub fn asked(&self) -> u64 {
        self.dify.asked.load(Ordering::Relaxed)
    }

    /// Requests to another address than the bridge's own.
    pub fn at<'a>(&'a self, base: &'a str) -> Through<'a> {
        Through { client: &self.client, base }
    }

    pub async fn ask(&self, token: &str, path: &str) -> Answer {
        self.at(&self.base).ask(token, path).await
    }

    pub async fn ask_with_key(&self, key: &str, path: &str) -> Answer {
        self.at(&self.base).ask_with_key(key, path).await
    }

    pub async fn request(&self, method: &str, token: &str, path: &str, body: &str) -> Answer {
        self.at(&self.base).request(method, token, path, body).await
    }
}

impl Through<'_> {
    /// A request of the console by somebody who signed in; the path begins with `/`.
    pub async fn ask(&self, token: &str, path: &str) -> Answer {
        self.request("GET", token, path, "").await
    }

    /// A request of the service API with a key.
    pub async fn ask_with_key(&self, key: &str, path: &str) -> Answer {
        let request = self.client.get(format!("{}{path}", self.base)).header("authorization", format!("Bearer {key}"));
        let response = request.send().await.unwrap();
        Answer { status: response.status().as_u16(), text: response.text().await.unwrap() }
    }

    pub async fn request(&self, method: &str, token: &str, path: &str, body: &str) -> Answer {
        self.request_with(method, token, path, &[], body).await
    }

    pub async fn request_with(
        &self,
        method: &str,
        token: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = self.client.request(method.parse().unwrap(), format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !token.is_empty() {
            request = request.header("cookie", format!("access_token={token}"));
            request = request.header("x-csrf-token", format!("csrf-{token}"));
        }
        let response = request.body(body.to_owned()).send().await.unwrap();
        Answer { status: response.status().as_u16(), text: response.text().await.unwrap() }
    }
}
