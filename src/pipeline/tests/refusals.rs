//! Refusals: letters, pauses, and what ends a pause. Nothing goes back but at its beginning.

use super::*;
use crate::pipeline::gate::Gate;
use crate::pipeline::limit::RefusalLimits;

fn outcomes_of(outcomes: &BTreeMap<u64, LedgerAction>) -> (usize, usize, usize) {
    let count = |wanted: fn(&LedgerAction) -> bool| outcomes.values().filter(|outcome| wanted(outcome)).count();
    let letters = count(|outcome| matches!(outcome, LedgerAction::DeadLetter(_)));
    (count(|outcome| *outcome == LedgerAction::Ack), letters, count(|outcome| *outcome == LedgerAction::Requeue))
}

#[tokio::test(start_paused = true)]
async fn thousands_of_bad_events_in_one_message_are_one_letter_and_stop_nothing() {
    for bad in [r"{}", r#"{"v":9}"#, "7", r#"{"v":1,"kind":"workflow_run","record":{"id":"x"}}"#] {
        let mut flow = Flow::start(PipelineSettings::default());
        let body = format!("[{}]", vec![bad; 9_999].join(","));
        for _ in 0..60 {
            flow.send(body.clone()).await;
        }
        for record in distinct(30) {
            flow.send_record(&record).await;
        }
        let outcomes = flow.settled_many(90).await;
        assert_eq!(outcomes_of(&outcomes), (30, 60, 0), "{bad}");
        let LedgerAction::DeadLetter(letters) = &outcomes[&1] else { panic!("a letter") };
        assert!(letters.len() == 1 && letters[0].part.is_none(), "the whole body once");
        assert!(letters[0].refusal.detail.starts_with("9999 of 9999 events refused"), "{}", letters[0].refusal);
        assert!(flow.gate.borrow().is_open());
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_one_message_that_the_store_refuses_count_once() {
    let mut flow = Flow::start(PipelineSettings::default());
    flow.sink.refuse_everything(Some(refused()));
    let text = |record: &Record| String::from_utf8(encode_native(record)).unwrap();
    let body = format!("[{}]", distinct(2_000).iter().map(text).collect::<Vec<_>>().join(","));
    flow.send(body).await;
    assert_eq!(class_of(&flow.settled().await.outcome), Some(RefusalClass::RefusedByStore));
    flow.sink.refuse_everything(None);
    flow.send_record(&distinct(1)[0]).await;
    assert_eq!(flow.settled().await.outcome, LedgerAction::Ack);
}

#[tokio::test(start_paused = true)]
async fn a_broken_mapping_makes_fifty_letters_and_gives_back_once_however_long_it_lasts() {
    let mut flow = Flow::start(PipelineSettings::default());
    flow.sink.refuse_everything(Some(refused()));
    let records = distinct(200);
    for record in &records {
        flow.send_record(record).await;
    }
    assert_eq!(outcomes_of(&flow.settled_many(200).await), (0, 50, 150));
    assert!(flow.stats.is_gate_closed());
    let requests = flow.sink.requests();
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert!(!flow.gate.borrow().is_open() && flow.ledger.try_recv().is_err(), "no delivery is touched");
    let trials = flow.sink.requests() - requests;
    assert!((50..=61).contains(&trials), "one trial per pause: {trials}");
    flow.sink.refuse_everything(None);
    flow.gate.wait_for(Gate::is_open).await.unwrap();
    for record in &records {
        flow.send_record(record).await;
    }
    assert_eq!(outcomes_of(&flow.settled_many(200).await), (200, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_a_poison_of_another_class_is_a_letter_and_stops_nothing() {
    let mut flow = Flow::start(PipelineSettings::default());
    flow.sink.refuse_everything(Some(refused()));
    let records = distinct(120);
    for record in &records {
        flow.send_record(record).await;
    }
    flow.settled_many(120).await;
    flow.sink.refuse_everything(None);
    flow.gate.wait_for(Gate::is_open).await.unwrap();
    for turn in 0..5 {
        flow.send(r#"{"v":1,"kind":"mystery","record":{}}"#).await;
        for record in &records[turn * 10..turn * 10 + 10] {
            flow.send_record(record).await;
        }
    }
    assert_eq!(outcomes_of(&flow.settled_many(55).await), (50, 5, 0));
    assert!(flow.gate.borrow().is_open());
}

#[tokio::test(start_paused = true)]
async fn one_refused_among_stored_documents_does_not_pause_again() {
    let mut flow = Flow::start(PipelineSettings::default());
    flow.sink.refuse_everything(Some(refused()));
    let records = distinct(120);
    for record in &records {
        flow.send_record(record).await;
    }
    flow.settled_many(120).await;
    flow.sink.refuse_everything(None);
    // The trial: the first of its documents is refused for good, the others are stored.
    flow.sink.script(Box::new(|actions| {
        let verdict = |position| if position == 0 { Verdict::Refused(refused()) } else { Verdict::Stored };
        Ok((0..actions.len()).map(verdict).collect())
    }));
    flow.gate.wait_for(Gate::is_open).await.unwrap();
    flow.send_record(&records[60]).await;
    assert_eq!(flow.settled().await.outcome, LedgerAction::Ack);
}

/// Records of one kind and month, in two parts.
fn of_one_place(first: usize, second: usize) -> (Vec<Record>, Vec<Record>) {
    let mut records = distinct(4 * (first + second));
    records.retain(|record| matches!(record, Record::Node(_)));
    let second = records.split_off(first).into_iter().take(second).collect();
    (records, second)
}

#[tokio::test(start_paused = true)]
async fn poison_in_a_row_is_letters_where_the_store_takes_what_it_took_before() {
    let mut flow = Flow::start(PipelineSettings::default());
    let (good, poison) = of_one_place(1, 300);
    flow.send_record(&good[0]).await;
    assert_eq!(flow.settled().await.outcome, LedgerAction::Ack);
    flow.sink.refuse_these(poison.iter().map(Record::key));
    let stored = flow.sink.documents();
    for record in &poison {
        flow.send_record(record).await;
    }
    assert_eq!(outcomes_of(&flow.settled_many(300).await), (0, 300, 0));
    assert!(flow.gate.borrow().is_open());
    assert_eq!(flow.sink.documents(), stored, "what was written to find it out changes nothing");
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_before_and_is_refused_now_says_that_the_store_is_at_fault() {
    let mut flow = Flow::start(PipelineSettings::default());
    let (good, others) = of_one_place(1, 200);
    flow.send_record(&good[0]).await;
    assert_eq!(flow.settled().await.outcome, LedgerAction::Ack);
    flow.sink.refuse_everything(Some(refused()));
    let begin = tokio::time::Instant::now();
    for record in &others {
        flow.send_record(record).await;
    }
    assert_eq!(outcomes_of(&flow.settled_many(200).await), (0, 50, 150));
    assert!(begin.elapsed() < Duration::from_secs(5), "at once: {:?}", begin.elapsed());
    assert!(flow.gate.borrow().is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_backlog_that_begins_with_poison_is_read_on_and_gives_nothing_back() {
    let mut flow = Flow::start(PipelineSettings::default());
    let (poison, good) = of_one_place(150, 20);
    flow.sink.refuse_these(poison.iter().map(Record::key));
    for record in &poison {
        flow.send_record(record).await;
    }
    assert_eq!(outcomes_of(&flow.settled_many(50).await), (0, 50, 0));
    for record in &good {
        flow.send_record(record).await;
    }
    assert_eq!(outcomes_of(&flow.settled_many(120).await), (20, 100, 0));
    assert!(flow.gate.borrow().is_open());
}

#[tokio::test(start_paused = true)]
async fn more_poison_than_is_seen_at_once_does_not_stop_the_worker_for_ever() {
    let mut flow = Flow::start(PipelineSettings::default());
    let (poison, good) = of_one_place(80, 2);
    flow.sink.refuse_these(poison.iter().map(Record::key));
    for record in &poison {
        flow.send_record(record).await;
    }
    assert_eq!(outcomes_of(&flow.settled_many(80).await), (0, 50, 30));
    let begin = tokio::time::Instant::now();
    for record in &poison[50..55] {
        flow.gate.wait_for(|gate| *gate == Gate::Trial).await.unwrap();
        flow.send_record(record).await;
        assert!(class_of(&flow.settled().await.outcome).is_some(), "a letter, and nothing goes back");
        flow.gate.wait_for(Gate::is_closed).await.unwrap();
    }
    assert!(begin.elapsed() > Duration::from_secs(13 * 60), "slowly: {:?}", begin.elapsed());
    flow.gate.wait_for(|gate| *gate == Gate::Trial).await.unwrap();
    flow.send_record(&good[0]).await;
    assert_eq!(flow.settled().await.outcome, LedgerAction::Ack);
    flow.gate.wait_for(Gate::is_open).await.unwrap();
    // What the pause taught is used: the rest of the poison stops nothing again.
    for record in &poison[..] {
        flow.send_record(record).await;
    }
    assert_eq!(outcomes_of(&flow.settled_many(80).await), (0, 80, 0));
    assert!(flow.gate.borrow().is_open());
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_mostly_poison_stops_nobody_and_a_kind_whose_mapping_is_broken_pauses() {
    let settings = PipelineSettings { batch_actions: 1, ..PipelineSettings::default() };
    let (nodes, others): (Vec<_>, Vec<_>) =
        distinct(1_200).into_iter().partition(|record| matches!(record, Record::Node(_)));
    for first_is_stored in [true, false] {
        let mut flow = Flow::start(settings.clone());
        let (first, poison) = nodes.split_at(usize::from(first_is_stored));
        flow.sink.refuse_these(poison.iter().map(Record::key));
        for record in first {
            flow.send_record(record).await;
        }
        flow.settled_many(first.len()).await;
        let mut expected = 0;
        for (position, record) in poison.iter().take(400).enumerate() {
            flow.send_record(record).await;
            expected += 1;
            if position % 2 == 0 {
                flow.send_record(&others[position / 2 % others.len()]).await;
                expected += 1;
            }
        }
        let (_, letters, returned) = outcomes_of(&flow.settled_many(expected).await);
        if first_is_stored {
            assert_eq!((letters, returned), (400, 0));
        } else {
            assert!(letters < 200 && returned > 0, "{letters} letters, {returned} given back");
        }
        assert_eq!(flow.gate.borrow().is_open(), first_is_stored);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_given_back_for_it_before_is_a_letter_rather_than_given_back_again() {
    let mut flow = Flow::start(PipelineSettings::default());
    let (poison, _) = of_one_place(80, 0);
    flow.sink.refuse_these(poison.iter().map(Record::key));
    for record in &poison {
        let body = encode_native(record).into();
        let message = Message { source: QueueFormat::Native, content_type: None, compression: None, task: None, body };
        flow.send_message(message, 2).await;
    }
    assert_eq!(outcomes_of(&flow.settled_many(80).await), (0, 80, 0));
}

#[tokio::test(start_paused = true)]
async fn undecodable_messages_are_tried_one_by_one_and_nothing_goes_back_for_it() {
    let refusal_limits = RefusalLimits { decode_run: 3, ..RefusalLimits::default() };
    let mut flow = Flow::start(PipelineSettings { refusal_limits, ..PipelineSettings::default() });
    for _ in 0..5 {
        flow.send("not json").await;
    }
    assert_eq!(outcomes_of(&flow.settled_many(5).await), (0, 3, 2));
    for _ in 0..30 {
        flow.gate.wait_for(|gate| *gate == Gate::Trial).await.unwrap();
        assert!(flow.stats.is_gate_closed(), "it is not well yet");
        flow.send("not json").await;
        assert!(class_of(&flow.settled().await.outcome).is_some());
        flow.gate.wait_for(Gate::is_closed).await.unwrap();
    }
    flow.gate.wait_for(|gate| *gate == Gate::Trial).await.unwrap();
    flow.send_record(&distinct(1)[0]).await;
    assert_eq!(flow.settled().await.outcome, LedgerAction::Ack);
    flow.gate.wait_for(Gate::is_open).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_trial_of_one_queue_gives_nothing_of_another_back() {
    let refusal_limits = RefusalLimits { decode_run: 3, ..RefusalLimits::default() };
    let mut flow = Flow::start(PipelineSettings { refusal_limits, ..PipelineSettings::default() });
    for _ in 0..4 {
        flow.send("not json").await;
    }
    flow.settled_many(4).await;
    flow.gate.wait_for(|gate| *gate == Gate::Trial).await.unwrap();
    flow.sink.set_blocked(true);
    // One consumer took a good one, whose document waits for the store; the other a bad one at the same time.
    flow.send("not json").await;
    flow.settled().await;
    flow.gate.wait_for(Gate::is_closed).await.unwrap();
    flow.send_record(&distinct(1)[0]).await;
    flow.sink.set_blocked(false);
    assert_eq!(flow.settled().await.outcome, LedgerAction::Ack);
}

fn panicking(message: &Message, limits: crate::codec::DecodeLimits) -> Result<crate::codec::Decoded, Refusal> {
    assert!(!message.body.starts_with(b"bomb"), "decoding panics");
    crate::codec::decode(message, limits)
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_decoding_panics_is_a_letter() {
    let mut flow = Flow::start_decoding(PipelineSettings::default(), Limits::default(), panicking);
    flow.send("bomb").await;
    flow.send("bomb".repeat(1 << 20)).await;
    flow.send_record(&distinct(1)[0]).await;
    let outcomes = flow.settled_many(3).await;
    assert_eq!(outcomes_of(&outcomes), (1, 2, 0));
    assert_eq!(class_of(&outcomes[&1]), Some(RefusalClass::UndecodableBody));
}
