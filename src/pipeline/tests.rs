//! The flow over the scripted double: every fate of a delivery, under a paused clock.

mod blocked;
mod faults;
mod intake;
mod months;
mod order;
mod outages;
mod refusals;
mod sink;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, channel, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::sink::ScriptedSink;
use super::gate::{GateWatch, gate};
use super::receipt::{DeliveryContent, LedgerAction, Receipt, Settlement, Settlements};
use super::stats::PipelineStats;
use super::*;
use crate::codec::{Message, QueueFormat, encode_native, truncate::Limits};
use crate::domain::{BulkAction, Record, Refusal, RefusalClass, RetryCause, Verdict};
use crate::store::payload::{PayloadSettings, PayloadStore};
use crate::synthetic::{Generator, Shape};

/// A flow that runs, with both of its ends in hand.
struct Flow {
    sink: Arc<ScriptedSink>,
    stats: Arc<PipelineStats>,
    gate: GateWatch,
    deliveries: Option<Sender<Delivery>>,
    settlements: Settlements,
    ledger: UnboundedReceiver<Settlement>,
    task: JoinHandle<()>,
    abandon: CancellationToken,
    next_tag: u64,
    payloads: TempDir,
}

impl Flow {
    fn start(settings: PipelineSettings) -> Self {
        Self::start_with(settings, Limits::default())
    }

    /// Returns a flow that lets consumers take single messages first.
    fn start_first(settings: PipelineSettings) -> Self {
        Self::start_as(settings, Limits::default(), crate::codec::decode, Pipeline::trying_first)
    }

    fn start_with(settings: PipelineSettings, limits: Limits) -> Self {
        Self::start_decoding(settings, limits, crate::codec::decode)
    }

    fn start_decoding(settings: PipelineSettings, limits: Limits, decoder: prepare::Decode) -> Self {
        Self::start_as(settings, limits, decoder, std::convert::identity)
    }

    fn start_as(
        settings: PipelineSettings,
        limits: Limits,
        decoder: prepare::Decode,
        changed: fn(Pipeline) -> Pipeline,
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let payloads = Arc::new(PayloadStore::open(&PayloadSettings { dir: folder.path().into(), s3: None }).unwrap());
        let (sink, stats) = (Arc::new(ScriptedSink::new()), Arc::new(PipelineStats::default()));
        let (keeper, gate) = gate();
        let ports = PipelinePorts {
            sink: sink.clone(),
            payloads,
            gate: keeper,
            stats: Arc::clone(&stats),
            clock: Arc::new(|| "2026-11-30T12:00:00".parse().unwrap()),
            seed: 1,
        };
        let (deliveries, inbox) = channel(64);
        let (settlements, ledger) = unbounded_channel();
        let abandon = CancellationToken::new();
        let pipeline = changed(Pipeline::with_decoder(settings, limits.into(), ports, decoder));
        let task = tokio::spawn(pipeline.run(inbox, abandon.clone()));
        let deliveries = Some(deliveries);
        Self { sink, stats, gate, deliveries, settlements, ledger, task, abandon, next_tag: 1, payloads: folder }
    }

    async fn send(&mut self, body: impl Into<Bytes>) -> u64 {
        let body = body.into();
        self.send_message(
            Message { source: QueueFormat::Native, content_type: None, compression: None, task: None, body },
            0,
        )
        .await
    }

    /// Sends a message that was given back `returns` times before.
    async fn send_message(&mut self, message: Message, returns: u32) -> u64 {
        let tag = self.next_tag;
        self.next_tag += 1;
        let receipt = Receipt::new(tag, self.settlements.clone()).returned(returns);
        self.deliveries
            .as_ref()
            .unwrap()
            .send(Delivery { content: DeliveryContent::Message(message), receipt })
            .await
            .unwrap();
        tag
    }

    async fn send_record(&mut self, record: &Record) -> u64 {
        self.send(encode_native(record)).await
    }

    /// Returns the next settlement; the paused clock jumps to whatever timer is next.
    async fn settled(&mut self) -> Settlement {
        tokio::time::timeout(Duration::from_secs(3_600), self.ledger.recv())
            .await
            .expect("settled within an hour")
            .unwrap()
    }

    async fn settled_many(&mut self, count: usize) -> BTreeMap<u64, LedgerAction> {
        let mut outcomes = BTreeMap::new();
        for _ in 0..count {
            let Settlement { tag, outcome } = self.settled().await;
            assert!(outcomes.insert(tag, outcome).is_none(), "delivery {tag} was settled twice");
        }
        outcomes
    }

    /// No more deliveries come: waits for the end of the flow and returns what was settled since.
    async fn finish(mut self) -> (BTreeMap<u64, LedgerAction>, Arc<ScriptedSink>) {
        self.deliveries = None;
        self.task.await.unwrap();
        drop(self.settlements);
        let mut outcomes = BTreeMap::new();
        while let Some(Settlement { tag, outcome }) = self.ledger.recv().await {
            assert!(outcomes.insert(tag, outcome).is_none(), "delivery {tag} was settled twice");
        }
        (outcomes, self.sink)
    }
}

fn generator() -> Generator {
    Generator::new(3, "2026-11-01T00:00:00".parse().unwrap(), Shape::default())
}

/// Records of different identity, app logs and nodes mixed.
fn distinct(count: usize) -> Vec<Record> {
    let mut generator = generator();
    let mut records = BTreeMap::new();
    while records.len() < count {
        for record in generator.run() {
            records.insert(record.key(), record);
        }
    }
    records.into_values().take(count).collect()
}

fn documents(actions: &[BulkAction]) -> usize {
    actions.iter().filter(|action| matches!(action, BulkAction::Document(_))).count()
}

fn retry() -> Verdict {
    Verdict::Retry(RetryCause::new(503, "unavailable_shards_exception"))
}

fn refused() -> Refusal {
    Refusal::by_store(Some(400), "mapper_parsing_exception")
}

fn class_of(outcome: &LedgerAction) -> Option<RefusalClass> {
    match outcome {
        LedgerAction::DeadLetter(letters) => letters.first().map(|letter| letter.refusal.class),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_run_is_stored_once_and_acked() {
    let mut flow = Flow::start(PipelineSettings::default());
    let records = generator().run();
    for record in &records {
        flow.send_record(record).await;
    }
    let (outcomes, sink) = flow.finish().await;
    assert_eq!(outcomes.len(), records.len());
    assert!(outcomes.values().all(|outcome| *outcome == LedgerAction::Ack));
    // One run, four nodes, one app log; their earlier snapshots are gone.
    assert_eq!(sink.documents().len(), 6);
    let run = sink.documents().into_iter().find(|document| document.record.key() == records[0].key()).unwrap();
    assert_eq!(run.revision, crate::domain::Revision::of(&records[records.len() - 2]));
}

#[tokio::test(start_paused = true)]
async fn a_lone_event_is_stored_without_waiting_for_company() {
    let mut flow = Flow::start(PipelineSettings { linger_ms: 10_000, idle_ms: 2, ..PipelineSettings::default() });
    let begin = tokio::time::Instant::now();
    flow.send_record(&distinct(1)[0]).await;
    flow.settled().await;
    assert!(begin.elapsed() < Duration::from_millis(50), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn each_verdict_has_its_own_fate() {
    let mut flow = Flow::start(PipelineSettings::default());
    flow.sink.script(Box::new(|actions| {
        assert_eq!(documents(actions), 4);
        let mut verdicts = [Verdict::Stored, Verdict::Superseded, Verdict::Refused(refused()), retry()].into_iter();
        Ok(actions
            .iter()
            .map(|action| match action {
                BulkAction::Graph(_) => Verdict::Stored,
                BulkAction::Document(_) => verdicts.next().unwrap(),
            })
            .collect())
    }));
    for record in distinct(4) {
        flow.send_record(&record).await;
    }
    let outcomes = flow.settled_many(4).await;
    let count = |wanted: fn(&LedgerAction) -> bool| outcomes.values().filter(|outcome| wanted(outcome)).count();
    assert_eq!(
        count(|outcome| *outcome == LedgerAction::Ack),
        3,
        "the fourth was held and stored by the second request"
    );
    assert_eq!(count(|outcome| class_of(outcome) == Some(RefusalClass::RefusedByStore)), 1);
    assert_eq!(flow.sink.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_disturbs_nothing_else() {
    let mut flow = Flow::start(PipelineSettings::default());
    let good = distinct(2);
    flow.send_record(&good[0]).await;
    flow.send("not json").await;
    flow.send(r#"{"v":1,"kind":"mystery","record":{}}"#).await;
    flow.send_record(&good[1]).await;
    let (outcomes, sink) = flow.finish().await;
    assert_eq!(sink.documents().len(), 2);
    assert_eq!((&outcomes[&1], &outcomes[&4]), (&LedgerAction::Ack, &LedgerAction::Ack));
    assert_eq!(class_of(&outcomes[&2]), Some(RefusalClass::UndecodableBody));
    assert_eq!(class_of(&outcomes[&3]), Some(RefusalClass::UnknownKind));
}

#[tokio::test(start_paused = true)]
async fn an_array_is_one_delivery_and_its_bad_event_one_letter() {
    let mut flow = Flow::start(PipelineSettings::default());
    let good = distinct(2);
    let text = |record: &Record| String::from_utf8(encode_native(record)).unwrap();
    let bad = r#"{"v":9}"#;
    let body = format!("[{},{bad},{}]", text(&good[0]), text(&good[1]));
    let position = body.find(bad).unwrap();
    flow.send(body).await;
    let LedgerAction::DeadLetter(letters) = flow.settled().await.outcome else { panic!("a dead letter") };
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].part, Some(position..position + bad.len()));
    assert_eq!(flow.finish().await.1.documents().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_comes_again_is_asked_of_the_store_again() {
    let mut flow = Flow::start(PipelineSettings::default());
    let record = &distinct(1)[0];
    for _ in 0..2 {
        flow.send_record(record).await;
        assert_eq!(flow.settled().await.outcome, LedgerAction::Ack);
        assert_eq!(flow.sink.documents().len(), 1);
        // An operator removes it to have it built anew.
        flow.sink.forget_everything();
    }
}

#[tokio::test(start_paused = true)]
async fn a_graph_is_sent_once_until_its_place_is_made_anew() {
    let mut flow = Flow::start(PipelineSettings::default());
    let mut runs = (0..4).map(|seed| {
        let mut run = generator().run().remove(0);
        let Record::Run(inner) = &mut run else { panic!("a run") };
        inner.id =
            Generator::new(seed + 50, "2026-11-01T00:00:00".parse().unwrap(), Shape::default()).run()[0].key().id;
        run
    });
    for expected in [1, 1] {
        flow.send_record(&runs.next().unwrap()).await;
        assert_eq!(flow.settled().await.outcome, LedgerAction::Ack);
        assert_eq!(flow.sink.graphs(), expected);
    }
    let sink = Arc::clone(&flow.sink);
    flow.sink.script(Box::new(move |actions| {
        // The write finds that the index was removed, and makes it anew.
        sink.forget_everything();
        Ok(vec![Verdict::Stored; actions.len()])
    }));
    flow.send_record(&runs.next().unwrap()).await;
    assert_eq!(flow.settled().await.outcome, LedgerAction::Ack);
    assert_eq!((flow.sink.graphs(), flow.sink.documents().len()), (2, 1), "sent again with its graph");
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_for_its_graph() {
    let mut flow = Flow::start(PipelineSettings::default());
    let run = generator().run().remove(0);
    flow.sink.script(Box::new(|actions| {
        let verdict = |action: &BulkAction| match action {
            BulkAction::Graph(_) => retry(),
            BulkAction::Document(_) => Verdict::Stored,
        };
        Ok(actions.iter().map(verdict).collect())
    }));
    flow.send_record(&run).await;
    assert_eq!(flow.settled().await.outcome, LedgerAction::Ack);
    assert_eq!(flow.sink.requests(), 2, "stored without its graph, the run was sent again");
}

#[tokio::test(start_paused = true)]
async fn a_truncated_payload_is_in_the_payload_store_before_the_ack() {
    let limits = Limits { field_bytes: 2_000, document_bytes: 8_000 };
    let folder;
    let (key, full) = {
        let mut flow = Flow::start_with(PipelineSettings::default(), limits);
        let mut run = generator().run().remove(0);
        let Record::Run(inner) = &mut run else { panic!("a run") };
        let full = format!(r#"{{"text": "{}"}}"#, "长".repeat(5_000));
        inner.inputs = Some(crate::domain::JsonText::from_clean(full.clone()));
        flow.send_record(&run).await;
        assert_eq!(flow.settled().await.outcome, LedgerAction::Ack);
        let document = flow.sink.documents().remove(0);
        let mark = document.truncated[0];
        assert_eq!(mark.original_bytes, full.len() as u64);
        folder = PayloadStore::open(&PayloadSettings { dir: flow.payloads.path().into(), s3: None }).unwrap();
        let stored = folder.get(document.tenant_id(), document.month(), mark.sha256).await.unwrap();
        (stored, full)
    };
    assert_eq!(key.unwrap().as_str(), full);
}
