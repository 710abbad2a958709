//! What only an engine has: templates, mappings, blocks, and a tenancy that changes. Each case has a prefix of its own.

use std::sync::Arc;

use difylog::domain::document::{PayloadField, Truncation};
use difylog::domain::query::{AppLogFilter, Cursor, Page, RunQuery, Scan};
use difylog::domain::{BulkAction, Document, Kind, Record, Verdict};
use difylog::store::elastic::{ElasticSettings, ElasticStore, Tenancy};
use difylog::store::{
    BulkSink as _, Eraser as _, Erasure, LogReader as _, Remains, StoreAdmin as _, StoreError, StoreOverview as _,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::engine;
use crate::support::namespace::Namespace;
use crate::support::records::{self, app, at, run, tenant};

/// A store that is set up, and the engine behind its back.
struct Bench {
    _namespace: Namespace,
    settings: ElasticSettings,
    store: ElasticStore,
}

impl Bench {
    async fn new() -> Self {
        let namespace = Namespace::new();
        let settings = namespace.settings(Tenancy::Dedicated);
        let store = ElasticStore::new(settings.clone()).unwrap();
        store.install().await.unwrap();
        Self { _namespace: namespace, settings, store }
    }

    /// A call to the engine; the answer's text.
    async fn call(&self, method: Method, path: &str, body: Value) -> String {
        engine::call(&self.settings.hosts[0], method, path, body).await
    }

    async fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.call(Method::GET, path, Value::Null).await).unwrap()
    }

    fn runs_template(&self) -> String {
        format!("/_index_template/{}-workflow-runs", self.settings.prefix)
    }

    /// The template of the runs, changed by hand.
    async fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut template = self.get(&self.runs_template()).await["index_templates"][0]["index_template"].take();
        // Elasticsearch 9 tells when it was written, and takes no such field back.
        template
            .as_object_mut()
            .unwrap()
            .retain(|field, _| !field.starts_with("created_") && !field.starts_with("modified_"));
        change(&mut template);
        self.call(Method::PUT, &self.runs_template(), template).await;
    }

    /// What `check` finds wrong.
    async fn problem(&self) -> String {
        match self.store.check().await {
            Err(StoreError::NotSetUp(problem)) => problem,
            other => panic!("{other:?}"),
        }
    }

    /// The cause for which a record is held.
    async fn held(&self, record: Record) -> String {
        let verdicts = self.store.apply(&records::actions(record)).await.unwrap();
        match verdicts.last() {
            Some(Verdict::Retry(cause)) => cause.detail.clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn record() -> Record {
    Record::Run(Box::new(run(tenant(), app(), at("2026-11-23T10:00:00"))))
}

#[tokio::test]
async fn a_set_up_is_idempotent_and_mends_what_check_finds() {
    let bench = Bench::new().await;
    let again = bench.store.install().await.unwrap();
    assert_eq!(again.iter().filter(|line| line.ends_with("is current")).count(), 5, "{again:?}");
    bench.store.check().await.unwrap();
    assert_eq!(bench.store.probe().await, Ok(()));

    bench.call(Method::DELETE, &bench.runs_template(), Value::Null).await;
    assert!(bench.problem().await.contains("workflow-runs is missing"));
    assert!(bench.store.probe().await.is_err());
    bench.store.install().await.unwrap();
    assert_eq!(bench.store.probe().await, Ok(()));

    bench.edit(|template| template["template"]["mappings"]["properties"]["id"] = json!({ "type": "text" })).await;
    assert!(bench.problem().await.contains("was edited"));
    bench.store.install().await.unwrap();

    bench.edit(|template| template["version"] = json!(0)).await;
    assert!(bench.problem().await.contains("has version 0"));
    bench.store.install().await.unwrap();

    let other = ElasticSettings { refresh_interval: "9s".into(), ..bench.settings.clone() };
    let lines = ElasticStore::new(other).unwrap().check().await.unwrap();
    assert_eq!(lines.iter().filter(|line| line.contains("other index settings")).count(), 5, "{lines:?}");

    bench.edit(|template| template["version"] = json!(99)).await;
    for result in [bench.store.check().await, bench.store.install().await] {
        let Err(StoreError::Corrupt(words)) = result else { panic!("{result:?}") };
        assert!(words.contains("upgrade difylog"), "{words}");
    }
}

#[tokio::test]
async fn an_older_mapping_of_an_existing_index_is_brought_up() {
    let bench = Bench::new().await;
    let index = format!("/{}-workflow-runs-{}-2026.11", bench.settings.prefix, tenant());
    let older = json!({ "dynamic": false, "_meta": { "difylog": { "version": 0 } } });
    bench.call(Method::PUT, &index, json!({ "mappings": older })).await;
    assert!(bench.problem().await.contains("1 indices have an older mapping"));
    bench.store.install().await.unwrap();
    bench.store.check().await.unwrap();
}

#[tokio::test]
async fn no_index_gets_a_guessed_mapping_even_without_templates() {
    let bench = Bench::new().await;
    bench.call(Method::DELETE, &bench.runs_template(), Value::Null).await;
    let record = record();
    let stored = bench.store.apply(&records::actions(record.clone())).await.unwrap();
    assert!(stored.iter().all(|verdict| *verdict == Verdict::Stored), "{stored:?}");
    let path = format!("/{}-workflow-runs-{}-2026.11/_mapping", bench.settings.prefix, record.tenant_id());
    let mapping = bench.get(&path).await.to_string();
    assert!(mapping.contains(r#""date_nanos""#) && mapping.contains(r#""difylog_json""#), "{mapping}");
}

#[tokio::test]
async fn ten_thousand_documents_with_random_keys_leave_the_mapping_as_it_is() {
    let bench = Bench::new().await;
    let (tenant, app) = (tenant(), app());
    let path = format!("/{}-workflow-runs-{tenant}-2026.11/_mapping", bench.settings.prefix);
    let mut before = None;
    for _ in 0..10 {
        let random = || {
            let mut run = run(tenant, app, at("2026-11-23T10:00:00"));
            let key = || records::id().to_string();
            run.inputs = records::json(&json!({ key(): { key(): 1 }, key(): [{ key(): "text" }] }).to_string());
            run.outputs = records::json(&json!({ key(): key() }).to_string());
            Record::Run(Box::new(run))
        };
        let records = std::iter::repeat_with(random).take(1_000);
        let actions: Vec<_> = records.filter_map(|record| records::actions(record).pop()).collect();
        assert_eq!(bench.store.apply(&actions).await.unwrap(), vec![Verdict::Stored; 1_000]);
        let now = bench.call(Method::GET, &path, Value::Null).await;
        assert_eq!(before.get_or_insert_with(|| now.clone()), &now);
    }
    bench.store.refresh().await.unwrap();
    let counts = bench.store.counts().await.unwrap();
    assert_eq!(
        counts.iter().map(|count| (count.kind, count.documents)).collect::<Vec<_>>(),
        [("workflow_run", 10_000)]
    );
}

#[tokio::test]
async fn blocks_and_closed_indices_hold_the_actions_with_a_remedy() {
    let bench = Bench::new().await;
    let record = record();
    bench.store.apply(&records::actions(record.clone())).await.unwrap();
    let index = format!("/{}-workflow-runs-{}-2026.11", bench.settings.prefix, record.tenant_id());
    bench.call(Method::PUT, &format!("{index}/_settings"), json!({ "index.blocks.write": true })).await;
    assert!(bench.held(record.clone()).await.contains("lift the block"));
    bench.call(Method::PUT, &format!("{index}/_settings"), json!({ "index.blocks.write": null })).await;
    bench.call(Method::POST, &format!("{index}/_close"), Value::Null).await;
    assert!(bench.held(record.clone()).await.contains("open it"));
    bench.call(Method::POST, &format!("{index}/_open"), Value::Null).await;
    let verdicts = bench.store.apply(&records::actions(record)).await.unwrap();
    assert_eq!(verdicts, [Verdict::Stored, Verdict::Stored]);
}

#[tokio::test]
async fn only_indices_of_ours_are_dropped() {
    let bench = Bench::new().await;
    let foreign = format!("/{}-workflow-runs-reports-2026.11", bench.settings.prefix);
    bench.call(Method::PUT, &foreign, json!({ "mappings": { "dynamic": false } })).await;
    bench.store.apply(&records::actions(record())).await.unwrap();
    assert_eq!(bench.store.drop_month("2026-11".parse().unwrap()).await, Ok(2), "the runs and their graphs");
    bench.get(&foreign).await;
}

#[tokio::test]
async fn what_was_written_in_another_tenancy_is_read_and_shows_once() {
    let bench = Bench::new().await;
    let shared = ElasticSettings { tenancy: Tenancy::Shared, ..bench.settings.clone() };
    let shared = ElasticStore::new(shared).unwrap();
    let (tenant, app) = (tenant(), app());
    let running = run(tenant, app, at("2026-11-23T10:00:00"));
    let other = run(tenant, app, at("2026-11-23T11:00:00"));
    let ended = Record::Run(Box::new(records::ended(running.clone(), 5)));
    for run in [running, other] {
        bench.store.apply(&records::actions(Record::Run(Box::new(run)))).await.unwrap();
    }
    shared.apply(&records::actions(ended.clone())).await.unwrap();
    shared.refresh().await.unwrap();
    let filter = RunQuery { app_id: Some(app), ..RunQuery::default() }.within(tenant);
    for store in [&bench.store, &shared] {
        assert_eq!(store.record(ended.key()).await, Ok(Some(records::whole(ended.clone()))));
        let runs = store.runs(&filter, &Page::newest(10)).await.unwrap();
        assert_eq!(runs.len(), 2, "{runs:?}");
        assert_eq!(runs[1].status.as_str(), "succeeded");
    }
    // An ended run that lies in both is one run, in totals and to its log.
    bench.store.apply(&records::actions(ended.clone())).await.unwrap();
    shared.refresh().await.unwrap();
    for store in [&bench.store, &shared] {
        let found = store.search_runs(&filter, &Page::newest(10), Some(10)).await.unwrap();
        assert_eq!((found.rows.len(), found.total.value), (2, 2));
        let days = store.daily(&filter, chrono_tz::Tz::UTC).await.unwrap();
        assert_eq!(days.iter().map(|day| day.runs).sum::<u64>(), 2);
    }
    let log = records::app_log(tenant, app, ended.id(), at("2026-11-23T10:00:00"));
    let log = Record::AppLog(Box::new(log));
    shared.apply(&records::actions(log.clone())).await.unwrap();
    shared.refresh().await.unwrap();
    let of_app = AppLogFilter { run_status: Some("succeeded".into()), ..AppLogFilter::all(tenant, app) };
    let page = shared.app_logs(&of_app, 0, 10).await.unwrap();
    assert_eq!((page.rows.len(), page.total), (1, 1));
    // A log that lies in both shows and counts once, too.
    let older = Record::AppLog(Box::new(records::app_log(tenant, app, ended.id(), at("2026-11-22T10:00:00"))));
    for record in [log.clone(), older.clone()] {
        bench.store.apply(&records::actions(record)).await.unwrap();
    }
    shared.refresh().await.unwrap();
    for filter in [of_app, AppLogFilter::all(tenant, app)] {
        let page = async |offset, limit| -> Vec<_> {
            let page = shared.app_logs(&filter, offset, limit).await.unwrap();
            assert_eq!(page.total, 2);
            page.rows.iter().map(|row| row.log.id).collect()
        };
        assert_eq!(page(0, 10).await, [log.id(), older.id()]);
        assert_eq!(page(0, 1).await, [log.id()]);
        assert_eq!(page(1, 1).await, [older.id()]);
        assert_eq!(page(2, 2).await, []);
    }
    for store in [&bench.store, &shared] {
        for kind in [Kind::WorkflowRun, Kind::AppLog] {
            let scan = Scan { tenants: vec![tenant], ..Scan::all(kind, 10) };
            assert_eq!(store.scan_count(&scan).await, Ok(2), "{kind}");
            assert!(store.scan_count(&Scan { superseded_too: true, ..scan.clone() }).await.unwrap() > 2, "{kind}");
            let first = store.scan(&Scan { limit: 1, ..scan.clone() }).await.unwrap();
            let after = Some(Cursor { created_at: first[0].record.created_at(), id: first[0].record.id() });
            assert_eq!(store.scan_count(&Scan { after, ..scan }).await, Ok(1), "{kind}");
        }
    }
}

/// A page of the engine has 1,000 copies; here it ends between the two of the last record.
#[tokio::test]
async fn copies_on_both_sides_of_a_page_are_erased() {
    let bench = Bench::new().await;
    let shared = ElasticStore::new(ElasticSettings { tenancy: Tenancy::Shared, ..bench.settings.clone() }).unwrap();
    let (tenant, app) = (tenant(), app());
    let log = |number: i64| {
        let created_at = records::later(at("2026-11-23T10:00:00"), number * 1_000);
        Record::AppLog(Box::new(records::app_log(tenant, app, records::id(), created_at)))
    };
    let logs: Vec<Record> = (0..501).map(log).collect();
    let actions: Vec<BulkAction> = logs.iter().cloned().flat_map(records::actions).collect();
    for (store, actions) in [(&bench.store, &actions[..]), (&shared, &actions[1..])] {
        assert_eq!(store.apply(actions).await, Ok(vec![Verdict::Stored; actions.len()]));
    }
    let erasures: Vec<Erasure> = logs.iter().map(|log| Erasure { key: log.key(), revision: None }).collect();
    assert_eq!(shared.erase(&erasures, Remains::Nothing).await, Ok(vec![true; 501]));
    let ids: Vec<_> = logs.iter().map(Record::id).collect();
    assert_eq!(shared.records(tenant, Kind::AppLog, &ids).await, Ok(vec![]), "what was erased is there");
}

#[tokio::test]
async fn texts_named_before_there_was_a_column_for_them_are_found() {
    let bench = Bench::new().await;
    let (tenant_id, created_at) = (tenant(), at("2026-11-23T10:00:00"));
    let index = format!("/{}-workflow-runs-{tenant_id}-2026.11", bench.settings.prefix);
    let (keyword, number) = (json!({ "type": "keyword" }), json!({ "type": "long" }));
    let mut properties = json!({
        "id": keyword, "tenant_id": keyword, "created_at": { "type": "date_nanos" }, "revision": number,
        "truncated": { "properties": { "field": keyword } },
    });
    let meta = json!({ "difylog": { "version": 3 } });
    bench
        .call(Method::PUT, &index, json!({ "mappings": { "dynamic": false, "_meta": meta, "properties": properties } }))
        .await;
    let texts = ["one", "other", "nobody's"].map(records::sha256);
    let mut ids = Vec::new();
    for sha256 in &texts[..2] {
        let (document, _) = records::split(Record::Run(Box::new(run(tenant_id, app(), created_at))));
        ids.push(document.record.id());
        let mark = Truncation { field: PayloadField::Inputs, original_bytes: 1, sha256: *sha256 };
        let document = Document { truncated: vec![mark], graph: None, ..document };
        bench.store.apply(&[BulkAction::Document(Arc::new(document))]).await.unwrap();
        // The second one is written after the set-up of this version.
        properties["truncated"]["properties"]["sha256"] = json!({ "type": "keyword" });
        bench.call(Method::PUT, &format!("{index}/_mapping"), json!({ "properties": properties })).await;
    }
    let month = created_at.month();
    let named = bench.store.named_texts(tenant_id, month, &texts).await.unwrap();
    assert_eq!(named, texts[..2].iter().copied().collect());
    let of = bench.store.texts_of(tenant_id, Kind::WorkflowRun, &ids).await.unwrap();
    let of: std::collections::HashSet<_> = of.into_iter().collect();
    assert_eq!(of, texts[..2].iter().map(|text| (month, *text)).collect());
    assert_eq!(
        bench.store.named_texts(tenant(), month, &texts).await,
        Ok(std::collections::HashSet::default()),
        "another tenant"
    );
}
