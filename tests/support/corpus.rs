//! The captured messages of Dify 1.10.1 as the codec takes them. Reads `tests/corpus/` only.

use std::path::PathBuf;

use difylog::codec::python_json::{Scanner, TypedLeaves};
use difylog::codec::{Message, Source};
use serde_json::Value;

/// A captured file, one JSON value a line. Python wrote it, and one header holds half a surrogate pair, so each line is
/// cleaned first; the bodies are strings within it, and stay as they were.
pub fn lines(name: &str) -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let clean = |line| Scanner::new(line, TypedLeaves::Keep).document().unwrap().0;
    text.lines().map(|line| serde_json::from_str(clean(line).as_str()).unwrap()).collect()
}

/// A captured line as a message.
pub fn message(captured: &Value) -> Message {
    let text = |value: &Value| value.as_str().map(Box::from);
    let body = match captured["body"].as_str() {
        Some(body) => body.as_bytes().to_vec(),
        None => from_base64(captured["body_base64"].as_str().unwrap()),
    };
    Message {
        source: Source::Celery,
        content_type: text(&captured["properties"]["content_type"]),
        compression: text(&captured["headers"]["compression"]),
        task: text(&captured["headers"]["task"]),
        body: body.into(),
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u32> = text.trim_end_matches('=').bytes().map(|byte| u32::from(digit(byte))).collect();
    let decode = |group: &[u32]| {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - group.len()));
        bits.to_be_bytes()[1..group.len()].to_vec()
    };
    digits.chunks(4).flat_map(decode).collect()
}
