//! Memory is bounded by the bytes of the messages, not by their number.

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::types::AMQPValue;

use crate::broker::harness::{Site, ack, message, publish_on};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_stay_within_the_budget_whatever_the_prefetch() {
    let mut site = Site::shared().await.set_up().await;
    site.settings.queues[0].prefetch = 1_000.try_into().unwrap();
    site.settings.memory_budget_bytes = 64 * MIB as u64;
    site.settings.regrow_after_seconds = 1;
    // 15 MiB of weight each: four fit.
    site.publish(site.queue(), (0..40).map(|_| vec![b'x'; 5 * MIB])).await;
    let mut worker = site.worker();
    for _ in 0..10 {
        let held = worker.take(4).await;
        assert!(worker.stats.bytes_in_flight() <= 64 * MIB as u64);
        held.into_iter().for_each(ack);
    }
    worker.eventually("all acked", |stats| stats.acked() == 40).await;
    assert!(worker.stats.peak_bytes_in_flight() <= 64 * MIB as u64, "{}", worker.stats.peak_bytes_in_flight());

    // Small messages again: the window grows back, far over the four of before, though nothing is settled.
    site.publish_numbers(300).await;
    worker.take(300).await.into_iter().for_each(ack);
    worker.eventually("all acked", |stats| stats.acked() == 340).await;
    worker.stop().await;
    assert_eq!(site.ready(site.queue()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_heavier_than_the_budget_passes_alone() {
    let mut site = Site::shared().await.set_up().await;
    site.settings.memory_budget_bytes = MIB as u64;
    site.publish(site.queue(), [vec![b'x'; 100], vec![b'x'; 3 * MIB], vec![b'x'; 3 * MIB], vec![b'x'; 100]]).await;
    let mut worker = site.worker();
    let mut sizes = Vec::new();
    for _ in 0..4 {
        let delivery = worker.next().await;
        let bytes = message(&delivery).body.len();
        if bytes > 100 {
            let used = worker.stats.bytes_in_flight();
            // The properties are counted as well.
            assert!((9 * MIB as u64..9 * MIB as u64 + 1_000).contains(&used), "alone: {used}");
        }
        sizes.push(bytes);
        ack(delivery);
    }
    sizes.sort_unstable();
    assert_eq!(sizes, [100, 100, 3 * MIB, 3 * MIB]);
    worker.eventually("all acked", |stats| stats.acked() == 4).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_count_as_bodies_do() {
    let mut site = Site::shared().await.set_up().await;
    site.settings.memory_budget_bytes = MIB as u64;
    let pad = BTreeMap::from([("pad".into(), AMQPValue::LongString("p".repeat(100_000).into()))]);
    let properties = BasicProperties::default().with_headers(pad.into());
    publish_on(&site.channel, site.queue(), (0..12).map(|_| vec![b'1']), &properties).await;
    let mut worker = site.worker();
    // Some 300,000 each: three fit.
    let held = worker.take(3).await;
    assert!(worker.stats.bytes_in_flight() > 900_000 && worker.stats.bytes_in_flight() <= MIB as u64);
    held.into_iter().for_each(ack);
    // One at a time: after an excess, no more comes before there is room for three.
    for _ in 0..9 {
        let delivery = worker.next().await;
        assert!(worker.stats.bytes_in_flight() > 300_000 && worker.stats.bytes_in_flight() <= MIB as u64);
        ack(delivery);
    }
    worker.eventually("all acked", |stats| stats.acked() == 12).await;
    worker.stop().await;
}
