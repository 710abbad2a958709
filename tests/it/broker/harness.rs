//! A broker, settings with names of their own, and a worker whose pipeline is the test.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use difylog::amqp::settings::QueueSource;
use difylog::amqp::{AmqpSettings, BrokerStats, Consumption, QueueSettings, QueueType};
use difylog::codec::Message;
use difylog::domain::{Disposition, Refusal, RefusalClass};
use difylog::pipeline::gate::{GateKeeper, gate};
use difylog::pipeline::receipt::{Delivery, DeliveryContent};
use difylog::telemetry::Clock;
use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::rabbit::Rabbit;

pub const PATIENCE: Duration = Duration::from_mins(1);

/// One node for all tests that run at the same time.
static NODE: Mutex<Weak<Rabbit>> = Mutex::new(Weak::new());

pub struct Site {
    pub rabbit: Arc<Rabbit>,
    pub settings: AmqpSettings,
    pub channel: Channel,
    _connection: Connection,
}

impl Site {
    /// On a node shared with other tests: it must not be restarted.
    pub async fn shared() -> Self {
        let rabbit = tokio::task::spawn_blocking(|| {
            let mut node = NODE.lock().unwrap_or_else(PoisonError::into_inner);
            node.upgrade().unwrap_or_else(|| {
                let rabbit = Arc::new(Rabbit::start());
                *node = Arc::downgrade(&rabbit);
                rabbit
            })
        });
        Self::on(rabbit.await.unwrap()).await
    }

    /// On a node of this test alone.
    pub async fn alone() -> Self {
        Self::on(Arc::new(tokio::task::spawn_blocking(Rabbit::start).await.unwrap())).await
    }

    async fn on(rabbit: Arc<Rabbit>) -> Self {
        let (connection, channel) = connect(rabbit.url()).await;
        let settings = settings(rabbit.url());
        Self { rabbit, settings, channel, _connection: connection }
    }

    pub fn queue(&self) -> &str {
        &self.settings.queues[0].name
    }

    /// The site with its queues, ready for messages.
    pub async fn set_up(self) -> Self {
        difylog::amqp::set_up(&self.settings).await.unwrap();
        self
    }

    /// Publishes bodies to a queue and waits for all confirms.
    pub async fn publish(&self, queue: &str, bodies: impl IntoIterator<Item = Vec<u8>>) {
        let (_connection, channel) = connect(self.rabbit.url()).await;
        publish_on(&channel, queue, bodies, &BasicProperties::default().with_delivery_mode(2)).await;
    }

    /// `count` small messages, each with its number as the body.
    pub async fn publish_numbers(&self, count: usize) {
        self.publish(self.queue(), (0..count).map(|number| number.to_string().into_bytes())).await;
    }

    /// Messages that are ready in a queue.
    pub async fn ready(&self, queue: &str) -> u64 {
        let (_connection, channel) = connect(self.rabbit.url()).await;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), passive, FieldTable::default()).await.unwrap().message_count().into()
    }

    pub async fn ready_is(&self, queue: &str, expected: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ready = self.ready(queue).await;
            if ready == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{queue} has {ready} messages ready, not {expected}");
        }
    }

    /// Takes one message off a queue.
    pub async fn take(&self, queue: &str) -> lapin::message::Delivery {
        let got = self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap();
        got.expect("a message").delivery
    }

    pub fn worker(&self) -> Worker {
        Worker::start(self.settings.clone())
    }
}

pub async fn connect(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

pub async fn publish_on(
    channel: &Channel,
    queue: &str,
    bodies: impl IntoIterator<Item = Vec<u8>>,
    properties: &BasicProperties,
) {
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let mut confirms = Vec::new();
    for body in bodies {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirm = channel.basic_publish("".into(), queue.into(), options, &body, properties.clone()).await;
        confirms.push(confirm.unwrap());
    }
    for confirm in confirms {
        let confirmation = confirm.await.unwrap();
        assert!(confirmation.is_ack() && confirmation.take_message().is_none());
    }
}

/// Settings with one native queue.
fn settings(url: &str) -> AmqpSettings {
    let id = uuid::Uuid::new_v4().simple().to_string();
    AmqpSettings {
        urls: vec![url.parse().unwrap()],
        queues: vec![QueueSettings {
            name: format!("{id}.events"),
            source: QueueSource::Native,
            queue_type: QueueType::Classic,
            prefetch: 2000.try_into().unwrap(),
            consumers: 1.try_into().unwrap(),
            forward_to: None,
        }],
        native_exchange: format!("{id}.logs"),
        dead_letter_exchange: format!("{id}.dlx"),
        dead_letter_queue: format!("{id}.letters"),
        ..AmqpSettings::default()
    }
}

pub fn clock() -> Clock {
    Arc::new(|| "2026-11-24T12:00:00".parse().unwrap())
}

/// A consuming process whose pipeline is the test.
pub struct Worker {
    pub stats: Arc<BrokerStats>,
    pub deliveries: mpsc::Receiver<Delivery>,
    pub gate: GateKeeper,
    pub drain: CancellationToken,
    pub task: JoinHandle<Result<(), String>>,
}

impl Worker {
    pub fn start(settings: AmqpSettings) -> Self {
        Self::with_patience(settings, PATIENCE)
    }

    pub fn with_patience(settings: AmqpSettings, patience: Duration) -> Self {
        // Logs of the failing test, if any.
        let _ = tracing_subscriber::fmt().with_env_filter("difylog=debug,lapin=warn").with_test_writer().try_init();
        let consumption = Consumption::new(settings, clock()).unwrap();
        let stats = consumption.stats();
        let (pipeline, deliveries) = mpsc::channel(1024);
        let (keeper, watch) = gate();
        let drain = CancellationToken::new();
        let task = tokio::spawn(consumption.run(pipeline, watch, drain.clone(), patience));
        Self { stats, deliveries, gate: keeper, drain, task }
    }

    pub async fn next(&mut self) -> Delivery {
        tokio::time::timeout(PATIENCE, self.deliveries.recv()).await.expect("a delivery in time").expect("a delivery")
    }

    pub async fn take(&mut self, count: usize) -> Vec<Delivery> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            taken.push(self.next().await);
        }
        taken
    }

    pub async fn eventually(&self, what: &str, holds: impl Fn(&BrokerStats) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.stats) {
            assert!(Instant::now() < deadline, "never: {what}; {}", account(&self.stats));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Drains and checks the conservation law.
    pub async fn stop(self) -> Arc<BrokerStats> {
        self.drain.cancel();
        drop(self.deliveries);
        tokio::time::timeout(PATIENCE, self.task).await.expect("an end in time").unwrap().unwrap();
        assert_eq!(self.stats.in_flight(), 0, "{}", account(&self.stats));
        assert_eq!(self.stats.bytes_in_flight(), 0);
        assert_eq!(self.stats.consuming(), 0);
        self.stats
    }
}

pub fn account(stats: &BrokerStats) -> String {
    format!(
        "received {} = acked {} + requeued {} + dead-lettered {} + lost {} + in flight {}",
        stats.received(),
        stats.acked(),
        stats.requeued(),
        stats.dead_lettered(),
        stats.lost(),
        stats.in_flight()
    )
}

/// The message of a delivery.
pub fn message(delivery: &Delivery) -> &Message {
    match &delivery.content {
        DeliveryContent::Message(message) => message,
        DeliveryContent::Prepared(_) => panic!("a broker delivers messages"),
    }
}

pub fn number(delivery: &Delivery) -> usize {
    std::str::from_utf8(&message(delivery).body).unwrap().parse().unwrap()
}

pub fn ack(delivery: Delivery) {
    delivery.receipt.settle(&Disposition::Ack);
}

pub fn requeue(delivery: Delivery) {
    delivery.receipt.settle(&Disposition::Requeue);
}

pub fn refuse(delivery: Delivery) {
    delivery.receipt.settle(&refusal());
}

pub fn refusal() -> Disposition {
    Disposition::DeadLetter(Refusal::new(RefusalClass::MissingField, "id"))
}
