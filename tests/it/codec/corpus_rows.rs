//! Dify's captured messages end in the rows that Dify's own tasks wrote, in whatever order they arrive.

use std::collections::BTreeMap;

use difylog::codec::{DecodeLimits, decode};
use difylog::domain::record::RecordKey;
use difylog::domain::{Record, Revision};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::support::corpus::{self, records};
use crate::support::expected_rows::{Deviation, compare};

/// What a store holds after these snapshots came in this order.
fn applied<'a>(snapshots: impl IntoIterator<Item = &'a Record>) -> BTreeMap<RecordKey, &'a Record> {
    let mut stored: BTreeMap<RecordKey, &Record> = BTreeMap::new();
    for snapshot in snapshots {
        let slot = stored.entry(snapshot.key()).or_insert(snapshot);
        if Revision::of(snapshot) >= Revision::of(slot) {
            *slot = snapshot;
        }
    }
    stored
}

#[test]
fn messages_in_order_end_in_dify_s_rows() {
    let records = records("celery_messages.jsonl");
    assert_eq!(records.len(), 71);
    let expected = corpus::lines("celery_expected_rows.jsonl");
    let (differences, deviations) = compare(&expected, applied(&records).into_values());
    assert_eq!(differences, Vec::<String>::new());
    // `exceptions_count` is 0 in all captured messages; the other deviations must really occur.
    assert_eq!(
        deviations,
        [Deviation::FirstStartKept, Deviation::ErrorEmptyText, Deviation::EmptyPayload, Deviation::ResumedRun]
    );
}

#[test]
fn order_and_repetition_do_not_matter() {
    let records = records("celery_messages.jsonl");
    let expected = applied(&records);
    assert_eq!(applied(records.iter().rev()), expected, "reversed");
    for seed in 0..100 {
        let mut shuffled: Vec<&Record> = records.iter().chain(&records).collect();
        shuffled.shuffle(&mut StdRng::seed_from_u64(seed));
        assert_eq!(applied(shuffled), expected, "seed {seed}");
    }
}

#[test]
fn edge_messages_decode() {
    let records = records("celery_edge_messages.jsonl");
    assert_eq!(records.len(), 6);
    for record in records {
        let Record::Run(run) = record else { panic!("all edge messages are runs") };
        assert!(run.inputs.unwrap().as_str().contains("压缩"), "decompressed and unescaped");
    }
}

#[test]
fn what_python_alone_reads_is_cleaned_and_counted() {
    let cleaned: Vec<_> = corpus::lines("celery_messages.jsonl")
        .iter()
        .map(|line| decode(&corpus::message(line), DecodeLimits::default()).unwrap().cleaned)
        .collect();
    let [.., node, run] = &cleaned[..] else { panic!() };
    assert_eq!((node.nan, node.surrogates, run.nan, run.surrogates), (3, 1, 1, 0));
    assert_eq!(cleaned.iter().map(|cleaned| cleaned.nan).sum::<u64>(), 4);
    assert!(cleaned.iter().all(|cleaned| cleaned.typed_leaves >= 1), "every message holds instants");
}
