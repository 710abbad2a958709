//! Dead letters by reason, one reason mended and replayed through a crash: the store ends as if nothing had happened.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Stdio;

use difylog::codec::encode_native;
use difylog::domain::{JsonText, Record};

use crate::support::load::Load;
use crate::support::server::Killed;
use crate::support::site::{Site, StoreUnderTest, eventually, needed};

/// Counts by reason, as an operator sees them.
fn letters(site: &Site) -> BTreeMap<String, u64> {
    site.ok(&["dlq", "list", "--json"])
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            (line["reason"].as_str().unwrap().to_owned(), line["letters"].as_u64().unwrap())
        })
        .collect()
}

/// 8,000 good messages, and 500 of each of four kinds of bad ones between them. Those of the fourth kind are good, but
/// larger than the worker's limit.
fn write_load(site: &Site) -> Load {
    let mut load = Load::new(8, 8_000);
    let mut large = Load::new(9, 500).records;
    large.truncate(500);
    for record in &mut large {
        pad(record);
    }
    let text = |record: &Record| String::from_utf8(encode_native(record)).unwrap();
    let bad = ["{\"v\":1,\"kind\":", r#"{"v":1,"kind":"mystery","record":{}}"#];
    let mut lines: Vec<String> = load.records.iter().map(text).collect();
    let wrong_id = text(&load.records[0]).replace(&load.records[0].id().to_string(), "*");
    for (position, record) in large.iter().enumerate() {
        let place = position * 17;
        lines.insert(place, text(record));
        lines.insert(place, bad[0].to_owned());
        lines.insert(place, bad[1].to_owned());
        lines.insert(place, wrong_id.clone());
    }
    load = Load::joined(vec![load, Load::from_records(large)]);
    let mut file = String::new();
    for line in &lines {
        writeln!(file, "{line}").unwrap();
    }
    std::fs::write(site.file("events.jsonl"), file).unwrap();
    load
}

/// Makes a record's message larger than 16 KiB.
fn pad(record: &mut Record) {
    let payload = Some(JsonText::from_clean(format!(r#"{{"text": "{}"}}"#, "x".repeat(20_000))));
    match record {
        Record::Run(run) => run.inputs = payload,
        Record::Node(node) => node.inputs = payload,
        // It has no payload: a long source stands in for one, cut by nothing.
        Record::AppLog(_) | Record::Offload(_) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_letters_of_four_reasons() {
    let limit = "[pipeline]\nmax_message_bytes = 16384\n";
    let site = Site::with(&StoreUnderTest::Sqlite, &needed("DIFYLOG_TEST_AMQP_URL"), limit);
    site.setup();
    let load = write_load(&site);
    let (large, good): (Vec<_>, Vec<_>) = load.records.iter().partition(|record| encode_native(record).len() > 16_384);
    let (large, good) = (large.len() as u64, good.len());
    site.ok(&["publish", "--unchecked", "--events", site.file("events.jsonl").to_str().unwrap()]);
    let mut worker = site.worker();
    let expected = 1_500 + large;
    eventually(120, "all bad messages are dead letters", async || {
        site.depth("events").await == 0 && site.depth("dead").await == expected
    })
    .await;
    // Nothing is left for the next worker, which counts what is replayed.
    worker.acked(120, good).await;
    assert!(worker.terminate().await.success());
    let by_reason = BTreeMap::from([
        ("invalid-id".to_owned(), 500),
        ("too-large".to_owned(), large),
        ("undecodable-body".to_owned(), 500),
        ("unknown-kind".to_owned(), 500),
    ]);
    assert_eq!(letters(&site), by_reason);

    // A dry run changes nothing.
    let said = site.ok(&["dlq", "replay", "--reason", "too-large"]);
    assert!(said.contains(&format!("{large} would be replayed")), "{said}");
    assert_eq!(letters(&site), by_reason);

    // Mended; the replay is killed in the middle, then run again.
    let worker = site.worker_with(&[("DIFYLOG__PIPELINE__MAX_MESSAGE_BYTES", "134217728")]);
    let mut replay = site.command(&["dlq", "replay", "--reason", "too-large", "--execute", "--rate", "200"]);
    let mut replay = Killed(replay.stdout(Stdio::null()).spawn().unwrap());
    eventually(60, "a part is replayed", async || worker.metric("difylog_deliveries_received_total", "").await >= 60.0)
        .await;
    replay.kill().unwrap();
    replay.wait().unwrap();
    // A letter is gone only after its message was confirmed, so what is neither here nor there is still held.
    eventually(30, "the broker took the unacked letters back", async || {
        let replayed = worker.metric("difylog_deliveries_received_total", "").await;
        let depth = site.depth("dead").await;
        (1_500..expected).contains(&depth) && depth as f64 + replayed >= expected as f64
    })
    .await;
    site.ok(&["dlq", "replay", "--reason", "too-large", "--execute"]);
    // Once more: nothing is left to replay.
    let said = site.ok(&["dlq", "replay", "--reason", "too-large", "--execute"]);
    assert!(said.contains("0 replayed"), "{said}");
    load.stored(60, &site, &worker).await;
    let left = by_reason.into_iter().filter(|(reason, _)| reason != "too-large").collect::<BTreeMap<_, _>>();
    assert_eq!(letters(&site), left);

    // The look at a letter masks what users wrote; the purge asks for the number.
    let shown = site.ok(&["dlq", "show", "1"]);
    assert!(shown.contains("x-difylog-reason") && shown.contains("masked"), "{shown}");
    assert!(!site.run(&["dlq", "purge", "--reason", "unknown-kind"]).status.success());
    site.ok(&["dlq", "purge", "--reason", "unknown-kind", "--yes"]);
    assert_eq!(letters(&site).get("unknown-kind"), None);
}
