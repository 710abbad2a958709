//! The broker goes away, or takes the queue away, and nobody touches the worker.

use std::collections::{BTreeMap, BTreeSet};

use difylog::amqp::settings::QueueSource;
use difylog::pipeline::receipt::Delivery;
use lapin::options::QueueDeleteOptions;

use crate::broker::harness::{Site, account, ack, number, refuse};

fn settle(delivery: Delivery) {
    if number(&delivery).is_multiple_of(10) {
        refuse(delivery);
    } else {
        ack(delivery);
    }
}

/// Settles all messages while the broker comes and goes; each tenth is refused.
async fn settle_through(site: &Site, count: usize, outages: &[fn(&crate::support::rabbit::Rabbit)]) {
    let mut worker = site.worker();
    let mut seen = BTreeMap::<usize, usize>::new();
    let mut outages = outages.iter();
    let mut handled = 0;
    let mut next_outage = count / 10;
    while seen.len() < count {
        let delivery = worker.next().await;
        handled += 1;
        let number = number(&delivery);
        *seen.entry(number).or_default() += 1;
        settle(delivery);
        if handled == next_outage
            && let Some(&outage) = outages.next()
        {
            let rabbit = site.rabbit.clone();
            tokio::task::spawn_blocking(move || outage(&rabbit)).await.unwrap();
            next_outage += count / 10;
        }
    }
    // What was settled but not heard by the broker comes again, and is settled again.
    let deadline = tokio::time::Instant::now() + crate::broker::harness::PATIENCE;
    while worker.stats.in_flight() > 0 || worker.stats.consuming() == 0 || site.ready(site.queue()).await > 0 {
        assert!(tokio::time::Instant::now() < deadline, "{}", account(&worker.stats));
        while let Ok(delivery) = worker.deliveries.try_recv() {
            settle(delivery);
        }
    }
    let stats = worker.stop().await;
    assert_eq!(site.ready(site.queue()).await, 0);
    let settled = stats.acked() + stats.dead_lettered();
    assert!(settled >= count as u64, "{}", account(&stats));
    let letters = letters(site).await;
    let refused: BTreeSet<_> = (0..count).step_by(10).collect();
    assert_eq!(letters, refused, "each refused message has a letter, and no other");
}

async fn letters(site: &Site) -> BTreeSet<usize> {
    let queue = &site.settings.dead_letter_queue;
    let (_connection, channel) = crate::broker::harness::connect(site.rabbit.url()).await;
    let mut numbers = BTreeSet::new();
    let get = lapin::options::BasicGetOptions { no_ack: true };
    while let Some(letter) = channel.basic_get(queue.as_str().into(), get).await.unwrap() {
        numbers.insert(String::from_utf8(letter.delivery.data).unwrap().parse().unwrap());
    }
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_and_a_kill_in_the_middle_lose_nothing() {
    let mut site = Site::alone().await.set_up().await;
    site.settings.queues[0].prefetch = 300.try_into().unwrap();
    site.settings.queues[0].consumers = 2.try_into().unwrap();
    site.publish_numbers(10_000).await;
    let kill = |rabbit: &crate::support::rabbit::Rabbit| {
        rabbit.kill();
        rabbit.start_again();
    };
    settle_through(
        &site,
        10_000,
        &[crate::support::rabbit::Rabbit::restart, kill, crate::support::rabbit::Rabbit::restart],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_deleted_is_declared_and_consumed_again() {
    let mut site = Site::shared().await;
    site.settings.queues[0].source = QueueSource::Celery;
    let site = site.set_up().await;
    site.publish_numbers(1).await;
    let mut worker = site.worker();
    ack(worker.next().await);
    worker.eventually("acked", |stats| stats.acked() == 1).await;
    site.channel.queue_delete(site.queue().into(), QueueDeleteOptions::default()).await.unwrap();
    worker.eventually("the loss is noticed", |stats| stats.consuming() == 0).await;
    worker.eventually("consuming again", |stats| stats.consuming() == 1).await;
    site.publish_numbers(1).await;
    ack(worker.next().await);
    worker.eventually("acked", |stats| stats.acked() == 2).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_starts_before_its_broker_waits_for_it() {
    let site = Site::alone().await.set_up().await;
    site.publish_numbers(1).await;
    let rabbit = site.rabbit.clone();
    tokio::task::spawn_blocking(move || rabbit.kill()).await.unwrap();
    // One that is told to stop meanwhile does, at once.
    let impatient = site.worker();
    impatient.drain.cancel();
    tokio::time::timeout(std::time::Duration::from_secs(5), impatient.task)
        .await
        .expect("an end in time")
        .unwrap()
        .unwrap();

    let mut worker = site.worker();
    assert_eq!(worker.stats.consuming(), 0);
    let rabbit = site.rabbit.clone();
    tokio::task::spawn_blocking(move || rabbit.start_again()).await.unwrap();
    ack(worker.next().await);
    worker.eventually("acked", |stats| stats.acked() == 1).await;
    worker.stop().await;
}
