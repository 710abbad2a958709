use super::*;
use crate::domain::{AppLog, Document, Record, RecordId, Revision, Timestamp};
use crate::pipeline::receipt::{LedgerAction, Receipt, Settlement};
use proptest::prelude::*;
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use uuid::Uuid;

const LIMITS: BatchLimits =
    BatchLimits { actions: 4, bytes: 1_000, linger: Duration::from_millis(25), idle: Duration::from_millis(2) };

struct Maker {
    settlements: crate::pipeline::receipt::Settlements,
    ledger: UnboundedReceiver<Settlement>,
    next_tag: u64,
}

impl Maker {
    fn new() -> Self {
        let (settlements, ledger) = unbounded_channel();
        Self { settlements, ledger, next_tag: 1 }
    }

    fn envelope(&mut self, tenant: u128, id: u128, revision: i64, bytes: usize) -> Envelope<Prepared> {
        let other = RecordId::new(Uuid::from_u128(9));
        let record = Record::AppLog(Box::new(AppLog {
            id: RecordId::new(Uuid::from_u128(id)),
            tenant_id: TenantId::new(Uuid::from_u128(tenant)),
            app_id: crate::domain::AppId::new(Uuid::from_u128(9)),
            workflow_id: other,
            workflow_run_id: other,
            created_from: "web-app".into(),
            created_by_role: "account".into(),
            created_by: other,
            creator: None,
            created_at: Timestamp::MIN,
        }));
        let revision = Revision::from_stored(revision);
        let document =
            Arc::new(Document { record, revision, graph: None, truncated: Vec::new(), origin: None, extra: None });
        let receipt = Receipt::new(self.next_tag, self.settlements.clone());
        self.next_tag += 1;
        let payload = Prepared {
            document,
            graph: None,
            offloads: Vec::new(),
            bytes,
            received: Instant::now(),
            attempts: 0,
            charge: None,
        };
        Envelope { payload, receipt }
    }

    fn outcomes(&mut self) -> Vec<(u64, LedgerAction)> {
        std::iter::from_fn(|| self.ledger.try_recv().ok()).map(|one| (one.tag, one.outcome)).collect()
    }
}

fn ids(batch: &[Envelope<Prepared>]) -> Vec<u128> {
    batch.iter().map(|envelope| envelope.payload.document.record.id().uuid().as_u128()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_newest_snapshot_wins_and_carries_all_receipts() {
    let now = Instant::now();
    let (mut maker, mut window) = (Maker::new(), Window::new(LIMITS, now));
    for revision in [2, 3, 1] {
        window.add(maker.envelope(1, 1, revision, 10), now);
    }
    assert_eq!((window.len(), window.collapsed()), (1, 2));
    let batch = window.take(now);
    assert_eq!(batch[0].payload.revision(), Revision::from_stored(3));
    for envelope in batch {
        envelope.receipt.settle(&crate::domain::Disposition::Ack);
    }
    let mut outcomes = maker.outcomes();
    outcomes.sort_by_key(|(tag, _)| *tag);
    assert_eq!(outcomes, [(1, LedgerAction::Ack), (2, LedgerAction::Ack), (3, LedgerAction::Ack)]);
    assert!(window.is_empty() && window.bytes == 0);
}

#[tokio::test(start_paused = true)]
async fn tenants_take_turns() {
    let now = Instant::now();
    let (mut maker, mut window) = (Maker::new(), Window::new(LIMITS, now));
    for id in 1..=6 {
        window.add(maker.envelope(1, id, 1, 10), now);
    }
    window.add(maker.envelope(2, 20, 1, 10), now);
    window.add(maker.envelope(3, 30, 1, 10), now);
    assert_eq!(ids(&window.take(now)), [1, 20, 30, 2]);
    assert_eq!(ids(&window.take(now)), [3, 4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn batches_are_bounded_by_bytes_but_a_giant_goes_alone() {
    let now = Instant::now();
    let (mut maker, mut window) = (Maker::new(), Window::new(LIMITS, now));
    for (id, bytes) in [(1, 5_000), (2, 600), (3, 300), (4, 300)] {
        window.add(maker.envelope(1, id, 1, bytes), now);
    }
    assert_eq!(ids(&window.take(now)), [1]);
    assert_eq!(ids(&window.take(now)), [2, 3]);
    assert_eq!(ids(&window.take(now)), [4]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_due_when_full_or_silent_or_old() {
    let start = Instant::now();
    let (mut maker, mut window) = (Maker::new(), Window::new(LIMITS, start));
    assert_eq!(window.due(start), None);
    window.add(maker.envelope(1, 1, 1, 10), start);
    assert_eq!(window.due(start), Some(start + LIMITS.idle), "silence ends the wait");
    let later = start + Duration::from_millis(24);
    window.add(maker.envelope(1, 2, 1, 10), later);
    assert_eq!(window.due(later), Some(start + LIMITS.linger), "age ends the wait");
    for id in 3..=4 {
        window.add(maker.envelope(1, id, 1, 10), later);
    }
    assert_eq!(window.due(later), Some(later), "full");
}

proptest! {
    /// Whatever comes in goes out once, and every receipt with it.
    #[test]
    fn nothing_is_lost_or_doubled(arrivals in prop::collection::vec((1..4_u128, 1..20_u128, 0..5_i64, 1..400_usize), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let now = Instant::now();
            let (mut maker, mut window) = (Maker::new(), Window::new(LIMITS, now));
            let mut taken = 0;
            for (position, (tenant, id, revision, bytes)) in arrivals.iter().enumerate() {
                window.add(maker.envelope(*tenant, *id, *revision, *bytes), now);
                if position % 7 == 0 {
                    window.take(now).into_iter().for_each(|envelope| {
                        taken += 1;
                        envelope.receipt.settle(&crate::domain::Disposition::Ack);
                    });
                }
            }
            while !window.is_empty() {
                window.take(now).into_iter().for_each(|envelope| {
                    taken += 1;
                    envelope.receipt.settle(&crate::domain::Disposition::Ack);
                });
            }
            let mut tags: Vec<u64> = maker.outcomes().into_iter().map(|(tag, _)| tag).collect();
            tags.sort_unstable();
            assert_eq!(tags, (1..=arrivals.len() as u64).collect::<Vec<_>>());
            assert_eq!(taken + usize::try_from(window.collapsed()).unwrap(), arrivals.len());
            assert_eq!(window.bytes, 0);
        });
    }
}
