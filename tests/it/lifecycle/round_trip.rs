//! A database with everything that Dify's tables can hold and a record cannot, copied, compared, cleaned up and restored:
//! what comes back is byte for byte what was there, or was named before it went.

use serde_json::Value;

use crate::lifecycle::commands::{json, refused, site};
use crate::support::postgres::{Postgres, Schema};
use crate::support::site::{Site, StoreUnderTest};

/// Columns of a newer Dify, of types that difylog has never heard of; one with a default, one generated, one with a quote
/// in its name. Then values that no JSON and no record has, and spellings that are not Python's.
const HOSTILE: &str = r#"
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    ALTER TABLE workflow_runs ADD stop_requested_at timestamp, ADD note text DEFAULT 'by default', ADD tags jsonb,
        ADD ids uuid[], ADD raw bytea, ADD feeling mood, ADD price numeric(20, 6), ADD stamp timestamptz,
        ADD shout text GENERATED ALWAYS AS (upper(status)) STORED, ADD number bigint GENERATED ALWAYS AS IDENTITY;
    ALTER TABLE workflow_node_executions ADD "we""ird" char(3), ADD ratio real;
    ALTER TABLE workflow_app_logs ADD score double precision DEFAULT 1.5;
    ALTER TABLE workflow_node_execution_offload ADD flags bit(4);
    UPDATE workflow_runs SET stop_requested_at = '2026-01-05 10:00:00.5', note = 'kept by "hand" \ ' || id, tags = '{"b": [1, 2.50], "a": null}',
        ids = ARRAY[id, tenant_id], raw = '\x00ff27', feeling = 'glad', price = 12.340000, stamp = created_at AT TIME ZONE 'UTC'
        WHERE right(id::text, 1) IN ('0', '1', '2');
    UPDATE workflow_runs SET note = NULL WHERE right(id::text, 1) = '3';
    UPDATE workflow_node_executions SET "we""ird" = 'ab', ratio = 'NaN' WHERE right(id::text, 1) = '4';
    UPDATE workflow_app_logs SET score = 'Infinity' WHERE right(id::text, 1) = '5';
    UPDATE workflow_app_logs SET score = NULL WHERE right(id::text, 1) = '6';
    UPDATE workflow_node_execution_offload SET flags = B'1010';
    UPDATE workflow_runs SET outputs = '{"score": NaN, "most": [Infinity, -Infinity]}' WHERE right(id::text, 2) = '00';
    UPDATE workflow_runs SET outputs = 'plain text, no JSON' WHERE right(id::text, 2) = '11';
    UPDATE workflow_runs SET outputs = '{"q": "half \ud83d"}' WHERE right(id::text, 2) = '22';
    UPDATE workflow_runs SET inputs = '{"q": "nul \u0000", "q": "twice"}' WHERE right(id::text, 2) = '33';
    UPDATE workflow_runs SET inputs = '{"raw":"你好 🦀", "mixed": "\u4f60好"}', graph = ' {"nodes": [] }' WHERE right(id::text, 2) = '44';
    UPDATE workflow_runs SET inputs = '{"raw":"你好 🦀"}', graph = '{"n": NaN}' WHERE right(id::text, 2) = '55';
    UPDATE workflow_runs SET inputs = '', outputs = 'null', error = '' WHERE right(id::text, 2) = '66';
    UPDATE workflow_runs SET total_steps = NULL, exceptions_count = NULL, elapsed_time = 'NaN' WHERE right(id::text, 2) = '77';
    UPDATE workflow_runs SET outputs = '{"long": NaN, "text": "' || repeat('x', 3000) || '"}' WHERE right(id::text, 2) = '88';
    UPDATE workflow_node_executions SET process_data = '{"tab": "a' || chr(9) || 'b"}', outputs = 'NaN', inputs = '{}'
        WHERE right(id::text, 1) = '7';
    CREATE TABLE messages (id uuid PRIMARY KEY, query text, workflow_run_id uuid);
    INSERT INTO messages SELECT uuid_generate_v4(), 'hello', id FROM workflow_runs WHERE type = 'chat';
    ANALYZE;
"#;

const TABLES: [&str; 4] =
    ["workflow_runs", "workflow_node_executions", "workflow_app_logs", "workflow_node_execution_offload"];

/// Every row of every table, each value as PostgreSQL writes it.
fn contents(postgres: &Postgres) -> Vec<String> {
    let of = |table: &str| postgres.sql(&format!("SELECT '{table}', t::text FROM {table} t ORDER BY t.id"));
    TABLES.iter().flat_map(|table| of(table).lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

async fn hostile(store: &StoreUnderTest, schema: Schema) -> (Postgres, Site) {
    let postgres = Postgres::sample(schema);
    postgres.sql(HOSTILE);
    let site = site(store, &postgres).await;
    (postgres, site)
}

async fn round_trip(store: &StoreUnderTest, schema: Schema) {
    let (postgres, site) = hostile(store, schema).await;
    let before = contents(&postgres);
    let migrated = site.ok(&["migrate"]);
    for name in ["feeling", "we\"ird", "score", "flags"] {
        assert!(migrated.contains(name), "{name} is not named: {migrated}");
    }
    let report = site.file("report.json");
    let report = report.to_str().unwrap();
    let validated = site.ok(&["validate", "--report", report]);
    assert!(validated.contains("feeling"), "{validated}");

    let clean = ["cleanup-pg", "--report", report, "--before", "2099-01-01", "--json"];
    refused(&site, &clean, "does not cover");
    let clean = ["cleanup-pg", "--report", report, "--before", "2026-01-01", "--json", "--execute"];
    let outcome = json(&site.ok(&clean));
    let chat = postgres.number("SELECT count(*) FROM messages m JOIN workflow_runs r ON r.id = m.workflow_run_id");
    assert_eq!(chat, postgres.number("SELECT count(*) FROM messages"), "a message refers to a run that is gone");
    assert!(outcome["referenced"]["messages"].as_u64() > Some(0), "{outcome}");
    assert!(outcome["referenced"]["workflow_trigger_logs"].as_u64() > Some(0), "{outcome}");
    assert!(outcome["freed"]["workflow_run"]["rows"].as_u64() > Some(1_000), "{outcome}");
    assert_eq!((&outcome["changed"], &outcome["spelled_otherwise"]), (&0.into(), &0.into()), "{outcome}");
    let asked =
        ["cleanup-pg", "--report", report, "--before", "2026-01-01", "--execute", "--include-referenced-by", "all"];
    site.ok(&asked);
    let left = "SELECT count(*) FROM workflow_runs WHERE status NOT IN ('running', 'paused')";
    assert_eq!(
        postgres.number(left),
        postgres.number(&format!(
            "{left} AND EXISTS (SELECT FROM workflow_pauses p WHERE p.workflow_run_id = workflow_runs.id)"
        ))
    );

    site.ok(&["restore-pg", "--execute"]);
    let after = contents(&postgres);
    let wrong: Vec<_> = before.iter().zip(&after).filter(|(one, other)| one != other).take(3).collect();
    assert!(before.len() == after.len() && wrong.is_empty(), "{} and {} rows; {wrong:?}", before.len(), after.len());
    site.ok(&["validate", "--report", report]);
}

#[tokio::test]
async fn every_row_comes_back_byte_for_byte_over_sqlite() {
    round_trip(&StoreUnderTest::Sqlite, Schema::V12).await;
}

#[tokio::test]
async fn every_row_comes_back_byte_for_byte_over_an_engine() {
    round_trip(&StoreUnderTest::engine("shared"), Schema::V10).await;
}

#[tokio::test]
async fn a_column_that_is_gone_is_named_when_rows_come_back() {
    let (postgres, site) = hostile(&StoreUnderTest::Sqlite, Schema::V12).await;
    site.ok(&["migrate"]);
    let with_note = postgres.number("SELECT count(*) FROM workflow_runs");
    postgres.sql("TRUNCATE workflow_runs; ALTER TABLE workflow_runs DROP note");
    let restored: Value = json(&site.ok(&["restore-pg", "--execute", "--json", "--kind", "runs"]));
    assert_eq!(restored["columns_left_out"]["workflow_runs.note"], with_note, "{restored}");
    assert_eq!(postgres.number("SELECT count(*) FROM workflow_runs"), with_note);
}

/// Without `unended_older_than` they stay, and are counted; with it they go like others.
#[tokio::test]
async fn what_never_ended_is_counted_and_can_be_let_go() {
    let postgres = Postgres::sample(Schema::V12);
    let site = site(&StoreUnderTest::Sqlite, &postgres).await;
    let open = "SELECT count(*) FROM workflow_runs r WHERE status IN ('running', 'paused') \
         AND NOT EXISTS (SELECT FROM workflow_pauses p WHERE p.workflow_run_id = r.id)";
    let unended = postgres.number("SELECT count(*) FROM workflow_runs WHERE status IN ('running', 'paused')");
    assert!(unended > 0);
    let migrated = json(&site.ok(&["migrate", "--json"]));
    assert_eq!(migrated["kinds"]["workflow_run"]["unended"], unended, "{migrated}");
    let report = site.file("report.json");
    let report = report.to_str().unwrap();
    let validated = json(&site.ok(&["validate", "--json", "--report", report]));
    let of_runs = &validated["report"]["unended"][0];
    assert_eq!((&of_runs["kind"], &of_runs["rows"]), (&"workflow_run".into(), &unended.into()), "{validated}");
    let clean = |more: &[&'static str]| {
        let all =
            ["cleanup-pg", "--report", report, "--before", "2026-01-01", "--json", "--include-referenced-by", "all"];
        json(&site.ok(&[&all[..], more].concat()))
    };
    let outcome = clean(&["--execute"]);
    assert_eq!(outcome["unended"][0]["rows"], unended, "{outcome}");
    assert_eq!(postgres.number("SELECT count(*) FROM workflow_runs WHERE status IN ('running', 'paused')"), unended);
    clean(&["--execute", "--unended-older-than", "1"]);
    assert_eq!(postgres.number(open), 0);
}
