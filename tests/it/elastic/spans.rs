//! Which indices a question names: those of the months of its span and no others, by tenant where tenants share them.

use chrono_tz::Tz;
use difylog::domain::query::{
    AppLogFilter, Content, Facet, ListFilter, NodeQuery, Page, RunQuery, Scan, SortBy, TimeRange,
};
use difylog::domain::{Kind, TenantId};
use difylog::store::LogReader as _;
use difylog::store::elastic::{ElasticSettings, ElasticStore, Tenancy};
use serde_json::{Map, Value, json};

use crate::elastic::settings;
use crate::support::records::{app, at, tenant};
use crate::support::scripted_engine::{Recorded, Reply, ScriptedEngine};

const MONTHS: [&str; 4] = ["2026.08", "2026.09", "2026.10", "2026.11"];

/// An engine that has four months of everything, and answers every search that nothing was found.
async fn engine(tenant_id: TenantId, tenancy: Tenancy) -> ScriptedEngine {
    let engine = ScriptedEngine::start().await;
    for part in ["runs", "node-executions", "app-logs", "offloads"] {
        let names = MONTHS.map(|month| match tenancy {
            Tenancy::Dedicated => format!("dify-workflow-{part}-{tenant_id}-{month}"),
            Tenancy::Shared => format!("dify-workflow-{part}-{month}"),
        });
        let indices: Map<_, _> = names.map(|name| (name, json!({ "aliases": {} }))).into_iter().collect();
        engine.script_prefix(&format!("GET /dify-workflow-{part}-"), Reply::json(200, &Value::Object(indices)));
    }
    let nothing =
        json!({ "timed_out": false, "_shards": { "total": 1 }, "hits": { "total": { "value": 0 }, "hits": [] } });
    engine.script_prefix("POST /dify-workflow-", Reply::json(200, &nothing));
    engine
}

/// October and the first second of November.
fn span() -> TimeRange {
    TimeRange { from: Some(at("2026-10-01T00:00:00")), until: Some(at("2026-11-01T00:00:01")) }
}

/// Asks everything that has a span.
async fn ask(store: &ElasticStore, tenant_id: TenantId) {
    let (created, page) = (span(), Page::newest(10));
    let runs = RunQuery { created, ..RunQuery::default() }.within(tenant_id);
    let nodes = NodeQuery { created, ..NodeQuery::default() }.within(tenant_id);
    for list in [ListFilter::Runs(runs.clone()), ListFilter::Nodes(nodes)] {
        store.page(&list, &page, Some(100)).await.unwrap();
        store.page(&list, &Page { sort: SortBy::ElapsedTime, ..page }, None).await.unwrap();
        store.documents(&list, &page, Content::Full).await.unwrap();
        store.facet(&list, Facet::Status, 10).await.unwrap();
        store.histogram(&list, 60).await.unwrap();
    }
    store.daily(&runs, Tz::UTC).await.unwrap();
    let logs = AppLogFilter { created, ..AppLogFilter::all(tenant_id, app()) };
    store.app_logs(&logs, 0, 10).await.unwrap();
    for kind in Kind::ALL {
        let scan = Scan { tenants: vec![tenant_id], created, ..Scan::all(kind, 10) };
        store.scan(&scan).await.unwrap();
        store.scan_count(&scan).await.unwrap();
        store.scan_end(&scan).await.unwrap();
    }
}

fn searches(engine: &ScriptedEngine) -> Vec<Recorded> {
    let found = engine.requests("POST /dify-workflow-");
    found.into_iter().filter(|request| request.target.ends_with("/_search")).collect()
}

#[tokio::test]
async fn a_question_names_the_months_of_its_span_and_no_others() {
    for tenancy in [Tenancy::Dedicated, Tenancy::Shared] {
        let tenant_id = tenant();
        let engine = engine(tenant_id, tenancy).await;
        let store = ElasticStore::new(ElasticSettings { tenancy, ..settings(&engine) }).unwrap();
        ask(&store, tenant_id).await;
        let searches = searches(&engine);
        assert!(searches.len() >= 24, "{}", searches.len());
        for search in &searches {
            let expression = search.target.trim_start_matches("POST /").trim_end_matches("/_search");
            for index in expression.split(',') {
                assert!(index.ends_with("-2026.10") || index.ends_with("-2026.11"), "{}", search.target);
                assert!(!index.contains('*'), "{}", search.target);
            }
            let is_routed = search.query.contains(&format!("routing={tenant_id}"));
            assert_eq!(is_routed, tenancy == Tenancy::Shared, "{}?{}", search.target, search.query);
        }
    }
}

#[tokio::test]
async fn a_walk_over_all_tenants_names_its_months_too() {
    let engine = engine(tenant(), Tenancy::Dedicated).await;
    let store = ElasticStore::new(settings(&engine)).unwrap();
    for tenants in [vec![], vec![tenant(), tenant()]] {
        let scan = Scan { tenants, created: span(), ..Scan::all(Kind::WorkflowRun, 10) };
        store.scan(&scan).await.unwrap();
    }
    let searches = searches(&engine);
    assert_eq!(searches[0].target, "POST /dify-workflow-runs-*2026.10,dify-workflow-runs-*2026.11/_search");
    assert!(!searches[1].target.contains('*') && searches[1].target.contains("-2026.10,"), "{}", searches[1].target);
}

/// Only what several shards sort between them takes the longer way.
#[tokio::test]
async fn a_round_for_frequencies_is_asked_where_shards_sort_together_alone() {
    let tenant_id = tenant();
    let engine = engine(tenant_id, Tenancy::Dedicated).await;
    let store = ElasticStore::new(settings(&engine)).unwrap();
    ask(&store, tenant_id).await;
    for search in searches(&engine) {
        let body: Value = serde_json::from_slice(&search.body).unwrap();
        let sorts_by_time = body.get("sort").is_some();
        let is_alone = !search.target.contains(',');
        let takes_it = search.query.contains("dfs_query_then_fetch");
        assert!(!takes_it || sorts_by_time, "{} {body}", search.target);
        assert!(takes_it || !sorts_by_time || is_alone, "{} {body}", search.target);
    }
}

/// An index may have more shards than the settings say now.
#[tokio::test]
async fn an_index_of_several_shards_is_asked_again_the_longer_way() {
    let tenant_id = tenant();
    let engine = ScriptedEngine::start().await;
    let index = json!({ format!("dify-workflow-runs-{tenant_id}-2026.11"): { "aliases": {} } });
    engine.script_prefix("GET /dify-workflow-runs-", Reply::json(200, &index));
    let of_shards = |total| json!({ "timed_out": false, "_shards": { "total": total }, "hits": { "hits": [] } });
    engine.script_prefix("POST /dify-workflow-runs-", Reply::json(200, &of_shards(3)));
    let store = ElasticStore::new(settings(&engine)).unwrap();
    store.runs(&RunQuery::default().within(tenant_id), &Page::newest(10)).await.unwrap();
    let searches = searches(&engine);
    let ways: Vec<_> = searches.iter().map(|search| search.query.contains("dfs_query_then_fetch")).collect();
    assert_eq!(ways, [false, true]);
}

#[tokio::test]
async fn the_nodes_of_a_run_are_one_question_to_all_months() {
    let tenant_id = tenant();
    let engine = engine(tenant_id, Tenancy::Dedicated).await;
    let store = ElasticStore::new(settings(&engine)).unwrap();
    let of_run = NodeQuery { workflow_run_id: Some(crate::support::records::id()), ..NodeQuery::default() };
    store.nodes(&of_run.within(tenant_id), &Page::newest(10)).await.unwrap();
    assert_eq!(searches(&engine).len(), 1);
}
