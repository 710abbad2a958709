//! A role that may not read everything: what to grant is said before a command needs it.

use uuid::Uuid;

use crate::support::postgres::{Postgres, Schema};
use crate::support::site::{Site, StoreUnderTest};

/// A role of the cluster with the right to read these tables.
fn role(postgres: &Postgres, tables: &str) -> String {
    let role = format!("reader_{}", Uuid::new_v4().simple());
    postgres.sql(&format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON {tables} TO {role}"));
    role
}

fn check(postgres: &Postgres, role: &str, more: &str) -> String {
    let url = postgres.url().replacen("postgres@", &format!("{role}@"), 1);
    assert!(url.contains(role), "{url}");
    let site = Site::with(
        &StoreUnderTest::Sqlite,
        "amqp://127.0.0.1:9",
        &format!("[postgres]\nurl = \"{url}\"\n[log]\nfilter = \"warn\"\n{more}"),
    );
    let output = site.run(&["check"]);
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().position(|line| line.contains("PostgreSQL")).unwrap_or_else(|| panic!("{said}"));
    said.lines().skip(line).take(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn check_says_which_tables_a_role_may_not_read() {
    let postgres = Postgres::sample(Schema::V12);
    postgres.sql(
        "CREATE TABLE apps (id uuid); CREATE TABLE tenants (id uuid); CREATE TABLE tenant_account_joins (id uuid); \
         CREATE TABLE messages (id uuid); CREATE TABLE api_tokens (id uuid); \
         CREATE TABLE IF NOT EXISTS workflow_trigger_logs (id uuid)",
    );
    let copied =
        "workflow_runs, workflow_node_executions, workflow_app_logs, workflow_node_execution_offload, upload_files";
    let few = role(&postgres, copied);
    let said = check(&postgres, &few, "");
    assert!(said.contains("FAILED"), "{said}");
    for table in ["accounts", "end_users"] {
        assert!(said.contains(&format!("may not read {table}: GRANT SELECT ON {table} TO {few}")), "{said}");
    }
    assert!(!said.contains("GRANT SELECT ON apps"), "nothing there asks for names: {said}");

    let more = role(&postgres, &format!("{copied}, accounts, end_users"));
    assert!(check(&postgres, &more, "").contains("ok"), "everything that a migration reads can be read");
    let said = check(&postgres, &more, "[serve]\nnames = true\n");
    for table in ["tenant_account_joins", "apps", "tenants", "messages"] {
        assert!(said.contains(&format!("GRANT SELECT ON {table} TO {more}")), "{said}");
    }
    assert!(!said.contains("api_tokens"), "{said}");
    let said = check(&postgres, &more, "[serve.dify]\nurl = \"http://127.0.0.1:9\"\n");
    for table in ["api_tokens", "workflow_trigger_logs", "apps"] {
        assert!(said.contains(&format!("GRANT SELECT ON {table} TO {more}")), "{said}");
    }
}
