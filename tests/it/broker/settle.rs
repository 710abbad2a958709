//! Acks, requeues, the gate, drains and forwarded messages.

use std::collections::BTreeSet;
use std::time::Duration;

use difylog::amqp::QueueType;
use difylog::pipeline::gate::Gate;
use lapin::options::QueuePurgeOptions;
use rand::SeedableRng;
use rand::seq::SliceRandom;

use crate::broker::harness::{PATIENCE, Site, Worker, account, ack, number, requeue};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_acked_once() {
    let site = Site::shared().await.set_up().await;
    site.publish_numbers(5_000).await;
    let mut worker = site.worker();
    let mut seen = BTreeSet::new();
    while seen.len() < 5_000 {
        let delivery = worker.next().await;
        assert!(seen.insert(number(&delivery)), "delivered twice");
        ack(delivery);
    }
    worker.eventually("all acked", |stats| stats.acked() == 5_000).await;
    let stats = worker.stop().await;
    assert_eq!((stats.received(), stats.acked()), (5_000, 5_000));
    assert_eq!(site.ready(site.queue()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_of_settlement_and_a_held_delivery_do_not_freeze_the_window() {
    let mut site = Site::shared().await.set_up().await;
    site.settings.queues[0].prefetch = 10.try_into().unwrap();
    site.publish_numbers(200).await;
    let mut worker = site.worker();
    let held = worker.next().await;
    let mut rng = rand::rngs::StdRng::seed_from_u64(7);
    let mut others = 0;
    while others < 199 {
        // One of ten is held: nine at a time can move.
        let mut batch = vec![worker.next().await];
        while batch.len() < 9 && others + batch.len() < 199 {
            batch.push(worker.next().await);
        }
        others += batch.len();
        batch.shuffle(&mut rng);
        batch.into_iter().for_each(ack);
    }
    worker.eventually("all but one acked", |stats| stats.acked() == 199).await;
    assert_eq!(worker.stats.in_flight(), 1);
    assert!(worker.stats.oldest_unacked(tokio::time::Instant::now()).is_some());
    ack(held);
    worker.eventually("the held one too", |stats| stats.acked() == 200).await;
    worker.stop().await;
    assert_eq!(site.ready(site.queue()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_receipt_is_a_redelivery_and_never_an_ack() {
    let site = Site::shared().await.set_up().await;
    site.publish_numbers(3).await;
    let mut worker = site.worker();
    let mut first = worker.take(3).await;
    drop(first.remove(1));
    first.into_iter().for_each(ack);
    let again = worker.next().await;
    assert_eq!(number(&again), 1);
    requeue(again);
    ack(worker.next().await);
    worker.eventually("all acked", |stats| stats.acked() == 3).await;
    let stats = worker.stop().await;
    assert_eq!((stats.received(), stats.requeued()), (5, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_gate_gives_everything_back_and_an_open_one_takes_it_again() {
    let site = Site::shared().await.set_up().await;
    site.publish_numbers(500).await;
    let mut worker = site.worker();
    let before = worker.take(50).await;
    worker.gate.send_replace(Gate::Closed("the store is away".to_owned()));
    site.ready_is(site.queue(), 500).await;
    assert_eq!(worker.stats.consuming(), 0);
    // Receipts of before the closing change nothing any more.
    before.into_iter().for_each(ack);
    while let Ok(stale) = worker.deliveries.try_recv() {
        ack(stale);
    }
    worker.gate.send_replace(Gate::Open);
    let mut seen = BTreeSet::new();
    while seen.len() < 500 {
        let delivery = worker.next().await;
        seen.insert(number(&delivery));
        ack(delivery);
    }
    worker.eventually("all acked", |stats| stats.acked() == 500).await;
    let stats = worker.stop().await;
    // How many had arrived when the gate closed is the broker's affair: at least those that were taken, all given back.
    assert!(stats.requeued() >= 50, "{} given back", stats.requeued());
    assert_eq!(stats.received(), stats.requeued() + 500);
    assert_eq!(site.ready(site.queue()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_what_is_out_and_gives_back_the_rest() {
    let site = Site::shared().await.set_up().await;
    site.publish_numbers(3_000).await;
    let mut worker = site.worker();
    let mut out = worker.take(10).await;
    worker.drain.cancel();
    // The pipeline sees the end of the deliveries behind those that it was given.
    while let Some(delivery) = worker.deliveries.recv().await {
        out.push(delivery);
    }
    let taken = out.len() as u64;
    assert!(!worker.task.is_finished(), "receipts are out");
    out.into_iter().for_each(ack);
    let stats = worker.stop().await;
    assert_eq!(stats.acked(), taken, "{}", account(&stats));
    // The broker puts back what a channel returned in its own time.
    site.ready_is(site.queue(), 3_000 - taken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_at_its_deadline() {
    let site = Site::shared().await.set_up().await;
    site.publish_numbers(2).await;
    let mut worker = Worker::with_patience(site.settings.clone(), Duration::from_millis(50));
    let mut held = worker.take(2).await;
    ack(held.remove(0));
    worker.eventually("one acked", |stats| stats.acked() == 1).await;
    worker.drain.cancel();
    tokio::time::timeout(PATIENCE, worker.task).await.unwrap().unwrap().unwrap();
    assert_eq!((worker.stats.acked(), worker.stats.requeued(), worker.stats.in_flight()), (1, 1, 0));
    site.ready_is(site.queue(), 1).await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_message_is_forwarded_before_its_ack() {
    let mut site = Site::shared().await;
    let forward = format!("{}.legacy", site.queue());
    site.settings.queues[0].forward_to = Some(forward.clone());
    let site = site.set_up().await;
    site.publish_numbers(300).await;
    let mut worker = site.worker();
    worker.take(300).await.into_iter().for_each(ack);
    worker.eventually("all acked", |stats| stats.acked() == 300).await;
    assert_eq!(worker.stats.forwarded(), 300);
    worker.stop().await;
    assert_eq!((site.ready(site.queue()).await, site.ready(&forward).await), (0, 300));
    let first = site.take(&forward).await;
    assert_eq!((first.data.as_slice(), first.properties.delivery_mode()), (&b"0"[..], &Some(2)));
    site.channel.queue_purge(forward.as_str().into(), QueuePurgeOptions::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn quorum_queues_and_several_consumers() {
    let mut site = Site::shared().await;
    site.settings.queues[0].queue_type = QueueType::Quorum;
    site.settings.queues[0].consumers = 3.try_into().unwrap();
    let site = site.set_up().await;
    site.publish_numbers(2_000).await;
    let mut worker = site.worker();
    worker.eventually("three consumers", |stats| stats.consuming() == 3).await;
    let mut seen = BTreeSet::new();
    while seen.len() < 2_000 {
        let delivery = worker.next().await;
        seen.insert(number(&delivery));
        ack(delivery);
    }
    worker.eventually("all acked", |stats| stats.acked() == 2_000).await;
    worker.stop().await;
    site.ready_is(site.queue(), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_held_too_long_is_given_back() {
    let mut site = Site::shared().await.set_up().await;
    site.settings.release_after_seconds = 1;
    site.publish_numbers(1).await;
    let mut worker = site.worker();
    let held = worker.next().await;
    let again = worker.next().await;
    assert_eq!(number(&held), number(&again));
    ack(held);
    ack(again);
    worker.eventually("acked once", |stats| stats.acked() == 1 && stats.requeued() == 1).await;
    worker.stop().await;
}
