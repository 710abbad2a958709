//! The captured messages through the real flow into a real store, shuffled with many seeds, each message twice, the
//! batches of two workers racing: always the rows that Dify made of them.

use std::sync::Arc;

use difylog::app::Stores;
use difylog::pipeline::gate::gate;
use difylog::pipeline::receipt::{LedgerAction, Receipt, Settlement};
use difylog::pipeline::stats::PipelineStats;
use difylog::pipeline::{Delivery, DeliveryContent, Pipeline, PipelinePorts, PipelineSettings};
use difylog::store::elastic::{ElasticStore, Tenancy};
use difylog::store::payload::{PayloadSettings, PayloadStore};
use difylog::store::sqlite::{SqliteSettings, SqliteStore};
use difylog::store::{Store, StoreAdmin as _};
use difylog::telemetry::system_clock;
use futures::StreamExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc::{channel, unbounded_channel};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::flow::corpus::stored;
use crate::support::corpus::{lines, message};
use crate::support::effort::rounds;
use crate::support::expected_rows::compare;
use crate::support::namespace::Namespace;

const WORKERS: usize = 2;
const SEEDS_AT_A_TIME: usize = 8;

/// The captures with every tenant replaced by one of this seed, so that seeds can share a store.
fn of_seed(captures: &[Value], seed: u64) -> Vec<Value> {
    let rename = |text: &str| {
        captured_tenants().iter().enumerate().fold(text.to_owned(), |text, (number, tenant)| {
            let own = Uuid::from_u128((u128::from(seed) << 64) | (1 << 8) | number as u128);
            text.replace(tenant, &own.to_string())
        })
    };
    captures.iter().map(|capture| serde_json::from_str(&rename(&capture.to_string())).unwrap()).collect()
}

fn captured_tenants() -> Vec<String> {
    let rows = lines("celery_expected_rows.jsonl");
    let mut tenants: Vec<String> =
        rows.iter().map(|row| row["row"]["tenant_id"].as_str().unwrap().to_owned()).collect();
    tenants.sort();
    tenants.dedup();
    tenants
}

async fn run_seed(stores: &Stores, messages: &[Value], expected: &[Value], seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut order: Vec<&Value> = messages.iter().chain(messages).collect();
    order.shuffle(&mut rng);
    let (settlements, mut ledger) = unbounded_channel();
    let mut workers = Vec::new();
    let mut queues = Vec::new();
    for number in 0..WORKERS {
        let ports = PipelinePorts {
            sink: Arc::clone(&stores.store) as _,
            payloads: Arc::clone(&stores.payloads),
            gate: gate().0,
            stats: Arc::new(PipelineStats::default()),
            clock: system_clock(),
            seed: seed + number as u64,
        };
        let settings = PipelineSettings { batch_actions: rng.random_range(1..60), ..PipelineSettings::default() };
        let (sender, inbox) = channel(16);
        let limits = difylog::codec::truncate::Limits::default();
        workers.push(tokio::spawn(Pipeline::new(settings, limits.into(), ports).run(inbox, CancellationToken::new())));
        queues.push(sender);
    }
    for (tag, capture) in order.iter().enumerate() {
        let receipt = Receipt::new(tag as u64, settlements.clone());
        let queue = &queues[rng.random_range(0..WORKERS)];
        let content = DeliveryContent::Message(message(capture));
        queue.send(Delivery { content, receipt }).await.unwrap_or_else(|_| panic!("the flow ended"));
    }
    drop((queues, settlements));
    for worker in workers {
        worker.await.unwrap();
    }
    let mut settled = 0;
    while let Some(Settlement { outcome, .. }) = ledger.recv().await {
        assert_eq!(outcome, LedgerAction::Ack, "seed {seed}");
        settled += 1;
    }
    assert_eq!(settled, order.len(), "seed {seed}");
    let (differences, _) = compare(expected, &stored(stores, expected).await);
    assert!(differences.is_empty(), "seed {seed}:\n{}", differences.join("\n"));
}

/// All seeds over one store, some at a time: each has tenants of its own.
async fn all_seeds(stores: Stores) {
    let (messages, rows) = (lines("celery_messages.jsonl"), lines("celery_expected_rows.jsonl"));
    let (stores, messages, rows) = (&stores, &messages, &rows);
    futures::stream::iter(0..rounds(20, 100))
        .for_each_concurrent(SEEDS_AT_A_TIME, async |seed| {
            run_seed(stores, &of_seed(messages, seed), &of_seed(rows, seed), seed).await;
        })
        .await;
}

fn payloads(folder: &TempDir) -> Arc<PayloadStore> {
    let settings = PayloadSettings { dir: folder.path().join("payloads"), s3: None };
    Arc::new(PayloadStore::open(&settings).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_orders_over_sqlite() {
    let folder = TempDir::new().unwrap();
    let settings = SqliteSettings { dir: folder.path().join("sqlite"), ..SqliteSettings::default() };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::new(settings).unwrap());
    store.install().await.unwrap();
    all_seeds(Stores { store, payloads: payloads(&folder) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_orders_over_the_engine() {
    let folder = TempDir::new().unwrap();
    let namespace = Namespace::new();
    let store = ElasticStore::new(namespace.settings(Tenancy::Shared)).unwrap();
    store.install().await.unwrap();
    all_seeds(Stores { store: Arc::new(store), payloads: payloads(&folder) }).await;
}
