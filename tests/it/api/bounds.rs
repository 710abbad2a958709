//! Questions whose rows are many or large: what is read for them is bounded, and what would not be is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use difylog::domain::query::{AppScope, Content};
use difylog::domain::{Kind, Record};
use difylog::query::{LogService, NoDirectory, ServicePorts};
use difylog::store::payload::{PayloadSettings, PayloadStore};

use crate::api::harness::Server;
use crate::support::records;

#[tokio::test]
async fn the_errors_of_a_page_of_logs_are_read_without_the_rest_of_their_runs() {
    let server = Server::new();
    let app = records::app();
    let times = ["2025-10-31T23:59:59Z", "2025-11-30T00:00:00Z", "2025-12-01T00:00:00Z"].map(records::at);
    for (number, at) in times.into_iter().enumerate() {
        let mut run = records::run(server.tenant_id, app, at);
        run.error = Some(format!("error {number}").into());
        let log = records::app_log(server.tenant_id, app, run.id, at);
        server.store([Record::Run(Box::new(run)), Record::AppLog(Box::new(log))]).await;
    }
    server.double.lookups.lock().unwrap().clear();
    let page = server.ok(&format!("/apps/{app}/workflow-app-logs?errors=true")).await;
    let errors: Vec<_> = page["data"].as_array().unwrap().iter().map(|row| &row["workflow_run"]["error"]).collect();
    assert_eq!(errors, ["error 2", "error 1", "error 0"]);
    let lookups = server.double.lookups.lock().unwrap();
    // The double reads the rows of the page in its own way, and no graph.
    assert!(lookups.iter().all(|lookup| lookup.content != Content::Full), "{lookups:?}");
    let of_errors: Vec<_> = lookups.iter().filter(|lookup| lookup.content == Content::Only(&["error"])).collect();
    assert_eq!(of_errors.len(), 1, "{lookups:?}");
    assert_eq!(of_errors[0].near, times.iter().map(|at| at.month()).collect::<BTreeSet<_>>());
}

/// Each text may have a MiB, and a page a hundred rows.
#[tokio::test]
async fn each_log_of_a_run_has_its_error_and_too_large_ones_together_are_refused() {
    let server = Server::new();
    let app = records::app();
    for second in 0..10 {
        let at = records::later(records::at("2025-12-01T00:00:00Z"), second * 1_000_000);
        let mut run = records::run(server.tenant_id, app, at);
        run.error = Some("e".repeat(2 << 20).into());
        let logs = [at, at].map(|at| Record::AppLog(Box::new(records::app_log(server.tenant_id, app, run.id, at))));
        server.store(logs).await;
        server.store([Record::Run(Box::new(run))]).await;
    }
    let path = |limit: usize| format!("/apps/{app}/workflow-app-logs?errors=true&limit={limit}");
    let page = server.ok(&path(14)).await;
    let rows = page["data"].as_array().unwrap();
    assert!(rows.len() == 14 && rows.iter().all(|row| row["workflow_run"]["error"].as_str().unwrap().len() == 2 << 20));
    let refused = server.get(&path(20)).await;
    assert_eq!((refused.status, refused.problem().as_str()), (400, "invalid_param"), "{:.300}", refused.text);
    assert!(refused.text.contains("errors=true"), "{}", refused.text);
    assert_eq!(server.ok(&path(20).replace("true", "false")).await["data"].as_array().unwrap().len(), 20);
}

#[tokio::test]
async fn a_histogram_of_too_many_spans_is_refused() {
    const MOST: i64 = 10_000;
    let server = Server::new();
    let app = records::app();
    let first = records::at("2025-11-01T00:00:00Z");
    let of_second = |second: i64| records::run(server.tenant_id, app, records::later(first, second * 1_000_000));
    server.store((0..=MOST).map(|second| Record::Run(Box::new(of_second(second))))).await;
    let sum = |found: serde_json::Value| {
        let spans = found["data"].as_array().unwrap().clone();
        (spans.len(), spans.iter().map(|span| span["count"].as_i64().unwrap()).sum::<i64>())
    };
    let refused = server.get("/runs/histogram?seconds=1").await;
    assert_eq!((refused.status, refused.problem().as_str()), (400, "invalid_param"), "{refused:?}");
    assert!(refused.text.contains("seconds") && refused.text.contains("10000"), "{}", refused.text);
    assert_eq!(sum(server.ok("/runs/histogram?seconds=60").await), (167, MOST + 1));
    let fewer = server.ok("/runs/histogram?seconds=1&created_at_from=2025-11-01T00:00:01Z").await;
    assert_eq!(sum(fewer), (10_000, MOST));
    assert_eq!(sum(server.ok("/nodes/histogram?seconds=1").await), (0, 0));
}

#[tokio::test]
async fn what_belongs_to_the_runs_of_an_app_is_looked_at_in_parts() {
    const NODES: i64 = 2_500;
    let server = Server::new();
    let (app, other) = (records::app(), records::app());
    let at = records::at("2025-12-01T00:00:00Z");
    let run = records::run(server.tenant_id, app, at);
    let node = |index| {
        let of = if index < 100 { other } else { app };
        Record::Node(Box::new(records::node(server.tenant_id, of, run.id, index, at)))
    };
    server.store((0..NODES).map(node)).await;
    server.store([Record::Run(Box::new(run.clone()))]).await;
    let folder = tempfile::tempdir().unwrap();
    let payloads = PayloadSettings { dir: folder.path().join("payloads"), ..PayloadSettings::default() };
    let service = LogService::new(ServicePorts {
        logs: server.double.clone(),
        eraser: server.double.clone(),
        payloads: Arc::new(PayloadStore::open(&payloads).unwrap()),
        directory: Arc::new(NoDirectory),
        clock: Arc::new(move || at),
    });
    let logs = service.tenant(server.tenant_id).held_to(AppScope::only([app].into()).unwrap());
    server.double.lookups.lock().unwrap().clear();
    let related = logs.count_related(&[run.id]).await.unwrap();
    assert_eq!((related.runs, related.node_executions), (1, NODES as u64 - 100));
    let sizes: Vec<_> = {
        let lookups = server.double.lookups.lock().unwrap();
        lookups.iter().filter(|lookup| lookup.kind == Kind::NodeExecution).map(|lookup| lookup.ids.len()).collect()
    };
    assert!(sizes.iter().all(|size| *size <= 1_000), "{sizes:?}");
    assert_eq!(logs.delete_runs(&[run.id], true).await.unwrap(), related);
}

#[tokio::test]
async fn a_table_has_the_columns_of_its_kind_whatever_its_first_row_has() {
    let server = Server::new();
    for kind in ["runs", "nodes", "app-logs"] {
        let table = server.get(&format!("/export/{kind}?format=csv")).await.text;
        assert!(table.starts_with("id,tenant_id,") && table.ends_with(",extra,truncated\r\n"), "no rows: {table}");
    }
    let app = records::app();
    let at = records::at("2025-12-01T00:00:00Z");
    let (plain, noted) =
        (records::run(server.tenant_id, app, at), records::run(server.tenant_id, app, records::later(at, 1)));
    let node = records::node(server.tenant_id, app, plain.id, 1, at);
    let noted_id = noted.id;
    server.store([plain, noted].map(|run| Record::Run(Box::new(run)))).await;
    server.store([Record::Node(Box::new(node))]).await;
    server.double.change_each(|document| {
        if document.record.id() == noted_id {
            document.extra = records::json(r#"{"columns": {"newer": "7"}}"#);
        }
    });
    for order in ["asc", "desc"] {
        let table = server.get(&format!("/export/runs?format=csv&order={order}")).await.text;
        let lines: Vec<_> = table.lines().collect();
        assert!(lines[0].starts_with("id,tenant_id,") && lines[0].ends_with(",extra,truncated"), "{order}: {table}");
        assert_eq!(lines.len(), 3, "{table}");
        let noted = lines.iter().find(|line| line.starts_with(&noted_id.to_string())).unwrap();
        assert!(noted.ends_with(r#","{""columns"": {""newer"": ""7""}}",[]"#), "{order}: {noted}");
        let other = lines[1..].iter().find(|line| !line.starts_with(&noted_id.to_string())).unwrap();
        assert!(other.ends_with(",,[]"), "{order}: {other}");
    }
    let log = records::app_log(server.tenant_id, app, noted_id, at);
    let row = format!("{},{}", log.id, server.tenant_id);
    server.store([Record::AppLog(Box::new(log))]).await;
    let logs = server.get("/export/app-logs?format=csv").await.text;
    assert!(logs.lines().count() == 2 && logs.lines().last().unwrap().starts_with(&row), "{logs}");
    let nodes = server.get("/export/nodes?format=csv").await.text;
    assert!(nodes.lines().next().unwrap().ends_with(",extra,truncated"), "{nodes}");
}
