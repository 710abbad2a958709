//! What the commands that read print: foreign texts, and readers that go away.

use std::process::{Command, Output, Stdio};

use difylog::domain::{Record, TenantId, printable_block};
use difylog::store::sqlite::SqliteStore;
use difylog::store::{BulkSink as _, StoreAdmin as _};
use serde_json::Value;

use crate::support::records;
use crate::support::site::{Site, StoreUnderTest};

const NO_BROKER: &str = "amqp://127.0.0.1:9";
const HOSTILE: &str = "\x1b[2J\x1b[31mRED\x1b]0;pwned\x07\r\nfake-row | x \u{9b}31m \u{202e}gnp.exe \u{200b}\u{2028}";

/// A site whose store holds a run, its nodes and its log, of texts that act on a terminal.
struct Hostile {
    site: Site,
    tenant: TenantId,
    app: String,
    run: String,
    node: String,
}

impl Hostile {
    async fn new(nodes: usize) -> Self {
        let site = Site::with(&StoreUnderTest::Sqlite, NO_BROKER, "");
        let (tenant, app) = (records::tenant(), records::app());
        let start = records::at("2025-12-01T00:00:00Z");
        let mut run = records::run(tenant, app, start);
        run.status = format!("s{HOSTILE}").as_str().into();
        run.error = Some(HOSTILE.into());
        (run.triggered_from, run.version, run.r#type) = ("app-run".into(), HOSTILE.into(), HOSTILE.into());
        run.inputs = records::json(&serde_json::json!({ HOSTILE: HOSTILE, "q": "needle" }).to_string());
        let mut log = records::app_log(tenant, app, run.id, start);
        (log.created_from, log.created_by_role, log.creator) = (HOSTILE.into(), "account".into(), Some(HOSTILE.into()));
        let all: Vec<_> = (0..nodes)
            .map(|index| {
                let mut node = records::node(tenant, app, run.id, index.try_into().unwrap(), start);
                (node.title, node.node_type, node.node_id) = (HOSTILE.into(), HOSTILE.into(), HOSTILE.into());
                node.status = format!("s{HOSTILE}").as_str().into();
                node.error = Some(format!("{HOSTILE} needle").into());
                node
            })
            .collect();
        let (run_id, node_id) = (run.id.to_string(), all[0].id.to_string());
        let store = SqliteStore::new(site.settings.store.sqlite.clone()).unwrap();
        store.install().await.unwrap();
        let records = [Record::Run(Box::new(run)), Record::AppLog(Box::new(log))];
        let records = records.into_iter().chain(all.into_iter().map(|node| Record::Node(Box::new(node))));
        let actions: Vec<_> = records.flat_map(records::actions).collect();
        store.apply(&actions).await.unwrap();
        store.close().await;
        Self { site, tenant, app: app.to_string(), run: run_id, node: node_id }
    }

    /// Every command that reads records.
    fn commands(&self) -> Vec<Vec<&str>> {
        vec![
            vec!["runs", "list", "--app", &self.app],
            vec!["runs", "show", &self.run],
            vec!["nodes", "list", &self.run],
            vec!["nodes", "show", &self.node],
            vec!["logs", "--app", &self.app],
            vec!["search", "needle"],
            vec!["search", "needle", "--nodes", "--in", "error"],
            vec!["stats", "--app", &self.app],
        ]
    }

    fn arguments(&self, command: &[&str], more: &[&str]) -> Vec<String> {
        let tenant = ["--tenant".to_owned(), self.tenant.to_string()];
        command.iter().chain(more).map(|&argument| argument.to_owned()).chain(tenant).collect()
    }

    fn run(&self, command: &[&str], more: &[&str]) -> Output {
        let arguments = self.arguments(command, more);
        self.site.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stored_acts_on_a_terminal() {
    let hostile = Hostile::new(2).await;
    for command in hostile.commands() {
        let output = hostile.run(&command, &[]);
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(printable_block(&shown), shown, "{command:?}");
        assert!(!shown.lines().any(|line| line.starts_with("fake-row")), "{command:?}: {shown}");
        if command[0] != "stats" {
            assert!(shown.contains("RED"), "{command:?}: {shown}");
        }
    }
    let listed = hostile.run(&["runs", "list", "--app", &hostile.app], &["--json"]);
    let line: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(line["status"], format!("s{HOSTILE}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_is_a_line_with_its_size_and_whole_as_json() {
    let hostile = Hostile::new(1).await;
    let shown = String::from_utf8(hostile.run(&["runs", "show", &hostile.run], &[]).stdout).unwrap();
    let graph: Vec<_> = shown.lines().filter(|line| line.contains("graph")).collect();
    assert!(graph.len() == 1 && graph[0].contains("bytes; --json prints it"), "{shown}");
    let json: Value =
        serde_json::from_slice(&hostile.run(&["runs", "show", &hostile.run], &["--json"]).stdout).unwrap();
    assert!(json["graph"].is_object(), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_a_command_quietly() {
    let hostile = Hostile::new(2000).await;
    let mut commands: Vec<_> = hostile.commands().iter().map(|command| hostile.arguments(command, &[])).collect();
    commands.push(hostile.arguments(&["nodes", "list", &hostile.run, "--json"], &[]));
    commands.push(hostile.arguments(&["export", "nodes"], &[]));
    commands.extend([vec!["counts".to_owned()], vec!["check".into(), "--defaults".into()]]);
    for arguments in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program(&hostile.site, &arguments).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_standard_error_is_no_panic_and_a_full_disk_is_said() {
    let hostile = Hostile::new(1).await;
    let unknown = hostile.arguments(&["runs", "show", &records::id().to_string()], &[]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = program(&hostile.site, &unknown).stdout(writer.try_clone().unwrap()).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(1));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = program(&hostile.site, &["counts".to_owned()]).stdout(full).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("standard output"), "{said}");
}

fn program(site: &Site, arguments: &[String]) -> Command {
    let mut command = site.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    command.stdin(Stdio::null());
    command
}
