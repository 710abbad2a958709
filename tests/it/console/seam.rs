//! Lists of both sources, walked page by page, and who answers what.

use difylog::domain::{AppId, NodeStatus, Record, RunStatus, TenantId, WorkflowRun};
use serde_json::Value;

use crate::console::dify::Fault;
use crate::console::place::Place;
use crate::support::records;

pub fn ended(mut run: WorkflowRun) -> WorkflowRun {
    run.status = RunStatus::Succeeded;
    run.finished_at = Some(records::later(run.created_at, 2_000_000));
    run.outputs = records::json(r#"{"answer": "stored"}"#);
    run
}

async fn walk(place: &Place, app: AppId, limit: usize) -> Vec<String> {
    let (mut seen, mut last) = (Vec::new(), String::new());
    loop {
        let path = format!("/console/api/apps/{app}/workflow-runs?limit={limit}&triggered_from=app-run{last}");
        let answer = place.ask("anna", &path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.json();
        let ids: Vec<String> = page["data"].as_array().unwrap().iter().map(|run| text(run, "id")).collect();
        assert_eq!(page["limit"], limit);
        seen.extend(ids.iter().cloned());
        match ids.last() {
            Some(id) if page["has_more"] == true => last = format!("&last_id={id}"),
            _ => return seen,
        }
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

/// Runs in one order: the newest third has not reached the store, the oldest third has left PostgreSQL.
async fn scene(place: &Place, tenant: TenantId, app: AppId) -> Vec<String> {
    let begin = records::at("2025-12-01T00:00:00Z");
    let mut ids = Vec::new();
    for number in 0..60i64 {
        let run = ended(records::run(tenant, app, records::later(begin, number * 300_000)));
        ids.push(run.id.to_string());
        if number < 40 {
            place.store([Record::Run(Box::new(run.clone()))]).await;
        }
        if number >= 20 {
            place.dify.tables.lock().unwrap().runs.push(run);
        }
    }
    ids.reverse();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_has_neither_gap_nor_double_at_the_seams() {
    let place = Place::new(true).await;
    let tenant = records::tenant();
    let app = place.app(tenant, "workflow");
    place.user("anna", &[tenant]);
    let all = scene(&place, tenant, app).await;
    for limit in [1, 7, 20, 100] {
        let seen = walk(&place, app, limit).await;
        let mut unique = seen.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), seen.len(), "doubles with pages of {limit}");
        assert_eq!(seen.len(), all.len(), "gaps with pages of {limit}");
    }
    // What both know to the microsecond is in its exact order.
    assert_eq!(walk(&place, app, 100).await[20..], all[20..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ended_run_comes_from_the_store_and_a_running_one_from_dify() {
    let place = Place::new(true).await;
    let tenant = records::tenant();
    let app = place.app(tenant, "workflow");
    place.user("anna", &[tenant]);
    let running = records::run(tenant, app, records::at("2025-12-01T00:00:00Z"));
    let done = ended(records::run(tenant, app, records::at("2025-12-01T00:00:01Z")));
    place.store([&running, &done].map(|run| Record::Run(Box::new(run.clone())))).await;
    let detail = |run: &WorkflowRun| format!("/console/api/apps/{app}/workflow-runs/{}", run.id);
    let answer = place.ask("anna", &detail(&done)).await.json();
    assert_eq!(answer["outputs"]["answer"], "stored");
    assert_eq!(place.asked(), 0, "Dify was not asked about a run that has ended");
    // Dify's row of the running one is gone: what the store has is all there is.
    assert_eq!(place.ask("anna", &detail(&running)).await.json()["status"], "running");
    place.dify.tables.lock().unwrap().runs.push(running.clone());
    assert_eq!(place.ask("anna", &detail(&running)).await.json()["answered_by"], "dify");
    // What cannot be read here is no run that Dify lacks.
    place.dify.tables.lock().unwrap().runs[0].error = Some("HALF".into());
    assert!(place.ask("anna", &detail(&running)).await.text.contains(r#""answered_by":"dify""#));
    let unknown = records::run(tenant, app, records::at("2025-12-01T00:00:02Z"));
    assert!(
        place.ask("anna", &detail(&unknown)).await.json()["id"].is_null(),
        "Dify's words on a run that is not there"
    );
}

/// The list of an engine may have the first nodes of a run and not yet the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_of_a_run_that_has_just_ended_are_difys() {
    let place = Place::new(true).await;
    let tenant = records::tenant();
    let app = place.app(tenant, "workflow");
    place.user("anna", &[tenant]);
    let now = difylog::telemetry::system_clock()();
    for (seconds_ago, is_ours) in [(3_600, true), (10, false)] {
        let run = ended(records::run(tenant, app, records::later(now, -seconds_ago * 1_000_000)));
        let mut node = records::node(tenant, app, run.id, 1, run.created_at);
        (node.status, node.finished_at) = (NodeStatus::Succeeded, run.finished_at);
        place.store([Record::Run(Box::new(run.clone())), Record::Node(Box::new(node))]).await;
        let path = format!("/console/api/apps/{app}/workflow-runs/{}/node-executions", run.id);
        let answer = place.ask("anna", &path).await.json();
        assert_eq!(answer["data"].is_array(), is_ours, "{seconds_ago}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_of_a_part_are_not_answered() {
    for (migrated, ours) in [(true, true), (false, false)] {
        let place = Place::new(migrated).await;
        let tenant = records::tenant();
        let app = place.app(tenant, "workflow");
        place.user("anna", &[tenant]);
        scene(&place, tenant, app).await;
        for path in ["workflow-runs/count?triggered_from=app-run", "workflow/statistics/daily-conversations"] {
            let answer = place.ask("anna", &format!("/console/api/apps/{app}/{path}")).await.json();
            assert_eq!(answer.get("method").is_none(), ours, "{path}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_that_have_not_come_yet_are_in_pages_and_total() {
    let place = Place::new(true).await;
    let tenant = records::tenant();
    let app = place.app(tenant, "workflow");
    place.user("anna", &[tenant]);
    let begin = records::at("2025-12-01T00:00:00Z");
    let mut ids = Vec::new();
    for number in 0..50i64 {
        let log = records::app_log(tenant, app, records::id(), records::later(begin, number * 1_000_000));
        ids.push(log.id.to_string());
        if number < 47 {
            place.store([Record::AppLog(Box::new(log.clone()))]).await;
        }
        if number >= 30 {
            place.dify.tables.lock().unwrap().logs.push(log);
        }
    }
    ids.reverse();
    let mut seen = Vec::new();
    for page in 1.. {
        let path = format!("/console/api/apps/{app}/workflow-app-logs?limit=7&page={page}");
        let answer = place.ask("anna", &path).await.json();
        assert_eq!(answer["total"], 50);
        seen.extend(answer["data"].as_array().unwrap().iter().map(|log| text(log, "id")));
        assert_eq!(answer["has_more"], seen.len() < 50);
        if answer["has_more"] == false {
            break;
        }
    }
    assert_eq!(seen, ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_with_us_goes_to_dify() {
    let place = Place::new(true).await;
    let tenant = records::tenant();
    let app = place.app(tenant, "workflow");
    place.user("anna", &[tenant]);
    scene(&place, tenant, app).await;
    place.double.down.store(true, std::sync::atomic::Ordering::Relaxed);
    let list = format!("/console/api/apps/{app}/workflow-runs?triggered_from=app-run");
    let answer = place.ask("anna", &list).await.json();
    assert_eq!(answer["data"].as_array().unwrap().len(), 20, "Dify's own page");
    let gate = place.double.hold().await;
    place.double.down.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(place.ask("anna", &list).await.status, 200);
    drop(gate);
    for (method, path, body) in [
        ("POST", format!("/console/api/apps/{app}/workflow-runs/{}/stop", records::id()), "a body"),
        ("DELETE", format!("/console/api/apps/{app}/workflow-runs"), ""),
        ("GET", format!("/console/api/apps/{app}/workflow-archived-logs?page=2"), ""),
        ("GET", format!("/console/api/apps/{app}/workflow-runs/not-an-id/node-executions"), ""),
    ] {
        let echo = place.request(method, "anna", &path, body).await;
        if echo.status != 405 {
            assert_eq!((text(&echo.json(), "method"), text(&echo.json(), "path")), (method.to_owned(), path.clone()));
            assert_eq!(text(&echo.json(), "body"), body);
        }
    }
    let refused = place.ask("anna", &format!("{list}&limit=1000")).await;
    assert_eq!((refused.status, text(&refused.json(), "code")), (400, "invalid_param".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_dify_opens_no_door() {
    let place = Place::new(true).await;
    let (tenant, other) = (records::tenant(), records::tenant());
    let app = place.app(tenant, "workflow");
    place.user("anna", &[tenant, other]);
    let done = ended(records::run(tenant, app, records::at("2025-12-01T00:00:01Z")));
    place.store([Record::Run(Box::new(done.clone()))]).await;
    let path = format!("/console/api/apps/{app}/workflow-runs/{}", done.id);
    for (fault, status) in [
        (Fault::Html, 200),
        (Fault::Redirect, 307),
        (Fault::ServerError, 500),
        (Fault::Fickle, 200),
        (Fault::Hang, 502),
    ] {
        place.dify.tables.lock().unwrap().fault = Some(fault);
        let answer = place.ask("anna", &path).await;
        assert_eq!(answer.status, status, "{fault:?}: {answer:?}");
        assert!(!answer.text.contains("stored"), "{fault:?}: {answer:?}");
    }
    place.dify.tables.lock().unwrap().fault = None;
    assert!(place.ask("anna", &path).await.text.contains("stored"));
}
