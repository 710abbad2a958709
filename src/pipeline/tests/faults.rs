//! Faults of whole requests: holding, splitting, the breaker, giving back, and the dead-letter limit.

use super::*;
use crate::domain::{FaultKind, SinkFault};
use crate::pipeline::gate::Gate;

fn fault(kind: FaultKind) -> SinkFault {
    SinkFault::new(kind, "scripted")
}

fn script_faults(flow: &Flow, kind: FaultKind, count: usize) {
    for _ in 0..count {
        flow.sink.script(Box::new(move |_| Err(fault(kind))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_any_kind_holds_the_batch_and_nothing_is_given_back() {
    for kind in [
        FaultKind::Unreachable,
        FaultKind::Overloaded,
        FaultKind::Unauthorized,
        FaultKind::Malformed,
        FaultKind::NotSetUp,
        FaultKind::Storage,
    ] {
        let mut flow = Flow::start(PipelineSettings::default());
        script_faults(&flow, kind, 3);
        for record in distinct(5) {
            flow.send_record(&record).await;
        }
        let outcomes = flow.settled_many(5).await;
        assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Ack), "{kind}");
        assert_eq!(flow.sink.documents().len(), 5, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_number_of_verdicts_than_actions_is_not_believed() {
    let mut flow = Flow::start(PipelineSettings::default());
    flow.sink.script(Box::new(|_| Ok(vec![Verdict::Stored])));
    for record in distinct(3) {
        flow.send_record(&record).await;
    }
    let outcomes = flow.settled_many(3).await;
    assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Ack));
    assert_eq!((flow.sink.requests(), flow.sink.documents().len()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_stops_pulling_until_a_probe_succeeds() {
    let settings = PipelineSettings { breaker_threshold: 2, ..PipelineSettings::default() };
    let mut flow = Flow::start(settings);
    flow.sink.set_down(true);
    flow.send_record(&distinct(1)[0]).await;
    while !flow.stats.is_breaker_open() {
        tokio::time::advance(Duration::from_millis(50)).await;
        tokio::task::yield_now().await;
    }
    let requests = flow.sink.requests();
    let sender = flow.deliveries.as_ref().unwrap().clone();
    for record in distinct(10) {
        flow.send_record(&record).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(flow.sink.requests() - requests < 60, "trials of one document, and ever fewer, while the breaker is open");
    assert!(sender.capacity() <= 54, "deliveries wait in the channel, the prefetch window is the pause");
    flow.sink.set_down(false);
    let outcomes = flow.settled_many(11).await;
    assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Ack));
    assert!(!flow.stats.is_breaker_open() && flow.gate.borrow().is_open());
}

#[tokio::test(start_paused = true)]
async fn a_long_outage_gives_everything_back_once_and_stops_consuming() {
    let mut flow = Flow::start(PipelineSettings { release_seconds: 60, ..PipelineSettings::default() });
    flow.sink.set_down(true);
    let records = distinct(4);
    for record in &records {
        flow.send_record(record).await;
    }
    let outcomes = flow.settled_many(4).await;
    assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Requeue));
    flow.gate.wait_for(|gate| !gate.is_open()).await.unwrap();
    flow.sink.set_down(false);
    flow.gate.wait_for(Gate::is_open).await.unwrap();
    for record in &records {
        flow.send_record(record).await;
    }
    let outcomes = flow.settled_many(4).await;
    assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Ack));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_large_is_split_and_its_neighbours_are_stored() {
    let mut flow = Flow::start(PipelineSettings::default());
    let records = distinct(8);
    let giant = records[3].key();
    flow.sink.refuse_requests_with(giant, 1);
    for record in &records {
        flow.send_record(record).await;
    }
    let outcomes = flow.settled_many(8).await;
    let letters: Vec<_> = outcomes.iter().filter_map(|(tag, outcome)| Some((*tag, class_of(outcome)?))).collect();
    assert_eq!(letters, [(4, RefusalClass::TooLarge)]);
    assert_eq!(flow.sink.documents().len(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_document_that_is_too_large_is_cut_harder_before_it_is_given_up() {
    let mut flow = Flow::start(PipelineSettings::default());
    let mut run = generator().run().remove(0);
    let Record::Run(inner) = &mut run else { panic!("a run") };
    inner.inputs = Some(crate::domain::JsonText::from_clean(format!(r#"{{"text": "{}"}}"#, "a".repeat(900_000))));
    flow.sink.refuse_requests_with(run.key(), 300_000);
    flow.send_record(&run).await;
    assert_eq!(flow.settled().await.outcome, LedgerAction::Ack);
    let document = flow.sink.documents().remove(0);
    assert_eq!(document.truncated.len(), 1);
    assert!(document.truncated[0].original_bytes > 900_000, "the mark names the original");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_panics_holds_its_documents() {
    let mut flow = Flow::start(PipelineSettings::default());
    flow.sink.panic_next(2);
    for record in distinct(5) {
        flow.send_record(&record).await;
    }
    let outcomes = flow.settled_many(5).await;
    assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Ack));
    assert_eq!(flow.sink.documents().len(), 5);
}

/// The breaker would stay open for ever if no further probe came.
#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_is_followed_by_another() {
    let mut flow = Flow::start(PipelineSettings::default());
    flow.sink.set_down(true);
    for record in distinct(5) {
        flow.send_record(&record).await;
    }
    while !flow.stats.is_breaker_open() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    flow.sink.panic_next(4);
    flow.sink.set_down(false);
    let outcomes = flow.settled_many(5).await;
    assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Ack));
    assert_eq!(flow.sink.documents().len(), 5);
    assert!(!flow.stats.is_breaker_open());
}

#[tokio::test(start_paused = true)]
async fn abandoning_gives_back_what_is_held() {
    let mut flow = Flow::start(PipelineSettings::default());
    flow.sink.set_down(true);
    for record in distinct(3) {
        flow.send_record(&record).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    flow.abandon.cancel();
    let (outcomes, _) = flow.finish().await;
    assert_eq!(outcomes.into_values().collect::<Vec<_>>(), vec![LedgerAction::Requeue; 3]);
}

/// A removal of what no document names may come between the upload of a text and the document that names it.
#[tokio::test(start_paused = true)]
async fn a_full_text_that_goes_before_its_document_is_stored_is_put_again() {
    let limits = Limits { field_bytes: 2_000, document_bytes: 8_000 };
    let mut flow = Flow::start_with(PipelineSettings::default(), limits);
    let mut run = generator().run().remove(0);
    let Record::Run(inner) = &mut run else { panic!("a run") };
    inner.inputs = Some(crate::domain::JsonText::from_clean(format!(r#"{{"text": "{}"}}"#, "x".repeat(5_000))));
    let payloads = flow.payloads.path().to_path_buf();
    let folder = payloads.join(run.tenant_id().to_string());
    flow.sink.script(Box::new(move |actions| {
        std::fs::remove_dir_all(folder).unwrap();
        Ok(vec![Verdict::Stored; actions.len()])
    }));
    flow.send_record(&run).await;
    assert_eq!(flow.settled().await.outcome, LedgerAction::Ack);
    let document = flow.sink.documents().remove(0);
    let store = PayloadStore::open(&PayloadSettings { dir: payloads, s3: None }).unwrap();
    assert_eq!(store.has(document.tenant_id(), document.month(), document.truncated[0].sha256).await, Ok(true));
}
