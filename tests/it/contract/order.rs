//! Any order, repetition and split of the snapshots of records, over any number of writers, ends in the same documents.

use std::sync::Arc;

use difylog::domain::{AppId, BulkAction, NodeStatus, Record, TenantId, Verdict};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::contract::subject::Subject;
use crate::support::records::{
    self, app, at, ended, filled_in, later, node, node_filled_in, paused_and_resumed, retried, run, tenant,
};

const SEEDS: u64 = 20;

/// Legal sequences of snapshots of several new records, oldest first.
fn sequences(tenant: TenantId, app: AppId) -> Vec<Vec<Record>> {
    let start = at("2026-10-31T23:59:58.500000");
    let plain = run(tenant, app, start);
    let resumed_same_month = run(tenant, app, at("2026-11-02T08:00:00"));
    let resumed_next_month = run(tenant, app, start);
    let retried_node = node(tenant, app, plain.id, 2, start);
    let failed_node = node(tenant, app, plain.id, 3, later(start, 10));
    let poor_at_first = run(tenant, app, at("2026-11-03T08:00:00"));
    let poor_node = node(tenant, app, plain.id, 4, later(start, 20));
    vec![
        filled_in(&poor_at_first),
        node_filled_in(&poor_node),
        [plain.clone(), ended(plain, 700)].map(|run| Record::Run(Box::new(run))).into(),
        paused_and_resumed(&resumed_same_month, at("2026-11-02T09:00:00")),
        paused_and_resumed(&resumed_next_month, at("2026-11-01T00:00:01")),
        retried(&retried_node, NodeStatus::Succeeded),
        retried(&failed_node, NodeStatus::Failed),
    ]
}

/// Every snapshot once to three times, in any order.
fn shuffled(sequences: &[Vec<Record>], rng: &mut StdRng) -> Vec<Record> {
    let mut snapshots = Vec::new();
    for snapshot in sequences.iter().flatten() {
        for _ in 0..rng.random_range(1..=3) {
            snapshots.push(snapshot.clone());
        }
    }
    snapshots.shuffle(rng);
    snapshots
}

/// Splits into requests of any size.
fn requests(snapshots: Vec<Record>, rng: &mut StdRng) -> Vec<Vec<BulkAction>> {
    let mut requests = Vec::new();
    let mut rest = snapshots.into_iter().peekable();
    while rest.peek().is_some() {
        let size = rng.random_range(1..=9);
        requests.push(rest.by_ref().take(size).flat_map(records::actions).collect());
    }
    requests
}

fn assert_settled(verdicts: &[Verdict]) {
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Stored | Verdict::Superseded)), "{verdicts:?}");
}

async fn assert_ends(subject: &Subject, sequences: &[Vec<Record>], seed: u64) {
    subject.refresh().await;
    for newest in sequences.iter().filter_map(|sequence| sequence.last()) {
        let found = subject.read(newest.key()).await;
        assert_eq!(found, Some(records::whole(newest.clone())), "seed {seed}");
    }
}

pub async fn any_order_ends_in_the_same_documents(subject: &Subject) {
    // One tenant for all seeds: in a tenancy of its own, each costs an engine six indices.
    let (tenant, app) = (tenant(), app());
    for seed in 0..SEEDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let sequences = sequences(tenant, app);
        let snapshots = shuffled(&sequences, &mut rng);
        for request in requests(snapshots, &mut rng) {
            assert_settled(&subject.apply(&request).await);
        }
        assert_ends(subject, &sequences, seed).await;
    }
}

pub async fn any_order_over_concurrent_writers(subject: &Subject) {
    // One tenant for all seeds: in a tenancy of its own, each costs an engine six indices.
    let (tenant, app) = (tenant(), app());
    for seed in 0..SEEDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let sequences = sequences(tenant, app);
        let snapshots = shuffled(&sequences, &mut rng);
        let writers = requests(snapshots, &mut rng).into_iter().map(|request| {
            let store = Arc::clone(&subject.store);
            tokio::spawn(async move { store.apply(&request).await.unwrap() })
        });
        for verdicts in futures::future::join_all(writers).await {
            assert_settled(&verdicts.unwrap());
        }
        assert_ends(subject, &sequences, seed).await;
    }
}
