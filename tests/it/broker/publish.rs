//! Publishing for a command: native events by routing key, captured messages as they were.

use bytes::Bytes;
use difylog::amqp::settings::QueueSource;
use difylog::amqp::{AmqpError, EventPublisher, Patience, captured_message};
use difylog::domain::Kind;

use crate::broker::harness::{PATIENCE, Site, ack, message};

#[tokio::test(flavor = "multi_thread")]
async fn native_events_are_routed_by_kind_and_tenant() {
    let site = Site::shared().await.set_up().await;
    let publisher = EventPublisher::connect(&site.settings, Patience::new(PATIENCE, |_| {})).await.unwrap();
    let tenant = "669dd85a-0949-4cda-99c9-4984b192aea0".parse().unwrap();
    let events: Vec<_> =
        (0..1_000).map(|_| publisher.native(Kind::WorkflowRun, tenant, Bytes::from_static(b"{}"))).collect();
    publisher.publish(&events).await.unwrap();
    publisher.close().await;
    assert_eq!(site.ready(site.queue()).await, 1_000);
    let first = site.take(site.queue()).await;
    assert_eq!(first.routing_key.as_str(), "workflow_run.669dd85a-0949-4cda-99c9-4984b192aea0");
    assert_eq!(first.properties.delivery_mode(), &Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_message_reaches_the_codec_as_celery_sent_it() {
    let mut site = Site::shared().await;
    site.settings.queues[0].source = QueueSource::Celery;
    let site = site.set_up().await;
    let line = serde_json::json!({
        "exchange": "", "routing_key": site.queue(),
        "properties": {"content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 2},
        "headers": {"task": "tasks.save", "compression": "application/x-gzip", "eta": null, "timelimit": [null, null]},
        "body_base64": "AP8="
    });
    let publisher = EventPublisher::connect(&site.settings, Patience::new(PATIENCE, |_| {})).await.unwrap();
    publisher.publish(&[captured_message(&line.to_string()).unwrap()]).await.unwrap();

    let mut worker = site.worker();
    let delivery = worker.next().await;
    let message = message(&delivery);
    assert_eq!(message.content_type.as_deref(), Some("application/json"));
    assert_eq!(message.task.as_deref(), Some("tasks.save"));
    assert_eq!(message.compression.as_deref(), Some("application/x-gzip"));
    assert_eq!(message.body.as_ref(), [0, 255]);
    ack(delivery);
    worker.eventually("acked", |stats| stats.acked() == 1).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_no_queue_gets_is_an_error() {
    let site = Site::shared().await.set_up().await;
    let publisher = EventPublisher::connect(&site.settings, Patience::new(PATIENCE, |_| {})).await.unwrap();
    let line = r#"{"exchange": "", "routing_key": "nobody.reads.this", "body": "secret"}"#;
    let error = publisher.publish(&[captured_message(line).unwrap()]).await.unwrap_err();
    assert!(matches!(&error, AmqpError::NotTakenOver(said) if said.contains("nobody.reads.this")), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}
