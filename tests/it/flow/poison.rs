//! Messages that would stop a worker, or take its memory.

use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::support::corpus::lines;
use crate::support::load::Load;
use crate::support::site::{Site, StoreUnderTest, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn one_message_of_thousands_of_bad_events_stops_no_queue() {
    let site = Site::new(&StoreUnderTest::Sqlite);
    site.setup();
    let load = Load::new(80, 60);
    let path = site.file("events.jsonl");
    load.write_events(&path);
    let bad = format!("[{}]\n", vec!["{}"; 9_000].join(","));
    std::fs::write(site.file("bad.jsonl"), bad).unwrap();
    site.ok(&["publish", "--unchecked", "--events", site.file("bad.jsonl").to_str().unwrap()]);
    site.ok(&["publish", "--events", path.to_str().unwrap()]);
    let worker = site.worker();
    load.stored(60, &site, &worker).await;
    eventually(30, "one letter", async || site.depth("dead").await == 1).await;
    assert_eq!(worker.metric("difylog_deliveries_total", "outcome=\"requeued\"").await, 0.0);
    assert!(site.log().len() < 20_000, "a line per message, not per event: {}", site.log().len());
}

/// A run of Dify's Celery task whose inputs are so long, compressed.
fn bomb(site: &Site, compression: &str, bytes: usize, number: usize) -> serde_json::Value {
    let mut message = lines("celery_messages.jsonl")
        .into_iter()
        .find(|message| {
            message["headers"]["task"].as_str().is_some_and(|task| task.ends_with("save_workflow_execution_task"))
        })
        .unwrap();
    let mut body: serde_json::Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
    let data = &mut body[1]["execution_data"];
    data["id_"] = format!("00000000-0000-4000-8000-{number:012}").into();
    data["inputs"] = json!({ "text": "a".repeat(bytes) });
    let text = body.to_string();
    let packed = if compression == "application/x-bz2" {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    } else {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    message["headers"]["compression"] = compression.into();
    message["routing_key"] = site.celery_queue().into();
    message["properties"].as_object_mut().unwrap().remove("expiration");
    message.as_object_mut().unwrap().remove("body");
    message["body_base64"] = BASE64_STANDARD.encode(packed).into();
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_unfold_to_a_hundred_megabytes_do_not_add_up() {
    const UNFOLDED: usize = 100_000_000;
    let site = Site::new(&StoreUnderTest::Sqlite);
    site.setup();
    let mut text = String::new();
    let bombs = [bomb(&site, "application/x-bz2", UNFOLDED, 1), bomb(&site, "application/x-gzip", UNFOLDED, 2)];
    for number in 0..12 {
        writeln!(text, "{}", bombs[number % 2]).unwrap();
    }
    std::fs::write(site.file("bombs.jsonl"), text).unwrap();
    site.ok(&["publish", "--captured", site.file("bombs.jsonl").to_str().unwrap()]);
    let worker = site.worker();
    worker.acked(240, 12).await;
    let megabytes = worker.peak_megabytes();
    assert!(megabytes < 700, "{megabytes} MB at the peak");
    assert_eq!(site.depth("dead").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_address_is_said_before_the_broker_is_connected() {
    let site = Site::new(&StoreUnderTest::Sqlite);
    site.setup();
    let _taken = std::net::TcpListener::bind(&site.http).unwrap();
    for _ in 0..5 {
        let output = site.run(&["worker"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains("http.listen") && !said.contains("panicked"), "{said}");
    }
}
