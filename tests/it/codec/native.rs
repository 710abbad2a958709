//! Native events: every spelling that is accepted, arrays that fail in parts, and the way back.

use difylog::codec::{Cleaned, DecodeLimits, DecodedEvents, MAX_EVENTS, Message, QueueFormat, decode, encode_native};
use difylog::domain::{JsonText, Record, Refusal, RefusalClass, WorkflowRun};
use proptest::prelude::*;

use crate::codec::generate;

pub fn message(body: impl Into<Vec<u8>>) -> Message {
    Message { source: QueueFormat::Native, content_type: None, compression: None, task: None, body: body.into().into() }
}

pub const ID: &str = "669dd85a-0949-4cda-99c9-4984b192aea0";

/// A run event with only what is needed, and with `more` members of the record.
pub fn run_event(more: &str) -> String {
    format!(
        r#"{{"v": 1, "kind": "workflow_run", "record": {{"id": "{ID}", "tenant_id": "{ID}", "app_id": "{ID}",
        "workflow_id": "{ID}", "type": "chat", "triggered_from": "app-run", "version": "draft", "status": "running",
        "created_by_role": "account", "created_by": "{ID}", "created_at": "2026-11-23T15:28:34.729072"{more}}}}}"#
    )
}

fn run(body: &str) -> (WorkflowRun, Cleaned) {
    let decoded = decode(&message(body), DecodeLimits::default()).unwrap();
    match decoded.content {
        DecodedEvents::One(Record::Run(run)) => (*run, decoded.cleaned),
        other => panic!("{other:?}"),
    }
}

fn outputs(json: &str) -> (Option<String>, Cleaned) {
    let (run, cleaned) = run(&run_event(&format!(r#", "outputs": {json}"#)));
    (run.outputs.map(|text| text.as_str().to_owned()), cleaned)
}

#[test]
fn what_is_absent_has_the_default_of_its_column() {
    let (run, _) = run(&run_event(r#", "total_tokens": null, "surplus": {"a": [1]}"#));
    assert_eq!((run.elapsed_time, run.total_tokens, run.total_steps, run.exceptions_count), (0.0, 0, 0, 0));
    assert_eq!((run.graph, run.inputs, run.outputs, run.error, run.finished_at), (None, None, None, None, None));
    assert_eq!(run.created_at.to_string(), "2026-11-23T15:28:34.729072Z");
}

#[test]
fn payloads_come_as_values_or_as_text() {
    for (json, expected) in [
        ("null", None),
        (r#""""#, None),
        (r#""null""#, None),
        ("NaN", None),
        ("{}", Some("{}")),
        (r#""{}""#, Some("{}")),
        (r#"" {\"a\": \"\\u4f60\"}\n""#, Some(r#"{"a": "你"}"#)),
        (r#"[1, "\u4f60"]"#, Some(r#"[1, "你"]"#)),
        (r#""\"text\"""#, Some(r#""text""#)),
        (r#"{"__type__": "date", "__value__": "x"}"#, Some(r#"{"__type__": "date", "__value__": "x"}"#)),
    ] {
        assert_eq!(outputs(json).0.as_deref(), expected, "{json}");
    }
}

#[test]
fn text_that_is_no_json_is_kept_as_a_string() {
    let none = Cleaned::default();
    let kept = outputs(r#""{\"a\": oops \\ \u0000}""#);
    assert_eq!(kept, (Some(r#""{\"a\": oops \\ \u0000}""#.to_owned()), Cleaned { not_json: 1, ..none }));
    let python = outputs(r#""{\"a\": NaN, \"b\": \"\\ud83d\"}""#);
    assert_eq!(
        python,
        (Some("{\"a\": null, \"b\": \"\u{fffd}\"}".to_owned()), Cleaned { nan: 1, surrogates: 1, ..none })
    );
}

#[test]
fn texts_are_kept_but_for_nul() {
    let (run, cleaned) = run(&run_event(r#", "error": "", "status": "a\u0000b", "total_steps": 2.0"#));
    assert_eq!((run.error.as_deref(), run.status.as_str(), run.total_steps), (Some(""), "a\u{fffd}b", 2));
    assert_eq!(cleaned, Cleaned { nul: 1, ..Cleaned::default() });
}

#[test]
fn keys_come_in_any_order_and_the_last_of_two_wins() {
    let event = run_event(r#", "version": "first", "version": "last""#);
    let record = event.split_once(r#""record": "#).unwrap().1.trim_end_matches('}').to_owned() + "}";
    let reversed = format!(r#"{{"record": {record}, "kind": "offload", "kind": "workflow_run", "v": 1}}"#);
    assert_eq!(run(&reversed), run(&event));
    assert_eq!(&*run(&event).0.version, "last");
}

#[test]
fn an_array_is_refused_in_parts() {
    let good = run_event("");
    let bad = good.replacen(ID, "nobody", 1);
    let body = [b"[ ", good.as_bytes(), b",\n\"\xff\",", bad.as_bytes(), b" , ", good.as_bytes(), b"]"].concat();
    let decoded = decode(&message(body.clone()), DecodeLimits::default()).unwrap();
    assert_eq!(decoded.cleaned, Cleaned { invalid_utf8: 1, ..Cleaned::default() });
    let DecodedEvents::Parts(parts) = decoded.content else { panic!("an array") };
    let found: Vec<&[u8]> = parts.iter().map(|part| &body[part.range.clone()]).collect();
    assert_eq!(found, [good.as_bytes(), b"\"\xff\"", bad.as_bytes(), good.as_bytes()]);
    let classes: Vec<_> = parts.iter().map(|part| part.record.as_ref().err().map(|refusal| refusal.class)).collect();
    assert_eq!(classes, [None, Some(RefusalClass::UndecodableBody), Some(RefusalClass::InvalidId), None]);
}

#[test]
fn an_array_may_be_empty_but_not_endless() {
    let decoded = decode(&message("[]"), DecodeLimits::default()).unwrap();
    assert_eq!(decoded.content, DecodedEvents::Parts(Vec::new()));
    let events = |count| message(format!("[{}]", vec!["1"; count].join(",")));
    assert!(decode(&events(MAX_EVENTS), DecodeLimits::default()).is_ok());
    let refusal = decode(&events(MAX_EVENTS + 1), DecodeLimits::default()).unwrap_err();
    assert_eq!(refusal.class, RefusalClass::TooLarge);
}

#[test]
fn debug_shows_no_payload() {
    let body = run_event(r#", "error": "secret", "outputs": {"a": "secret"}"#);
    let decoded = decode(&message(body), DecodeLimits::default()).unwrap();
    assert!(!format!("{decoded:?}").contains("secret"));
}

/// What decoding leaves of a payload that was encoded: the same text.
fn decoded(record: &Record) -> Result<Record, Refusal> {
    let decoded = decode(&message(encode_native(record)), DecodeLimits::default())?;
    assert_eq!(decoded.cleaned, Cleaned::default());
    match decoded.content {
        DecodedEvents::One(record) => Ok(record),
        DecodedEvents::Parts(_) => panic!("one event"),
    }
}

proptest! {
    #[test]
    fn encoding_and_back(record in generate::record()) {
        prop_assert_eq!(decoded(&record).unwrap(), record);
    }

    #[test]
    fn a_payload_may_travel_as_text(payload in generate::payload()) {
        let text = serde_json::to_string(payload.as_str()).unwrap();
        prop_assert_eq!(outputs(&text).0.map(JsonText::from_clean), Some(payload));
    }
}
