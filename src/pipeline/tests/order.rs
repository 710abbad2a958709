//! Any order, repetition and batching of the same snapshots ends in the same documents.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Snapshots of two runs, one of them paused and resumed in the next month with a retried node.
fn snapshots() -> Vec<Record> {
    let mut records = generator().run();
    let mut second = Generator::new(5, "2026-11-30T23:59:59.9".parse().unwrap(), Shape::default()).run();
    let Record::Run(started) = &second[0] else { panic!("a run") };
    let mut paused = started.clone();
    paused.status = crate::domain::RunStatus::Paused;
    let mut resumed = started.clone();
    resumed.created_at = "2026-12-02T08:00:00".parse().unwrap();
    let Record::Node(node) = &second[3] else { panic!("a node") };
    let mut retried = node.clone();
    retried.index += 3;
    second.truncate(9);
    second.extend([Record::Run(paused), Record::Run(resumed), Record::Node(retried)]);
    records.extend(second);
    records
}

/// Returns the newest revision of every record and month, however it got there.
fn expected(records: &[Record]) -> BTreeMap<(crate::domain::record::RecordKey, crate::domain::Month), i64> {
    let mut newest = BTreeMap::new();
    for record in records {
        let revision = crate::domain::Revision::of(record).value();
        let slot = newest.entry((record.key(), record.month())).or_insert(revision);
        *slot = revision.max(*slot);
    }
    newest
}

fn run_through(order: &[usize], records: &[Record], settings: PipelineSettings) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut flow = Flow::start(settings);
        for position in order {
            flow.send_record(&records[*position]).await;
        }
        let (outcomes, sink) = flow.finish().await;
        assert_eq!(outcomes.len(), order.len());
        assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Ack));
        let stored: BTreeMap<_, _> = sink
            .documents()
            .into_iter()
            .map(|document| ((document.key(), document.month()), document.revision.value()))
            .collect();
        assert_eq!(stored, expected(records));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn ends_in_the_same_documents(
        order in Just((0..snapshots().len()).flat_map(|position| [position, position]).collect::<Vec<_>>()).prop_shuffle(),
        batch_actions in 1..40_usize,
        requests_in_flight in 1..5_usize,
        cache_entries in prop_oneof![Just(0_usize), Just(4), Just(50_000)],
    ) {
        let settings =
            PipelineSettings { batch_actions, requests_in_flight, cache_entries, ..PipelineSettings::default() };
        run_through(&order, &snapshots(), settings);
    }
}
