//! What a request of a worker does that is under way while a month is retired.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use difylog::domain::{BulkAction, Record, TenantId, TenantSet, Verdict};
use difylog::store::elastic::{ElasticSettings, ElasticStore, Tenancy};
use difylog::store::{BulkSink as _, Eraser as _, LogReader as _, StoreAdmin as _, StoreOverview as _};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::engine;
use crate::support::engine_proxy::{EngineProxy, Mode};
use crate::support::namespace::Namespace;
use crate::support::records::{self, app, at, run, tenant};
use crate::support::site::eventually;

fn ended(tenant_id: TenantId, created_at: &str) -> Record {
    Record::Run(Box::new(records::ended(run(tenant_id, app(), at(created_at)), 5)))
}

/// A store that is set up, and a worker over it whose requests can be held.
struct Bench {
    _namespace: Namespace,
    settings: ElasticSettings,
    store: ElasticStore,
    proxy: EngineProxy,
    worker: Arc<ElasticStore>,
}

impl Bench {
    async fn new(tenancy: Tenancy) -> Self {
        let namespace = Namespace::new();
        let settings = namespace.settings(tenancy);
        let store = ElasticStore::new(settings.clone()).unwrap();
        store.install().await.unwrap();
        let proxy = EngineProxy::start(settings.hosts[0].clone()).await;
        let hosts = vec![proxy.url.clone()];
        let worker = Arc::new(ElasticStore::new(ElasticSettings { hosts, ..settings.clone() }).unwrap());
        Self { _namespace: namespace, settings, store, proxy, worker }
    }

    /// Writes by the worker, and does something else while its request is under way.
    async fn while_written(&self, actions: Vec<BulkAction>, meanwhile: impl Future<Output = ()>) -> Vec<Verdict> {
        self.proxy.set(Mode::Held);
        let (held, writing) = (Arc::clone(&self.proxy.held), Arc::clone(&self.worker));
        let before = held.load(Ordering::Relaxed);
        let written = tokio::spawn(async move { writing.apply(&actions).await });
        eventually(60, "the request is on its way", async || held.load(Ordering::Relaxed) > before).await;
        meanwhile.await;
        self.proxy.set(Mode::Pass);
        written.await.unwrap().unwrap()
    }
}

/// A request that hangs for as long as a retirement takes creates the index again: it drops what it wrote.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_outlasts_a_months_retirement_brings_nothing_back() {
    let bench = Bench::new(Tenancy::Dedicated).await;
    let tenant = tenant();
    let [first, late] = [10, 11].map(|hour| ended(tenant, &format!("2026-10-23T{hour}:00:00")));
    bench.worker.apply(&records::actions(first.clone())).await.unwrap();
    let retire = async {
        assert_eq!(
            bench.store.retire_month(first.month(), &TenantSet::everybody(), at("2026-11-30T00:00:00")).await,
            Ok(Some(2))
        );
    };
    bench.while_written(records::actions(late), retire).await;
    bench.store.refresh().await.unwrap();
    assert_eq!(bench.store.counts().await.unwrap(), Vec::new(), "the month is back");
}

/// The tenant had indices of its own, which go; what it writes by now lies beside the rows of others.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_outlasts_a_tenants_retirement_takes_nobody_else_along() {
    let bench = Bench::new(Tenancy::Shared).await;
    let (leaves, stays) = (tenant(), tenant());
    let [first, late] = [10, 11].map(|hour| ended(leaves, &format!("2026-10-23T{hour}:00:00")));
    let [before, beside] = [10, 11].map(|hour| ended(stays, &format!("2026-10-23T{hour}:00:00")));
    let own = ElasticSettings { tenancy: Tenancy::Dedicated, ..bench.settings.clone() };
    ElasticStore::new(own).unwrap().apply(&records::actions(first.clone())).await.unwrap();
    bench.worker.apply(&records::actions(before.clone())).await.unwrap();
    bench.store.refresh().await.unwrap();
    let retire = async {
        let retired = bench.store.retire_month(first.month(), &TenantSet::one(leaves), at("2026-11-30T00:00:00")).await;
        assert_eq!(retired, Ok(Some(2)));
    };
    let actions = [records::actions(late.clone()), records::actions(beside.clone())].concat();
    bench.while_written(actions, retire).await;
    bench.store.refresh().await.unwrap();
    for gone in [first, late] {
        assert_eq!(bench.store.record(gone.key()).await, Ok(None));
    }
    for kept in [before, beside] {
        assert_eq!(bench.store.record(kept.key()).await, Ok(Some(records::whole(kept.clone()))), "with its graph");
    }
    let graphs = bench.store.counts().await.unwrap().into_iter().filter(|count| count.kind == "graph");
    assert_eq!(graphs.map(|count| count.documents).sum::<u64>(), 1, "that of the one that stays");
}

/// Nobody else would take the block off: the days of whoever is past them may be longer by the next time.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_is_cut_short_leaves_no_block_for_long() {
    let bench = Bench::new(Tenancy::Shared).await;
    let (leaves, stays) = (tenant(), tenant());
    let [first, beside] =
        [(leaves, 10), (stays, 11)].map(|(tenant_id, hour)| ended(tenant_id, &format!("2026-10-23T{hour}:00:00")));
    let (month, at) = (first.month(), at("2026-11-30T00:00:00"));
    bench.store.apply(&records::actions(first)).await.unwrap();
    let settings = format!("/{}-workflow-runs-2026.10/_settings?flat_settings=true", bench.settings.prefix);
    let is_blocked = async || {
        let found = engine::call(&bench.settings.hosts[0], Method::GET, &settings, Value::Null).await;
        found.contains(r#""index.blocks.write":"true""#)
    };
    let past = TenantSet::one(leaves);
    let cut_short = async || {
        tokio::select! {
            done = bench.store.retire_month(month, &past, at) => panic!("over before it was cut short: {done:?}"),
            () = eventually(60, "the month is blocked", is_blocked) => {}
        }
    };
    cut_short().await;
    assert_eq!(bench.store.retire_month(month, &TenantSet::one(tenant()), at).await, Ok(Some(0)));
    assert!(!is_blocked().await);
    // So where no month is due any more.
    cut_short().await;
    bench.store.purge_tombstones(at).await.unwrap();
    let written = bench.store.apply(&records::actions(beside)).await.unwrap();
    assert_eq!(written.last(), Some(&Verdict::Stored));
    // What took the block off is forgotten: another's block is left alone.
    let block = json!({ "index.blocks.write": true });
    engine::call(&bench.settings.hosts[0], Method::PUT, &settings, block).await;
    bench.store.purge_tombstones(at).await.unwrap();
    assert!(is_blocked().await);
}
