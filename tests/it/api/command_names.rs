//! Names of apps and workspaces in what the commands that read print.

use difylog::domain::{AppId, Record, TenantId, printable_block};
use difylog::store::sqlite::SqliteStore;
use difylog::store::{BulkSink as _, StoreAdmin as _};
use serde_json::Value;

use crate::support::postgres::{Postgres, Schema};
use crate::support::records;
use crate::support::site::{Site, StoreUnderTest};

const TABLES: &str = "CREATE TABLE apps (id uuid PRIMARY KEY, tenant_id uuid NOT NULL, name varchar NOT NULL, \
    mode varchar NOT NULL, icon_type varchar, icon varchar);
    CREATE TABLE tenants (id uuid PRIMARY KEY, name varchar NOT NULL);";
const NOTE: &str = "names are missing: Dify's PostgreSQL does not answer; `difylog check` says why";

/// A run with its node and log, of an app whose name acts on a terminal.
struct Named {
    site: Site,
    tenant: TenantId,
    app: AppId,
    run: String,
    node: String,
}

impl Named {
    async fn new(postgres_url: &str) -> Self {
        let more = format!("[postgres]\nurl = \"{postgres_url}\"\n");
        let site = Site::with(&StoreUnderTest::Sqlite, "amqp://127.0.0.1:9", &more);
        let (tenant, app) = (records::tenant(), records::app());
        let mut run = records::run(tenant, app, records::at("2025-12-01T00:00:00Z"));
        run.inputs = records::json(r#"{"q": "needle"}"#);
        let mut node = records::node(tenant, app, run.id, 1, run.created_at);
        node.title = "needle".into();
        let (run_id, node_id) = (run.id.to_string(), node.id.to_string());
        let log = records::app_log(tenant, app, run.id, run.created_at);
        let store = SqliteStore::new(site.settings.store.sqlite.clone()).unwrap();
        store.install().await.unwrap();
        let records = [Record::Run(Box::new(run)), Record::Node(Box::new(node)), Record::AppLog(Box::new(log))];
        let actions: Vec<_> = records.into_iter().flat_map(records::actions).collect();
        store.apply(&actions).await.unwrap();
        store.close().await;
        Self { site, tenant, app, run: run_id, node: node_id }
    }

    /// Every command that lists or shows records.
    fn commands(&self) -> Vec<Vec<String>> {
        let (app, tenant) = (self.app.to_string(), self.tenant.to_string());
        let commands: [&[&str]; 9] = [
            &["runs", "list", "--app", &app],
            &["runs", "show", &self.run],
            &["runs", "unended"],
            &["nodes", "list", &self.run],
            &["nodes", "show", &self.node],
            &["logs", "--app", &app],
            &["search", "needle"],
            &["search", "needle", "--nodes"],
            &["stats", "--app", &app],
        ];
        let whole = |command: &[&str]| {
            let words = command.iter().copied().chain(["--tenant", &tenant]);
            words.map(ToOwned::to_owned).collect()
        };
        commands.into_iter().map(whole).collect()
    }

    /// What a command prints, and says beside that.
    fn run(&self, command: &[String], more: &[&str]) -> (String, String) {
        let words: Vec<&str> = command.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let output = self.site.run(&words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{command:?}: {said}");
        (String::from_utf8(output.stdout).unwrap(), said)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_json_have_names_beside_the_ids() {
    let postgres = Postgres::empty(Schema::V12);
    postgres.sql(TABLES);
    let named = Named::new(&postgres.url()).await;
    let (app, tenant) = (named.app, named.tenant);
    postgres.sql(&format!(
        "INSERT INTO apps VALUES ('{app}', '{tenant}', E'Parcel \\x1b[31mdesk', 'workflow', 'emoji', '📦');
         INSERT INTO tenants VALUES ('{tenant}', E'Our\\nshop')"
    ));
    for command in named.commands() {
        let (shown, said) = named.run(&command, &[]);
        assert_eq!((printable_block(&shown).as_ref(), said.as_str()), (shown.as_str(), ""), "{command:?}");
        // No run of an app by another trigger: there is nothing to list.
        if command[0] != "stats" {
            assert!(shown.contains("Parcel") && shown.contains("desk"), "{command:?}: {shown}");
        }
        let (json, _) = named.run(&command, &["--json"]);
        for line in json.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let row = line.get("row").unwrap_or(&line);
            assert_eq!(
                (&row["app_name"], &row["tenant_name"]),
                (&"Parcel \u{1b}[31mdesk".into(), &"Our\nshop".into()),
                "{command:?}: {line}"
            );
        }
    }
    // The app of another workspace keeps its name from this one.
    postgres.sql(&format!("UPDATE apps SET tenant_id = '{}'", records::tenant()));
    let (shown, _) = named.run(&named.commands()[6], &[]);
    assert!(shown.contains(&app.to_string()) && !shown.contains("Parcel"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_names_cannot_be_asked_ids_stand_alone_and_one_note_says_so() {
    let named = Named::new("postgres://postgres:secret-word@127.0.0.1:1/dify").await;
    for command in named.commands() {
        let (shown, said) = named.run(&command, &[]);
        assert_eq!(said.trim_end(), NOTE, "{command:?}");
        assert!(!shown.contains("names are missing"), "{command:?}: {shown}");
        let (json, said) = named.run(&command, &["--json"]);
        assert_eq!(said.trim_end(), NOTE, "{command:?}");
        for line in json.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let row = line.get("row").unwrap_or(&line);
            assert!(row["app_name"].is_null() && row["tenant_name"].is_null(), "{command:?}: {line}");
        }
    }
}
