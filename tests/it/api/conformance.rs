//! Schemathesis (a Python program) against the OpenAPI document: made-up requests, good and bad ones, of every endpoint; every
//! answer as the document says, none a crash. Seeded, and bounded in number. `scripts/test` installs it.

use std::path::Path;
use std::process::Command;

use difylog::domain::Record;

use crate::api::harness::{ADMIN_KEY, Server};
use crate::support::records;
use crate::support::site::needed;

/// Runs it over made-up ids, or over those of a configuration.
async fn run(server: &Server, folder: &Path, examples: &str, phases: &str) {
    let mut command = Command::new(needed("DIFYLOG_TEST_SCHEMATHESIS"));
    command
        .current_dir(folder)
        .args(["run", &server.url("/openapi.json"), "--header", &format!("Authorization: Bearer {ADMIN_KEY}")])
        .args(["--seed", "20261125", "--max-examples", examples, "--generation-database", "none", "--no-color"])
        .args(["--phases", phases, "--suppress-health-check", "all"])
        // A made-up id is of nothing that is there: 404 is the right answer to a good request.
        .args(["--exclude-checks", "positive_data_acceptance"]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Tested: 41"), "every operation is tested: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_nothing() {
    // An admin's key reaches every made-up tenant, so that the handlers are reached too.
    let server = Server::new();
    let (tenant, app) = (server.tenant_id, records::app());
    let runs: Vec<_> = (0..5).map(|_| records::run(tenant, app, records::at("2025-12-01T00:00:00Z"))).collect();
    let node = records::node(tenant, app, runs[0].id, 1, runs[0].created_at);
    let ids = format!(
        "[parameters]\n\"path.tenant_id\" = \"{tenant}\"\n\"path.app_id\" = \"{app}\"\n\"path.run_id\" = \"{}\"\n\
         \"path.node_execution_id\" = \"{}\"\n\"path.id\" = \"{}\"\n",
        runs[0].id, node.id, runs[1].id
    );
    server.store(runs.into_iter().map(|run| Record::Run(Box::new(run))).chain([Record::Node(Box::new(node))])).await;
    let folder = tempfile::tempdir().unwrap();
    run(&server, folder.path(), "10", "examples,coverage,fuzzing").await;
    std::fs::write(folder.path().join("schemathesis.toml"), ids).unwrap();
    run(&server, folder.path(), "5", "examples,fuzzing").await;
}
