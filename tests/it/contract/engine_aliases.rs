//! What operators do to a cluster beside difylog: a month behind an alias, templates of others, indices deleted by hand.

use std::time::{Duration, Instant};

use difylog::domain::query::{Cursor, MonthCount, Page, RunFilter, Scan};
use difylog::domain::{Kind, Record, TenantSet, Timestamp, Verdict};
use difylog::store::elastic::{ElasticSettings, ElasticStore, Tenancy};
use difylog::store::{
    BulkSink as _, Eraser as _, Erasure, LogReader as _, Remains, StoreAdmin as _, StoreError, StoreOverview as _,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::engine::{self, put_behind_an_alias};
use crate::support::namespace::Namespace;
use crate::support::records::{self, app, at, run, tenant};

/// A store that is set up, and the engine behind its back.
struct Site {
    _namespace: Namespace,
    settings: ElasticSettings,
    store: ElasticStore,
}

impl Site {
    async fn new() -> Self {
        let namespace = Namespace::new();
        let settings = namespace.settings(Tenancy::Dedicated);
        let store = ElasticStore::new(settings.clone()).unwrap();
        store.install().await.unwrap();
        Self { _namespace: namespace, settings, store }
    }

    async fn try_call(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = engine::try_call(&self.settings.hosts[0], method, path, body).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        serde_json::from_str(&engine::call(&self.settings.hosts[0], method, path, body).await).unwrap()
    }

    async fn has(&self, index: &str) -> bool {
        self.try_call(Method::GET, &format!("/{index}/_settings"), &json!({})).await.0 == 200
    }

    async fn count(&self) -> Vec<MonthCount> {
        let counts = self.store.counts().await.unwrap();
        counts.into_iter().filter(|count| count.kind == "workflow_run").collect()
    }
}

#[tokio::test]
async fn a_month_behind_an_alias_is_a_month_like_any_other() {
    let site = Site::new().await;
    let (tenant, app) = (tenant(), app());
    let [first, second] = [10, 11].map(|hour| {
        Record::Run(Box::new(records::ended(run(tenant, app, at(&format!("2026-10-23T{hour}:00:00"))), 5)))
    });
    site.store.apply(&records::actions(first.clone())).await.unwrap();
    let index = format!("{}-workflow-runs-{tenant}-2026.10", site.settings.prefix);
    let behind = format!("shrunk-{}-1", site.settings.prefix);
    put_behind_an_alias(&site.settings.hosts[0], &index, &behind).await;

    // A worker that has just started knows nothing yet.
    let worker = ElasticStore::new(site.settings.clone()).unwrap();
    let verdicts = worker.apply(&records::actions(second.clone())).await.unwrap();
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Stored), "{verdicts:?}");
    worker.refresh().await.unwrap();
    for store in [&site.store, &worker, &ElasticStore::new(site.settings.clone()).unwrap()] {
        store.check().await.unwrap();
        assert_eq!(store.record(first.key()).await, Ok(Some(records::whole(first.clone()))));
        let found = store.search_runs(&RunFilter::all(tenant), &Page::newest(10), Some(10)).await.unwrap();
        assert_eq!((found.rows.len(), found.total.value), (2, 2));
        assert_eq!(store.scan(&Scan::all(Kind::WorkflowRun, 10)).await.unwrap().len(), 2);
    }
    let counted = site.count().await;
    assert_eq!(counted.iter().map(|count| count.documents).collect::<Vec<_>>(), [2]);
    let sizes = site.store.sizes().await.unwrap();
    assert!(sizes.iter().any(|size| size.kind == Some("workflow_run") && size.bytes > 0), "{sizes:?}");

    let month = first.month();
    let retired =
        site.store.retire_month(month, &TenantSet::everybody(), Timestamp::from_micros(1).unwrap()).await.unwrap();
    assert!(retired.is_some_and(|indices| indices > 0));
    assert!(!site.has(&behind).await, "the index behind the alias is gone");
    assert_eq!(site.count().await, []);
}

#[tokio::test]
async fn an_index_that_serves_others_too_is_not_dropped_with_a_month() {
    let site = Site::new().await;
    let record = Record::Run(Box::new(run(tenant(), app(), at("2026-10-23T10:00:00"))));
    site.store.apply(&records::actions(record.clone())).await.unwrap();
    let index = format!("{}-workflow-runs-{}-2026.10", site.settings.prefix, record.tenant_id());
    let behind = format!("shrunk-{}-2", site.settings.prefix);
    put_behind_an_alias(&site.settings.hosts[0], &index, &behind).await;
    site.call(Method::PUT, &format!("/{behind}/_alias/{}-audit", site.settings.prefix), json!({})).await;
    let Err(StoreError::Unavailable(words)) = site.store.drop_month(record.month()).await else { panic!("refused") };
    assert!(words.contains(&behind) && words.contains(&index), "{words}");
    assert!(site.has(&behind).await);
}

#[tokio::test]
async fn a_template_of_others_that_is_in_the_way_is_named() {
    let site = Site::new().await;
    let prefix = &site.settings.prefix;
    let house = format!("/_index_template/{prefix}-house");
    let template = |priority: u64| json!({ "index_patterns": [format!("{prefix}-workflow-*")], "priority": priority });
    let above = |mut template: Value| {
        template["data_stream"] = json!({});
        template
    };
    // Elasticsearch 7 as it is assembled here has no data streams, and refuses the template itself.
    let (status, answer) = site.try_call(Method::PUT, &house, &above(template(900))).await;
    if status == 200 {
        for result in [site.store.check().await, site.store.install().await] {
            let Err(StoreError::Unavailable(words)) = result else { panic!("{result:?}") };
            assert!(words.contains(&format!("{prefix}-house")) && words.contains("template_priority"), "{words}");
        }
    } else {
        assert!(answer.to_string().contains("template after composition is invalid"), "{answer}");
    }
    let higher = ElasticSettings { template_priority: 901, ..site.settings.clone() };
    let higher = ElasticStore::new(higher).unwrap();
    higher.install().await.unwrap();
    higher.check().await.unwrap();
    site.call(Method::PUT, &house, template(950)).await;
    let lines = higher.check().await.unwrap();
    assert!(lines.iter().any(|line| line.contains(&format!("{prefix}-house"))), "{lines:?}");
    site.call(Method::DELETE, &house, json!({})).await;
}

#[tokio::test]
async fn a_template_of_the_same_priority_is_named_at_the_set_up() {
    let namespace = Namespace::new();
    let settings = namespace.settings(Tenancy::Dedicated);
    let site = Site { store: ElasticStore::new(settings.clone()).unwrap(), settings, _namespace: namespace };
    let house = format!("/_index_template/{}-house", site.settings.prefix);
    let body = json!({ "index_patterns": [format!("{}*", site.settings.prefix)], "priority": 500 });
    site.call(Method::PUT, &house, body).await;
    let Err(StoreError::Unavailable(words)) = site.store.install().await else { panic!("refused") };
    assert!(words.contains("-house") && words.contains("same priority"), "{words}");
    site.call(Method::DELETE, &house, json!({})).await;
    site.store.install().await.unwrap();
}

#[tokio::test]
async fn what_waits_for_an_index_says_which() {
    let site = Site::new().await;
    let record = Record::Run(Box::new(run(tenant(), app(), at("2026-11-23T10:00:00"))));
    site.store.apply(&records::actions(record.clone())).await.unwrap();
    let index = format!("{}-workflow-runs-{}-2026.11", site.settings.prefix, record.tenant_id());
    site.call(Method::POST, &format!("/{index}/_close"), json!({})).await;
    let verdicts = site.store.apply(&records::actions(record)).await.unwrap();
    let Some(Verdict::Retry(cause)) = verdicts.last() else { panic!("{verdicts:?}") };
    assert!(cause.detail.contains(&index) && cause.detail.contains("open it"), "{}", cause.detail);
    site.call(Method::DELETE, &format!("/{index}"), json!({})).await;
}

fn is_out_of_time(verdicts: &[Verdict]) -> bool {
    verdicts.iter().any(|verdict| matches!(verdict, Verdict::Retry(cause) if cause.detail.contains("timed out")))
}

/// A deleted index is created again by the engine itself, if a write comes before difylog notices; without a template, with
/// a mapping that is guessed.
#[tokio::test]
async fn nothing_is_stored_in_an_index_with_a_guessed_mapping() {
    let site = Site::new().await;
    let record = Record::Run(Box::new(run(tenant(), app(), at("2026-11-23T10:00:00"))));
    let actions = records::actions(record.clone());
    site.store.apply(&actions).await.unwrap();
    for family in ["runs", "graphs"] {
        let template = format!("/_index_template/{}-workflow-{family}", site.settings.prefix);
        site.call(Method::DELETE, &template, json!({})).await;
    }
    let [runs, graphs] = ["runs", "graphs"]
        .map(|family| format!("{}-workflow-{family}-{}-2026.11", site.settings.prefix, record.tenant_id()));
    site.call(Method::DELETE, &format!("/{runs},{graphs}"), json!({})).await;
    let give_up = Instant::now() + Duration::from_secs(60);
    let verdicts = loop {
        let verdicts = site.store.apply(&actions).await.unwrap();
        // A busy engine is asked again: it had no time to guess a mapping, so it stored nothing.
        if !is_out_of_time(&verdicts) || Instant::now() > give_up {
            break verdicts;
        }
    };
    if verdicts.iter().any(|verdict| *verdict != Verdict::Stored) {
        let Some(Verdict::Retry(cause)) = verdicts.last() else { panic!("{verdicts:?}") };
        assert!(cause.detail.contains("was not created by difylog"), "{}", cause.detail);
        site.call(Method::DELETE, &format!("/{runs},{graphs}?ignore_unavailable=true"), json!({})).await;
        assert_eq!(site.store.apply(&actions).await.unwrap(), [Verdict::Stored, Verdict::Stored]);
    }
    let mapping = site.call(Method::GET, &format!("/{runs}/_mapping"), json!({})).await.to_string();
    assert!(mapping.contains("date_nanos") && mapping.contains(r#""difylog":{"version""#), "{mapping}");
}

/// What a process remembers as stored is not written again: it has to notice by itself that it is gone.
#[tokio::test]
async fn an_index_that_is_deleted_by_hand_is_noticed_without_a_write() {
    let site = Site::new().await;
    let record = Record::Run(Box::new(run(tenant(), app(), at("2026-11-23T10:00:00"))));
    site.store.apply(&records::actions(record.clone())).await.unwrap();
    let index = format!("{}-workflow-runs-{}-2026.11", site.settings.prefix, record.tenant_id());
    let before = site.store.generation();
    site.call(Method::DELETE, &format!("/{index}"), json!({})).await;
    let noticed = async {
        while site.store.generation() == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), noticed).await.expect("the deletion is noticed");
}

/// A copy that an operator keeps of an index is met by patterns of names, and is none of ours.
#[tokio::test]
async fn a_clone_of_an_index_ends_no_walk_early() {
    let site = Site::new().await;
    let (tenant, app) = (tenant(), app());
    let logs: Vec<Record> = (0..8)
        .map(|nth| records::later(at("2026-11-23T10:00:00"), nth))
        .map(|created_at| Record::AppLog(Box::new(records::app_log(tenant, app, records::id(), created_at))))
        .collect();
    let actions: Vec<_> = logs.iter().cloned().flat_map(records::actions).collect();
    assert_eq!(site.store.apply(&actions).await, Ok(vec![Verdict::Stored; 8]));
    let index = format!("{}-workflow-app-logs-{tenant}-2026.11", site.settings.prefix);
    let blocked = |is_blocked: Value| json!({ "index.blocks.write": is_blocked });
    site.call(Method::PUT, &format!("/{index}/_settings"), blocked(json!(true))).await;
    site.call(Method::PUT, &format!("/{index}/_clone/{index}-old?wait_for_active_shards=1"), json!({})).await;
    site.call(Method::PUT, &format!("/{index}/_settings"), blocked(Value::Null)).await;
    // The oldest and the newest are in the clone alone.
    let gone: Vec<_> = [0, 1, 2, 7].map(|nth: usize| Erasure { key: logs[nth].key(), revision: None }).into();
    assert_eq!(site.store.erase(&gone, Remains::Nothing).await, Ok(vec![true; 4]));
    site.store.refresh().await.unwrap();
    for superseded_too in [true, false] {
        for limit in [1, 2, 10] {
            let mut scan = Scan { superseded_too, ..Scan::all(Kind::AppLog, limit) };
            let mut walked = Vec::new();
            loop {
                let found = site.store.scan(&scan).await.unwrap();
                let Some(last) = found.last() else { break };
                scan.after = Some(last.cursor());
                walked.extend(found.iter().map(|document| document.record.id()));
            }
            assert_eq!(walked, logs[3..7].iter().map(Record::id).collect::<Vec<_>>(), "{limit} at a time");
        }
    }
    let last = Cursor { created_at: logs[6].created_at(), id: logs[6].id() };
    assert_eq!(site.store.scan_end(&Scan::all(Kind::AppLog, 1)).await, Ok(Some(last)));
}
