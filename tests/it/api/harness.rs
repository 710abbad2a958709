//! An API on a free port over the obvious store, with a key of every scope.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use difylog::codec::truncate::{Limits, fit};
use difylog::domain::{BulkAction, Document, Record, TenantId};
use difylog::http::api::{Api, Right, ServeSettings};
use difylog::query::{LogService, NoDirectory};
use difylog::store::BulkSink as _;
use difylog::store::payload::{PayloadSettings, PayloadStore};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::keys::key;
use crate::support::memory::MemoryStore;
use crate::support::records;
use crate::support::service::service;

/// Reads and deletes of one tenant.
pub const TENANT_KEY: &str = "key-of-a-tenant";
/// Reads of one tenant.
pub const READ_KEY: &str = "key-that-reads";
/// Reads of one tenant, what is masked included.
pub const REVEAL_KEY: &str = "key-that-reveals";
pub const ADMIN_KEY: &str = "key-of-an-admin";

pub struct Server {
    pub tenant_id: TenantId,
    pub double: Arc<MemoryStore>,
    base: String,
    client: reqwest::Client,
    stop: CancellationToken,
    folder: tempfile::TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The code of a problem; its media type and its form are checked.
    pub fn problem(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status);
        assert!(json["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        json["code"].as_str().unwrap().to_owned()
    }
}

impl Server {
    /// Over an empty store.
    pub fn new() -> Self {
        Self::with(ServeSettings::default())
    }

    pub fn with(settings: ServeSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let double = Arc::new(MemoryStore::default());
        let service = service(&double, folder.path(), NoDirectory);
        Self::over(service, double, records::tenant(), settings, folder)
    }

    pub fn over(
        service: LogService,
        double: Arc<MemoryStore>,
        tenant_id: TenantId,
        mut settings: ServeSettings,
        folder: tempfile::TempDir,
    ) -> Self {
        let tenant = vec![tenant_id.to_string()];
        settings.keys = vec![
            key("tenant", TENANT_KEY, tenant.clone(), &[Right::Read, Right::Delete]),
            key("reader", READ_KEY, tenant.clone(), &[Right::Read]),
            key("revealer", REVEAL_KEY, tenant, &[Right::Read, Right::Reveal]),
            key("admin", ADMIN_KEY, Vec::new(), &[Right::Read, Right::Delete]),
        ];
        let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
        let stop = CancellationToken::new();
        let api = Api::new(service, settings, double.clone(), metrics, stop.clone()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(api.serve(listener));
        Self { tenant_id, double, base, client: reqwest::Client::new(), stop, folder }
    }

    /// Sends the beginning of a request and keeps the connection.
    pub async fn open(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.base.strip_prefix("http://").unwrap()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Asks until the answer has this status.
    pub async fn until(&self, path: &str, key: &str, status: u16) -> Answer {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let path = format!("/v1/tenants/{}{path}", self.tenant_id);
            let answer = self.ask("GET", &path, Some(key), None).await;
            if answer.status == status {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "{answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub async fn store(&self, records: impl IntoIterator<Item = Record>) {
        let actions: Vec<BulkAction> = records.into_iter().flat_map(records::actions).collect();
        self.double.apply(&actions).await.unwrap();
    }

    /// Stores a record whose payloads are cut, with their full texts.
    pub async fn store_cut(&self, mut record: Record, limits: &Limits) {
        let cuts = fit(&mut record, limits);
        let dir = self.folder.path().join("payloads");
        let payloads = PayloadStore::open(&PayloadSettings { dir, ..PayloadSettings::default() }).unwrap();
        for cut in &cuts {
            let (month, full) = (record.month(), Arc::new(cut.full.clone()));
            payloads.put(record.tenant_id(), month, cut.truncation.sha256, full).await.unwrap();
        }
        let (document, _) = records::split(record);
        let truncated = cuts.into_iter().map(|cut| cut.truncation).collect();
        let document = Document { truncated, graph: None, ..document };
        self.double.apply(&[BulkAction::Document(Arc::new(document))]).await.unwrap();
    }

    /// The files of full texts.
    pub fn texts(&self) -> Vec<PathBuf> {
        let folders = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        folders(self.folder.path().join("payloads")).flat_map(folders).flat_map(folders).collect()
    }

    /// A request with a key; the path begins with `/`.
    pub async fn ask(&self, method: &str, path: &str, key: Option<&str>, body: Option<&str>) -> Answer {
        let mut request = self.client.request(method.parse().unwrap(), format!("{}{path}", self.base));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, text: answer.text().await.unwrap() }
    }

    /// A question about the server's tenant; the path follows it.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", &format!("/v1/tenants/{}{path}", self.tenant_id), Some(TENANT_KEY), None).await
    }

    pub async fn ok(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
