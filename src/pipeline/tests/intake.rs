//! What is decoded beside the flow, and the memory that unfolded messages may take.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::codec::{DecodeLimits, Decoded};

/// A record of which one fills the memory for unfolded messages.
fn heavy(record: &Record, bytes: usize) -> Record {
    let mut record = record.clone();
    let Record::Run(run) = &mut record else { panic!("a run") };
    run.inputs = Some(crate::domain::JsonText::from_clean(format!(r#"{{"text": "{}"}}"#, "a".repeat(bytes))));
    record
}

#[tokio::test]
async fn what_the_store_refused_takes_no_memory_for_unfolded_messages() {
    const MIB: usize = 1 << 20;
    let settings = PipelineSettings { unfold_budget_bytes: 2 * MIB as u64, ..PipelineSettings::default() };
    let mut flow = Flow::start_decoding(settings, Limits::default(), unfolding);
    let mut runs = distinct(100);
    runs.retain(|record| matches!(record, Record::Run(_)));
    let refused = heavy(&runs[0], MIB / 4);
    flow.sink.refuse_these([refused.key()]);
    flow.send_message(compressed(&refused), 0).await;
    assert!(class_of(&flow.settled().await.outcome).is_some());
    flow.send_message(compressed(&heavy(&runs[1], 2 * MIB)), 0).await;
    let settled = tokio::time::timeout(Duration::from_secs(30), flow.ledger.recv()).await;
    assert_eq!(settled.expect("it takes the whole budget, and gets it").unwrap().outcome, LedgerAction::Ack);
}

static DECODED: AtomicUsize = AtomicUsize::new(0);

/// Takes what a Celery message unfolds to for a native event, so that a test need not write Celery's.
fn unfolding(message: &Message, limits: DecodeLimits) -> Result<Decoded, Refusal> {
    if message.source == QueueFormat::Native {
        return crate::codec::decode(message, limits);
    }
    let mut body = Vec::new();
    std::io::copy(&mut flate2::read::ZlibDecoder::new(&*message.body), &mut body).unwrap();
    let message = Message { source: QueueFormat::Native, compression: None, body: body.into(), ..message.clone() };
    crate::codec::decode(&message, limits)
}

fn counted(message: &Message, limits: DecodeLimits) -> Result<Decoded, Refusal> {
    DECODED.fetch_add(usize::from(message.source == QueueFormat::Celery), Ordering::Relaxed);
    unfolding(message, limits)
}

fn compressed(record: &Record) -> Message {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&encode_native(record)).unwrap();
    let body = encoder.finish().unwrap().into();
    let compression = Some("application/x-gzip".into());
    Message { source: QueueFormat::Celery, content_type: None, compression, task: None, body }
}

#[tokio::test]
async fn what_unfolds_is_decoded_only_as_far_as_memory_allows() {
    const MIB: usize = 1 << 20;
    let settings = PipelineSettings { unfold_budget_bytes: 8 * MIB as u64, ..PipelineSettings::default() };
    let limits = Limits { field_bytes: 2_000, document_bytes: 8_000 };
    let mut flow = Flow::start_decoding(settings, limits, counted);
    // The full texts cannot be uploaded, so what is decoded stays in memory.
    let folder = flow.payloads.path().to_owned();
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    let mut records = distinct(100);
    records.retain(|record| matches!(record, Record::Run(_)));
    for record in records.iter_mut().take(6) {
        let Record::Run(run) = record else { panic!("a run") };
        run.inputs = Some(crate::domain::JsonText::from_clean(format!(r#"{{"text": "{}"}}"#, "a".repeat(3 * MIB))));
        let message = compressed(record);
        assert!(message.body.len() < MIB / 10, "much smaller than what it unfolds to");
        flow.send_message(message, 0).await;
    }
    let plain = distinct(400).into_iter().find(|record| matches!(record, Record::AppLog(_))).unwrap();
    flow.send_record(&plain).await;
    assert_eq!(flow.settled().await.outcome, LedgerAction::Ack, "what is not heavy passes by");
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !flow.stats.is_payload_breaker_open() {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(DECODED.load(Ordering::Relaxed), 1, "twice three mebibytes do not fit a second time");
    std::fs::remove_file(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let outcomes = flow.settled_many(6).await;
    assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Ack));
    assert_eq!((DECODED.load(Ordering::Relaxed), flow.sink.documents().len()), (6, 7));
}
