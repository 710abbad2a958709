//! Commands as an operator runs them, by what they say and how they end.

use difylog::domain::{Kind, Record, RunStatus};

use crate::support::load::Load;
use crate::support::postgres::{Postgres, Schema};
use crate::support::rabbit::Rabbit;
use crate::support::site::{Site, StoreUnderTest, eventually};

const NO_BROKER: &str = "amqp://127.0.0.1:9";

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_blocks_publishers_ends_publish_with_4_and_is_a_reason_not_to_be_ready() {
    let rabbit = tokio::task::spawn_blocking(Rabbit::start).await.unwrap();
    let site = Site::with(&StoreUnderTest::Sqlite, rabbit.url(), "");
    site.setup();
    std::fs::write(site.file("bad.jsonl"), "not json\n").unwrap();
    let bad = site.file("bad.jsonl").to_str().unwrap().to_owned();
    site.ok(&["publish", "--unchecked", "--events", &bad]);
    rabbit.ctl(&["set_vm_memory_high_watermark", "0.00001"]);
    let mut output = None;
    // The alarm takes a moment to reach the connections.
    eventually(60, "publishing is blocked", async || {
        let ended = site.run(&["publish", "--unchecked", "--events", &bad, "--wait", "1"]);
        let is_blocked = !ended.status.success();
        output = Some(ended);
        is_blocked
    })
    .await;
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("blocks publishers"), "{}", said(&output));
    // A worker that has a letter to publish learns of it, and says so.
    let mut worker = site.worker();
    eventually(60, "not ready for that reason", async || {
        let (status, text) = worker.get("/readyz").await.unwrap_or_default();
        status == 503 && text.contains("the broker blocks publishers")
    })
    .await;
    rabbit.ctl(&["set_vm_memory_high_watermark", "0.4"]);
    worker.ready().await;
    eventually(60, "the letter is published", async || site.depth("dead").await >= 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_never_ended_are_listed_over_all_apps() {
    let site = Site::new(&StoreUnderTest::Sqlite);
    site.setup();
    let mut load = Load::new(95, 60);
    let mut open = Vec::new();
    for record in &mut load.records {
        let Record::Run(run) = record else { continue };
        if open.len() < 2 && !open.contains(&run.id) {
            open.push(run.id);
        }
        if open.contains(&run.id) {
            (run.status, run.finished_at) = (RunStatus::Running, None);
        }
    }
    let load = Load::from_records(load.records);
    load.write_events(&site.file("events.jsonl"));
    site.ok(&["publish", "--events", site.file("events.jsonl").to_str().unwrap()]);
    let mut worker = site.worker();
    load.stored(60, &site, &worker).await;
    worker.acked(60, load.records.len()).await;
    assert!(worker.terminate().await.success());
    let mut expected: Vec<String> = open.iter().map(ToString::to_string).collect();
    expected.sort();
    let mut listed: Vec<String> = site
        .ok(&["runs", "unended", "--json"])
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["status"] == "running")
        .map(|line| line["id"].as_str().unwrap().to_owned())
        .collect();
    listed.sort();
    assert_eq!(listed, expected);
    assert!(load.newest.keys().any(|key| key.kind == Kind::WorkflowRun && !open.contains(&key.id)), "others ended");
    assert_eq!(site.ok(&["runs", "unended", "--json", "--older-than", "20000"]), "");
}

#[test]
fn a_day_is_a_date_for_every_command() {
    let site = Site::with(&StoreUnderTest::Sqlite, NO_BROKER, "");
    let id = "23b8c1e9-3924-46de-beb1-3b9046685257";
    for command in [
        &["migrate", "--dry-run", "--from", "2026-01-01"][..],
        &["validate", "--from", "2026-01-01", "--to", "2026-02-01"],
        &["restore-pg", "--from", "2026-01-01", "--to", "2026-02-01"],
        &["cleanup-pg", "--report", "none.json", "--before", "2026-01-01"],
        &["export", "runs", "--tenant", id, "--from", "2026-01-01"],
        &["search", "--tenant", id, "word", "--from", "2026-01-01"],
        &["dlq", "list", "--since", "2026-01-01"],
    ] {
        let output = site.run(command);
        // Nothing is set up: they end with what is missing, not with a complaint about the argument.
        assert_ne!(output.status.code(), Some(2), "{command:?}: {}", said(&output));
        assert!(!said(&output).contains("ISO 8601"), "{command:?}: {}", said(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_is_its_database_under_every_name_and_says_what_held_it_back() {
    let postgres = Postgres::sample(Schema::V12);
    let more = format!("[postgres]\nurl = \"{}\"\n", postgres.url());
    let site = Site::with(&StoreUnderTest::Sqlite, NO_BROKER, &more);
    let store = site.store();
    store.install().await.unwrap();
    store.close().await;
    let shown = site.ok(&["migrate", "--kind", "app-logs", "--rate", "600"]);
    let (before, _) = shown.split_once("% held to --rate").unwrap_or_else(|| panic!("{shown}"));
    let share: u32 = before.trim_end().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(share > 0, "{shown}");
    let config = std::fs::read_to_string(site.file("difylog.toml")).unwrap();
    let elsewhere = postgres.url().replace("127.0.0.1", "localhost");
    assert_ne!(elsewhere, postgres.url());
    std::fs::write(site.file("difylog.toml"), config.replace(&postgres.url(), &elsewhere)).unwrap();
    site.ok(&["migrate", "--kind", "app-logs"]);
    let status: serde_json::Value = serde_json::from_slice(&site.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["migrations"].as_array().unwrap().len(), 1, "{}", status["migrations"]);
}

/// Letters are what strangers wrote.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_letter_holds_does_not_act_on_a_terminal() {
    let site = Site::new(&StoreUnderTest::Sqlite);
    site.setup();
    let events = "{\"v\":1,\"kind\":\"\\u001b[2Jrun\\r\\nready: ok\",\"record\":{\"id\":\"\\u001b]0;owned\\u0007\"}}\n\
                  \u{1b}[31mno JSON\u{7}\u{1b}[0m\u{202e}\n";
    std::fs::write(site.file("bad.jsonl"), events).unwrap();
    site.ok(&["publish", "--unchecked", "--events", site.file("bad.jsonl").to_str().unwrap()]);
    let mut worker = site.worker();
    worker.ready().await;
    eventually(60, "both are letters", async || site.depth("dead").await == 2).await;
    let commands: [&[&str]; 6] = [
        &["dlq", "list"],
        &["dlq", "list", "--letters"],
        &["dlq", "show", "1"],
        &["dlq", "show", "2"],
        &["dlq", "show", "1", "--reveal"],
        &["dlq", "show", "2", "--reveal"],
    ];
    for arguments in commands {
        let said = site.ok(arguments);
        let acts = said.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(acts, None, "{arguments:?}: {said:?}");
        assert!(!said.lines().any(|line| line.starts_with("ready: ok")), "{arguments:?}: {said}");
    }
}

/// As a port scanner does, or a balancer that opens more than it asks.
#[tokio::test(flavor = "multi_thread")]
async fn idle_and_half_sent_connections_keep_nobody_from_a_workers_port() {
    let site = Site::new(&StoreUnderTest::Sqlite);
    site.setup();
    let mut worker = site.worker();
    worker.ready().await;
    // Each takes the place of the one that rests longest. In a burst that may be one whose request is still on its way: it
    // asks again, long before the strangers' 30 seconds are over.
    let answers = async |after: &str| {
        eventually(10, after, async || worker.is_ready().await).await;
    };
    let mut strangers = Vec::new();
    for number in 0..200 {
        let mut stranger = tokio::net::TcpStream::connect(&site.http).await.unwrap();
        if number % 2 == 0 {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stranger, b"GET /readyz HTTP/1.1\r\nHost:").await;
        }
        strangers.push(stranger);
        if number % 50 == 0 {
            answers(&format!("ready after {number} connections")).await;
        }
    }
    answers("ready after all connections").await;
    assert_eq!(worker.metric("difylog_breaker_open", "").await, 0.0);
    drop(strangers);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_keep_full_texts_in_two_folders_are_told_of_them() {
    let site = Site::new(&StoreUnderTest::engine("shared"));
    site.setup();
    let mut worker = site.worker();
    worker.ready().await;
    assert!(worker.terminate().await.success());
    let elsewhere = site.file("elsewhere");
    let output = site.command(&["check"]).env("DIFYLOG__PAYLOADS__DIR", &elsewhere).output().unwrap();
    let said = said(&output);
    let other = format!("keep full texts in another folder: {}", site.file("payloads").display());
    for part in ["WARNING: payloads.dir", "is a folder of this host", "set [payloads.s3]", &other] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
}
