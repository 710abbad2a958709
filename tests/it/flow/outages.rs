//! An engine that answers and takes nothing, in every way that operators meet, over queues that count returns.

use std::time::Duration;

use difylog::codec::encode_native;
use tokio::time::Instant;

use crate::support::corpus::lines;
use crate::support::engine_proxy::{EngineProxy, Mode};
use crate::support::load::Load;
use crate::support::rabbit::Rabbit;
use crate::support::site::{Site, StoreUnderTest, Worker, eventually, needed};

/// Shorter than any operator would set it: everything is given back after ten seconds.
const RELEASE: &str = "[pipeline]\nrelease_seconds = 10\n";

/// Publishes so many of Dify's captured messages to the site's Celery queue.
fn publish_captured(site: &Site, count: usize) {
    let mut text = String::new();
    for message in lines("celery_messages.jsonl").into_iter().take(count) {
        let mut message = message;
        message["routing_key"] = site.celery_queue().into();
        message["properties"].as_object_mut().unwrap().remove("expiration");
        text.push_str(&message.to_string());
        text.push('\n');
    }
    std::fs::write(site.file("captured.jsonl"), text).unwrap();
    site.ok(&["publish", "--captured", site.file("captured.jsonl").to_str().unwrap()]);
}

/// Publishes a load as one message of the site's native queue.
fn publish_as_one(site: &Site, load: &Load) {
    let events: Vec<_> = load.records.iter().map(|record| String::from_utf8(encode_native(record)).unwrap()).collect();
    let message = serde_json::json!({
        "exchange": "", "routing_key": format!("{}.events", site.name), "body": format!("[{}]", events.join(",")),
        "properties": { "content_type": "application/json", "delivery_mode": 2 },
    });
    std::fs::write(site.file("one.jsonl"), format!("{message}\n")).unwrap();
    site.ok(&["publish", "--captured", site.file("one.jsonl").to_str().unwrap()]);
}

async fn sees_nothing_stored(worker: &Worker, seconds: u64) {
    eventually(60, "the breaker is open", async || worker.metric("difylog_breaker_open", "").await == 1.0).await;
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        assert_eq!(worker.metric("difylog_breaker_open", "").await, 1.0);
        assert!(!worker.is_ready().await, "not ready while nothing is stored");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

const OUTAGES: [Mode; 5] = [Mode::Flood, Mode::Gone, Mode::ReadOnly, Mode::Overloaded, Mode::Redirect];

/// Flooded, gone, read-only, overloaded, redirecting: nothing is lost or dead-lettered, and each delivery goes back once per process.
async fn every_outage(quorum: bool) {
    let rabbit = tokio::task::spawn_blocking(Rabbit::start).await.unwrap();
    let mut url = rabbit.url().to_owned();
    if quorum {
        rabbit.ctl(&["add_vhost", "q", "--default-queue-type", "quorum"]);
        rabbit.ctl(&["set_permissions", "-p", "q", "guest", ".*", ".*", ".*"]);
        rabbit.ctl(&["set_policy", "-p", "q", "limit", ".*celery$", r#"{"delivery-limit":5}"#, "--apply-to", "queues"]);
        url = url.replace("%2f", "q");
    }
    let proxy = EngineProxy::start(needed("DIFYLOG_TEST_ENGINE_URL")).await;
    let store = StoreUnderTest::Engine { url: proxy.url.clone(), tenancy: "dedicated" };
    let site = Site::with(&store, &url, RELEASE);
    site.setup();
    let mut worker = site.worker();
    worker.ready().await;
    let first = Load::new(60, 50);
    first.write_events(&site.file("events.jsonl"));
    site.ok(&["publish", "--events", site.file("events.jsonl").to_str().unwrap()]);
    worker.acked(60, first.records.len()).await;
    let mut loads = vec![first];
    for (round, mode) in OUTAGES.into_iter().enumerate() {
        proxy.set(mode);
        let load = Load::new(61 + round as u64, 50);
        load.write_events(&site.file("events.jsonl"));
        site.ok(&["publish", "--events", site.file("events.jsonl").to_str().unwrap()]);
        publish_captured(&site, 20);
        // Longer than the release, so that everything has gone back, and would have gone again.
        sees_nothing_stored(&worker, 25).await;
        assert_eq!(worker.metric("difylog_gate_closed", "").await, 1.0, "{mode:?}");
        let requeued = worker.metric("difylog_deliveries_total", "outcome=\"requeued\"").await;
        assert!(requeued <= ((round + 1) * (load.records.len() + 20)) as f64, "{mode:?}: {requeued} went back");
        loads.push(load);
        proxy.set(Mode::Pass);
        eventually(30, "ready, and all of it is stored", async || {
            worker.is_ready().await
                && site.depth("events").await + site.depth("celery").await == 0
                && worker.metric("difylog_deliveries_in_flight", "").await == 0.0
        })
        .await;
    }
    let published = loads.iter().map(|load| load.records.len()).sum::<usize>() + OUTAGES.len() * 20;
    worker.acked(30, published).await;
    assert_eq!(site.depth("dead").await, 0);
    // Dify's captured runs are there as well, so the numbers of documents say nothing.
    let wrong = Load::joined(loads).differences(&*site.store()).await;
    assert!(wrong.iter().all(|line| line.ends_with("expected")), "{wrong:?}");
    let log = site.log();
    assert_eq!(
        log.matches("breaker closed").count(),
        OUTAGES.len(),
        "it says so when a write works, and not before: {log}"
    );
    assert!(worker.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_takes_nothing_loses_nothing_of_a_classic_queue() {
    every_outage(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_takes_nothing_loses_nothing_of_a_quorum_queue_with_a_delivery_limit() {
    every_outage(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_started_during_an_outage_takes_single_messages() {
    let proxy = EngineProxy::start(needed("DIFYLOG_TEST_ENGINE_URL")).await;
    let store = StoreUnderTest::Engine { url: proxy.url.clone(), tenancy: "dedicated" };
    let site = Site::with(&store, &needed("DIFYLOG_TEST_AMQP_URL"), RELEASE);
    site.setup();
    // The first message is of several tenants: the documents of one alone would say nothing of the others, who are looked at.
    let first = Load::new(67, 12);
    assert!(first.records.iter().any(|record| record.tenant_id() != first.records[0].tenant_id()));
    publish_as_one(&site, &first);
    let load = Load::new(68, 100);
    load.write_events(&site.file("events.jsonl"));
    site.ok(&["publish", "--events", site.file("events.jsonl").to_str().unwrap()]);
    publish_captured(&site, 20);
    proxy.set(Mode::Flood);
    let worker = site.worker();
    sees_nothing_stored(&worker, 10).await;
    let is_closed = async || worker.metric("difylog_gate_closed", "").await == 1.0;
    eventually(60, "everything was given back", is_closed).await;
    let (status, reasons) = worker.get("/readyz").await.unwrap();
    assert_eq!(status, 503);
    for reason in ["breaker open: the store does not take documents", "deliveries are given back; see the log"] {
        assert!(reasons.contains(reason), "{reasons}");
    }
    let received = worker.metric("difylog_deliveries_received_total", "").await;
    // One that is given back can come once more before the consumer has left.
    assert!((1.0..=8.0).contains(&received), "single messages: {received}");
    proxy.set(Mode::Pass);
    worker.acked(60, 1 + load.records.len() + 20).await;
    let load = Load::joined(vec![first, load]);
    let wrong = load.differences(&*site.store()).await;
    assert!(wrong.iter().all(|line| line.ends_with("expected")), "{wrong:?}");
    assert_eq!(site.depth("dead").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_removed_under_a_running_worker_is_written_again() {
    for store in [StoreUnderTest::Sqlite, StoreUnderTest::engine("dedicated")] {
        let site = Site::new(&store);
        site.setup();
        let load = Load::new(70, 60);
        load.write_events(&site.file("events.jsonl"));
        let events = site.file("events.jsonl").to_str().unwrap().to_owned();
        let worker = site.worker();
        site.ok(&["publish", "--events", &events]);
        load.stored(60, &site, &worker).await;
        worker.acked(60, load.records.len()).await;
        match &store {
            StoreUnderTest::Sqlite => {
                for file in std::fs::read_dir(site.file("sqlite")).unwrap() {
                    let path = file.unwrap().path();
                    if path.to_string_lossy().contains("2026-") {
                        std::fs::remove_file(path).unwrap();
                    }
                }
            }
            StoreUnderTest::Engine { url, .. } => {
                let client = reqwest::Client::new();
                let indices = client.get(format!("{url}/_cat/indices/{}-workflow-*?h=index", site.name));
                for index in indices.send().await.unwrap().text().await.unwrap().split_whitespace() {
                    client.delete(format!("{url}/{index}")).send().await.unwrap();
                }
            }
        }
        site.ok(&["publish", "--events", &events]);
        load.stored(60, &site, &worker).await;
        worker.acked(60, 2 * load.records.len()).await;
        let reader = site.store();
        for key in load.newest.keys().filter(|key| key.kind == difylog::domain::Kind::WorkflowRun) {
            let document = reader.record(*key).await.unwrap().unwrap();
            let difylog::domain::Record::Run(run) = document.record else { panic!("a run") };
            assert!(run.graph.is_some(), "{store:?}: a run without its graph");
        }
    }
}
