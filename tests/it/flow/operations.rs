//! What an operator meets: stopping, wrong settings, servers that are down, several workers, the numbers.

use difylog::domain::record::RecordKey;
use difylog::domain::{JsonText, Kind, Record};

use crate::support::load::Load;
use crate::support::site::{Site, StoreUnderTest, eventually, needed};

fn events(site: &Site, load: &Load) -> String {
    let path = site.file("events.jsonl");
    load.write_events(&path);
    path.to_str().unwrap().to_owned()
}

fn error_of(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_under_load_loses_nothing() {
    let site = Site::new(&StoreUnderTest::Sqlite);
    site.setup();
    let load = Load::new(30, 10_000);
    site.ok(&["publish", "--events", &events(&site, &load)]);
    for _ in 0..5 {
        let mut worker = site.worker();
        let before = site.depth("events").await;
        eventually(60, "the worker makes progress", async || site.depth("events").await < before.max(1)).await;
        assert!(worker.terminate().await.success(), "{}", site.log());
    }
    let worker = site.worker();
    load.stored(120, &site, &worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_the_queue_over_the_engine() {
    let site = Site::new(&StoreUnderTest::engine("shared"));
    site.setup();
    let mut first = site.worker();
    let second = site.worker_with(&[("DIFYLOG__HTTP__LISTEN", "")]);
    first.ready().await;
    let load = Load::new(31, 6_000);
    site.ok(&["publish", "--events", &events(&site, &load)]);
    eventually(120, "the queue is empty", async || site.depth("events").await == 0).await;
    drop(second);
    // What the second worker held has come back to the first.
    load.stored(120, &site, &first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_obey_the_conservation_law() {
    let site = Site::new(&StoreUnderTest::Sqlite);
    site.setup();
    let load = Load::new(32, 2_000);
    site.ok(&["publish", "--events", &events(&site, &load)]);
    std::fs::write(site.file("bad.jsonl"), "{}\n[]\nnot json\n").unwrap();
    site.ok(&["publish", "--unchecked", "--events", site.file("bad.jsonl").to_str().unwrap()]);
    let worker = site.worker();
    let count =
        async |outcome: &str| worker.metric("difylog_deliveries_total", &format!("outcome=\"{outcome}\"")).await;
    let published = (load.records.len() + 3) as f64;
    eventually(60, "everything is settled", async || {
        worker.metric("difylog_deliveries_received_total", "").await >= published
            && worker.metric("difylog_deliveries_in_flight", "").await == 0.0
    })
    .await;
    let received = worker.metric("difylog_deliveries_received_total", "").await;
    let settled = count("acked").await + count("requeued").await + count("dead_lettered").await + count("lost").await;
    assert_eq!(received, settled);
    assert_eq!(count("dead_lettered").await, 2.0, "an empty array holds nothing to lose");
    assert_eq!(worker.metric("difylog_dead_letters_total", "reason=\"undecodable-body\"").await, 1.0);
    assert_eq!(worker.get("/healthz").await.map(|(status, _)| status), Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_never_set_up_stops_the_worker_with_what_to_do() {
    let site = Site::new(&StoreUnderTest::engine("dedicated"));
    let output = site.run(&["worker"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(error_of(&output).contains("difylog setup"), "{}", error_of(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_name_their_keys() {
    for (more, code, expected) in [
        ("[pipeline]\nbatch_sise = 3\n", 3, "batch_sise"),
        ("[pipeline]\nbatch_actions = 0\n", 3, "pipeline.batch_actions"),
        ("[pipeline]\nlinger_ms = \"soon\"\n", 3, "pipeline.linger_ms"),
    ] {
        let site = Site::new(&StoreUnderTest::Sqlite);
        let path = site.file("difylog.toml");
        std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + more).unwrap();
        let output = site.run(&["worker"]);
        assert_eq!(output.status.code(), Some(code), "{more}");
        assert!(error_of(&output).contains(expected), "{more}: {}", error_of(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_masks_secrets_and_says_what_to_do() {
    let url = needed("DIFYLOG_TEST_AMQP_URL").replace("guest:guest", "guest:WRONG-secret");
    let site = Site::with(&StoreUnderTest::Sqlite, &url, "");
    let output = site.run(&["check"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &error_of(&output);
    assert_eq!(output.status.code(), Some(4));
    assert!(!said.contains("WRONG-secret"), "{said}");
    assert!(said.contains("FAILED  broker") && said.contains("amqp.urls"), "{said}");
    assert!(said.contains("FAILED  store") && said.contains("difylog setup"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_down_is_named() {
    let store = StoreUnderTest::Engine { url: "http://127.0.0.1:9".into(), tenancy: "dedicated" };
    let site = Site::with(&store, &needed("DIFYLOG_TEST_AMQP_URL"), "");
    let output = site.run(&["worker"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(error_of(&output).contains("127.0.0.1:9"), "{}", error_of(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_of_fifty_megabytes_harms_neither_memory_nor_its_neighbours() {
    const SIZE: usize = 50_000_000;
    let site = Site::new(&StoreUnderTest::Sqlite);
    site.setup();
    let mut load = Load::new(33, 100);
    let giant = load.records.iter_mut().find_map(|record| match record {
        Record::Node(node) if node.finished_at.is_some() => Some(node),
        _ => None,
    });
    let giant = giant.unwrap();
    giant.outputs = Some(JsonText::from_clean(format!(r#"{{"text": "{}"}}"#, "长text".repeat(SIZE / 7))));
    let (tenant, id) = (giant.tenant_id, giant.id);
    site.ok(&["publish", "--events", &events(&site, &load)]);
    let worker = site.worker();
    load.stored(120, &site, &worker).await;
    let budget = site.settings.amqp.memory_budget_bytes / (1 << 20);
    let peak = worker.peak_megabytes();
    assert!(peak < budget + 100, "{peak} MB resident at the peak, the budget is {budget} MB");
    let stores = difylog::app::open_stores(&site.settings).unwrap();
    let key = RecordKey { tenant_id: tenant, kind: Kind::NodeExecution, id };
    let document = stores.store.record(key).await.unwrap().unwrap();
    let mark = document.truncated[0];
    let full = stores.payloads.get(tenant, document.month(), mark.sha256).await.unwrap().unwrap();
    assert_eq!(mark.original_bytes, full.len() as u64);
    assert!(full.len() > SIZE - 100, "the full text is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_how_far_the_store_is_behind() {
    let site = Site::new(&StoreUnderTest::Sqlite);
    site.setup();
    let load = Load::new(34, 500);
    site.ok(&["publish", "--events", &events(&site, &load)]);
    let status = || -> serde_json::Value { serde_json::from_slice(&site.run(&["status", "--json"]).stdout).unwrap() };
    let before = status();
    assert!(before["broker"]["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{before}");
    assert!(before["broker"]["publishers_blocked"].is_null(), "{before}");
    let lag = serde_json::json!({ "waiting": load.records.len(), "newest_record_at": null, "seconds": null });
    assert_eq!(before["lag"], lag);
    let mut worker = site.worker();
    load.stored(60, &site, &worker).await;
    worker.acked(60, load.records.len()).await;
    assert!(worker.terminate().await.success(), "{}", site.log());
    let newest = load.records.iter().map(Record::created_at).max().unwrap();
    let lag = serde_json::json!({ "waiting": 0, "newest_record_at": newest.to_string(), "seconds": 0 });
    assert_eq!(status()["lag"], lag);
    site.ok(&["publish", "--events", &events(&site, &load)]);
    let behind = status();
    assert_eq!(behind["lag"]["waiting"], load.records.len());
    assert!(behind["lag"]["seconds"].is_u64(), "{behind}");
    let shown = String::from_utf8_lossy(&site.run(&["status"]).stdout).into_owned();
    assert!(shown.contains("virtual host") && shown.contains("messages wait"), "{shown}");
    // `ok` above: a site that names no PostgreSQL lacks none.
    assert!(behind["postgres"].is_null() && shown.contains("no setting names one"), "{behind} {shown}");
}
