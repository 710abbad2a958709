//! A store of its own for each case, and a place for its backups.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use difylog::backup::Backup;
use difylog::backup::manifest::BackupSource;
use difylog::domain::{BulkAction, Record, Timestamp, Verdict};
use difylog::store::Store;
use difylog::store::copies::MonthCopies;
use difylog::store::elastic::{ElasticSettings, ElasticStore, Repository, SnapshotCopies, Tenancy};
use difylog::store::payload::{PayloadSettings, PayloadStore};
use difylog::store::sqlite::{SqliteCopies, SqliteSettings, SqliteStore};
use difylog::telemetry::{Clock, system_clock};
use tempfile::TempDir;

use crate::support::engine;
use crate::support::namespace::Namespace;
use crate::support::records;

/// Later than the real time by so much, files written a moment ago are settled.
const LATER: i64 = 3_600_000_000;

#[derive(Clone)]
enum Settings {
    Sqlite(SqliteSettings),
    Engine(Box<ElasticSettings>, Repository, Arc<Namespace>),
}

/// A store, its payloads, and where its backups lie.
pub struct Place {
    pub store: Arc<dyn Store>,
    pub payloads: Arc<PayloadStore>,
    settings: Settings,
    source: BackupSource,
    folder: Arc<TempDir>,
    clock: Clock,
}

impl Place {
    pub async fn sqlite() -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        let settings = SqliteSettings { dir: folder.path().join("sqlite"), ..SqliteSettings::default() };
        Self::installed(Settings::Sqlite(settings), BackupSource::Sqlite, folder, "payloads").await
    }

    pub async fn engine(tenancy: Tenancy) -> Self {
        let namespace = Arc::new(Namespace::new());
        let prefix = namespace.prefix.clone();
        let repository = Repository {
            name: prefix.clone(),
            location: Some(shared_directory(&namespace.url).await.join(&prefix).to_str().unwrap().to_owned()),
        };
        let settings = Settings::Engine(Box::new(namespace.settings(tenancy)), repository, namespace);
        let folder = Arc::new(TempDir::new().unwrap());
        Self::installed(settings, BackupSource::Elastic { prefix }, folder, "payloads").await
    }

    async fn installed(settings: Settings, source: BackupSource, folder: Arc<TempDir>, payloads: &str) -> Self {
        let place = Self::opened(settings, source, folder, payloads);
        place.store.install().await.unwrap();
        place
    }

    fn opened(settings: Settings, source: BackupSource, folder: Arc<TempDir>, payloads: &str) -> Self {
        let store: Arc<dyn Store> = match &settings {
            Settings::Sqlite(settings) => Arc::new(SqliteStore::new(settings.clone()).unwrap()),
            Settings::Engine(settings, ..) => Arc::new(ElasticStore::new(*settings.clone()).unwrap()),
        };
        let payloads = Arc::new(vault(folder.path(), payloads));
        // Every look is a second later than the one before: backups are named by their second.
        let looks = AtomicI64::new(0);
        let start = system_clock()().micros() + LATER;
        let now = move || Timestamp::from_micros(start + 1_000_000 * looks.fetch_add(1, Ordering::Relaxed)).unwrap();
        Self { store, payloads, settings, source, folder, clock: Arc::new(now) }
    }

    /// An empty store of the same kind and payloads of its own, with the same backups.
    pub async fn another(&self) -> Self {
        let settings = match &self.settings {
            Settings::Sqlite(settings) => {
                Settings::Sqlite(SqliteSettings { dir: self.folder.path().join("another"), ..settings.clone() })
            }
            Settings::Engine(settings, repository, namespace) => {
                let settings = ElasticSettings { prefix: format!("a{}", settings.prefix), ..*settings.clone() };
                Settings::Engine(Box::new(settings), repository.clone(), Arc::clone(namespace))
            }
        };
        let another = Self::installed(settings, self.source.clone(), Arc::clone(&self.folder), "other-payloads").await;
        // An installed SQLite store holds its directory's lock as long as it writes.
        another.store.close().await;
        another.reopened()
    }

    /// The same store with the payloads of another one.
    pub fn with_payloads(self, payloads: Arc<PayloadStore>) -> Self {
        Self { payloads, ..self }
    }

    /// The same place as another process opens it.
    pub fn same(&self) -> Self {
        let (settings, source) = (self.settings.clone(), self.source.clone());
        let same = Self::opened(settings, source, Arc::clone(&self.folder), "payloads");
        Self { clock: Arc::clone(&self.clock), ..same }
    }

    /// The same store, opened again.
    pub fn reopened(self) -> Self {
        match &self.settings {
            Settings::Sqlite(settings) => {
                let store = Arc::new(SqliteStore::new(settings.clone()).unwrap());
                Self { store, ..self }
            }
            Settings::Engine(..) => self,
        }
    }

    pub fn copies(&self) -> Box<dyn MonthCopies> {
        match (&self.settings, &self.source) {
            (Settings::Engine(settings, repository, _), BackupSource::Elastic { prefix }) => {
                Box::new(SnapshotCopies::new(*settings.clone(), repository.clone(), prefix.clone()).unwrap())
            }
            (Settings::Sqlite(settings), _) => {
                let folder = self.folder.path().join("backups/months");
                Box::new(SqliteCopies::new(settings.clone(), folder, Arc::clone(&self.clock)))
            }
            _ => unreachable!("a place has one kind"),
        }
    }

    pub fn vault(&self) -> PayloadStore {
        self.vault_named("backups")
    }

    /// A place for manifests and payloads, of this name.
    pub fn vault_named(&self, name: &str) -> PayloadStore {
        vault(self.folder.path(), name)
    }

    /// A file of the store's directory.
    pub fn store_file(&self, name: &str) -> PathBuf {
        let Settings::Sqlite(settings) = &self.settings else { panic!("an engine has no files of ours") };
        settings.dir.join(name)
    }

    pub fn backup(&self) -> Backup {
        Backup {
            store: Arc::clone(&self.store),
            payloads: Arc::clone(&self.payloads),
            copies: self.copies(),
            vault: self.vault(),
            source: self.source.clone(),
            clock: Arc::clone(&self.clock),
            holder: "a test".into(),
        }
    }

    /// Stores records, each with its graph.
    pub async fn write(&self, records: &[Record]) {
        let actions: Vec<BulkAction> = records.iter().cloned().flat_map(records::actions).collect();
        let verdicts = self.store.apply(&actions).await.unwrap();
        assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Stored)), "{verdicts:?}");
        self.store.refresh().await.unwrap();
        // What runs behind writing changes files too.
        self.store.catch_up().await.unwrap();
    }

    /// Lets an alias stand for each index of a month of the engine, as after a shrink: `2026.11`.
    pub async fn put_behind_aliases(&self, month: &str) {
        let Settings::Engine(settings, ..) = &self.settings else { panic!("files have no aliases") };
        let (url, prefix) = (&settings.hosts[0], &settings.prefix);
        let path = format!("/_cat/indices/{prefix}-*{month}?h=index");
        let names = engine::call(url, reqwest::Method::GET, &path, serde_json::Value::Null).await;
        assert!(names.lines().count() > 1, "{names}");
        for index in names.lines() {
            engine::put_behind_an_alias(url, index, &format!("behind-{index}")).await;
        }
    }

    /// Deletes a file, or an index of the engine, behind our back.
    pub async fn lose(&self, part: &str) {
        match &self.settings {
            Settings::Sqlite(_) => std::fs::remove_file(part).unwrap(),
            Settings::Engine(settings, ..) => {
                let path = format!("/{part}");
                engine::call(&settings.hosts[0], reqwest::Method::DELETE, &path, serde_json::Value::Null).await;
            }
        }
    }

    /// Opens or closes an index of the engine.
    pub async fn to_index(&self, index: &str, action: &str) {
        let Settings::Engine(settings, ..) = &self.settings else { panic!("files are no indices") };
        let path = format!("/{index}/{action}?wait_for_active_shards=1");
        engine::call(&settings.hosts[0], reqwest::Method::POST, &path, serde_json::Value::Null).await;
    }

    /// Creates an index of the engine; `name` follows the prefix.
    pub async fn create_index(&self, name: &str) {
        let Settings::Engine(settings, ..) = &self.settings else { panic!("files are no indices") };
        let path = format!("/{}{name}", settings.prefix);
        engine::call(&settings.hosts[0], reqwest::Method::PUT, &path, serde_json::json!({})).await;
    }

    /// Returns the engine's indices, in order; `pattern` follows the prefix.
    pub async fn indices(&self, pattern: &str) -> Vec<String> {
        let Settings::Engine(settings, ..) = &self.settings else { panic!("files are no indices") };
        let path = format!("/_cat/indices/{}{pattern}?h=index&s=index", settings.prefix);
        let names = engine::call(&settings.hosts[0], reqwest::Method::GET, &path, serde_json::Value::Null).await;
        names.lines().map(|name| name.trim().to_owned()).collect()
    }

    /// Loses everything: months, payloads and state.
    pub async fn destroy(self) -> Self {
        for count in self.store.counts().await.unwrap() {
            self.store.drop_month(count.month).await.unwrap();
            self.payloads.drop_month(count.month).await.unwrap();
        }
        for entry in self.store.states("").await.unwrap() {
            assert!(self.store.delete_state(&entry.key, entry.version).await.unwrap());
        }
        assert!(self.store.counts().await.unwrap().is_empty());
        self.store.close().await;
        self.reopened()
    }
}

fn vault(folder: &Path, name: &str) -> PayloadStore {
    PayloadStore::open(&PayloadSettings { dir: folder.join(name), s3: None }).unwrap()
}

/// The directory in which the engine under test lets repositories be.
pub async fn shared_directory(url: &str) -> PathBuf {
    let answer = reqwest::get(format!("{url}/_nodes/settings")).await.unwrap().text().await.unwrap();
    let nodes: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let node = nodes["nodes"].as_object().unwrap().values().next().unwrap();
    let found = &node["settings"]["path"]["repo"];
    let found = found.as_str().or_else(|| found[0].as_str());
    found.unwrap_or_else(|| panic!("the engine has no path.repo: start it with tests/servers/engine.sh")).into()
}
