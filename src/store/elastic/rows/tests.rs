//! Every column survives the way to the engine and back.

use super::*;
use crate::domain::{AppLog, NodeExecution, NodeStatus, Offload, Revision, RunStatus, WorkflowRun};

fn id<T: FromStr<Err: std::fmt::Debug>>(last: u8) -> T {
    format!("669dd85a-0949-4cda-99c9-4984b192ae{last:02x}").parse().unwrap()
}

fn at<T: FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

#[allow(clippy::unnecessary_wraps, reason = "the columns are optional")]
fn json(text: &str) -> Option<JsonText> {
    Some(JsonText::from_clean(text))
}

fn run() -> WorkflowRun {
    WorkflowRun {
        id: id(1),
        tenant_id: id(2),
        app_id: id(3),
        workflow_id: id(4),
        r#type: "workflow".into(),
        triggered_from: "app-run".into(),
        version: "2025-12-01 09:30:11.123456".into(),
        inputs: json(r#"{"b": 1e-09, "a": 123456789012345678901234567890, "t\"\\": "语\n"}"#),
        status: RunStatus::PartialSucceeded,
        outputs: json("{}"),
        error: Some("said \"no\"\u{1}".into()),
        elapsed_time: 1.5,
        total_tokens: 3_000_000_000,
        total_steps: 7,
        created_by_role: "end_user".into(),
        created_by: id(5),
        created_at: at("2026-11-23T15:28:34.729072Z"),
        finished_at: Some(at("2026-11-23T15:28:36.229072Z")),
        exceptions_count: 2,
        ..WorkflowRun::default()
    }
}

fn node() -> NodeExecution {
    NodeExecution {
        id: id(6),
        tenant_id: id(2),
        app_id: id(3),
        workflow_id: id(4),
        triggered_from: "workflow-run".into(),
        workflow_run_id: Some(id(1)),
        index: 3,
        predecessor_node_id: Some("171".into()),
        node_execution_id: Some("free text".into()),
        node_id: "172".into(),
        node_type: "llm".into(),
        title: "Größe 语".into(),
        inputs: json("[1]"),
        process_data: json("[2]"),
        outputs: json("[3]"),
        status: NodeStatus::Other("frozen".into()),
        error: Some("".into()),
        elapsed_time: 0.25,
        execution_metadata: json(r#"{"total_price":"0.01"}"#),
        created_at: at("1970-01-01T00:00:00Z"),
        created_by_role: "account".into(),
        created_by: id(5),
        finished_at: Some(at("2262-04-11T00:00:00Z")),
    }
}

fn round_trip(document: &Document) {
    let mut source = Vec::new();
    write_document(document, &mut source).unwrap();
    let source = String::from_utf8(source).unwrap();
    assert!(!source.contains('\n'), "a line of a bulk body");
    assert_eq!(read_document(document.kind(), &source).unwrap().as_ref(), Some(document));
}

fn document(record: Record) -> Document {
    Document { revision: Revision::of(&record), record, graph: None, truncated: Vec::new(), origin: None, extra: None }
}

#[test]
fn full_records_round_trip() {
    let hash = ContentHash::new([7; 32]);
    let marks = [PayloadField::Inputs, PayloadField::ProcessData, PayloadField::Error];
    let truncated = marks.map(|field| Truncation { field, original_bytes: 50 << 20, sha256: hash });
    let run = document(Record::Run(Box::new(run())));
    round_trip(&Document { graph: Some(hash), truncated: truncated.into(), ..run });
    round_trip(&Document { truncated: truncated.into(), ..document(Record::Node(Box::new(node()))) });
}

#[test]
fn bare_records_round_trip() {
    let run = WorkflowRun { inputs: None, outputs: None, error: None, finished_at: None, ..run() };
    let node = NodeExecution {
        workflow_run_id: None,
        predecessor_node_id: None,
        node_execution_id: None,
        inputs: None,
        process_data: None,
        outputs: None,
        error: None,
        execution_metadata: None,
        finished_at: None,
        ..node()
    };
    round_trip(&document(Record::Run(Box::new(run))));
    round_trip(&document(Record::Node(Box::new(node))));
}

#[test]
fn small_records_round_trip() {
    round_trip(&document(Record::AppLog(Box::new(AppLog {
        id: id(7),
        tenant_id: id(2),
        app_id: id(3),
        workflow_id: id(4),
        workflow_run_id: id(1),
        created_from: "web-app".into(),
        created_by_role: "end_user".into(),
        created_by: id(5),
        creator: None,
        created_at: at("2026-11-23T15:28:34Z"),
    }))));
    for node_execution_id in [None, Some(id(6))] {
        round_trip(&document(Record::Offload(Box::new(Offload {
            id: id(8),
            tenant_id: id(2),
            app_id: id(3),
            node_execution_id,
            r#type: "outputs".into(),
            file_id: id(9),
            created_at: at("2026-11-23T15:28:34.000001Z"),
        }))));
    }
}

#[test]
fn a_duration_that_is_no_number_is_zero() {
    let run = WorkflowRun { elapsed_time: f64::NAN, ..run() };
    let mut source = Vec::new();
    write_document(&document(Record::Run(Box::new(run))), &mut source).unwrap();
    assert!(String::from_utf8(source).unwrap().contains("\"elapsed_time\":0.0"));
}
