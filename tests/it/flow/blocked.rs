//! One tenant's indices that take nothing, on a real engine, while those of the others take everything.

use difylog::domain::TenantId;
use serde_json::json;

use crate::support::load::Load;
use crate::support::site::{Site, StoreUnderTest, eventually, needed};

/// Shorter than any operator would set it: an outage gives everything back after ten seconds.
const RELEASE: &str = "[pipeline]\nrelease_seconds = 10\n";

fn publish(site: &Site, load: &Load) {
    load.write_events(&site.file("events.jsonl"));
    site.ok(&["publish", "--events", site.file("events.jsonl").to_str().unwrap()]);
}

/// Blocks the indices of a tenant for writing, or lifts the block.
async fn block(site: &Site, engine: &str, tenant: TenantId, blocked: Option<bool>) {
    let path = format!("{engine}/{}-*{tenant}*/_settings", site.name);
    let body = json!({ "index.blocks.write": blocked }).to_string();
    let request = reqwest::Client::new().put(path).header("content-type", "application/json").body(body);
    assert!(request.send().await.unwrap().status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn blocked_indices_of_one_tenant_stop_no_other_tenant_nor_a_worker_that_starts() {
    let engine = needed("DIFYLOG_TEST_ENGINE_URL");
    let store = StoreUnderTest::Engine { url: engine.clone(), tenancy: "dedicated" };
    let site = Site::with(&store, &needed("DIFYLOG_TEST_AMQP_URL"), RELEASE);
    site.setup();
    let mut worker = site.worker();
    worker.ready().await;
    let first = Load::new(71, 60);
    publish(&site, &first);
    first.stored(60, &site, &worker).await;
    let tenant = first.records[0].tenant_id();
    block(&site, &engine, tenant, Some(true)).await;
    let (of_it, others): (Vec<_>, Vec<_>) =
        Load::new(72, 120).records.into_iter().partition(|record| record.tenant_id() == tenant);
    let (of_it, (some, more)) = (Load::from_records(of_it), {
        let (some, more) = others.split_at(others.len() / 2);
        (Load::from_records(some.to_vec()), Load::from_records(more.to_vec()))
    });
    publish(&site, &of_it);
    let held = of_it.newest.len() as f64;
    // Many times what opens a breaker, and longer than a release takes.
    eventually(90, "the blocked are tried again and again", async || {
        worker.metric("difylog_documents_total", "outcome=\"held\"").await >= 9.0 * held
    })
    .await;
    assert_eq!(worker.metric("difylog_gate_closed", "").await, 0.0, "{}", site.log());
    publish(&site, &some);
    worker.acked(30, first.records.len() + some.records.len()).await;
    // Killed: what it held comes first again.
    drop(worker);

    let mut worker = site.worker();
    publish(&site, &more);
    worker.acked(60, more.records.len()).await;
    block(&site, &engine, tenant, None).await;
    let all = Load::joined(vec![first, of_it, some, more]);
    all.stored(60, &site, &worker).await;
    assert_eq!(site.depth("dead").await, 0);
    assert!(worker.terminate().await.success());
}
