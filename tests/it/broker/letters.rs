//! Dead letters: confirmed first, acked then, never lost while their queue refuses them.

use std::collections::BTreeMap;

use difylog::amqp::{AmqpError, EventPublisher, Patience, letter};
use difylog::domain::{Disposition, RefusalClass};
use lapin::options::{ExchangeDeleteOptions, QueueBindOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, message::Delivery as Arrival};
use sha2::{Digest, Sha256};

use crate::broker::harness::{PATIENCE, Site, ack, message, publish_on, refusal, refuse};

fn header(letter: &Arrival, name: &str) -> String {
    match letter.properties.headers().as_ref().unwrap().inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => format!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_delivery_is_acked_when_its_letter_is_confirmed() {
    let site = Site::shared().await.set_up().await;
    let headers = BTreeMap::from([("traceparent".into(), AMQPValue::LongString("00-1".into()))]);
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_correlation_id("c-1".into())
        .with_headers(headers.into());
    publish_on(&site.channel, site.queue(), [b"broken".to_vec()], &properties).await;
    let mut worker = site.worker();
    refuse(worker.next().await);
    worker.eventually("dead-lettered", |stats| stats.dead_lettered() == 1).await;
    assert_eq!(worker.stats.letters(RefusalClass::MissingField), 1);
    worker.stop().await;

    assert_eq!(site.ready(site.queue()).await, 0);
    let letter = site.take(&site.settings.dead_letter_queue).await;
    assert_eq!(letter.data, b"broken");
    assert_eq!(letter.properties.correlation_id().as_ref().unwrap().as_str(), "c-1");
    for (name, expected) in [
        ("traceparent", "00-1"),
        (letter::REASON, "missing-field"),
        (letter::DETAIL, "id"),
        (letter::STATUS, "None"),
        (letter::ATTEMPTS, "Some(LongLongInt(1))"),
        (letter::EXCHANGE, ""),
        (letter::ROUTING_KEY, site.queue()),
        (letter::QUEUE, site.queue()),
        (letter::SOURCE, "native"),
        (letter::AT, "2026-11-24T12:00:00.000000Z"),
        (letter::SHA256, &format!("{:x}", Sha256::digest(b"broken"))),
    ] {
        assert_eq!(header(&letter, name), expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_parts_are_letters_and_the_delivery_is_acked_once() {
    let site = Site::shared().await.set_up().await;
    site.publish(site.queue(), [b"[11,22,33]".to_vec()]).await;
    let mut worker = site.worker();
    let mut parts = worker.next().await.receipt.split(vec![1..3, 4..6, 7..9]);
    parts.pop().unwrap().settle(&refusal());
    parts.pop().unwrap().settle(&Disposition::Ack);
    parts.pop().unwrap().settle(&refusal());
    worker.eventually("dead-lettered", |stats| stats.dead_lettered() == 1).await;
    assert_eq!(worker.stats.letters(RefusalClass::MissingField), 2);
    worker.stop().await;
    let queue = &site.settings.dead_letter_queue;
    assert_eq!(site.take(queue).await.data, b"33");
    assert_eq!(site.take(queue).await.data, b"11");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_limit_is_a_letter_undecoded() {
    let mut site = Site::shared().await.set_up().await;
    site.settings.max_message_bytes = 1_000;
    site.publish(site.queue(), [vec![b'x'; 1_001], vec![b'y'; 1_000]]).await;
    let mut worker = site.worker();
    let delivery = worker.next().await;
    assert_eq!(message(&delivery).body.len(), 1_000);
    ack(delivery);
    worker.eventually("both settled", |stats| stats.acked() == 1 && stats.dead_lettered() == 1).await;
    assert_eq!(worker.stats.letters(RefusalClass::TooLarge), 1);
    worker.stop().await;
    assert_eq!(site.take(&site.settings.dead_letter_queue).await.data.len(), 1_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acked_while_no_queue_gets_the_letters() {
    let site = Site::shared().await.set_up().await;
    let (exchange, queue) = (site.settings.dead_letter_exchange.as_str(), site.settings.dead_letter_queue.as_str());
    site.publish_numbers(20).await;
    let mut worker = site.worker();
    let mut deliveries = worker.take(20).await;
    // Opens the publishing channel, which declares the queue's binding.
    refuse(deliveries.remove(0));
    worker.eventually("the first letter", |stats| stats.dead_lettered() == 1).await;

    let key = "#".into();
    site.channel.queue_unbind(queue.into(), exchange.into(), key, FieldTable::default()).await.unwrap();
    // One of these is good: the others' trouble is not its own.
    ack(deliveries.remove(10));
    deliveries.into_iter().for_each(refuse);
    worker.eventually("refusals to publish", |stats| stats.publish_failures() >= 18 && stats.acked() == 1).await;
    assert_eq!(worker.stats.dead_lettered(), 1);

    let options = QueueBindOptions::default();
    site.channel.queue_bind(queue.into(), exchange.into(), "#".into(), options, FieldTable::default()).await.unwrap();
    worker.eventually("all letters", |stats| stats.dead_lettered() == 19).await;
    worker.stop().await;
    assert_eq!((site.ready(queue).await, site.ready(site.queue()).await), (19, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acked_while_a_full_dead_letter_queue_rejects() {
    let site = Site::shared().await.set_up().await;
    let queue = site.settings.dead_letter_queue.clone();
    let (rabbit, policy) = (site.rabbit.clone(), queue.clone());
    tokio::task::spawn_blocking(move || {
        let definition = r#"{"max-length": 1, "overflow": "reject-publish"}"#;
        rabbit.ctl(&["set_policy", &policy, &format!("^{policy}$"), definition, "--apply-to", "queues"]);
    })
    .await
    .unwrap();
    site.publish_numbers(10).await;
    let mut worker = site.worker();
    worker.take(10).await.into_iter().for_each(refuse);
    worker.eventually("refusals to publish", |stats| stats.publish_failures() >= 8).await;
    let settled = worker.stats.dead_lettered();
    assert!(settled <= 2, "a classic queue takes one more than its length at most: {settled}");
    let (rabbit, policy) = (site.rabbit.clone(), queue.clone());
    tokio::task::spawn_blocking(move || rabbit.ctl(&["clear_policy", &policy])).await.unwrap();
    worker.eventually("all letters", |stats| stats.dead_lettered() == 10).await;
    worker.stop().await;
    assert_eq!((site.ready(&queue).await, site.ready(site.queue()).await), (10, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_exchange_is_declared_again() {
    let site = Site::shared().await.set_up().await;
    let exchange = site.settings.dead_letter_exchange.as_str();
    site.publish_numbers(2).await;
    let mut worker = site.worker();
    refuse(worker.next().await);
    worker.eventually("the first letter", |stats| stats.dead_lettered() == 1).await;
    site.channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.unwrap();
    refuse(worker.next().await);
    worker.eventually("the second letter", |stats| stats.dead_lettered() == 2).await;
    worker.stop().await;
    assert_eq!(site.ready(&site.settings.dead_letter_queue).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_breaks_the_channel_holds_up_no_other() {
    let site = Site::alone().await.set_up().await;
    let limit = async |bytes: u32| {
        let rabbit = site.rabbit.clone();
        // Up to RabbitMQ 3.13 channels read the one, later the other.
        let set = format!(
            "application:set_env(rabbit, max_message_size, {bytes}), persistent_term:put(max_message_size, {bytes})."
        );
        tokio::task::spawn_blocking(move || rabbit.ctl(&["eval", &set])).await.unwrap();
    };
    let small = (0..9).map(|number| vec![number; 100]);
    site.publish(site.queue(), std::iter::once(vec![b'x'; 2_000]).chain(small)).await;
    let mut worker = site.worker();
    let deliveries = worker.take(10).await;
    // As an upgrade of the broker does to messages that it took under a higher limit.
    limit(1_000).await;
    deliveries.into_iter().for_each(refuse);
    worker.eventually("the letters of the others", |stats| stats.dead_lettered() == 9).await;
    worker.eventually("further attempts", |stats| stats.publish_failures() >= 2).await;
    assert_eq!((worker.stats.dead_lettered(), worker.stats.in_flight()), (9, 1));
    limit(10_000).await;
    worker.eventually("all letters", |stats| stats.dead_lettered() == 10).await;
    worker.stop().await;
    assert_eq!(site.ready(&site.settings.dead_letter_queue).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_fill_a_frame_are_left_out_of_the_letter() {
    let site = Site::shared().await.set_up().await;
    let small = |from: usize| (from..from + 10).map(|number| number.to_string().into_bytes());
    let pad = BTreeMap::from([("pad".into(), AMQPValue::LongString("p".repeat(130_900).into()))]);
    let padded = BasicProperties::default().with_headers(pad.into());
    site.publish(site.queue(), small(0)).await;
    publish_on(&site.channel, site.queue(), [b"99".to_vec()], &padded).await;
    site.publish(site.queue(), small(10)).await;
    let mut worker = site.worker();
    worker.take(21).await.into_iter().for_each(refuse);
    worker.eventually("all letters", |stats| stats.dead_lettered() == 21).await;
    assert_eq!(worker.stats.publish_failures(), 0);
    worker.stop().await;

    let queue = &site.settings.dead_letter_queue;
    assert_eq!((site.ready(queue).await, site.ready(site.queue()).await), (21, 0), "each has one letter");
    for _ in 0..10 {
        site.take(queue).await;
    }
    let letter = site.take(queue).await;
    assert_eq!(letter.data, b"99");
    assert_eq!(header(&letter, letter::LEFT_OUT), "pad (130909 bytes)");
    assert_eq!(header(&letter, letter::REASON), "missing-field");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_message_goes_nowhere_else() {
    let mut site = Site::shared().await;
    let (own, second) = (site.queue().to_owned(), format!("{}.second", site.queue()));
    site.settings.queues[0].forward_to = Some(second.clone());
    let site = site.set_up().await;
    let copies = || AMQPValue::FieldArray(vec![AMQPValue::LongString(own.clone().into())].into());
    for name in ["CC", "BCC"] {
        let headers = BTreeMap::from([(name.into(), copies()), ("task".into(), AMQPValue::LongString("t".into()))]);
        let properties = BasicProperties::default().with_headers(headers.into());
        publish_on(&site.channel, &second, [b"1".to_vec()], &properties).await;
    }
    // One that went through CC and one through BCC; what was published to the second queue itself is not looked at.
    for _ in 0..2 {
        site.take(&second).await;
    }
    let mut worker = site.worker();
    worker.take(2).await.into_iter().for_each(ack);
    worker.eventually("forwarded", |stats| stats.forwarded() == 2).await;
    let stats = worker.stop().await;
    assert_eq!(stats.received(), 2);
    assert_eq!((site.ready(&own).await, site.ready(&second).await), (0, 2));
    let forwarded = site.take(&second).await;
    assert_eq!(header(&forwarded, "task"), "t");
    assert_eq!(header(&forwarded, "CC"), "None");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_blocks_publishers_is_told_of_and_waited_for() {
    let site = Site::alone().await.set_up().await;
    site.publish_numbers(2).await;
    let mut worker = site.worker();
    let deliveries = worker.take(2).await;
    let watermark = async |share: &'static str| {
        let rabbit = site.rabbit.clone();
        tokio::task::spawn_blocking(move || rabbit.ctl(&["set_vm_memory_high_watermark", share])).await.unwrap();
    };
    watermark("0.00001").await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let problem = loop {
        match difylog::amqp::check(&site.settings).await {
            Err(problem) => break problem,
            // The alarm takes a moment to reach the connections.
            Ok(_) => assert!(tokio::time::Instant::now() < deadline, "never blocked"),
        }
    };
    assert!(matches!(&problem, AmqpError::Blocked { said, .. } if said.contains("memory")), "{problem}");
    deliveries.into_iter().for_each(refuse);
    worker.eventually("the block", |stats| stats.publishing_blocked().is_some()).await;

    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let patience = {
        let told = told.clone();
        Patience::new(std::time::Duration::from_millis(200), move |reason| told.lock().unwrap().push(reason.to_owned()))
    };
    let publisher = EventPublisher::connect(&site.settings, patience).await.unwrap();
    let tenant = "669dd85a-0949-4cda-99c9-4984b192aea0".parse().unwrap();
    let event = publisher.native(difylog::domain::Kind::WorkflowRun, tenant, bytes::Bytes::from_static(b"{}"));
    let given_up = publisher.publish(&[event]).await.unwrap_err();
    assert!(matches!(given_up, AmqpError::Blocked { .. }), "{given_up}");
    assert_eq!(told.lock().unwrap().len(), 1);

    watermark("0.4").await;
    worker.eventually("letters", |stats| stats.dead_lettered() == 2 && stats.publishing_blocked().is_none()).await;
    worker.stop().await;
    difylog::amqp::check(&site.settings).await.unwrap();
}
