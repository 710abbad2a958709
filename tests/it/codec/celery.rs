//! Celery messages: the mapping from task arguments to columns, in every spelling.

use std::io::Write;

use difylog::codec::{Cleaned, DecodeLimits, DecodedEvents, Message, QueueFormat, decode};
use difylog::domain::{JsonText, NodeExecution, Record, RefusalClass, WorkflowRun};

pub const RUN_TASK: &str = "tasks.workflow_execution_tasks.save_workflow_execution_task";
pub const NODE_TASK: &str = "tasks.workflow_node_execution_tasks.save_workflow_node_execution_task";
pub const ID: &str = "669dd85a-0949-4cda-99c9-4984b192aea0";

pub fn message(task: &str, body: impl Into<Vec<u8>>) -> Message {
    Message {
        source: QueueFormat::Celery,
        content_type: Some("application/json".into()),
        compression: None,
        task: Some(task.into()),
        body: body.into().into(),
    }
}

pub fn body(execution_data: &str) -> String {
    format!(
        r#"[[], {{"tenant_id": "{ID}", "app_id": "{ID}", "execution_data": {execution_data}, "triggered_from": "app-run",
        "creator_user_id": "{ID}", "creator_user_role": "end_user", "later": 1}}, {{"chain": null}}]"#
    )
}

/// A run's `execution_data`; `more` members win over the usual ones.
pub fn run_data(more: &str) -> String {
    format!(
        r#"{{"id_": "{ID}", "workflow_id": "{ID}", "workflow_version": "draft", "workflow_type": "chat", "graph": {{}},
        "inputs": {{"q": "\u4f60"}}, "outputs": null, "status": "running", "error_message": "", "total_tokens": 1,
        "total_steps": 2, "exceptions_count": 3, "started_at": {{"__type__": "datetime", "__value__":
        "2026-11-23T15:28:34.729072"}}, "finished_at": null{more}}}"#
    )
}

/// A node's `execution_data`; `more` members win over the usual ones.
pub fn node_data(more: &str) -> String {
    format!(
        r#"{{"id": "{ID}", "node_execution_id": "x", "workflow_id": "{ID}", "workflow_execution_id": null, "index": 1,
        "predecessor_node_id": null, "node_id": "1733", "node_type": "llm", "title": "LLM", "inputs": null,
        "process_data": null, "outputs": null, "status": "running", "error": null, "elapsed_time": 0.5, "metadata": null,
        "created_at": "2026-11-23T15:28:34+00:00", "finished_at": null{more}}}"#
    )
}

fn decoded(message: &Message) -> (Record, Cleaned) {
    let decoded = decode(message, DecodeLimits::default()).unwrap();
    match decoded.content {
        DecodedEvents::One(record) => (record, decoded.cleaned),
        DecodedEvents::Parts(_) => panic!("a Celery message holds one record"),
    }
}

fn run(more: &str) -> WorkflowRun {
    match decoded(&message(RUN_TASK, body(&run_data(more)))).0 {
        Record::Run(run) => *run,
        other => panic!("{:?}", other.kind()),
    }
}

fn node(more: &str) -> NodeExecution {
    match decoded(&message(NODE_TASK, body(&node_data(more)))).0 {
        Record::Node(node) => *node,
        other => panic!("{:?}", other.kind()),
    }
}

#[test]
fn arguments_become_columns() {
    let run = run("");
    assert_eq!((&*run.version, &*run.r#type, run.status.as_str()), ("draft", "chat", "running"));
    assert_eq!((run.total_tokens, run.total_steps, run.exceptions_count), (1, 2, 3));
    assert_eq!((&*run.triggered_from, &*run.created_by_role), ("app-run", "end_user"));
    assert_eq!(run.created_at.to_string(), "2026-11-23T15:28:34.729072Z");
    let texts = [&run.graph, &run.inputs, &run.outputs].map(|text| text.as_ref().map(JsonText::as_str));
    assert_eq!(texts, [Some("{}"), Some(r#"{"q": "你"}"#), None]);
    let node = node(r#", "metadata": {"total_price": {"__type__": "decimal", "__value__": "0.002428"}}"#);
    assert_eq!((node.workflow_run_id, node.index, node.elapsed_time), (None, 1, 0.5));
    assert_eq!(node.node_execution_id.as_deref(), Some("x"));
    assert_eq!(node.execution_metadata.unwrap().as_str(), r#"{"total_price": 0.002428}"#);
}

#[test]
fn no_error_is_null_whatever_its_spelling() {
    assert_eq!((run("").error, node(r#", "error": """#).error), (None, None));
    assert_eq!(run(r#", "error_message": "a\u0000b""#).error.as_deref(), Some("a\u{fffd}b"));
}

#[test]
fn elapsed_time_of_a_run_is_computed_once_it_has_ended() {
    assert_eq!(run("").elapsed_time, 0.0);
    let finished = run(r#", "finished_at": "2026-11-23T15:28:34.865511""#);
    assert_eq!(finished.elapsed_time, 0.136_439);
    assert_eq!(run(r#", "total_steps": null"#).total_steps, 0);
}

#[test]
fn the_last_of_two_keys_wins_and_the_first_leaves_no_trace() {
    let twice = body(&format!(r#"{{"status": 5}}, "execution_data": {}"#, run_data("")));
    assert_eq!(decoded(&message(RUN_TASK, twice)).0, decoded(&message(RUN_TASK, body(&run_data("")))).0);
    let lost = body(&format!(r#"{}, "execution_data": {{}}"#, run_data("")));
    let refusal = decode(&message(RUN_TASK, lost), DecodeLimits::default()).unwrap_err();
    assert_eq!(refusal.to_string(), "missing-field: execution_data.id_");
}

#[test]
fn content_types_of_json_are_accepted() {
    for content_type in [None, Some(""), Some("application/json"), Some("Application/JSON; charset=utf-8")] {
        let content_type = content_type.map(Box::from);
        decoded(&Message { content_type, ..message(RUN_TASK, body(&run_data(""))) });
    }
}

#[test]
fn compressed_bodies_are_read_within_the_limit() {
    let plain = body(&run_data(""));
    let level = flate2::Compression::default();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), level);
    zlib.write_all(plain.as_bytes()).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
    gzip.write_all(plain.as_bytes()).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    bzip2.write_all(plain.as_bytes()).unwrap();
    for (name, body) in [
        ("application/x-gzip", zlib.finish().unwrap()),
        ("application/x-gzip", gzip.finish().unwrap()),
        ("application/x-bz2", bzip2.finish().unwrap()),
    ] {
        let compressed = |body: &[u8]| Message { compression: Some(name.into()), ..message(RUN_TASK, body) };
        assert_eq!(decoded(&compressed(&body)), decoded(&message(RUN_TASK, plain.clone())));
        let limit =
            |message_bytes| decode(&compressed(&body), DecodeLimits { message_bytes }).map_err(|refusal| refusal.class);
        assert!(limit(plain.len()).is_ok());
        assert_eq!(limit(plain.len() - 1), Err(RefusalClass::TooLarge));
        let truncated = decode(&compressed(&body[..body.len() / 2]), DecodeLimits::default()).unwrap_err();
        assert_eq!(truncated.class, RefusalClass::UndecodableBody);
    }
}
