//! A store of its own for each case, with a clock that stands still.

use std::sync::Arc;

use difylog::domain::{Record, TenantId, Timestamp, Verdict};
use difylog::retention::{Retention, RetentionSettings};
use difylog::store::Store;
use difylog::store::elastic::{ElasticStore, Tenancy};
use difylog::store::payload::{PayloadSettings, PayloadStore};
use difylog::store::sqlite::{SqliteSettings, SqliteStore};
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::namespace::Namespace;
use crate::support::{engine, records};

/// The now of every case.
pub const NOW: &str = "2026-11-25T02:00:00Z";

/// A store and where its files are.
pub struct Kept {
    pub store: Arc<dyn Store>,
    pub payloads: Arc<PayloadStore>,
    folder: TempDir,
    /// In an engine.
    namespace: Option<Namespace>,
}

impl Kept {
    pub async fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        let dir = folder.path().join("sqlite");
        let settings = SqliteSettings { dir, ..SqliteSettings::default() };
        Self::installed(Arc::new(SqliteStore::new(settings).unwrap()), folder, None).await
    }

    pub async fn engine(tenancy: Tenancy) -> Self {
        let namespace = Namespace::new();
        let store = Arc::new(ElasticStore::new(namespace.settings(tenancy)).unwrap());
        Self::installed(store, TempDir::new().unwrap(), Some(namespace)).await
    }

    async fn installed(store: Arc<dyn Store>, folder: TempDir, namespace: Option<Namespace>) -> Self {
        store.install().await.unwrap();
        let settings = PayloadSettings { dir: folder.path().join("payloads"), s3: None };
        Self { store, payloads: Arc::new(PayloadStore::open(&settings).unwrap()), folder, namespace }
    }

    /// Does something to the indices of a kind whose names end so, as the operator of the engine does.
    pub async fn to_indices(&self, method: Method, ending: &str, action: &str, body: Value) {
        // By their names: some engines refuse to open and close by a pattern.
        let indices = self.indices(ending).await.join(",");
        assert!(!indices.is_empty(), "no index ends with {ending}");
        engine::call(&self.namespace().url, method, &format!("/{indices}/{action}"), body).await;
    }

    fn namespace(&self) -> &Namespace {
        self.namespace.as_ref().expect("an engine")
    }

    async fn indices(&self, ending: &str) -> Vec<String> {
        let Namespace { url, prefix } = self.namespace();
        let path = format!("/_cat/indices/{prefix}-workflow-*{ending}?h=index&expand_wildcards=all");
        let listed = engine::call(url, Method::GET, &path, Value::Null).await;
        listed.split_whitespace().map(str::to_owned).collect()
    }

    pub fn payload_folder(&self) -> std::path::PathBuf {
        self.folder.path().join("payloads")
    }

    /// Whether there are indices whose names end so.
    pub async fn has_indices(&self, ending: &str) -> bool {
        !self.indices(ending).await.is_empty()
    }

    /// Stores records, each with its graph.
    pub async fn write(&self, records: &[Record]) -> Vec<Verdict> {
        let actions: Vec<_> = records.iter().cloned().flat_map(records::actions).collect();
        let verdicts = self.store.apply(&actions).await.unwrap();
        self.store.refresh().await.unwrap();
        verdicts
    }

    pub async fn holds(&self, record: &Record) -> bool {
        self.store.record(record.key()).await.unwrap().is_some()
    }

    /// Which of the records are there.
    pub async fn held(&self, records: &[Record]) -> Vec<bool> {
        let mut held = Vec::new();
        for record in records {
            held.push(self.holds(record).await);
        }
        held
    }

    /// Retention as one worker does it, at [`NOW`].
    pub fn retention(&self, days: u32, tenants: &[(TenantId, u32)]) -> Retention {
        self.retention_at(NOW, days, tenants)
    }

    pub fn retention_at(&self, now: &str, days: u32, tenants: &[(TenantId, u32)]) -> Retention {
        let now: Timestamp = now.parse().unwrap();
        let settings: RetentionSettings = toml::from_str(
            "days = 0\nmin_days = 7\nmax_share = 1.0\nwhole_months = false\ntombstone_days = 14\nrate = 100000\n\
             batch = 3\nevery_hours = 24\n[tenants]",
        )
        .unwrap();
        let settings = RetentionSettings { days, tenants: tenants.iter().copied().collect(), ..settings };
        Retention {
            store: Arc::clone(&self.store),
            payloads: Arc::clone(&self.payloads),
            settings,
            clock: Arc::new(move || now),
            holder: Uuid::new_v4().to_string(),
        }
    }

    /// Plans and applies; the plan must say what is done. Answers how many records went.
    pub async fn remove(&self, retention: &Retention) -> u64 {
        let plan = retention.plan().await.unwrap();
        let reports = retention.apply(&plan, None).await.unwrap();
        assert_eq!(reports.iter().map(|report| report.step.clone()).collect::<Vec<_>>(), plan.steps);
        for report in &reports {
            assert_eq!(report.removed, report.step.records, "{}", report.step.what);
        }
        self.store.refresh().await.unwrap();
        let again = retention.plan().await.unwrap();
        assert_eq!(again.total(), 0, "nothing is left: {:?}", again.steps);
        plan.total()
    }
}
