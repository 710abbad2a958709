//! The error texts of a page of logs, which are read beside its rows: for each row, for these rows alone, and bounded.

use difylog::domain::query::Content;
use difylog::domain::{AppId, Record, RunStatus, TenantId, WorkflowRun};
use serde_json::Value;

use crate::console::place::Place;
use crate::support::records;

/// A run that failed with a text.
fn failed(tenant: TenantId, app: AppId, second: i64, error: String) -> WorkflowRun {
    let mut run = records::run(tenant, app, records::later(records::at("2025-12-01T00:00:00Z"), second * 1_000_000));
    (run.status, run.finished_at) = (RunStatus::Failed, Some(records::later(run.created_at, 1)));
    run.error = Some(error.into());
    run
}

async fn store(place: &Place, run: &WorkflowRun, logs: usize) {
    let of_log = |number: usize| {
        let at = records::later(run.created_at, i64::try_from(number).unwrap());
        Record::AppLog(Box::new(records::app_log(run.tenant_id, run.app_id, run.id, at)))
    };
    place.store((0..logs).map(of_log).chain([Record::Run(Box::new(run.clone()))])).await;
}

fn errors(page: &Value) -> Vec<&str> {
    let rows = page["data"].as_array().unwrap().iter();
    rows.map(|row| row["workflow_run"]["error"].as_str().unwrap_or_default()).collect()
}

/// A workspace of Anna's, and an app of it.
async fn of_anna() -> (Place, TenantId, AppId) {
    let place = Place::new(true).await;
    let tenant = records::tenant();
    let app = place.app(tenant, "workflow");
    place.user("anna", &[tenant]);
    (place, tenant, app)
}

/// Returns how many runs each look-up of errors named.
fn looked_up(place: &Place) -> Vec<usize> {
    let lookups = place.double.lookups.lock().unwrap();
    let asked = lookups.iter().filter(|lookup| lookup.content == Content::Only(&["error"]));
    asked.map(|lookup| lookup.ids.len()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_log_of_a_run_shows_its_error() {
    let (place, tenant, app) = of_anna().await;
    store(&place, &failed(tenant, app, 0, "no such model".into()), 2).await;
    let page = place.ask("anna", &format!("/console/api/apps/{app}/workflow-app-logs")).await.json();
    assert_eq!(errors(&page), ["no such model"; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_read_of_the_rows_that_the_page_shows() {
    let (place, tenant, app) = of_anna().await;
    for second in 0..30 {
        store(&place, &failed(tenant, app, second, format!("error {second}")), 1).await;
    }
    // Newer ones, which have not reached the store.
    for second in 30..50 {
        let run = failed(tenant, app, second, String::new());
        let log = records::app_log(tenant, app, run.id, run.created_at);
        place.dify.tables.lock().unwrap().logs.push(log);
    }
    let page = place.ask("anna", &format!("/console/api/apps/{app}/workflow-app-logs?page=3&limit=10")).await.json();
    assert_eq!(errors(&page), (20..30).rev().map(|second| format!("error {second}")).collect::<Vec<_>>());
    assert_eq!(looked_up(&place).iter().sum::<usize>(), 10, "{:?}", place.double.lookups.lock().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_with_more_than_its_bound_of_error_texts_is_difys() {
    let (place, tenant, app) = of_anna().await;
    for second in 0..40 {
        store(&place, &failed(tenant, app, second, "e".repeat(1 << 20)), 1).await;
    }
    let path = |limit: usize| format!("/console/api/apps/{app}/workflow-app-logs?limit={limit}");
    let page = place.ask("anna", &path(15)).await.json();
    assert_eq!(errors(&page).iter().map(|error| error.len()).sum::<usize>(), 15 << 20);
    place.double.lookups.lock().unwrap().clear();
    let page = place.ask("anna", &path(40)).await.json();
    assert_eq!((&page["total"], &page["data"]), (&0.into(), &serde_json::json!([])), "Dify's own, which has none here");
    let sizes = looked_up(&place);
    assert!(sizes.iter().all(|size| *size <= 16) && sizes.iter().sum::<usize>() < 40, "{sizes:?}");
}
