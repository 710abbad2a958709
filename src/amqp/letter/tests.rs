//! What a letter says of its message, and what a replay takes away again.

use super::*;
use crate::domain::{Refusal, RefusalClass};
use bytes::Bytes;
use std::collections::BTreeMap;

fn celery() -> Original {
    let headers = BTreeMap::from([
        (short("task"), long("tasks.save")),
        (short("kwargsrepr"), long("{'secret': 1}")),
        (short("argsrepr"), long("()")),
        (short("retries"), AMQPValue::LongInt(2)),
        (short("CC"), AMQPValue::FieldArray(vec![long("elsewhere")].into())),
    ]);
    let properties = BasicProperties::default()
        .with_content_type(short("application/json"))
        .with_correlation_id(short("id"))
        .with_expiration(short("1000"))
        .with_user_id(short("dify"))
        .with_delivery_mode(1)
        .with_headers(headers.into());
    Original { exchange: short(""), routing_key: short("workflow_storage"), properties, body: Bytes::from("[1,2,3]") }
}

fn queue() -> QueueSettings {
    crate::amqp::AmqpSettings::default().queues.remove(0)
}

fn letter(part: Option<Range<usize>>) -> Letter {
    Letter { refusal: Refusal::by_store(Some(400), "mapper_parsing_exception"), part }
}

fn at() -> Timestamp {
    "2026-11-24T12:00:00.5".parse().unwrap()
}

fn as_original(message: Outgoing) -> Original {
    let Outgoing { exchange, routing_key, properties, body } = message;
    Original { exchange, routing_key, properties, body }
}

#[test]
fn a_letter_tells_what_happened_to_its_message() {
    let letter = as_original(write(&celery(), &queue(), &letter(None), at(), "difylog.dlx"));
    assert_eq!((letter.exchange.as_str(), letter.routing_key.as_str()), ("difylog.dlx", "workflow_storage"));
    assert_eq!(
        Heading::read(&letter),
        Heading {
            reason: RefusalClass::RefusedByStore.to_string(),
            detail: Some("mapper_parsing_exception".into()),
            status: Some(400),
            attempts: 1,
            exchange: Some(String::new()),
            routing_key: Some("workflow_storage".into()),
            queue: Some("workflow_storage".into()),
            source: Some(QueueSource::Celery),
            sha256: Some(format!("{:x}", Sha256::digest("[1,2,3]"))),
            at: Some(at()),
        }
    );
    let headers = letter.properties.headers().as_ref().unwrap();
    assert!(headers.contains_key("task") && headers.contains_key("retries"));
    for gone in NOT_IN_A_LETTER {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    let properties = &letter.properties;
    assert_eq!(properties.correlation_id().as_ref().unwrap().as_str(), "id");
    assert_eq!((properties.delivery_mode(), properties.expiration(), properties.user_id()), (&Some(2), &None, &None));
}

#[test]
fn a_refused_part_is_a_letter_of_its_own() {
    let message = write(&celery(), &queue(), &letter(Some(1..2)), at(), "difylog.dlx");
    assert_eq!(message.body.as_ref(), b"1");
    let beyond = write(&celery(), &queue(), &letter(Some(5..99)), at(), "difylog.dlx");
    assert_eq!(beyond.body.as_ref(), b"[1,2,3]", "nothing of the message is ever left out");
}

#[test]
fn a_replayed_message_is_the_original_with_its_attempts() {
    let first = as_original(write(&celery(), &queue(), &letter(None), at(), "difylog.dlx"));
    let back = as_original(replay(first, "workflow_storage"));
    assert_eq!((back.exchange.as_str(), back.routing_key.as_str()), ("", "workflow_storage"));
    let headers = back.properties.headers().as_ref().unwrap();
    let names: Vec<_> = headers.inner().keys().map(ShortString::as_str).collect();
    assert_eq!(names, ["retries", "task", ATTEMPTS]);
    let second = as_original(write(&back, &queue(), &letter(None), at(), "difylog.dlx"));
    assert_eq!(Heading::read(&second).attempts, 2);
}

#[test]
fn letters_of_the_broker_are_read_from_x_death() {
    let death = BTreeMap::from([
        (short("reason"), long("delivery_limit")),
        (short("queue"), long("difylog.events")),
        (short("exchange"), long("dify.logs")),
        (short("routing-keys"), AMQPValue::FieldArray(vec![long("workflow_run.t")].into())),
        (short("time"), AMQPValue::Timestamp(1_700_000_000)),
    ]);
    let deaths = AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death.into())].into());
    let mut original = celery();
    original.properties = BasicProperties::default().with_headers(BTreeMap::from([(short("x-death"), deaths)]).into());
    let heading = Heading::read(&original);
    assert_eq!(heading.reason, "broker:delivery_limit");
    assert_eq!(heading.queue.as_deref(), Some("difylog.events"));
    assert_eq!(heading.routing_key.as_deref(), Some("workflow_run.t"));
    assert_eq!(heading.source, Some(QueueSource::Native));
    assert_eq!(heading.at.unwrap().micros(), 1_700_000_000_000_000);
    let back = as_original(replay(original, "difylog.events"));
    assert!(!back.properties.headers().as_ref().unwrap().contains_key("x-death"));
}

#[test]
fn a_forwarded_message_is_unchanged() {
    let mut original = celery();
    original.properties = BasicProperties::default().with_expiration(short("1000")).with_headers(FieldTable::default());
    let properties = original.properties.clone();
    let message = forward(original, "legacy");
    assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("", "legacy"));
    assert_eq!(message.properties, properties);
}
