//! The commands as an operator runs them, over real stores: copy, compare, clean up, put back.

use serde_json::Value;

use crate::support::postgres::{Postgres, Schema};
use crate::support::site::{Site, StoreUnderTest};

/// A site whose store is set up; `setup` would want the broker, too.
pub async fn site(store: &StoreUnderTest, postgres: &Postgres) -> Site {
    let more = format!("[postgres]\nurl = \"{}\"\n[log]\nfilter = \"warn\"\n", postgres.url());
    let nobody = "amqp://127.0.0.1:1";
    let site = Site::with(store, nobody, &more);
    let store = site.store();
    store.install().await.unwrap();
    store.close().await;
    site
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Runs a command that must fail; answers what it said.
pub fn refused(site: &Site, arguments: &[&str], says: &str) {
    let output = site.run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(said.contains(says), "{arguments:?}: {said}");
}

const TABLES: [&str; 4] =
    ["workflow_runs", "workflow_node_executions", "workflow_app_logs", "workflow_node_execution_offload"];

fn counts(postgres: &Postgres) -> [u64; 4] {
    TABLES.map(|table| postgres.number(&format!("SELECT count(*) FROM {table}")))
}

/// Everything but the broker, which is not there, is on the screen.
fn shows_its_status(site: &Site, postgres: &Postgres) {
    let output = site.run(&["status", "--json"]);
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    let status = json(&String::from_utf8_lossy(&output.stdout));
    for part in ["broker", "queues", "lag"] {
        assert!(status[part]["error"].is_string(), "{status}");
    }
    assert_eq!(status["validation"]["passed"], true, "{status}");
    assert!(status["postgres"]["version"].as_str().unwrap().starts_with(|c: char| c.is_ascii_digit()), "{status}");
    let runs = &status["migrations"][0]["kinds"]["workflow_run"];
    assert_eq!(runs["done"], true, "{status}");
    assert_eq!(runs["tally"]["read"], postgres.number("SELECT count(*) FROM workflow_runs"), "{status}");
    let months = status["months"].as_array().unwrap();
    let documents: u64 = months
        .iter()
        .filter(|month| month["kind"] == "workflow_run")
        .map(|month| month["documents"].as_u64().unwrap())
        .sum();
    assert_eq!(documents, postgres.number("SELECT count(*) FROM workflow_runs"), "{status}");
    assert!(months.iter().any(|month| month["bytes"].as_u64() > Some(0)), "{status}");
    let shown = site.run(&["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("PostgreSQL") && shown.contains("FAILED"), "{shown}");
}

async fn whole_way(store: &StoreUnderTest, schema: Schema) {
    let postgres = Postgres::sample(schema);
    let site = site(store, &postgres).await;
    site.ok(&["migrate"]);
    let report = site.file("report.json");
    let report = report.to_str().unwrap();
    let before = ["--before", "2025-12-01"];
    let cleanup = |more: &[&'static str]| {
        let all = ["cleanup-pg", "--report", report, "--include-referenced-by", "workflow_trigger_logs"];
        [&all[..], &before, more].concat()
    };
    let validate = ["validate", "--report", report];

    refused(&site, &cleanup(&[]), "`difylog validate --report FILE` writes one");
    // Three faults, each named; a cleanup refuses the report that names them.
    let changed = postgres.sql(
        "UPDATE workflow_runs SET error = 'edited' WHERE id = (SELECT id FROM workflow_runs \
         WHERE status = 'failed' ORDER BY id LIMIT 1) RETURNING id",
    );
    let deleted = postgres.sql(
        "DELETE FROM workflow_app_logs WHERE id = (SELECT id FROM workflow_app_logs ORDER BY id LIMIT 1) \
         RETURNING id",
    );
    let added = postgres.sql(
        "INSERT INTO workflow_node_executions SELECT (jsonb_populate_record(n, \
         '{\"id\": \"11111111-2222-4333-8444-555555555555\"}')).* FROM workflow_node_executions n ORDER BY id LIMIT 1 \
         RETURNING id",
    );
    refused(&site, &validate, "the sides differ");
    // It names records of every tenant.
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(report).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    let text = std::fs::read_to_string(report).unwrap();
    let found: Vec<(String, String)> = json(&text)["report"]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["id"].as_str().unwrap().to_owned(), finding["fault"].to_string()))
        .collect();
    let expected = [
        (changed.trim(), r#"{"different":{"columns":["error"]}}"#),
        (added.trim(), r#""missing""#),
        (deleted.trim(), r#""extra""#),
    ];
    assert_eq!(found, expected.map(|(id, fault)| (id.to_owned(), fault.to_owned())));
    refused(&site, &cleanup(&[]), "the validation failed");
    std::fs::write(report, text.replace("\"passed\": false", "\"passed\": true")).unwrap();
    refused(&site, &cleanup(&[]), "edited or damaged");

    // Mended, and cleaned up: what is left is what a cleanup may not take.
    postgres.sql("UPDATE workflow_runs SET error = NULL WHERE error = 'edited'");
    postgres.sql(&format!("DELETE FROM workflow_node_executions WHERE id = '{}'", added.trim()));
    site.ok(&["restore-pg", "--execute", "--kind", "app-logs"]);
    postgres.sql(&format!("DELETE FROM workflow_runs WHERE id = '{}'", changed.trim()));
    site.ok(&["restore-pg", "--execute", "--kind", "runs"]);
    site.ok(&validate);
    shows_its_status(&site, &postgres);
    refused(&site, &["cleanup-pg", "--report", report, "--before", "2099-01-01"], "does not cover");
    let rows = counts(&postgres);
    let dry = json(&site.ok(&cleanup(&["--json"])));
    assert_eq!(counts(&postgres), rows);
    let open = "SELECT count(*) FROM workflow_runs WHERE status IN ('running', 'paused') OR created_at >= '2025-12-01'";
    let stay = postgres.number(open);
    let outcome = json(&site.ok(&cleanup(&["--json", "--execute"])));
    assert_eq!(dry["freed"], outcome["freed"]);
    assert_eq!(postgres.number("SELECT count(*) FROM workflow_runs"), stay);
    assert_eq!(postgres.number(open), stay);
    assert_eq!(outcome["freed"]["workflow_run"]["rows"], rows[0] - stay);

    // And back.
    site.ok(&["restore-pg", "--execute"]);
    assert_eq!(counts(&postgres), rows);
    site.ok(&validate);
}

#[tokio::test]
async fn the_whole_way_over_sqlite() {
    whole_way(&StoreUnderTest::Sqlite, Schema::V10).await;
}

#[tokio::test]
async fn the_whole_way_over_an_engine() {
    whole_way(&StoreUnderTest::engine("dedicated"), Schema::V12).await;
}
