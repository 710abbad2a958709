//! The captured messages of Dify 1.10.1 as the codec takes them. Reads `tests/corpus/` only.

use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use difylog::codec::python_json::{Scanner, TypedLeaves};
use difylog::codec::{DecodeLimits, DecodedEvents, Message, QueueFormat, decode};
use difylog::domain::Record;
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
        None => BASE64_STANDARD.decode(captured["body_base64"].as_str().unwrap()).unwrap(),
    };
    Message {
        source: QueueFormat::Celery,
        content_type: text(&captured["properties"]["content_type"]),
        compression: text(&captured["headers"]["compression"]),
        task: text(&captured["headers"]["task"]),
        body: body.into(),
    }
}

/// The records of a captured file, in its order.
pub fn records(name: &str) -> Vec<Record> {
    let decode_one = |message| match decode(&message, DecodeLimits::default()).unwrap().content {
        DecodedEvents::One(record) => record,
        DecodedEvents::Parts(_) => panic!("a Celery message holds one record"),
    };
    lines(name).iter().map(message).map(decode_one).collect()
}
