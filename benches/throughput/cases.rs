//! The cases: who consumes, and what lies in the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use difylog::amqp::{Consumption, EventPublisher, Outgoing, Patience, captured_message, set_up};
use difylog::codec::encode_native;
use difylog::config::{self, Environment, Settings};
use difylog::domain::{BulkAction, SinkFault, Verdict};
use difylog::pipeline::gate::gate;
use difylog::pipeline::stats::PipelineStats;
use difylog::pipeline::{Pipeline, PipelinePorts};
use difylog::store::payload::PayloadStore;
use difylog::store::sqlite::SqliteStore;
use difylog::store::{BulkSink, StoreAdmin};
use difylog::synthetic::{Generator, Shape};
use difylog::telemetry::system_clock;
use futures::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::usage::Meter;

pub fn describe(case: &str) -> &'static str {
    match case {
        "bare" => "bare drain, acks of 500",
        "counting" => "difylog, a sink that counts",
        _ => "difylog, SQLite",
    }
}

pub async fn run(case: &str) {
    let (load, consumer) = case.split_once(' ').unwrap();
    let messages: u64 = std::env::var("DIFYLOG_BENCH_MESSAGES").unwrap().parse().unwrap();
    let url = std::env::var("DIFYLOG_TEST_AMQP_URL")
        .unwrap_or_else(|_| panic!("scripts/bench starts a broker and sets DIFYLOG_TEST_AMQP_URL"));
    let folder = TempDir::new().unwrap();
    let settings = settings(&url, load, &folder);
    set_up(&settings.amqp).await.unwrap();
    let published = fill(&settings, load, messages).await;
    match consumer {
        "bare" => bare(&url, &settings.amqp.queues[0].name, published).await,
        "counting" => worker(settings, Arc::new(Counting::default()), published).await,
        _ => {
            let store = SqliteStore::new(settings.store.sqlite.clone()).unwrap();
            store.install().await.unwrap();
            worker(settings, Arc::new(store), published).await;
        }
    }
}

fn settings(url: &str, load: &str, folder: &TempDir) -> Settings {
    let data = folder.path().display();
    let text = format!(
        "[store.sqlite]\ndir = \"{data}/sqlite\"\n[payloads]\ndir = \"{data}/payloads\"\n\
         [amqp]\nurls = [\"{url}\"]\n[[amqp.queues]]\nname = \"bench.{load}\"\nsource = \"{load}\"\n"
    );
    let path = folder.path().join("bench.toml");
    std::fs::write(&path, text).unwrap();
    config::load(Some(&path), &Environment::default(), &[]).unwrap().settings
}

/// Fills the queue before anything is measured.
async fn fill(settings: &Settings, load: &str, messages: u64) -> u64 {
    let patience = Patience::new(std::time::Duration::from_secs(60), |_| {});
    let publisher = EventPublisher::connect(&settings.amqp, patience).await.unwrap();
    let mut sent = 0;
    while sent < messages {
        let batch = if load == "native" { native(&publisher, sent) } else { captured(&settings.amqp.queues[0].name) };
        publisher.publish(&batch).await.unwrap();
        sent += batch.len() as u64;
    }
    publisher.close().await;
    sent
}

/// Made-up runs; a new seed each time, so that no two batches hold the same records.
fn native(publisher: &EventPublisher, seed: u64) -> Vec<Outgoing> {
    let mut generator = Generator::new(seed, "2026-11-01T00:00:00".parse().unwrap(), Shape::default());
    (0..20)
        .flat_map(|_| generator.run())
        .map(|record| publisher.native(record.kind(), record.tenant_id(), Bytes::from(encode_native(&record))))
        .collect()
}

/// The captured messages but the one of 2 MB, which would measure memory bandwidth only.
fn captured(queue: &str) -> Vec<Outgoing> {
    include_str!("../../tests/corpus/celery_messages.jsonl")
        .lines()
        .filter(|line| line.len() < 100_000)
        .map(|line| line.replace("\"routing_key\": \"workflow_storage\"", &format!("\"routing_key\": \"{queue}\"")))
        .map(|line| captured_message(&line).unwrap())
        .collect()
}

async fn bare(url: &str, queue: &str, messages: u64) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let meter = Meter::start();
    channel.basic_qos(2000, BasicQosOptions::default()).await.unwrap();
    let mut consumer = channel
        .basic_consume(queue.into(), "bare".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await
        .unwrap();
    for number in 1..=messages {
        let delivery = consumer.next().await.unwrap().unwrap();
        if number % 500 == 0 || number == messages {
            channel.basic_ack(delivery.delivery_tag, BasicAckOptions { multiple: true }).await.unwrap();
        }
    }
    meter.report(messages);
}

/// Everything a worker is, but the sink.
async fn worker(settings: Settings, sink: Arc<dyn BulkSink>, messages: u64) {
    let (keeper, watch) = gate();
    let ports = PipelinePorts {
        sink,
        payloads: Arc::new(PayloadStore::open(&settings.payloads).unwrap()),
        gate: keeper,
        stats: Arc::new(PipelineStats::default()),
        clock: system_clock(),
        seed: 1,
    };
    let (deliveries, inbox) = tokio::sync::mpsc::channel(512);
    let consumption = Consumption::new(settings.amqp.clone(), system_clock()).unwrap();
    let stats = consumption.stats();
    let stop = CancellationToken::new();
    let meter = Meter::start();
    let flow = tokio::spawn(
        Pipeline::new(settings.pipeline, settings.truncate.into(), ports).run(inbox, CancellationToken::new()),
    );
    let consuming = tokio::spawn(consumption.run(deliveries, watch, stop.clone(), std::time::Duration::from_secs(20)));
    while stats.acked() < messages {
        assert_eq!(stats.dead_lettered(), 0);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    meter.report(messages);
    stop.cancel();
    consuming.await.unwrap().unwrap();
    flow.await.unwrap();
}

/// Confirms everything and keeps nothing.
#[derive(Default)]
struct Counting {
    actions: AtomicU64,
}

#[async_trait]
impl BulkSink for Counting {
    async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault> {
        self.actions.fetch_add(actions.len() as u64, Ordering::Relaxed);
        Ok(vec![Verdict::Stored; actions.len()])
    }

    async fn probe(&self) -> Result<(), SinkFault> {
        Ok(())
    }
}
