//! A worker at its default settings, with 1,024 descriptors, under everything that a stranger may send it: its memory stays
//! below 1 GiB, it goes on, and what others send is stored meanwhile.

use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::load::Load;
use crate::support::site::{Site, StoreUnderTest, Worker, eventually};

/// What README promises.
const GIBIBYTE: u64 = 1024;
const MEBIBYTE: usize = 1 << 20;

/// A message to the queue of native events, or of Celery.
fn message(site: &Site, celery: bool, headers: Value, body: &[u8]) -> Value {
    let queue = if celery { site.celery_queue() } else { format!("{}.events", site.name) };
    let (headers, body) = (Some(headers).filter(|headers| !headers.is_null()), BASE64_STANDARD.encode(body));
    json!({
        "exchange": "", "routing_key": queue, "body_base64": body, "headers": headers.unwrap_or_else(|| json!({})),
        "properties": { "content_type": "application/json", "delivery_mode": 2 },
    })
}

/// A run's event in which one value is replaced by any text.
fn run(field: &str, text: &str) -> Vec<u8> {
    let mut record = json!({
        "id": uuid::Uuid::new_v4(), "tenant_id": uuid::Uuid::new_v4(), "app_id": uuid::Uuid::new_v4(),
        "workflow_id": uuid::Uuid::new_v4(), "type": "workflow", "triggered_from": "app-run", "version": "1",
        "graph": { "nodes": [] }, "inputs": { "q": "hello" }, "outputs": {}, "status": "succeeded", "error": null,
        "elapsed_time": 1.5, "total_tokens": 3, "total_steps": 2, "created_by_role": "account",
        "created_by": uuid::Uuid::new_v4(), "created_at": "2026-11-23T15:28:34", "finished_at": "2026-11-23T15:28:36",
        "exceptions_count": 0,
    });
    record[field] = "@@".into();
    json!({ "v": 1, "kind": "workflow_run", "record": record }).to_string().replace("\"@@\"", text).into_bytes()
}

fn quoted(character: &str, bytes: usize) -> String {
    format!("\"{}\"", character.repeat(bytes))
}

/// A Celery message whose body unfolds to so many bytes.
fn bomb(site: &Site, compression: &str, bytes: usize) -> Value {
    let body =
        format!(r#"[[], {{"execution_data": {{"id_": "x", "inputs": {{"text": "{}"}}}}}}, {{}}]"#, "A".repeat(bytes));
    let packed = if compression.ends_with("bz2") {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        encoder.write_all(body.as_bytes()).unwrap();
        encoder.finish().unwrap()
    } else {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let task = "tasks.workflow_execution_tasks.save_workflow_execution_task";
    message(site, true, json!({ "task": task, "compression": compression }), &packed)
}

/// Every kind of message that has stopped a worker or filled a memory, by name.
fn kinds(site: &Site) -> Vec<(&'static str, Vec<Value>)> {
    let native = |body: &[u8]| message(site, false, Value::Null, body);
    let with = |headers: Value, body: &[u8]| message(site, false, headers, body);
    let empties = |number: usize| format!("[{}]", vec!["{}"; number].join(",")).into_bytes();
    let task = |headers: Value| message(site, true, headers, b"[]");
    let many = |text: &[&str]| text.iter().map(|text| native(text.as_bytes())).collect::<Vec<_>>();
    let dates = ["0001-01-01T00:00:00", "9999-12-31T23:59:59", "1970-01-01T00:00:00", "2026-02-30T00:00:00", "NaN"];
    let numbers = ["NaN", "Infinity", "1e400", "9223372036854775808"];
    let long_number = format!("1{}", "0".repeat(100_000));
    let tenants = ["../../x", "*", "", "\\u0000"].map(|tenant| native(&run("tenant_id", &format!("\"{tenant}\""))));
    let record_keys = (0..300_000).map(|key| format!("\"x{key}\":{key}")).collect::<Vec<_>>().join(",");
    let input_keys = (0..200_000).map(|key| format!("\"k{key}\":{key}")).collect::<Vec<_>>().join(",");
    vec![
        ("thousands of bad events", vec![native(&empties(9_000)), native(&empties(100_000))]),
        ("bad events under large headers", vec![with(json!({ "pad": "p".repeat(60_000) }), &empties(4_000))]),
        ("headers that fill a frame", vec![native(b"junk"), with(json!({ "pad": "p".repeat(130_900) }), b"junk")]),
        ("large headers, often", vec![with(json!({ "pad": "p".repeat(100_000) }), b"junk"); 60]),
        ("bombs of bzip2", vec![bomb(site, "application/x-bz2", 120 * MEBIBYTE); 6]),
        ("bombs of zlib", vec![bomb(site, "application/x-gzip", 120 * MEBIBYTE); 6]),
        ("bombs that unfold too far", vec![bomb(site, "application/x-bz2", 300 * MEBIBYTE); 3]),
        ("large bodies", vec![native(&run("inputs", &quoted("x", 60 * MEBIBYTE))); 3]),
        (
            "large fields",
            ["status", "error", "version", "triggered_from"]
                .map(|field| native(&run(field, &quoted("s", 10 * MEBIBYTE))))
                .into(),
        ),
        ("escapes that unfold", vec![native(&run("inputs", &quoted("\\u957f", 2 * MEBIBYTE))); 3]),
        (
            "depth",
            vec![native(&b"[".repeat(100_000)), native(&run("inputs", &("[".repeat(9_000) + &"]".repeat(9_000))))],
        ),
        (
            "keys of a record",
            vec![native(format!(r#"{{"v":1,"kind":"workflow_run","record":{{{record_keys}}}}}"#).as_bytes())],
        ),
        ("keys of a payload", vec![native(&run("inputs", &format!("{{{input_keys}}}")))]),
        (
            "garbage",
            vec![native(b""), native(&[0; 100]), native(b"\xff\xfe{}"), native(b"\xef\xbb\xbf{}"), native(b"[[[{}]]]")],
        ),
        ("dates", dates.map(|date| native(&run("created_at", &format!("\"{date}\"")))).into()),
        (
            "numbers",
            numbers
                .iter()
                .copied()
                .chain([long_number.as_str()])
                .map(|number| native(&run("total_tokens", number)))
                .collect(),
        ),
        ("tenants", tenants.into()),
        (
            "tasks",
            vec![
                task(json!({})),
                task(json!({ "task": 5 })),
                task(json!({ "task": "x\r\n\u{1b}[31m" })),
                task(json!({ "task": "t", "compression": ["a"] })),
                task(json!({ "task": "t", "compression": "zstd" })),
            ],
        ),
        (
            "forged marks",
            vec![with(
                json!({ "x-difylog-queue": "evil", "x-difylog-attempts": -5, "CC": ["x"], "x-death": [1] }),
                b"junk",
            )],
        ),
        ("kinds", many(&[r#"{"v":2}"#, r#"{"v":1,"kind":"../x","record":{}}"#, "[{}]x"])),
    ]
}

fn publish(site: &Site, messages: &[Value]) {
    let mut text = String::new();
    for message in messages {
        writeln!(text, "{message}").unwrap();
    }
    std::fs::write(site.file("hostile.jsonl"), text).unwrap();
    site.ok(&["publish", "--captured", site.file("hostile.jsonl").to_str().unwrap()]);
}

/// Publishes what others send behind so many messages, and waits until all are settled and these are stored. Returns how many
/// messages there are now.
async fn others_are_stored(site: &Site, worker: &Worker, load: &Load, published: usize, what: &str) -> usize {
    let path = site.file("events.jsonl");
    load.write_events(&path);
    site.ok(&["publish", "--events", path.to_str().unwrap()]);
    let published = published + load.records.len();
    eventually(300, what, async || {
        let settled = worker.metric("difylog_deliveries_total", "outcome=\"acked\"").await
            + worker.metric("difylog_deliveries_total", "outcome=\"dead_lettered\"").await;
        settled >= published as f64
    })
    .await;
    let wrong = load.differences(&*site.store()).await;
    // Some of what strangers send is odd, and good: the numbers of documents say nothing.
    assert!(wrong.iter().all(|line| line.ends_with("expected")), "{what}: {wrong:?}\n{}", site.log());
    // The one that writes may be at the search index of a large text for a moment.
    eventually(60, &format!("ready after {what}"), async || worker.is_ready().await).await;
    let peak = worker.peak_megabytes();
    assert!(peak < GIBIBYTE, "{what}: {peak} MiB at the peak");
    published
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_messages_take_less_than_a_gibibyte_and_keep_nobody_waiting() {
    let site = Site::new(&StoreUnderTest::Sqlite);
    site.setup();
    let kinds = kinds(&site);
    let mut worker = site.worker_within("ulimit -n 1024");
    worker.ready().await;
    let (mut seed, mut published) = (900, 0);
    for (name, messages) in &kinds {
        publish(&site, messages);
        seed += 1;
        published = others_are_stored(&site, &worker, &Load::new(seed, 20), published + messages.len(), name).await;
    }
    let one_by_one = worker.peak_megabytes();
    // All at once, before and behind what others send.
    for (_, messages) in &kinds {
        publish(&site, messages);
        published += messages.len();
    }
    others_are_stored(&site, &worker, &Load::new(999, 1_000), published, "all at once").await;
    println!("peak of a worker: {one_by_one} MiB one by one, {} MiB all at once", worker.peak_megabytes());
    let lost = worker.metric("difylog_deliveries_total", "outcome=\"lost\"").await;
    assert!(lost < 1.0, "no channel was lost: {}", site.log());
    assert!(worker.terminate().await.success());
}
