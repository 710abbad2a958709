//! Exports: complete, in order, one JSON text a line.

use difylog::domain::Record;
use serde_json::Value;

use crate::api::harness::Server;
use crate::support::records;

#[tokio::test]
async fn every_run_comes_once_in_order() {
    let server = Server::new();
    let app = records::app();
    let start = records::at("2025-12-01T00:00:00Z");
    let runs = (0..1200).map(|n| records::run(server.tenant_id, app, records::later(start, n / 3)));
    server.store(runs.map(|run| Record::Run(Box::new(run)))).await;
    for order in ["asc", "desc"] {
        let answer = server.get(&format!("/export/runs?app_id={app}&order={order}")).await;
        assert_eq!(answer.headers["content-type"], "application/x-ndjson");
        let lines: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut keys: Vec<_> = lines.iter().map(|run| (run["created_at"].to_string(), run["id"].to_string())).collect();
        assert_eq!(keys.len(), 1200);
        if order == "desc" {
            keys.reverse();
        }
        assert!(keys.is_sorted());
        keys.dedup();
        assert_eq!(keys.len(), 1200);
        assert!(lines.iter().all(|run| run["graph"]["nodes"].is_array()), "graphs are put back");
    }
}
