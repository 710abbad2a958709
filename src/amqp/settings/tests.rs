//! One test per rule of the section `amqp`.

use super::*;

fn broken(change: impl FnOnce(&mut AmqpSettings)) -> String {
    let mut settings = AmqpSettings::default();
    change(&mut settings);
    settings.validate().unwrap_err().to_string()
}

#[test]
fn defaults_are_valid() {
    AmqpSettings::default().validate().unwrap();
}

#[test]
fn every_rule_names_its_key() {
    for (key, error) in [
        ("amqp.urls", broken(|s| s.urls.clear())),
        ("amqp.verify", broken(|s| s.verify = false)),
        ("amqp.ca_file", broken(|s| s.ca_file = Some("ca.pem".into()))),
        ("amqp.queues", broken(|s| s.queues.clear())),
        ("amqp.queues[1].name", broken(|s| s.queues[1].name = "workflow_storage".into())),
        ("amqp.queues[0].name", broken(|s| s.queues[0].name = "difylog.dead-letters".into())),
        ("amqp.queues[1].name", broken(|s| s.queues[1].name = "amq.events".into())),
        ("amqp.queues[1].name", broken(|s| s.queues[1].name = "x".repeat(256))),
        ("amqp.queues[0].queue_type", broken(|s| s.queues[0].queue_type = QueueType::Quorum)),
        ("amqp.queues[0].consumers", broken(|s| s.queues[0].consumers = NonZeroU16::MAX)),
        ("amqp.queues[0].forward_to", broken(|s| s.queues[0].forward_to = Some("difylog.events".into()))),
        ("amqp.queues[0].forward_to", broken(|s| s.queues[0].forward_to = Some(String::new()))),
        ("amqp.dead_letter_exchange", broken(|s| s.dead_letter_exchange = "dify.logs".into())),
        ("amqp.dead_letter_queue", broken(|s| s.dead_letter_queue.clear())),
        ("amqp.memory_budget_bytes", broken(|s| s.memory_budget_bytes = 10)),
        ("amqp.max_message_bytes", broken(|s| s.max_message_bytes = 0)),
        ("amqp.release_after_seconds", broken(|s| s.release_after_seconds = 1)),
        ("amqp.regrow_after_seconds", broken(|s| s.regrow_after_seconds = 0)),
    ] {
        assert!(error.starts_with(&format!("{key}: ")), "{key}: {error}");
    }
}

#[test]
fn unknown_keys_are_errors_that_name_the_key() {
    let unknown = serde_json::from_str::<AmqpSettings>(r#"{"prefetch": 5}"#).unwrap_err();
    assert!(unknown.to_string().contains("prefetch"), "{unknown}");
    let unknown = serde_json::from_str::<QueueSettings>(r#"{"name": "q", "source": "native", "qos": 5}"#).unwrap_err();
    assert!(unknown.to_string().contains("qos"), "{unknown}");
}

#[test]
fn passwords_are_never_shown() {
    let secret = "amqps://difylog:hunter2@broker.example:5671/%2fprod";
    let settings = AmqpSettings { urls: vec![secret.parse().unwrap()], ..AmqpSettings::default() };
    let shown = [
        format!("{settings:?}"),
        serde_json::to_string(&settings).unwrap(),
        settings.urls[0].to_string(),
        "amqp//u:hunter2@host".parse::<BrokerUrl>().unwrap_err().to_owned(),
    ];
    for text in shown {
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert_eq!(settings.urls[0].to_string(), "amqps://difylog:***@broker.example:5671/%2Fprod");
}
