//! What is declared, what is left alone, and what an operator is told.

use difylog::amqp::settings::QueueSource;
use difylog::amqp::{AmqpError, AmqpSettings, QueueType, broker_state, check, queue_depths, set_up};
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::broker::harness::{Site, ack};
use crate::support::rabbit::Rabbit;

#[tokio::test(flavor = "multi_thread")]
async fn set_up_can_be_repeated_and_check_finds_what_is_missing() {
    let site = Site::shared().await;
    let missing = check(&site.settings).await.unwrap_err();
    assert!(matches!(&missing, AmqpError::Missing(what) if what.contains(site.queue())), "{missing}");
    for _ in 0..2 {
        set_up(&site.settings).await.unwrap();
    }
    site.publish_numbers(3).await;
    let depths = queue_depths(&site.settings).await.unwrap();
    let ready: Vec<_> = depths.iter().map(|depth| (depth.queue.as_str(), depth.ready)).collect();
    assert_eq!(ready, [(site.queue(), 3), (site.settings.dead_letter_queue.as_str(), 0)]);
    let lines = check(&site.settings).await.unwrap();
    assert!(lines.len() == 3 && lines.iter().all(|line| !line.starts_with("warning")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_arguments_is_named() {
    let site = Site::shared().await.set_up().await;
    let mut other = site.settings.clone();
    other.queues[0].queue_type = QueueType::Quorum;
    let error = set_up(&other).await.unwrap_err();
    assert!(matches!(error, AmqpError::Mismatch { .. }), "{error}");
    let text = error.to_string();
    for part in [site.queue(), "x-queue-type", "amqp.queues[].queue_type"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_dify_is_used_as_it_is_or_declared_as_dify_does() {
    let mut site = Site::shared().await;
    site.settings.queues[0].source = QueueSource::Celery;
    // Somebody gave it a length; difylog does not mind.
    let limited = FieldTable::from(std::collections::BTreeMap::from([("x-max-length".into(), AMQPValue::LongInt(9))]));
    let durable = QueueDeclareOptions::durable();
    site.channel.queue_declare(site.queue().into(), durable, limited).await.unwrap();
    let mut second = site.settings.queues[0].clone();
    second.name = format!("{}.second", site.queue());
    site.settings.queues.push(second.clone());
    let site = site.set_up().await;

    // As Celery would declare it: the same properties, or the broker would refuse.
    let name = second.name.as_str();
    site.channel.queue_declare(name.into(), durable, FieldTable::default()).await.unwrap();
    let direct = lapin::options::ExchangeDeclareOptions { durable: true, ..Default::default() };
    let kind = lapin::ExchangeKind::Direct;
    site.channel.exchange_declare(name.into(), kind, direct, FieldTable::default()).await.unwrap();

    site.publish_numbers(1).await;
    let mut worker = site.worker();
    ack(worker.next().await);
    worker.eventually("acked", |stats| stats.acked() == 1).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_and_dead_hosts_are_told_apart_and_never_shown() {
    let site = Site::shared().await;
    let wrong = site.rabbit.url().replace("guest:guest", "guest:hunter2");
    let settings = AmqpSettings { urls: vec![wrong.parse().unwrap()], ..site.settings.clone() };
    let refused = set_up(&settings).await.unwrap_err();
    assert!(matches!(refused, AmqpError::AccessRefused { .. }), "{refused}");
    assert!(!refused.to_string().contains("hunter2"), "{refused}");

    let nobody = "amqp://guest:hunter2@127.0.0.1:1/%2f".parse().unwrap();
    let mut settings = AmqpSettings { urls: vec![nobody], ..site.settings.clone() };
    let unreachable = set_up(&settings).await.unwrap_err();
    assert!(matches!(&unreachable, AmqpError::Unreachable { broker, .. } if broker == "127.0.0.1:1"), "{unreachable}");
    assert!(!unreachable.to_string().contains("hunter2"), "{unreachable}");

    // The next host of the list answers.
    settings.urls.push(site.rabbit.url().parse().unwrap());
    set_up(&settings).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_no_broker_or_lacks_something_is_told_with_what_to_do() {
    let site = Site::shared().await;
    let state = broker_state(&site.settings).await.unwrap();
    assert_eq!(
        (state.address, state.virtual_host.as_str(), state.blocked),
        (site.settings.urls[0].authority(), "/", None)
    );

    let name = uuid::Uuid::new_v4().simple().to_string();
    let (rabbit, user) = (site.rabbit.clone(), name.clone());
    tokio::task::spawn_blocking(move || rabbit.ctl(&["add_user", &user, "hunter2"])).await.unwrap();
    let url = site.rabbit.url().to_owned();
    let tls = url.replace("amqp://", "amqps://");
    for (url, says) in [
        (url.replace("guest:guest", "guest:hunter2"), "check the user and the password"),
        (url.replace("%2f", "no-such-host"), "rabbitmqctl add_vhost"),
        (url.replace("guest:guest", &format!("{name}:hunter2")), "set_permissions -p"),
        (tls, "does the port speak TLS?"),
        ("amqp://guest:hunter2@127.0.0.1:1".to_owned(), "check that it runs"),
    ] {
        let settings = AmqpSettings { urls: vec![url.parse().unwrap()], ..site.settings.clone() };
        let error = broker_state(&settings).await.unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("amqp.urls") && !error.contains("hunter2"), "{error}");
    }
    for answer in
        [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &b"AMQP\x00\x00\x09\x02"[..], &b"\x15\x03\x01\x00\x02\x02\x46"[..]]
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("amqp://guest:hunter2@{}/%2f", listener.local_addr().unwrap());
        let settings = AmqpSettings { urls: vec![url.parse().unwrap()], ..site.settings.clone() };
        let stranger = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 8]).await.unwrap();
            stream.write_all(answer).await.unwrap();
        };
        let (error, ()) = tokio::join!(broker_state(&settings), stranger);
        let error = error.unwrap_err();
        assert!(matches!(error, AmqpError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("without TLS") && !error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_may_not_declare_uses_what_is_there() {
    let site = Site::shared().await;
    let name = uuid::Uuid::new_v4().simple().to_string();
    let (rabbit, user) = (site.rabbit.clone(), name.clone());
    tokio::task::spawn_blocking(move || {
        rabbit.ctl(&["add_user", &user, "x"]);
        rabbit.ctl(&["set_permissions", &user, "^$", ".*", ".*"]);
    })
    .await
    .unwrap();
    let url = site.rabbit.url().replace("guest:guest", &format!("{name}:x"));
    let limited = AmqpSettings { urls: vec![url.parse().unwrap()], ..site.settings.clone() };
    let error = set_up(&limited).await.unwrap_err();
    assert!(matches!(&error, AmqpError::Forbidden { right, .. } if *right == "configure"), "{error}");
    assert!(error.to_string().contains(&site.settings.dead_letter_exchange), "{error}");

    let site = site.set_up().await;
    site.publish_numbers(2).await;
    set_up(&limited).await.unwrap();
    let mut worker = crate::broker::harness::Worker::start(limited.clone());
    ack(worker.next().await);
    crate::broker::harness::refuse(worker.next().await);
    worker.eventually("settled", |stats| stats.acked() == 1 && stats.dead_lettered() == 1).await;
    worker.stop().await;
    let lines = check(&limited).await.unwrap();
    assert!(lines.iter().any(|line| line.contains("cannot be seen")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_tells_what_a_queue_can_lose() {
    let mut site = Site::shared().await;
    site.settings.queues[0].source = QueueSource::Celery;
    let second = format!("{}.second", site.queue());
    site.settings.queues[0].forward_to = Some(second.clone());
    let declare = async |name: &str, arguments: Vec<(&str, AMQPValue)>| {
        let arguments: std::collections::BTreeMap<_, _> =
            arguments.into_iter().map(|(name, value)| (name.into(), value)).collect();
        site.channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments.into()).await.unwrap();
    };
    let quorum = AMQPValue::LongString("quorum".into());
    declare(site.queue(), vec![("x-queue-type", quorum)]).await;
    let limits = vec![("x-max-length", AMQPValue::LongInt(9)), ("x-message-ttl", AMQPValue::LongInt(1_000))];
    declare(&second, limits).await;
    let site = site.set_up().await;
    let lines = check(&site.settings).await.unwrap();
    let warning = |queue: &str, what: &str| {
        let begin = format!("warning: queue {queue} ");
        lines.iter().any(|line| line.starts_with(&begin) && line.contains(what))
    };
    assert!(warning(site.queue(), "delivery limit"), "{lines:?}");
    assert!(warning(&second, "holds 9 messages") && warning(&second, "1000 ms"), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("warning")).count(), 3, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("policies")), "{lines:?}");
    assert_eq!(site.ready(&second).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_needs_an_authority_that_signed_the_brokers_certificate() {
    let (rabbit, url, authority) = tokio::task::spawn_blocking(Rabbit::start_with_tls).await.unwrap();
    let settings = AmqpSettings { urls: vec![url.parse().unwrap()], ..AmqpSettings::default() };
    let distrusted = set_up(&settings).await.unwrap_err();
    assert!(matches!(distrusted, AmqpError::Unreachable { .. }), "{distrusted}");
    assert!(distrusted.to_string().contains("amqp.ca_file"), "{distrusted}");
    let plain = AmqpSettings { urls: vec![url.replace("amqps://", "amqp://").parse().unwrap()], ..settings.clone() };
    let plain = set_up(&plain).await.unwrap_err();
    assert!(plain.to_string().contains("needs amqps://"), "{plain}");
    let settings = AmqpSettings { ca_file: Some(authority), ..settings };
    settings.validate().unwrap();
    set_up(&settings).await.unwrap();
    let settings = AmqpSettings { ca_file: Some("/nowhere/ca.pem".into()), ..settings };
    let unreadable = set_up(&settings).await.unwrap_err().to_string();
    assert!(unreadable.starts_with("amqp.ca_file: cannot read /nowhere/ca.pem"), "{unreadable}");
    drop(rabbit);
}
