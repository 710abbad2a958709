//! Stores that answer and take nothing, and payload stores that are away.

use super::*;
use crate::pipeline::gate::Gate;

fn limits() -> Limits {
    Limits { field_bytes: 2_000, document_bytes: 8_000 }
}

/// Runs with a text that is cut, each with another.
fn truncated(count: usize) -> Vec<Record> {
    let mut records = distinct(400);
    records.retain(|record| matches!(record, Record::Run(_)));
    records.truncate(count);
    for (position, record) in records.iter_mut().enumerate() {
        let Record::Run(run) = record else { panic!("a run") };
        let text = format!(r#"{{"text": "{position}{}"}}"#, "长".repeat(5_000));
        run.inputs = Some(crate::domain::JsonText::from_clean(text));
    }
    assert_eq!(records.len(), count);
    records
}

fn plain(count: usize) -> Vec<Record> {
    let mut records = distinct(count * 2);
    records.retain(|record| matches!(record, Record::Node(_) | Record::AppLog(_)));
    records.truncate(count);
    records
}

/// Takes the payload store away, or brings it back: a file stands where its folder was.
fn payloads_away(flow: &Flow, away: bool) {
    let folder = flow.payloads.path();
    if away {
        std::fs::remove_dir_all(folder).unwrap();
        std::fs::write(folder, "no folder").unwrap();
    } else {
        std::fs::remove_file(folder).unwrap();
        std::fs::create_dir(folder).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_nothing_gets_everything_back_once_and_is_tried_by_writing() {
    let mut flow = Flow::start(PipelineSettings::default());
    flow.sink.set_blocked(true);
    let records = distinct(40);
    for record in &records {
        flow.send_record(record).await;
    }
    let outcomes = flow.settled_many(40).await;
    assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Requeue));
    let (mut open, requests) = (0, flow.sink.requests());
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        open += u32::from(flow.stats.is_breaker_open() && flow.gate.borrow().is_closed());
    }
    assert_eq!(open, 600, "closed and not ready all the time");
    assert!(flow.ledger.try_recv().is_err());
    let trials = flow.sink.requests() - requests;
    assert!((1_000..10_000).contains(&trials), "pauses grow to the longest: {trials} trials in ten hours");
    flow.sink.set_blocked(false);
    let mended = tokio::time::Instant::now();
    flow.gate.wait_for(Gate::is_open).await.unwrap();
    for record in &records {
        flow.send_record(record).await;
    }
    let outcomes = flow.settled_many(40).await;
    assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Ack));
    assert!(mended.elapsed() < Duration::from_secs(15), "at full rate again: {:?}", mended.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_worker_takes_single_messages_until_the_store_has_judged_one() {
    for refuses in [false, true] {
        let mut flow = Flow::start_first(PipelineSettings::default());
        assert!(*flow.gate.borrow() == Gate::Trial && !flow.stats.is_gate_closed(), "it is ready");
        flow.sink.set_blocked(true);
        let mut records = plain(30);
        // One consumer has a message of one tenant, the other one of another: it is the store that takes nothing.
        let first = records.swap_remove(0);
        let other = records.iter().position(|record| record.tenant_id() != first.tenant_id()).unwrap();
        flow.send_record(&first).await;
        flow.send_record(&records.swap_remove(other)).await;
        let outcomes = flow.settled_many(2).await;
        assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Requeue), "given back after the release");
        assert!(flow.gate.borrow().is_closed());
        flow.sink.set_blocked(false);
        if refuses {
            flow.sink.refuse_these([records[1].key()]);
        }
        // The trial writes what was kept.
        flow.gate.wait_for(Gate::is_open).await.unwrap();
        flow.send_record(&records[1]).await;
        assert_eq!(flow.settled().await.outcome == LedgerAction::Ack, !refuses);
    }
    let mut flow = Flow::start_first(PipelineSettings::default());
    let records = plain(1);
    flow.sink.refuse_these([records[0].key()]);
    flow.send_record(&records[0]).await;
    assert!(class_of(&flow.settled().await.outcome).is_some());
    flow.gate.wait_for(Gate::is_open).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_payload_store_holds_only_what_has_full_texts() {
    let mut flow = Flow::start_with(PipelineSettings::default(), limits());
    payloads_away(&flow, true);
    for record in truncated(10) {
        flow.send_record(&record).await;
    }
    while !flow.stats.is_payload_breaker_open() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for record in plain(30) {
        flow.send_record(&record).await;
    }
    let outcomes = flow.settled_many(30).await;
    assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Ack));
    assert_eq!(flow.sink.documents().len(), 30, "no document before its full texts");
    let requests = flow.sink.requests();
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert_eq!(flow.sink.requests(), requests, "nothing is sent again and again");
    assert!(flow.gate.borrow().is_open() && !flow.stats.is_breaker_open());
    payloads_away(&flow, false);
    let outcomes = flow.settled_many(10).await;
    assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Ack));
    assert!(!flow.stats.is_payload_breaker_open());
}

#[tokio::test(start_paused = true)]
async fn what_was_given_back_often_stops_everything_rather_than_be_lost() {
    let mut flow = Flow::start_with(PipelineSettings::default(), limits());
    payloads_away(&flow, true);
    let record = &truncated(1)[0];
    let body: Bytes = encode_native(record).into();
    let message = Message { source: QueueFormat::Native, content_type: None, compression: None, task: None, body };
    flow.send_message(message, 2).await;
    assert_eq!(flow.settled().await.outcome, LedgerAction::Requeue);
    assert!(flow.gate.borrow().is_closed() && flow.stats.is_breaker_open());
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert!(flow.gate.borrow().is_closed() && flow.ledger.try_recv().is_err());
    payloads_away(&flow, false);
    flow.gate.wait_for(Gate::is_open).await.unwrap();
    flow.send_record(record).await;
    assert_eq!(flow.settled().await.outcome, LedgerAction::Ack);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_back_often_is_seen_while_deliveries_never_end() {
    let mut flow = Flow::start_with(PipelineSettings::default(), limits());
    payloads_away(&flow, true);
    let body: Bytes = encode_native(&truncated(1)[0]).into();
    let message = Message { source: QueueFormat::Native, content_type: None, compression: None, task: None, body };
    let tag = flow.send_message(message, 2).await;
    let (records, mut sent) = (plain(64), 0);
    let begin = tokio::time::Instant::now();
    let returned = loop {
        assert!(begin.elapsed() < Duration::from_secs(600), "it is not looked at");
        // The channel is full whenever the clock moves.
        while flow.deliveries.as_ref().unwrap().capacity() > 0 {
            flow.send_record(&records[sent % records.len()]).await;
            sent += 1;
        }
        tokio::time::advance(Duration::from_millis(500)).await;
        let settled = std::iter::from_fn(|| flow.ledger.try_recv().ok()).find(|settled| settled.tag == tag);
        if let Some(settled) = settled {
            break settled;
        }
    };
    assert_eq!(returned.outcome, LedgerAction::Requeue);
    assert!(flow.gate.borrow().is_closed());
}
