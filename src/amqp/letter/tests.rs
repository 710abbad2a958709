//! What a letter says of its message, and what a replay takes away again.

use super::*;
use crate::amqp::frame::header_bytes;
use crate::amqp::settings::QueueSource;
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

fn one(original: &Original, letter: &Letter) -> Outgoing {
    let mut written = write(original, &queue(), std::slice::from_ref(letter), at(), "difylog.dlx");
    assert_eq!(written.len(), 1);
    written.remove(0).message
}

fn headers(message: &Outgoing) -> &BTreeMap<ShortString, AMQPValue> {
    message.properties.headers().as_ref().unwrap().inner()
}

fn as_original(message: Outgoing) -> Original {
    let Outgoing { exchange, routing_key, properties, body } = message;
    Original { exchange, routing_key, properties, body }
}

#[test]
fn a_letter_tells_what_happened_to_its_message() {
    let letter = as_original(one(&celery(), &letter(None)));
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
            left_out: None,
        }
    );
    let headers = letter.properties.headers().as_ref().unwrap();
    assert!(headers.contains_key("task") && headers.contains_key("retries"));
    for gone in PRINTED_ARGUMENTS.into_iter().chain(COPIES) {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    let properties = &letter.properties;
    assert_eq!(properties.correlation_id().as_ref().unwrap().as_str(), "id");
    assert_eq!((properties.delivery_mode(), properties.expiration(), properties.user_id()), (&Some(2), &None, &None));
}

#[test]
fn a_refused_part_is_a_letter_of_its_own() {
    let message = one(&celery(), &letter(Some(1..2)));
    assert_eq!(message.body.as_ref(), b"1");
    let beyond = one(&celery(), &letter(Some(5..99)));
    assert_eq!(beyond.body.as_ref(), b"[1,2,3]", "nothing of the message is ever left out");
}

#[test]
fn a_replayed_message_is_the_original_with_its_attempts() {
    let first = as_original(one(&celery(), &letter(None)));
    let back = as_original(replay(first, "workflow_storage"));
    assert_eq!((back.exchange.as_str(), back.routing_key.as_str()), ("", "workflow_storage"));
    let headers = back.properties.headers().as_ref().unwrap();
    let names: Vec<_> = headers.inner().keys().map(ShortString::as_str).collect();
    assert_eq!(names, ["retries", "task", ATTEMPTS]);
    let second = as_original(one(&back, &letter(None)));
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
    let headers = BTreeMap::from([(short("task"), long("tasks.save")), (short("argsrepr"), long("()"))]);
    original.properties = BasicProperties::default().with_expiration(short("1000")).with_headers(headers.into());
    let properties = original.properties.clone();
    let message = forward(original, "legacy");
    assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("", "legacy"));
    assert_eq!(message.properties, properties);
}

#[test]
fn the_headers_of_a_message_go_with_its_first_letter_only() {
    let body = format!("[{}]", vec!["{}"; 16].join(","));
    let refusal = Refusal::new(RefusalClass::MissingField, "id");
    let letters = (0..16).map(|event| Letter { refusal: refusal.clone(), part: Some(1 + 3 * event..3 + 3 * event) });
    let headers_before = BTreeMap::from([(short("pad"), long("p".repeat(60_000)))]);
    let properties = BasicProperties::default().with_headers(headers_before.into());
    let original = Original { exchange: short("x"), routing_key: short("k"), properties, body: Bytes::from(body) };
    let written = write(&original, &queue(), &letters.collect::<Vec<_>>(), at(), "difylog.dlx");
    assert_eq!(written.len(), 16);
    let bytes: usize = written.iter().map(|one| one.message.bytes()).sum();
    assert!(bytes < original.body.len() + 60_000 + 16 * 1_024, "{bytes}");
    assert!(headers(&written[0].message).contains_key("pad"));
    assert!(written[1..].iter().all(|one| !headers(&one.message).contains_key("pad")));
    assert_eq!(headers(&written[15].message)[PART], long("16 of 16"));
    assert_eq!(headers(&written[15].message)[MESSAGE], long(format!("{:x}", Sha256::digest(&original.body))));
}

#[test]
fn what_a_producer_says_in_headers_of_difylog_does_not_survive() {
    let mut original = celery();
    let forged = BTreeMap::from([
        (short(STATUS), AMQPValue::LongInt(299)),
        (short(QUEUE), long("evil")),
        (short("x-difylog-anything"), long("evil")),
        (short(ATTEMPTS), AMQPValue::LongLongInt(i64::MAX)),
        (short("x-cc"), AMQPValue::FieldArray(vec![long("elsewhere")].into())),
        (short("BCC"), AMQPValue::FieldArray(vec![long("elsewhere")].into())),
    ]);
    original.properties = original.properties.with_headers(forged.into());
    let refusal = Refusal::new(RefusalClass::MissingField, "id");
    let letter = one(&original, &Letter { refusal, part: None });
    assert!(!headers(&letter).contains_key(STATUS) && !headers(&letter).contains_key("x-difylog-anything"));
    assert_eq!(headers(&letter)[QUEUE], long("workflow_storage"));
    assert_eq!(headers(&letter)[ATTEMPTS], AMQPValue::LongLongInt(MOST_ATTEMPTS + 1));
    let forwarded = forward(Original { body: Bytes::new(), ..as_original(letter) }, "legacy");
    assert!(headers(&forwarded).is_empty());
    let replayed = replay(original, "workflow_storage");
    assert_eq!(headers(&replayed).keys().map(ShortString::as_str).collect::<Vec<_>>(), [ATTEMPTS]);
}

#[test]
fn what_a_forged_letter_says_of_itself_is_bounded() {
    let mut original = celery();
    let said = [REASON, DETAIL, QUEUE, EXCHANGE, ROUTING_KEY];
    let forged: BTreeMap<_, _> = said.into_iter().map(|name| (short(name), long("退".repeat(50_000)))).collect();
    original.properties = original.properties.with_headers(forged.into());
    let heading = Heading::read(&original);
    assert_eq!(heading.reason.chars().count(), 65, "a reason of ours has less");
    let texts = [heading.detail, heading.queue, heading.exchange, heading.routing_key];
    assert!(texts.into_iter().flatten().all(|text| text.len() <= Refusal::MAX_DETAIL + 3));
}

#[test]
fn headers_that_do_not_fit_a_frame_are_left_out_and_named() {
    for limit in [4_096 - 8, 131_064] {
        let mut original = celery();
        let many = (0..9_000).map(|number| (short(&format!("trace-{number}")), long("t")));
        let headers_before: BTreeMap<_, _> =
            many.chain([(short("task"), long("tasks.save")), (short("pad"), long("p".repeat(120_000)))]).collect();
        original.properties = original.properties.with_headers(headers_before.into());
        let refusal = Refusal::new(RefusalClass::MissingField, "d".repeat(512));
        let mut letter = one(&original, &Letter { refusal, part: None });
        let said = fit(&mut letter, limit).unwrap();
        assert!(header_bytes(&letter.properties) <= limit, "{}", header_bytes(&letter.properties));
        assert!(said.starts_with("pad (120"), "{said}");
        assert!(said.len() < 500 && headers(&letter).contains_key(LEFT_OUT) && headers(&letter).contains_key("task"));
        let heading = Heading::read(&as_original(letter));
        assert_eq!((heading.queue.as_deref(), heading.attempts), (Some("workflow_storage"), 1));
    }
    let mut small = one(&celery(), &letter(None));
    assert_eq!(fit(&mut small, 4_088), None);
    assert!(!headers(&small).contains_key(LEFT_OUT));
}

#[test]
fn what_is_no_letter_of_ours_is_told() {
    let doubts = |original: &Original| doubt(&Heading::read(original), original, &[queue()]);
    let good = as_original(one(&celery(), &letter(None)));
    assert_eq!(doubts(&good), None);
    let with = |name: &str, value: Option<AMQPValue>| {
        let mut headers = good.properties.headers().clone().unwrap().inner().clone();
        headers.remove(name);
        headers.extend(value.map(|value| (short(name), value)));
        Original {
            exchange: short(""),
            routing_key: short("q"),
            properties: good.properties.clone().with_headers(headers.into()),
            body: good.body.clone(),
        }
    };
    for (forged, says) in [
        (with(QUEUE, Some(long("billing.payments"))), "billing.payments"),
        (with(QUEUE, Some(long("difylog.dead-letters"))), "difylog.dead-letters"),
        (with(QUEUE, None), "which queue"),
        (with(SOURCE, Some(long("native"))), "source"),
        (with(SOURCE, None), "source"),
        (with(REASON, Some(long("evil"))), "reason"),
        (with(AT, Some(long("\u{1b}[31m"))), "headers"),
        (with(ATTEMPTS, None), "headers"),
        (with(SHA256, Some(long("0"))), "hash"),
        (Original { body: Bytes::from("other"), ..with("none", None) }, "hash"),
    ] {
        let doubt = doubts(&forged).unwrap();
        assert!(doubt.contains(says), "{doubt}");
    }
}
