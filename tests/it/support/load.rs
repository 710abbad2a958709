//! Made-up load and what must be in the store after it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use difylog::codec::encode_native;
use difylog::domain::query::{Content, Cursor, Page, RunQuery, RunSummary, Scan};
use difylog::domain::record::RecordKey;
use difylog::domain::{AppId, Document, Kind, Record, RecordId, Revision, TenantId};
use difylog::store::Store;
use difylog::synthetic::{Generator, Shape};
use tokio::time::Instant;

use crate::support::site::{Site, Worker};

/// Records in publish order, and the newest revision of each.
pub struct Load {
    pub records: Vec<Record>,
    pub newest: BTreeMap<RecordKey, Revision>,
}

impl Load {
    /// At least `messages` snapshots, whole runs, small payloads.
    pub fn new(seed: u64, messages: usize) -> Self {
        let shape = Shape { payload_bytes: 120, graph_bytes: 600, ..Shape::default() };
        let mut generator = Generator::new(seed, "2026-11-01T00:00:00".parse().unwrap(), shape);
        let mut records = Vec::new();
        while records.len() < messages {
            records.extend(generator.run());
        }
        Self::from_records(records)
    }

    /// Several loads as one.
    pub fn joined(loads: Vec<Self>) -> Self {
        Self::from_records(loads.into_iter().flat_map(|load| load.records).collect())
    }

    pub fn from_records(records: Vec<Record>) -> Self {
        let mut newest = BTreeMap::new();
        for record in &records {
            let revision = Revision::of(record);
            let known = newest.entry(record.key()).or_insert(revision);
            *known = revision.max(*known);
        }
        Self { records, newest }
    }

    pub fn write_events(&self, path: &Path) {
        let mut text = String::new();
        for record in &self.records {
            writeln!(text, "{}", String::from_utf8(encode_native(record)).unwrap()).unwrap();
        }
        std::fs::write(path, text).unwrap();
    }

    /// Compares a store with what must be in it: counts by kind, every run by revision, every node by revision. Answers
    /// the differences.
    pub async fn differences(&self, store: &dyn Store) -> Vec<String> {
        store.refresh().await.unwrap();
        let mut wrong = Vec::new();
        for kind in [Kind::WorkflowRun, Kind::NodeExecution, Kind::AppLog] {
            let expected = self.newest.keys().filter(|key| key.kind == kind).count() as u64;
            let counts = store.counts().await.unwrap();
            let found: u64 =
                counts.iter().filter(|count| count.kind == kind.as_str()).map(|count| count.documents).sum();
            if found != expected {
                wrong.push(format!("{kind}: {found} documents, {expected} expected"));
            }
        }
        let mut found = BTreeMap::new();
        for (tenant_id, app_id) in self.apps() {
            for run in all_runs(store, tenant_id, app_id).await {
                found.insert(RecordKey { tenant_id, kind: Kind::WorkflowRun, id: run.0 }, run.1);
            }
        }
        for node in all_nodes(store, &self.newest).await {
            found.insert(node.key(), node.revision);
        }
        for (key, revision) in self.newest.iter().filter(|(key, _)| key.kind != Kind::AppLog) {
            match found.get(key) {
                None => wrong.push(format!("missing: {key:?}")),
                Some(stored) if stored != revision => wrong.push(format!("older snapshot: {key:?}")),
                Some(_) => {}
            }
        }
        wrong
    }

    /// Waits until a worker has nothing left and the store holds this load; panics with the first differences otherwise.
    ///
    /// An empty queue and nothing in flight do not say that all is settled, see [`Worker::acked`]. Only the store can say.
    pub async fn stored(&self, seconds: u64, site: &Site, worker: &Worker) {
        let mut wrong = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            let idle = site.depth("events").await == 0
                && worker.metric("difylog_deliveries_in_flight", "").await == 0.0
                && worker.is_ready().await;
            if idle {
                wrong = self.differences(&*site.store()).await;
                if wrong.is_empty() {
                    return;
                }
            }
            assert!(
                Instant::now() < deadline,
                "not stored within {seconds} s; {} differences, the first: {:?}\n{}",
                wrong.len(),
                wrong.get(..wrong.len().min(5)),
                site.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn apps(&self) -> Vec<(TenantId, AppId)> {
        let mut apps: Vec<_> = self
            .records
            .iter()
            .filter_map(|record| match record {
                Record::Run(run) => Some((run.tenant_id, run.app_id)),
                _ => None,
            })
            .collect();
        apps.sort_unstable();
        apps.dedup();
        apps
    }
}

/// Every node of the tenants of these records, by one walk: there are thousands of runs to ask for.
async fn all_nodes(store: &dyn Store, of: &BTreeMap<RecordKey, Revision>) -> Vec<Document> {
    let tenants: BTreeSet<_> = of.keys().map(|key| key.tenant_id).collect();
    let mut scan = Scan {
        tenants: tenants.into_iter().collect(),
        content: Content::Light,
        ..Scan::all(Kind::NodeExecution, 1_000)
    };
    let mut all = Vec::new();
    loop {
        let stretch = store.scan(&scan).await.unwrap();
        let Some(last) = stretch.last() else { return all };
        scan.after = Some(Cursor { created_at: last.record.created_at(), id: last.record.id() });
        all.extend(stretch);
    }
}

/// Every run of an app, by pages.
async fn all_runs(store: &dyn Store, tenant_id: TenantId, app_id: AppId) -> Vec<(RecordId, Revision)> {
    let mut all = Vec::new();
    let filter = RunQuery { app_id: Some(app_id), ..RunQuery::default() }.within(tenant_id);
    let mut after = None;
    loop {
        let page = store.runs(&filter, &Page { after, ..Page::newest(500) }).await.unwrap();
        let Some(last) = page.last() else { return all };
        after = Some(RunSummary::position(last));
        all.extend(page.iter().map(|run| (run.id, run.revision)));
    }
}
