//! The table of refusals: for each class what leads to it, what its detail names, and that no value is repeated.

use std::collections::BTreeSet;

use difylog::codec::{DecodeLimits, Message, decode};
use difylog::domain::RefusalClass::{self, *};

use crate::codec::celery::{self, NODE_TASK, RUN_TASK, node_data, run_data};
use crate::codec::native;

/// Stands for hostile or private values in the messages below; no refusal may repeat it.
const SECRET: &str = "s3cret";

fn refused(message: &Message, class: RefusalClass, detail: &str) {
    let limits = DecodeLimits { message_bytes: 1_000_000 };
    let refusal = decode(message, limits).map(|decoded| format!("{decoded:?}")).expect_err(detail);
    assert_eq!((refusal.class, &*refusal.detail), (class, detail));
    assert!(!refusal.detail.contains(SECRET), "{refusal}");
}

const RUN: [(&str, RefusalClass, &str); 17] = [
    (r#", "id_": null"#, MissingField, "execution_data.id_"),
    (r#", "id_": "s3cret""#, InvalidId, "execution_data.id_: not a uuid (6 bytes)"),
    (r#", "id_": 7"#, InvalidField, "execution_data.id_: expected a string"),
    (r#", "workflow_version": null"#, MissingField, "execution_data.workflow_version"),
    (r#", "workflow_type": ["s3cret"]"#, InvalidField, "execution_data.workflow_type: expected a string"),
    (r#", "graph": "s3cret""#, InvalidField, "execution_data.graph: expected an object"),
    (r#", "inputs": [1]"#, InvalidField, "execution_data.inputs: expected an object"),
    (r#", "status": true"#, InvalidField, "execution_data.status: expected a string"),
    (r#", "total_tokens": 1.5"#, InvalidField, "execution_data.total_tokens: expected an integer of 64 bits"),
    (
        r#", "total_tokens": 9223372036854775808"#,
        InvalidField,
        "execution_data.total_tokens: expected an integer of 64 bits",
    ),
    (r#", "total_steps": "s3cret""#, InvalidField, "execution_data.total_steps: expected an integer"),
    (r#", "started_at": null"#, MissingField, "execution_data.started_at"),
    (r#", "started_at": NaN"#, MissingField, "execution_data.started_at"),
    (r#", "started_at": "s3cret""#, InvalidField, "execution_data.started_at: not an ISO 8601 date and time"),
    (r#", "started_at": {"s3cret": 1}"#, InvalidField, "execution_data.started_at: expected a string"),
    (
        r#", "started_at": "1969-12-31T23:59:59""#,
        DateOutOfRange,
        "execution_data.started_at: outside 1970-01-01 to 2262-04-11",
    ),
    (
        r#", "finished_at": {"__type__": "datetime", "__value__": "9999-12-31T00:00:00"}"#,
        DateOutOfRange,
        "execution_data.finished_at: outside 1970-01-01 to 2262-04-11",
    ),
];

const NODE: [(&str, RefusalClass, &str); 5] = [
    (r#", "index": null"#, MissingField, "execution_data.index"),
    (r#", "workflow_execution_id": """#, InvalidId, "execution_data.workflow_execution_id: not a uuid (0 bytes)"),
    (r#", "elapsed_time": 1e999"#, InvalidField, "execution_data.elapsed_time: expected a finite number"),
    (r#", "elapsed_time": "s3cret""#, InvalidField, "execution_data.elapsed_time: expected a number"),
    (r#", "metadata": 5"#, InvalidField, "execution_data.metadata: expected an object"),
];

#[test]
fn fields_of_tasks() {
    for (more, class, detail) in RUN {
        refused(&celery::message(RUN_TASK, celery::body(&run_data(more))), class, detail);
    }
    for (more, class, detail) in NODE {
        refused(&celery::message(NODE_TASK, celery::body(&node_data(more))), class, detail);
    }
    let long = format!(r#", "title": "{}""#, "好".repeat(256));
    let long = celery::message(NODE_TASK, celery::body(&node_data(&long)));
    refused(&long, InvalidField, "execution_data.title: expected at most 255 characters");
}

#[test]
fn arguments_of_tasks() {
    let body = celery::body(&run_data(""));
    let no_app = body.replacen(&format!(r#""app_id": "{}""#, celery::ID), r#""app_id": """#, 1);
    for (body, class, detail) in [
        (no_app, InvalidId, "app_id: not a uuid (0 bytes)"),
        (body.replacen("tenant_id", "tenant", 1), MissingField, "tenant_id"),
        (body.replacen("execution_data", "execution", 1), MissingField, "execution_data"),
        (celery::body("null"), MissingField, "execution_data"),
        (celery::body(r#"["s3cret"]"#), InvalidField, "execution_data: expected an object"),
        ("[[]]".to_owned(), UndecodableBody, "expected [args, kwargs, embed]"),
        (r#"{"s3cret": 1}"#.to_owned(), UndecodableBody, "not JSON: expected an array at byte 0"),
        (r#"[[], "s3cret", {}]"#.to_owned(), UndecodableBody, "not JSON: expected an object at byte 5"),
        ("[[], {}, s3cret]".to_owned(), UndecodableBody, "not JSON: expected a value at byte 9"),
        (format!("{body}s3cret"), UndecodableBody, &format!("not JSON: expected the end at byte {}", body.len())),
        (
            celery::body(&run_data(&format!(r#", "inputs": {{"a": {}"#, "[".repeat(10_000)))),
            UndecodableBody,
            "nested deeper than 10000 levels at byte 10586",
        ),
    ] {
        refused(&celery::message(RUN_TASK, body), class, detail);
    }
}

#[test]
fn envelopes() {
    let plain = || celery::message(RUN_TASK, celery::body(&run_data("")));
    let pickle = "application/x-python-serialize";
    refused(&Message { task: None, ..plain() }, UnknownTask, "no task header");
    let other = "tasks.workflow_draft_var_tasks.save_workflow_execution_task";
    refused(&Message { task: Some(other.into()), ..plain() }, UnknownTask, other);
    refused(&Message { content_type: Some(pickle.into()), ..plain() }, UnsupportedContentType, pickle);
    for name in ["application/zstd", "application/x-lzma", "gzip"] {
        refused(&Message { compression: Some(name.into()), ..plain() }, UnsupportedCompression, name);
    }
    let large = celery::message(RUN_TASK, vec![b' '; 1_000_001]);
    refused(&large, TooLarge, "larger than 1000000 bytes; raise `pipeline.max_message_bytes` to accept it");
    let pickled = Message { content_type: Some(pickle.into()), ..native::message("x") };
    refused(&pickled, UnsupportedContentType, pickle);
}

/// Native events that are refused, with what of the usual event is replaced by what; and whether the schema refuses
/// them as well. It does not where only the value of a well-formed date is wrong.
pub fn native_cases() -> Vec<(String, RefusalClass, &'static str, bool)> {
    let event = native::run_event("");
    let with = |from: &str, to: &str| event.replacen(from, to, 1);
    let more = native::run_event;
    vec![
        ("5".to_owned(), UndecodableBody, "an event is not an object", true),
        ("{}".to_owned(), MissingField, "v", true),
        (with(r#""v": 1"#, r#""v": 2"#), UnknownVersion, "v: this difylog knows version 1", true),
        (with(r#""v": 1"#, r#""v": "s3cret""#), UnknownVersion, "v: this difylog knows version 1", true),
        (
            with("workflow_run", "s3cret"),
            UnknownKind,
            "kind: unknown kind (expected workflow_run, node_execution, app_log or offload)",
            true,
        ),
        (with(r#""workflow_run""#, "7"), InvalidField, "kind: expected a string", true),
        (with("kind", "sort"), MissingField, "kind", true),
        (with("record", "row"), MissingField, "record", true),
        (
            r#"{"v": 1, "kind": "app_log", "record": "s3cret"}"#.to_owned(),
            InvalidField,
            "record: expected an object",
            true,
        ),
        (with("workflow_run", "node_execution"), MissingField, "record.index", true),
        (with("workflow_run", "app_log"), MissingField, "record.workflow_run_id", true),
        (with("workflow_run", "offload"), MissingField, "record.file_id", true),
        (with(r#""type""#, r#""typo""#), MissingField, "record.type", true),
        (with(r#""chat""#, "null"), MissingField, "record.type", true),
        (with(native::ID, "s3cret"), InvalidId, "record.id: not a uuid (6 bytes)", true),
        (more(r#", "created_by": "*""#), InvalidId, "record.created_by: not a uuid (1 bytes)", true),
        (more(r#", "error": {"s3cret": 1}"#), InvalidField, "record.error: expected a string", true),
        (more(r#", "elapsed_time": "1""#), InvalidField, "record.elapsed_time: expected a number", true),
        (more(r#", "total_tokens": true"#), InvalidField, "record.total_tokens: expected an integer", true),
        (more(r#", "total_tokens": 0.5"#), InvalidField, "record.total_tokens: expected an integer of 64 bits", true),
        (
            more(&format!(r#", "version": "{}""#, "v".repeat(256))),
            InvalidField,
            "record.version: expected at most 255 characters",
            true,
        ),
        (more(r#", "finished_at": 1795447714"#), InvalidField, "record.finished_at: expected a string", true),
        (more(r#", "finished_at": "s3cret""#), InvalidField, "record.finished_at: not an ISO 8601 date and time", true),
        (
            more(r#", "finished_at": "2026-02-30T00:00:00""#),
            InvalidField,
            "record.finished_at: not an ISO 8601 date and time",
            false,
        ),
        (
            more(r#", "finished_at": "0001-01-01T00:00:00""#),
            DateOutOfRange,
            "record.finished_at: outside 1970-01-01 to 2262-04-11",
            false,
        ),
    ]
}

#[test]
fn native_events() {
    for (body, class, detail, _) in native_cases() {
        refused(&native::message(body), class, detail);
    }
    refused(&native::message("[{}, "), UndecodableBody, "not JSON: expected a value at byte 5");
    refused(&native::message("\u{feff}{}"), UndecodableBody, "not JSON: expected a value at byte 0");
}

#[test]
fn every_class_of_the_codec_is_in_the_tables() {
    let fields = RUN.iter().chain(&NODE).map(|(_, class, _)| *class);
    let natives = native_cases().into_iter().map(|(_, class, ..)| class);
    let envelopes = [UnknownTask, UnsupportedContentType, UnsupportedCompression, TooLarge];
    let tested: BTreeSet<_> = fields.chain(natives).chain(envelopes).collect();
    let all: BTreeSet<_> = RefusalClass::ALL.iter().copied().filter(|class| *class != RefusedByStore).collect();
    assert_eq!(tested, all);
}
