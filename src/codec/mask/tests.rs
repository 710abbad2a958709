//! What is masked, and what stays as it is.

use super::*;
use crate::domain::{RecordId, RunStatus, WorkflowRun};

fn masked(fields: &[&str], patterns: &[&str], json: &str) -> String {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let mask = Mask::new(&MaskSettings { fields: texts(fields), patterns: texts(patterns) }).unwrap().unwrap();
    mask.spelled("inputs", json).unwrap_or_else(|| json.to_owned())
}

/// Masks a text that a payload holds, and an error of the same words.
fn masked_text(fields: &[&str], patterns: &[&str], text: &str) -> String {
    let payload = format!(r#"{{"body": {}}}"#, quoted(text));
    let shown = masked(fields, patterns, &payload);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let mask = Mask::new(&MaskSettings { fields: texts(fields), patterns: texts(patterns) }).unwrap().unwrap();
    let (mut record, mut extra) = (Record::Run(Box::new(failed(text))), Extra::default());
    mask.redact(&mut record, &mut extra);
    let Record::Run(run) = record else { panic!() };
    assert_eq!(shown["body"].as_str(), run.error.as_deref(), "an error is a text like any other");
    run.error.unwrap().into()
}

fn failed(error: &str) -> WorkflowRun {
    let id = |n| RecordId::new(uuid::Uuid::from_u128(n));
    WorkflowRun { id: id(1), status: RunStatus::Failed, error: Some(error.into()), ..WorkflowRun::default() }
}

#[test]
fn fields_are_masked_by_name_and_by_path() {
    let json = r#"{"Password":"a","deep":[{"password":{"x":1}}],"card":{"number":7,"name":"b"}}"#;
    assert_eq!(
        masked(&["password"], &[], json),
        r#"{"Password":"***","deep":[{"password":"***"}],"card":{"number":7,"name":"b"}}"#
    );
    assert_eq!(masked(&["inputs.card.number"], &[], json), json.replace(":7", ":\"***\""));
    assert_eq!(masked(&["inputs.*.name"], &[], json), json.replace("\"b\"", "\"***\""));
    assert_eq!(masked(&["outputs.card.number"], &[], json), json);
}

#[test]
fn texts_are_masked_by_pattern_and_what_is_not_stays_as_it_is() {
    let json = r#"{"a": "card 4111 1111 1111 1111, $1", "n": 1.50, "b": 4111111111111111}"#;
    let shown = masked(&[], &[r"\b(?:\d[ ]?){16}"], json);
    assert!(shown.contains("card ***, $1") && shown.contains("\"b\":\"***\""), "{shown}");
    assert_eq!(masked(&[], &["absent"], json), json, "to the last byte");
    assert_eq!(masked(&[], &["sec.et"], "no json: secret"), "no json: ***");
    let large = format!("\"{}\"", "x".repeat(MOST_BYTES));
    assert!(masked(&["a"], &[], &large).len() < 40);
    let deep = |depth: usize, value: &str| format!("{}{value}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(masked(&["a"], &[], &deep(127, "1")), deep(127, "1"));
    assert_eq!(masked(&["a"], &[], &deep(120, r#"{"a": 1}"#)), deep(120, r#"{"a":"***"}"#));
    assert_eq!(masked(&["a"], &[], &deep(5000, r#"{"a": 1}"#)), deep(128, r#""***""#), "too deep to be looked into");
}

#[test]
fn json_in_a_text_and_the_names_of_members_are_looked_at() {
    let inner = r#"{"password": "hunter2", "card": {"number": 1.50}}"#;
    let json = format!(r#"{{"body": {}, "a@b.example": 1}}"#, quoted(inner));
    let shown = masked(&["password", "inputs.body.card.number"], &[r"\w+@[\w.]+"], &json);
    let body = quoted(r#"{"password":"***","card":{"number":"***"}}"#);
    assert_eq!(shown, format!(r#"{{"body":{body},"***":1}}"#));
    let twice = format!(r#"{{"log": {}}}"#, quoted(&format!("[{}]", quoted(inner))));
    assert!(!masked(&["password"], &[], &twice).contains("hunter2"));
    assert_eq!(masked(&["password"], &["x+"], r#"{"a": "{broken xx"}"#), r#"{"a":"{broken ***"}"#);
    assert_eq!(masked(&["absent"], &[], &json), json, "to the last byte");
}

#[test]
fn what_is_not_masked_keeps_its_spelling_beside_what_is() {
    let json = r#"{"a": 1.50, "n": 123456789012345678901234567890, "é": "\u00e9", "a": [1e-09, {"password": 1}], "z": {"x" : 1}}"#;
    let shown =
        r#"{"a":1.50,"n":123456789012345678901234567890,"é":"\u00e9","a":[1e-09,{"password":"***"}],"z":{"x" : 1}}"#;
    assert_eq!(masked(&["password"], &[], json), shown);
}

#[test]
fn what_cannot_be_used_is_named() {
    let settings = |fields: &str, patterns: &str| MaskSettings {
        fields: vec![fields.to_owned()],
        patterns: vec![patterns.to_owned()],
    };
    assert!(Mask::new(&settings("a..b", "x")).unwrap_err().contains("fields"));
    assert!(Mask::new(&settings("a", "(")).unwrap_err().contains("patterns"));
    assert!(Mask::new(&settings("a", "x*")).unwrap_err().contains("empty"));
    assert!(Mask::new(&MaskSettings::default()).unwrap().is_none());
}

/// Whoever writes a pattern may mean the text as it stands, with its quotes and colons.
#[test]
fn patterns_see_a_text_that_is_json_as_a_text() {
    let pattern = r#""?password"?\s*[:=]\s*"[^"]*""#;
    let text = r#"{"user": "ann", "password": "hunter2"}"#;
    assert_eq!(masked_text(&[], &[pattern], text), r#"{"user": "ann", ***}"#);
    assert_eq!(masked_text(&[], &[pattern], r#"password = "hunter2""#), "***");
    // And what its strings say, without the escapes.
    let escaped = r#"{"mail": "ann\u0040b.example", "note": "caf\u00e9 hunter2"}"#;
    assert_eq!(masked_text(&[], &["ann@b", "é hunter2"], escaped), r#"{"mail":"***.example","note":"caf***"}"#);
    assert_eq!(masked_text(&["user"], &[pattern], text), r#"{"user":"***",***}"#);
}

#[test]
fn json_that_a_text_holds_twice_over_is_looked_into() {
    let inner = r#"{"password": "hunter2", "n": 1.50}"#;
    let shown = quoted(r#"{"password":"***","n":1.50}"#);
    assert_eq!(masked_text(&["password"], &[], &quoted(inner)), shown);
    assert_eq!(masked_text(&["password"], &[], &quoted(&quoted(inner))), quoted(&shown));
    assert_eq!(masked_text(&["password"], &["ann"], r#""ann" said "hello""#), r#""***" said "hello""#);
}

#[test]
fn json_in_a_text_is_read_as_python_writes_it_and_document_by_document() {
    let python = r#"{"password": "hunter2", "loss": NaN, "most": -Infinity, "half": "\ud83d"}"#;
    let shown = masked_text(&["password"], &[], python);
    assert_eq!(shown, "{\"password\":\"***\",\"loss\":null,\"most\":null,\"half\":\"\u{fffd}\"}");
    assert_eq!(masked_text(&["absent"], &[], python), python, "to the last byte");
    let lines = "{\"a\": NaN}\n{\"password\": \"hunter2\"}\n\n[1, {\"Password\": 2}]\n";
    let shown = "{\"a\": NaN}\n{\"password\":\"***\"}\n\n[1,{\"Password\":\"***\"}]\n";
    assert_eq!(masked_text(&["password"], &[], lines), shown);
    let path = "{\"card\": {\"number\": 1}} {\"card\": {\"number\": 2}}";
    let json = format!(r#"{{"body": {}}}"#, quoted(path));
    let shown = r#"{"card":{"number":"***"}} {"card":{"number":"***"}}"#;
    assert_eq!(masked(&["inputs.body.card.number"], &[], &json), format!(r#"{{"body":{}}}"#, quoted(shown)));
}

#[test]
fn a_text_that_cannot_be_read_is_masked_if_it_names_what_is_masked() {
    let cut = r#"{"user": "ann", "password" : "hunter2 and more..."#;
    assert_eq!(masked_text(&["password"], &[], cut), "***");
    assert_eq!(masked_text(&["absent", "ann", "more"], &[], cut), cut, "names of members only");
    assert_eq!(masked_text(&["password"], &[], &format!("{{\"a\": 1}}\n{cut}")), "{\"a\": 1}\n***");
    assert_eq!(masked_text(&["password"], &[], &format!("[1, {}", quoted(cut))), "***", "escaped once more");
    let apart = r#"{"a": "the пароль: 1..."#;
    assert_eq!(masked_text(&["пароль"], &[], apart), apart, "not in quotes");
    assert_eq!(masked_text(&["пароль"], &[], r#"{"a": "{\"\\u041f\\u0430роль\": 1..."#), "***");
    assert_eq!(masked_text(&["password"], &[], "{'user': 'ann', 'password': 'hunter2'}"), "***", "Python's own");
    assert_eq!(masked_text(&["password"], &[], "\u{feff}{\"password\": 1}"), "***");
    let json = |text: &str| format!(r#"{{"body":{}}}"#, quoted(text));
    let cut = r#"{"card": {"number": 41111..."#;
    assert_eq!(masked(&["inputs.body.card.number"], &[], &json(cut)), json("***"));
    assert_eq!(masked(&["inputs.*.*.number"], &[], &json(cut)), json("***"));
    assert_eq!(masked(&["inputs.other.card.number"], &[], &json(cut)), json(cut));
    assert_eq!(masked(&["inputs.body"], &[], &json(cut)), json("***"));
}

/// A text of many documents, each of many texts, is read a few times and not once for each of them.
#[test]
fn a_large_text_that_cannot_be_read_costs_its_length() {
    let text = "{\"a\": [\"{\", NaN]}\n".repeat(200_000) + "{\"password\": ";
    let shown = masked(&["password", "inputs.body.x.y"], &["hunter2"], &format!(r#"{{"body":{}}}"#, quoted(&text)));
    assert!(shown.ends_with(r#"\n***"}"#), "{}", shown.get(shown.len() - 40..).unwrap());
}
