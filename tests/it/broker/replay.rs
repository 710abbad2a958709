//! What an operator does with dead letters.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use difylog::amqp::{DeadLetters, LetterSelection, LetterSummary, Patience, ReplayPace, letter};
use difylog::codec::Message;
use difylog::domain::{Disposition, Kind, Refusal, RefusalClass, TenantId};
use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};

use crate::broker::harness::{PATIENCE, Site, ack, connect, number, publish_on, refuse};

/// Messages with an even number belong to this tenant.
const TENANT: &str = "669dd85a-0949-4cda-99c9-4984b192aea0";

fn inspect(message: &Message) -> Option<(TenantId, Kind)> {
    let number: usize = std::str::from_utf8(&message.body).ok()?.parse().ok()?;
    number.is_multiple_of(2).then(|| (TENANT.parse().unwrap(), Kind::WorkflowRun))
}

fn patience() -> Patience {
    Patience::new(PATIENCE, |_| {})
}

/// A site with letters 0..count; those divisible by three are of another reason.
async fn with_letters(count: usize) -> (Site, DeadLetters) {
    let site = Site::shared().await.set_up().await;
    site.publish_numbers(count).await;
    let mut worker = site.worker();
    for delivery in worker.take(count).await {
        let class =
            if number(&delivery).is_multiple_of(3) { RefusalClass::InvalidId } else { RefusalClass::MissingField };
        delivery.receipt.settle(&Disposition::DeadLetter(Refusal::new(class, "")));
    }
    worker.eventually("all letters", |stats| stats.dead_lettered() == count as u64).await;
    worker.stop().await;
    let letters = DeadLetters::new(&site.settings, patience()).unwrap();
    (site, letters)
}

/// A site in a virtual host whose queues are quorum queues unless they say otherwise, and lose a message at its third
/// return; and the URL of that host.
async fn where_queues_are_quorum_queues() -> (Site, String) {
    let mut site = Site::shared().await;
    let rabbit = std::sync::Arc::clone(&site.rabbit);
    let host = uuid::Uuid::new_v4().to_string();
    let url = rabbit.url().replace("%2f", &host);
    site.settings.urls = vec![url.parse().unwrap()];
    let commands = move || {
        rabbit.ctl(&["add_vhost", &host, "--default-queue-type", "quorum"]);
        rabbit.ctl(&["set_permissions", "-p", &host, "guest", ".*", ".*", ".*"]);
        rabbit.ctl(&["set_policy", "-p", &host, "limit", ".*", r#"{"delivery-limit": 2}"#, "--apply-to", "queues"]);
    };
    tokio::task::spawn_blocking(commands).await.unwrap();
    (site.set_up().await, url)
}

async fn reasons(letters: &DeadLetters) -> BTreeMap<String, u64> {
    let mut reasons = BTreeMap::new();
    let mut count = |found: LetterSummary| *reasons.entry(found.heading.reason).or_default() += 1;
    letters.list(&LetterSelection::default(), &inspect, &mut count).await.unwrap();
    reasons
}

fn by_reason(reason: RefusalClass) -> LetterSelection {
    LetterSelection { reason: Some(reason.to_string()), ..LetterSelection::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_changes_nothing() {
    let (site, letters) = with_letters(30).await;
    for _ in 0..2 {
        let expected = BTreeMap::from([("invalid-id".to_owned(), 10), ("missing-field".to_owned(), 20)]);
        assert_eq!(reasons(&letters).await, expected);
    }
    let selection = LetterSelection { tenant: Some(TENANT.parse().unwrap()), ..by_reason(RefusalClass::InvalidId) };
    let mut positions = Vec::new();
    let listed = letters.list(&selection, &inspect, &mut |found| positions.push(found.position)).await.unwrap();
    assert_eq!((listed.walked, listed.selected), (30, 5));
    assert_eq!(positions, [1, 7, 13, 19, 25], "in the order of the queue");

    let shown = letters.show(7, &inspect).await.unwrap().unwrap();
    assert_eq!((shown.body.as_ref(), shown.found.kind), (&b"6"[..], Some(Kind::WorkflowRun)));
    assert!(shown.headers.contains(&("x-difylog-reason".into(), "invalid-id".into())));
    assert!(letters.show(31, &inspect).await.unwrap().is_none());
    assert_eq!(site.ready(&site.settings.dead_letter_queue).await, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_ends_when_all_letters_are_back() {
    let (_site, letters) = with_letters(30).await;
    for _ in 0..400 {
        let listed = letters.list(&LetterSelection::default(), &inspect, &mut |_| {}).await.unwrap();
        assert_eq!(listed.walked, 30);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_outlive_any_number_of_looks() {
    let (site, url) = where_queues_are_quorum_queues().await;
    let mut worker = site.worker();
    let (_connection, channel) = connect(&url).await;
    publish_on(&channel, site.queue(), [b"0".to_vec()], &BasicProperties::default()).await;
    refuse(worker.next().await);
    worker.eventually("a letter", |stats| stats.dead_lettered() == 1).await;
    worker.stop().await;
    let letters = DeadLetters::new(&site.settings, patience()).unwrap();
    for _ in 0..5 {
        assert_eq!(reasons(&letters).await, BTreeMap::from([("missing-field".to_owned(), 1)]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_moves_what_is_selected_and_counts_the_next_refusal() {
    let (site, letters) = with_letters(30).await;
    let selection = by_reason(RefusalClass::InvalidId);
    let dry = ReplayPace { dry_run: true, ..ReplayPace::default() };
    let report = letters.replay(&selection, dry, &inspect, &mut |_| {}).await.unwrap();
    assert_eq!((report.selected, report.replayed), (10, 0));
    assert_eq!((site.ready(site.queue()).await, reasons(&letters).await.len()), (0, 2));

    let few = ReplayPace { limit: Some(4), rate: NonZeroU32::new(100), ..ReplayPace::default() };
    let report = letters.replay(&selection, few, &inspect, &mut |_| {}).await.unwrap();
    assert_eq!((report.selected, report.replayed), (4, 4));
    let report = letters.replay(&selection, ReplayPace::default(), &inspect, &mut |_| {}).await.unwrap();
    assert_eq!((report.walked, report.selected, report.replayed), (26, 6, 6));
    assert_eq!(reasons(&letters).await, BTreeMap::from([("missing-field".to_owned(), 20)]));

    let mut worker = site.worker();
    let mut again = worker.take(10).await;
    refuse(again.remove(0));
    again.into_iter().for_each(ack);
    worker.eventually("settled", |stats| stats.acked() == 9 && stats.dead_lettered() == 1).await;
    worker.stop().await;
    let mut attempts = Vec::new();
    letters
        .list(&LetterSelection::default(), &inspect, &mut |found| attempts.push(found.heading.attempts))
        .await
        .unwrap();
    assert_eq!((attempts.len(), attempts.iter().max()), (21, Some(&2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_confirm_and_ack_loses_nothing() {
    let (site, letters) = with_letters(20).await;
    let crash = tokio::spawn(async move {
        let mut die = |_: &_| panic!("the power went");
        letters.replay(&LetterSelection::default(), ReplayPace::default(), &inspect, &mut die).await
    });
    assert!(tokio::time::timeout(PATIENCE, crash).await.unwrap().unwrap_err().is_panic());
    // Confirmed, so they are in the queue; not acked, so their letters are still there.
    assert_eq!(site.ready(site.queue()).await, 20);
    site.ready_is(&site.settings.dead_letter_queue, 20).await;

    let letters = DeadLetters::new(&site.settings, patience()).unwrap();
    let report =
        letters.replay(&LetterSelection::default(), ReplayPace::default(), &inspect, &mut |_| {}).await.unwrap();
    assert_eq!(report.replayed, 20);
    assert_eq!(site.ready(&site.settings.dead_letter_queue).await, 0);
    // Each message twice, the same: the store keeps one.
    let mut worker = site.worker();
    let mut seen = BTreeMap::<_, usize>::new();
    for delivery in worker.take(40).await {
        *seen.entry(number(&delivery)).or_default() += 1;
        ack(delivery);
    }
    assert!(seen.len() == 20 && seen.values().all(|&times| times == 2));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_whose_queue_is_gone_stays() {
    let (site, letters) = with_letters(5).await;
    site.channel.queue_delete(site.queue().into(), QueueDeleteOptions::default()).await.unwrap();
    let report =
        letters.replay(&LetterSelection::default(), ReplayPace::default(), &inspect, &mut |_| {}).await.unwrap();
    assert_eq!((report.replayed, report.refused, report.complaints.len()), (0, 5, 5));
    assert!(report.complaints[0].1.contains(site.queue()));
    assert_eq!(site.ready(&site.settings.dead_letter_queue).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_deletes_what_is_selected_only() {
    let (_site, letters) = with_letters(30).await;
    let purged = letters.purge(&by_reason(RefusalClass::MissingField), &inspect).await.unwrap();
    assert_eq!(purged, 20);
    assert_eq!(reasons(&letters).await, BTreeMap::from([("invalid-id".to_owned(), 10)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_the_broker_itself_can_be_replayed() {
    let site = Site::shared().await.set_up().await;
    site.publish_numbers(2).await;
    let get = || site.channel.basic_get(site.queue().into(), BasicGetOptions::default());
    let first = get().await.unwrap().unwrap();
    first.delivery.nack(BasicNackOptions { requeue: false, multiple: false }).await.unwrap();
    let second = get().await.unwrap().unwrap();
    second.delivery.ack(BasicAckOptions::default()).await.unwrap();
    site.ready_is(&site.settings.dead_letter_queue, 1).await;

    let letters = DeadLetters::new(&site.settings, patience()).unwrap();
    assert_eq!(reasons(&letters).await, BTreeMap::from([("broker:rejected".to_owned(), 1)]));
    let report =
        letters.replay(&LetterSelection::default(), ReplayPace::default(), &inspect, &mut |_| {}).await.unwrap();
    assert_eq!(report.replayed, 1);
    assert_eq!(site.take(site.queue()).await.data, b"0");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_letters_of_the_settings_queues_are_replayed() {
    let (site, letters) = with_letters(4).await;
    let foreign = format!("{}.billing", site.queue());
    for name in [&foreign, &format!("{foreign}.cc")] {
        site.channel
            .queue_declare(name.as_str().into(), QueueDeclareOptions::durable(), FieldTable::default())
            .await
            .unwrap();
    }
    let text = |text: &str| AMQPValue::LongString(text.into());
    let copies = AMQPValue::FieldArray(vec![text(&format!("{foreign}.cc"))].into());
    let dead_letters = site.settings.dead_letter_queue.clone();
    for headers in [
        vec![(letter::QUEUE, text(&foreign)), (letter::REASON, text("undecodable-body"))],
        vec![(letter::QUEUE, text(&dead_letters)), (letter::REASON, text("undecodable-body"))],
        vec![(letter::QUEUE, text(site.queue())), (letter::REASON, text("undecodable-body"))],
        vec![(letter::QUEUE, text(&"q".repeat(5_000))), (letter::REASON, text(&"r".repeat(100_000)))],
        vec![],
    ] {
        let headers: BTreeMap<_, _> = headers.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let properties = BasicProperties::default().with_headers(headers.into());
        publish_on(&site.channel, &dead_letters, [b"2".to_vec()], &properties).await;
    }
    // One of ours, to which somebody added copies.
    let ours = site.take(&dead_letters).await;
    let mut headers = ours.properties.headers().clone().unwrap().inner().clone();
    headers.insert("CC".into(), copies);
    let properties = ours.properties.clone().with_headers(headers.into());
    publish_on(&site.channel, &dead_letters, [ours.data], &properties).await;
    site.take(&format!("{foreign}.cc")).await;

    let doubtful = LetterSelection { doubtful: true, ..LetterSelection::default() };
    let mut doubts = Vec::new();
    letters.list(&doubtful, &inspect, &mut |found| doubts.push(found.doubt.unwrap())).await.unwrap();
    assert_eq!(doubts.len(), 5, "{doubts:?}");
    let report =
        letters.replay(&LetterSelection::default(), ReplayPace::default(), &inspect, &mut |_| {}).await.unwrap();
    assert_eq!((report.selected, report.replayed, report.skipped, report.refused), (9, 4, 5, 0));
    assert_eq!(report.doubt.unwrap().0, 4, "the first that was skipped");
    assert_eq!((site.ready(site.queue()).await, site.ready(&dead_letters).await), (4, 5));
    assert_eq!((site.ready(&foreign).await, site.ready(&format!("{foreign}.cc")).await), (0, 0));
    assert_eq!(letters.purge(&doubtful, &inspect).await.unwrap(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_on_after_a_letter_that_the_broker_does_not_take() {
    let site = Site::alone().await.set_up().await;
    let bodies = (0..20_usize).map(|number| format!("{number:0>width$}", width = if number == 7 { 2_000 } else { 3 }));
    site.publish(site.queue(), bodies.map(String::into_bytes)).await;
    let mut worker = site.worker();
    worker.take(20).await.into_iter().for_each(refuse);
    worker.eventually("all letters", |stats| stats.dead_lettered() == 20).await;
    worker.stop().await;
    let rabbit = site.rabbit.clone();
    tokio::task::spawn_blocking(move || {
        rabbit.ctl(&[
            "eval",
            "application:set_env(rabbit, max_message_size, 1000), persistent_term:put(max_message_size, 1000).",
        ])
    })
    .await
    .unwrap();
    let letters = DeadLetters::new(&site.settings, patience()).unwrap();
    let report =
        letters.replay(&LetterSelection::default(), ReplayPace::default(), &inspect, &mut |_| {}).await.unwrap();
    assert_eq!((report.selected, report.replayed, report.refused), (20, 19, 1));
    let (position, why) = &report.complaints[0];
    assert!(*position == 8 && why.contains("larger than"), "{position}: {why}");
    letters.close().await;
    assert_eq!(site.ready(&site.settings.dead_letter_queue).await, 1);
}
