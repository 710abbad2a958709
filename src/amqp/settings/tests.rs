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
        "amqp//u:hunter2@host".parse::<BrokerUrl>().unwrap_err().to_string(),
    ];
    for text in shown {
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert_eq!(settings.urls[0].to_string(), "amqps://difylog:***@broker.example:5671/%2Fprod");
}

#[test]
fn an_ipv6_address_is_the_host() {
    let url: BrokerUrl = "amqp://u:p@[2001:db8::5]:5673/%2f".parse().unwrap();
    assert_eq!((url.authority().as_str(), url.uri().authority.host.as_str()), ("[2001:db8::5]:5673", "2001:db8::5"));
    assert_eq!("amqps://[::1]".parse::<BrokerUrl>().unwrap().authority(), "[::1]:5671");
    assert!("amqp://u:p@2001:db8::5:5673/".parse::<BrokerUrl>().is_err());
}

#[test]
fn a_list_as_celery_takes_it_is_a_list() {
    for text in
        ["amqp://u:p@a:1//;amqp://u:q@b:2//", "amqp://u:p@a:1/, amqp://u:q@b:2/%2f", "amqp://u:p@a:1;amqp://u:q@b:2;"]
    {
        let urls = BrokerUrl::list(text).unwrap();
        let seen: Vec<_> = urls.iter().map(|url| (url.authority(), url.virtual_host())).collect();
        assert_eq!(seen, [("a:1".to_owned(), "/"), ("b:2".to_owned(), "/")], "{text}");
        assert_eq!(urls[1].uri().authority.userinfo.password, "q");
        for json in [serde_json::json!({ "urls": text }), serde_json::json!({ "urls": [text] })] {
            assert_eq!(serde_json::from_value::<AmqpSettings>(json).unwrap().urls, urls);
        }
    }
    assert_eq!(BrokerUrl::list("amqp://u:12;amqp://x@a:1"), Err(InvalidBrokerUrl::Logins));
    assert!(BrokerUrl::list("amqp://u:p@a:1,b:2/v").is_err());
}

#[test]
fn odd_passwords_are_used_rightly_or_refused_with_a_hint() {
    let password = |text: &str| text.parse::<BrokerUrl>().map(|url| url.uri().authority.userinfo.password);
    assert_eq!(password("amqp://u:p@ss@h:1/v"), Ok("p@ss".to_owned()));
    assert_eq!(password("amqp://u:a;b,c:d[e]%f@h:1/v"), Ok("a;b,c:d[e]%f".to_owned()));
    assert_eq!(password("amqp://u:%2F%3F%25@h:1/v"), Ok("/?%".to_owned()));
    for text in ["amqp://u:p/x@h", "amqp://u:1/x@h", "amqp://u:p#x@h", "amqp://u:p?x@h", "amqp://u:p x@h"] {
        assert!(password(text).unwrap_err().to_string().contains("%2"), "{text}");
    }
    for text in
        ["amqp:/u:p@h", "amqp:u:p@h", "pyamqp://u:p@h", "redis://h", "amqp://u:%ff@h", "amqp://h?frame_max=x", ""]
    {
        assert!(password(text).is_err(), "{text}");
    }
}

#[test]
fn an_empty_virtual_host_is_the_default_one() {
    for (text, host) in
        [("amqp://h", "/"), ("amqp://h/", "/"), ("amqp://h//", "/"), ("amqp://h/%2f", "/"), ("amqp://h/a%2Fb", "a/b")]
    {
        assert_eq!(text.parse::<BrokerUrl>().unwrap().virtual_host(), host, "{text}");
    }
    let tuned: BrokerUrl = "amqp://h/v?frame_max=8192&ssl=x".parse().unwrap();
    assert_eq!(tuned.uri().query.frame_max, Some(8192));
}
