//! What is declared, what is left alone, and what an operator is told.

use difylog::amqp::settings::QueueSource;
use difylog::amqp::{AmqpError, AmqpSettings, QueueType, check, queue_depths, server_version, set_up};
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Site, ack};
use crate::rabbit::Rabbit;

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
    assert_eq!(check(&site.settings).await.unwrap().len(), 2);
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
async fn the_broker_says_its_version_and_nobody_else_does() {
    let site = Site::shared().await;
    let version = server_version(&site.settings).await.unwrap();
    let number = version.strip_prefix("RabbitMQ ").unwrap();
    assert!(number.split('.').count() >= 3 && number.starts_with(|first: char| first.is_ascii_digit()), "{version}");

    let too_long = [&[1, 0, 0][..], &u32::MAX.to_be_bytes()].concat();
    let no_method = [&[1, 0, 0, 0, 0, 0, 2][..], b"??"].concat();
    for (answer, says) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "does not speak AMQP 0-9-1"),
        (&b"AMQP\x00\x00\x09\x02"[..], "does not speak AMQP 0-9-1"),
        (&too_long, "does not speak AMQP 0-9-1"),
        (&no_method, "does not speak AMQP 0-9-1"),
        (&b""[..], ""),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("amqp://guest:hunter2@{}/%2f", listener.local_addr().unwrap());
        let settings = AmqpSettings { urls: vec![url.parse().unwrap()], ..site.settings.clone() };
        let stranger = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 8]).await.unwrap();
            stream.write_all(answer).await.unwrap();
        };
        let (error, ()) = tokio::join!(server_version(&settings), stranger);
        let error = error.unwrap_err();
        assert!(matches!(error, AmqpError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains(says) && !error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_needs_an_authority_that_signed_the_brokers_certificate() {
    let (rabbit, url, authority) = tokio::task::spawn_blocking(Rabbit::start_with_tls).await.unwrap();
    let settings = AmqpSettings { urls: vec![url.parse().unwrap()], ..AmqpSettings::default() };
    let distrusted = set_up(&settings).await.unwrap_err();
    assert!(matches!(distrusted, AmqpError::Unreachable { .. }), "{distrusted}");
    let settings = AmqpSettings { ca_file: Some(authority), ..settings };
    settings.validate().unwrap();
    set_up(&settings).await.unwrap();
    assert!(server_version(&settings).await.unwrap().starts_with("RabbitMQ "));
    let settings = AmqpSettings { ca_file: Some("/nowhere/ca.pem".into()), ..settings };
    let unreadable = set_up(&settings).await.unwrap_err().to_string();
    assert!(unreadable.starts_with("amqp.ca_file: cannot read /nowhere/ca.pem"), "{unreadable}");
    drop(rabbit);
}
