//! Payloads that are masked before they are stored: nothing of them is in the store, and the rows that have them stay.

use crate::lifecycle::commands::json;
use crate::support::postgres::{Postgres, Schema};
use crate::support::site::{Site, StoreUnderTest};

const REDACT: &str = r#"
    [truncate]
    field_bytes = 1024
    document_bytes = 4096
    [redact]
    fields = ["password", "outputs.card.number", "note"]
    patterns = ["secret-[0-9]+"]
"#;

/// In payloads, errors, the graph, a payload that is cut, one that is no JSON, and columns that difylog does not know.
const SECRETS: &str = r#"
    ALTER TABLE workflow_runs ADD note text, ADD tags jsonb;
    UPDATE workflow_runs SET inputs = '{"Password": "secret-in-1", "q": "x"}' WHERE right(id::text, 2) = '00';
    UPDATE workflow_runs SET outputs = '{"card": {"number": "secret-in-2"}, "n": 1.50}' WHERE right(id::text, 2) = '11';
    UPDATE workflow_runs SET error = 'refused secret-3', graph = '{"nodes": ["secret-4"]}' WHERE right(id::text, 2) = '22';
    UPDATE workflow_runs SET outputs = 'no JSON: secret-5' WHERE right(id::text, 2) = '33';
    UPDATE workflow_runs SET note = 'secret-in-6', tags = '{"password": "secret-in-7", "x": 1}' WHERE right(id::text, 2) = '44';
    UPDATE workflow_runs SET inputs = '{"password": "secret-in-8", "raw": NaN}' WHERE right(id::text, 2) = '55';
    UPDATE workflow_node_executions SET process_data = '{"text": "' || repeat('x', 3000) || ' secret-9"}'
        WHERE right(id::text, 2) = '66';
    ANALYZE;
"#;

const TABLES: [&str; 2] = ["workflow_runs", "workflow_node_executions"];

async fn nothing_of_it_is_stored(store: &StoreUnderTest) {
    let postgres = Postgres::sample(Schema::V12);
    postgres.sql(SECRETS);
    let with_secrets =
        |table: &str| postgres.number(&format!("SELECT count(*) FROM {table} t WHERE t::text ~ 'secret-'"));
    let rows = TABLES.map(with_secrets);
    assert!(rows.iter().all(|rows| *rows > 10), "{rows:?}");
    let more = format!("[postgres]\nurl = \"{}\"\n[log]\nfilter = \"warn\"\n{REDACT}", postgres.url());
    let site = Site::with(store, "amqp://127.0.0.1:1", &more);
    let opened = site.store();
    opened.install().await.unwrap();
    opened.close().await;
    site.ok(&["migrate"]);
    has_no_secret(&site, &postgres);

    // Every row with one is named, and nothing else is.
    let report = site.file("report.json");
    let report = report.to_str().unwrap();
    let validated = site.run(&["validate", "--report", report, "--json"]);
    assert_eq!(validated.status.code(), Some(1));
    let counts = &json(&String::from_utf8(validated.stdout).unwrap())["report"]["counts"];
    assert_eq!(counts["changed"], rows.iter().sum::<u64>(), "{counts}");
    for other in ["missing", "extra", "different", "unreadable", "copies"] {
        assert_eq!(counts[other], 0, "{counts}");
    }
    // A second copy has nothing to do.
    let copied = json(&site.ok(&["migrate", "--from-report", report, "--json"]));
    assert_eq!(copied["kinds"]["workflow_run"]["copied"], 0, "{copied}");
    has_no_secret(&site, &postgres);

    site.ok(&["validate", "--report", report, "--tolerate", "changed"]);
    let clean =
        ["cleanup-pg", "--report", report, "--before", "2026-01-01", "--include-referenced-by", "all", "--execute"];
    let output = site.run(&[&clean[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1), "rows stay");
    let outcome = json(&String::from_utf8(output.stdout).unwrap());
    assert!(outcome["freed"]["workflow_run"]["rows"].as_u64() > Some(100), "{outcome}");
    assert_eq!(TABLES.map(with_secrets), rows, "a row went that holds what is masked in the store");
    site.ok(&[&clean[..], &["--allow-changed"]].concat());
    assert!(TABLES.map(with_secrets).iter().zip(rows).all(|(left, before)| *left < before / 2));
}

/// Whole texts included, and what is beside the columns.
fn has_no_secret(site: &Site, postgres: &Postgres) {
    let mut masked = 0;
    for tenant in postgres.sql("SELECT DISTINCT tenant_id FROM workflow_runs").lines() {
        for what in ["runs", "nodes"] {
            let exported = site.ok(&["export", what, "--tenant", tenant, "--full"]);
            assert!(
                !exported.contains("secret-"),
                "{}",
                exported.lines().find(|line| line.contains("secret-")).unwrap()
            );
            masked += exported.matches("***").count();
        }
        let found = site.ok(&["search", "secret-in", "--tenant", tenant, "--json"]);
        assert!(!found.contains("secret-"), "{found}");
    }
    assert!(masked > 50, "{masked}");
    for folder in ["sqlite", "payloads"] {
        let files = walk(&site.file(folder));
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            let has = bytes.windows(7).any(|window| window == b"secret-");
            assert!(!has, "{} has it", file.display());
        }
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn what_is_redacted_is_nowhere_in_sqlite_and_its_rows_stay() {
    nothing_of_it_is_stored(&StoreUnderTest::Sqlite).await;
}

#[tokio::test]
async fn what_is_redacted_is_nowhere_in_an_engine_and_its_rows_stay() {
    nothing_of_it_is_stored(&StoreUnderTest::engine("shared")).await;
}
