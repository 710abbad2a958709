use super::*;
use crate::codec::truncate::{Limits, fit};
use crate::domain::{AppId, Origin, RecordId, RunStatus, Timestamp, WorkflowRun};
use std::collections::HashMap;
use uuid::Uuid;

#[derive(Default)]
struct Texts(HashMap<ContentHash, JsonText>);

#[async_trait]
impl FullTexts for Texts {
    async fn full_text(&self, _: TenantId, _: Month, sha256: ContentHash) -> Result<Option<JsonText>, PayloadError> {
        Ok(self.0.get(&sha256).cloned())
    }
}

fn run() -> WorkflowRun {
    let id = |n| RecordId::new(Uuid::from_u128(n));
    let at = |micros: i64| Timestamp::from_micros(1_700_000_000_000_000 + micros).unwrap();
    WorkflowRun {
        id: id(1),
        tenant_id: TenantId::new(Uuid::from_u128(2)),
        app_id: AppId::new(Uuid::from_u128(3)),
        workflow_id: id(4),
        r#type: "workflow".into(),
        triggered_from: "app-run".into(),
        version: "draft".into(),
        graph: Some(JsonText::from_clean("{\"nodes\":[]}")),
        inputs: Some(JsonText::from_clean(format!("{{\"text\":\"{}\"}}", "x".repeat(5_000)))),
        status: RunStatus::Succeeded,
        error: Some("e".repeat(3_000).into()),
        elapsed_time: 0.5,
        total_tokens: 3_000_000_000,
        total_steps: 2,
        created_by_role: "account".into(),
        created_by: id(5),
        created_at: at(0),
        finished_at: Some(at(500_000)),
        ..WorkflowRun::default()
    }
}

async fn compared(row: &Record, document: &Document, texts: &Texts) -> Result<RowComparison, PayloadError> {
    standing(row, &Extra::default(), document, texts, &[]).await
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn record(change: impl FnOnce(&mut WorkflowRun)) -> Record {
    let mut run = run();
    change(&mut run);
    Record::Run(Box::new(run))
}

/// Returns the document of a record, its payloads cut to 2,000 bytes.
fn stored(mut record: Record, origin: Option<u128>) -> (Document, Texts) {
    let revision = Revision::of(&record);
    let cuts = fit(&mut record, &Limits { field_bytes: 2_000, document_bytes: 10_000 });
    let truncated = cuts.iter().map(|cut| cut.truncation).collect();
    let texts = cuts.into_iter().map(|cut| (cut.truncation.sha256, cut.full)).collect();
    let origin = origin.map(|id| Origin::new(Uuid::from_u128(id)));
    (Document { record, revision, graph: None, truncated, origin, extra: None }, Texts(texts))
}

#[tokio::test]
async fn a_truncated_payload_is_compared_in_full() {
    let (document, texts) = stored(record(|_| {}), Some(7));
    assert_eq!(document.truncated.len(), 2);
    assert_eq!(compared(&record(|_| {}), &document, &texts).await, Ok(RowComparison::Same));
    let last = format!("{{\"text\":\"{}y\"}}", "x".repeat(4_999));
    let changed = record(|run| run.inputs = Some(JsonText::from_clean(last)));
    assert_eq!(compared(&changed, &document, &texts).await, Ok(RowComparison::Different(names(&["inputs"]))));
    let gone = compared(&record(|_| {}), &document, &Texts::default()).await;
    assert_eq!(gone, Ok(RowComparison::Different(names(&["inputs", "error"]))));
}

#[tokio::test]
async fn a_text_that_dify_truncated_itself_is_equal_as_it_stands() {
    let (mut document, texts) =
        stored(record(|run| run.inputs = Some(JsonText::from_clean("{\"a\":\"...\"}"))), Some(7));
    document.truncated.push(crate::domain::Truncation {
        field: PayloadField::Inputs,
        original_bytes: 9_000,
        sha256: ContentHash::new([1; 32]),
    });
    let row = |text: &str| record(|run| run.inputs = Some(JsonText::from_clean(text)));
    assert_eq!(compared(&row("{\"a\":\"...\"}"), &document, &texts).await, Ok(RowComparison::Same));
    let otherwise = compared(&row("{\"a\": \"...\"}"), &document, &texts).await;
    assert_eq!(otherwise, Ok(RowComparison::Spelled(names(&["inputs"]))));
}

#[tokio::test]
async fn an_unfinished_row_may_lag_behind_an_ended_one_may_not() {
    let (document, texts) = stored(record(|_| {}), None);
    let running = record(|run| {
        run.status = RunStatus::Running;
        run.finished_at = None;
    });
    assert_eq!(compared(&running, &document, &texts).await, Ok(RowComparison::Ahead));
    let (older, texts) = stored(running.clone(), None);
    let found = compared(&record(|_| {}), &older, &texts).await;
    assert_eq!(found, Ok(RowComparison::Different(names(&["status", "elapsed_time", "finished_at"]))));
}

#[tokio::test]
async fn what_the_celery_tasks_lose_is_excused_for_live_documents_only() {
    let ended_with_failures = record(|run| run.exceptions_count = 2);
    let (live, texts) = stored(ended_with_failures.clone(), None);
    let excused = compared(&record(|_| {}), &live, &texts).await;
    assert_eq!(excused, Ok(RowComparison::Fuller(names(&["exceptions_count"]))));
    let (copied, texts) = stored(ended_with_failures, Some(7));
    let found = compared(&record(|_| {}), &copied, &texts).await;
    assert_eq!(found, Ok(RowComparison::Different(names(&["exceptions_count"]))));
}

#[tokio::test]
async fn an_ended_row_without_payloads_is_held_by_a_document_that_has_them() {
    for origin in [None, Some(7)] {
        let (document, texts) = stored(record(|_| {}), origin);
        let poorer = |change: fn(&mut WorkflowRun)| {
            record(|run| {
                (run.graph, run.inputs) = (None, Some(JsonText::from_clean("{}")));
                change(run);
            })
        };
        let found = compared(&poorer(|_| {}), &document, &texts).await.unwrap();
        assert_eq!(found, RowComparison::Poorer(names(&["graph", "inputs"])));
        assert!(found.holds() && Revision::of(&poorer(|_| {})) < document.revision);
        let other = compared(&poorer(|run| run.total_tokens = 1), &document, &texts).await;
        assert_eq!(other, Ok(RowComparison::Different(names(&["graph", "inputs", "total_tokens"]))));
        // The other way round the row has what the document lacks.
        let (bare, texts) = stored(poorer(|_| {}), origin);
        let found = compared(&record(|_| {}), &bare, &texts).await;
        assert_eq!(found, Ok(RowComparison::Different(names(&["graph", "inputs"]))));
    }
}

/// A paused node has a finish time and has not ended.
#[tokio::test]
async fn a_stale_row_of_a_paused_node_may_lag_behind() {
    let node = |status: &str, finished: i64| {
        let mut node = crate::backfill::canonical::tests::node();
        node.status = status.into();
        node.finished_at = Timestamp::from_micros(node.created_at.micros() + finished).ok();
        Record::Node(Box::new(node))
    };
    let (document, texts) = stored(node("succeeded", 9_000_000), None);
    assert_eq!(compared(&node("paused", 1_000_000), &document, &texts).await, Ok(RowComparison::Ahead));
    let (paused, texts) = stored(node("paused", 1_000_000), None);
    let found = compared(&node("succeeded", 9_000_000), &paused, &texts).await;
    assert_eq!(found, Ok(RowComparison::Different(names(&["status", "finished_at"]))));
}

fn texts(entries: &[(&str, Option<&str>)]) -> crate::domain::extra::ColumnTexts {
    entries.iter().map(|(name, text)| ((*name).into(), text.map(Into::into))).collect()
}

async fn with_extra(row: &Extra, stored: &Extra) -> RowComparison {
    let cleaned = record(|run| run.outputs = Some(JsonText::from_clean("{\"n\": null}")));
    let (mut document, texts) = stored_of(cleaned.clone());
    document.extra = stored.to_json();
    standing(&cleaned, row, &document, &texts, &[]).await.unwrap()
}

fn stored_of(record: Record) -> (Document, Texts) {
    stored(record, Some(7))
}

#[tokio::test]
async fn a_value_that_was_changed_on_the_way_is_not_called_equal() {
    let changed = |text| Extra { changed: texts(&[("outputs", Some(text))]), ..Extra::default() };
    let row = changed("{\"n\": NaN}");
    assert_eq!(with_extra(&row, &row).await, RowComparison::Same);
    let without = with_extra(&row, &Extra::default()).await;
    assert_eq!(without, RowComparison::Changed(names(&["outputs"])));
    assert!(!without.holds());
    // The row said something else when it was copied.
    for row in [changed("{\"n\": Infinity}"), Extra::default()] {
        assert_eq!(with_extra(&row, &changed("{\"n\": NaN}")).await, RowComparison::Different(names(&["outputs"])));
    }
    let lost = Extra { lost: ["outputs".into()].into(), ..Extra::default() };
    assert_eq!(with_extra(&lost, &lost).await, RowComparison::Different(names(&["outputs"])));
    assert_eq!(with_extra(&lost, &Extra::default()).await, RowComparison::Changed(names(&["outputs"])));
}

#[tokio::test]
async fn a_spelling_is_no_fault_and_named() {
    let spelled = |entries: &[_]| Extra { spelled: texts(entries), ..Extra::default() };
    let row = spelled(&[("outputs", Some("{\"n\":null}")), ("total_steps", None)]);
    assert_eq!(with_extra(&row, &row).await, RowComparison::Same);
    let otherwise = with_extra(&row, &Extra::default()).await;
    assert_eq!(otherwise, RowComparison::Spelled(names(&["outputs", "total_steps"])));
    assert!(otherwise.holds());
}

#[tokio::test]
async fn an_unknown_column_counts_like_any_other() {
    let with = |entries: &[_]| Extra { columns: texts(entries), ..Extra::default() };
    let row = with(&[("note", Some("kept")), ("flag", None)]);
    assert_eq!(with_extra(&row, &row).await, RowComparison::Same);
    assert_eq!(with_extra(&row, &Extra::default()).await, RowComparison::Different(names(&["flag", "note"])));
    assert_eq!(
        with_extra(&row, &with(&[("note", Some("other")), ("flag", None)])).await,
        RowComparison::Different(names(&["note"]))
    );
    // The table has no such column any more; in the second it has, and it is NULL.
    assert_eq!(with_extra(&Extra::default(), &with(&[("note", Some("kept"))])).await, RowComparison::Same);
    let null = Extra { nulls: ["note".into()].into(), ..Extra::default() };
    assert_eq!(with_extra(&null, &with(&[("note", Some("kept"))])).await, RowComparison::Different(names(&["note"])));
}

#[tokio::test]
async fn what_lies_in_the_payload_store_is_compared_and_its_loss_is_seen() {
    let row = Extra { columns: texts(&[("note", Some("kept"))]), ..Extra::default() };
    let (mut document, mut texts) = stored_of(record(|_| {}));
    let cut = crate::codec::truncate::Cut::of_full_text(PayloadField::Extra, row.to_json().unwrap());
    document.truncated.push(cut.truncation);
    texts.0.insert(cut.truncation.sha256, cut.full);
    assert_eq!(standing(&record(|_| {}), &row, &document, &texts, &[]).await, Ok(RowComparison::Same));
    texts.0.remove(&cut.truncation.sha256);
    assert_eq!(
        standing(&record(|_| {}), &row, &document, &texts, &[]).await,
        Ok(RowComparison::Different(names(&["extra"])))
    );
}

#[tokio::test]
async fn a_copy_loses_what_is_nowhere_else() {
    let (document, texts) = stored(record(|_| {}), None);
    let lost = async |row: &Record| loss(&[row], &document, &texts, &[]).await.unwrap();
    assert_eq!(lost(&record(|run| run.total_tokens = 1)).await, None, "the row has the text that difylog cut");
    assert_eq!(lost(&record(|run| run.inputs = Some(JsonText::from_clean("{\"a\":1}")))).await, None);
    assert_eq!(lost(&record(|run| run.graph = None)).await, Some(Loss::Absent));
    assert_eq!(lost(&record(|run| run.inputs = Some(JsonText::from_clean("{}")))).await, Some(Loss::Absent));
    let damaged = loss(&[&record(|_| {})], &document, &Texts::default(), &[]).await;
    assert_eq!(damaged, Ok(None), "a text that is lost comes back from its row");
}

#[tokio::test]
async fn a_text_from_dify_is_lost_unless_dify_has_it() {
    let preview = record(|run| run.inputs = Some(JsonText::from_clean("{\"a\": \"x...\"}")));
    let (mut document, mut texts) = stored(preview.clone(), Some(7));
    let full = JsonText::from_clean("{\"a\":\"xyz\"}");
    let cut = crate::codec::truncate::Cut::of_full_text(PayloadField::Inputs, full.clone());
    document.truncated.push(cut.truncation);
    texts.0.insert(cut.truncation.sha256, cut.full);
    let offload = |full| [OffloadedText { column: "inputs".into(), full }];
    for offloads in [&[][..], &offload(None)] {
        assert_eq!(loss(&[&preview], &document, &texts, offloads).await, Ok(Some(Loss::Cut)));
    }
    assert_eq!(loss(&[&preview], &document, &texts, &offload(Some(full.clone()))).await, Ok(None));
    // Nor where the row has the whole text by now, or another one.
    for other in ["{\"a\":\"xyz\"}", "{\"a\":\"[removed]\"}"] {
        let row = record(|run| run.inputs = Some(JsonText::from_clean(other)));
        assert_eq!(loss(&[&row], &document, &texts, &[]).await, Ok(None), "{other}");
    }
}
