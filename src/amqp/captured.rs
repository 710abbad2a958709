//! Captured messages: one JSON object a line, as they lay in a queue (exchange, routing key, properties, headers, body),
//! turned into messages to publish.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::AmqpError;
use super::publisher::Outgoing;
use crate::codec::python_json::{Scanner, TypedLeaves};

#[derive(Deserialize)]
struct Captured {
    exchange: String,
    routing_key: String,
    #[serde(default)]
    properties: Properties,
    #[serde(default)]
    headers: Map<String, Value>,
    body: Option<String>,
    body_base64: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Properties {
    content_type: Option<String>,
    content_encoding: Option<String>,
    delivery_mode: Option<u8>,
    priority: Option<u8>,
    correlation_id: Option<String>,
    reply_to: Option<String>,
    expiration: Option<String>,
    message_id: Option<String>,
    timestamp: Option<u64>,
    r#type: Option<String>,
    app_id: Option<String>,
}

/// Reads one line.
///
/// # Errors
/// [`AmqpError::Captured`] with what is wrong; never with the line itself.
pub fn captured_message(line: &str) -> Result<Outgoing, AmqpError> {
    // Python wrote the capture: headers quote user data, and with it lone surrogates.
    let (clean, _) = Scanner::new(line, TypedLeaves::Keep).document().map_err(|error| complaint(&error.to_string()))?;
    let captured: Captured = serde_json::from_str(clean.as_str()).map_err(|error| complaint(&error.to_string()))?;
    let body = match (captured.body, captured.body_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(encoded)) => BASE64.decode(encoded).map_err(|_| complaint("`body_base64` is not base64"))?,
        _ => return Err(complaint("needs either `body` or `body_base64`")),
    };
    Ok(Outgoing {
        exchange: name(captured.exchange)?,
        routing_key: name(captured.routing_key)?,
        properties: properties(captured.properties)?.with_headers(table(captured.headers)?),
        body: Bytes::from(body),
    })
}

fn complaint(text: &str) -> AmqpError {
    AmqpError::Captured(text.to_owned())
}

fn name(text: String) -> Result<ShortString, AmqpError> {
    ShortString::try_new(text).map_err(|_| complaint("a name or property has more than 255 bytes"))
}

fn properties(from: Properties) -> Result<BasicProperties, AmqpError> {
    let mut properties = BasicProperties::default();
    macro_rules! texts {
        ($($property:ident $with:ident),+ $(,)?) => {$(
            if let Some(value) = from.$property {
                properties = properties.$with(name(value)?);
            }
        )+};
    }
    texts!(
        content_type with_content_type,
        content_encoding with_content_encoding,
        correlation_id with_correlation_id,
        reply_to with_reply_to,
        expiration with_expiration,
        message_id with_message_id,
        r#type with_type,
        app_id with_app_id,
    );
    if let Some(mode) = from.delivery_mode {
        properties = properties.with_delivery_mode(mode);
    }
    if let Some(priority) = from.priority {
        properties = properties.with_priority(priority);
    }
    if let Some(timestamp) = from.timestamp {
        properties = properties.with_timestamp(timestamp);
    }
    Ok(properties)
}

fn table(headers: Map<String, Value>) -> Result<FieldTable, AmqpError> {
    let fields = headers.into_iter().map(|(key, header)| Ok((name(key)?, value(header)?)));
    Ok(fields.collect::<Result<BTreeMap<_, _>, AmqpError>>()?.into())
}

fn value(header: Value) -> Result<AMQPValue, AmqpError> {
    Ok(match header {
        Value::Null => AMQPValue::Void,
        Value::Bool(flag) => AMQPValue::Boolean(flag),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => i32::try_from(whole).map_or(AMQPValue::LongLongInt(whole), AMQPValue::LongInt),
            (None, Some(fraction)) => AMQPValue::Double(fraction),
            (None, None) => return Err(complaint("a header holds a number that AMQP has no type for")),
        },
        Value::String(text) => AMQPValue::LongString(text.into()),
        Value::Array(items) => {
            AMQPValue::FieldArray(items.into_iter().map(value).collect::<Result<Vec<_>, _>>()?.into())
        }
        Value::Object(fields) => AMQPValue::FieldTable(table(fields)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_as_it_was_captured() {
        let line = r#"{"seq": 0, "exchange": "", "routing_key": "q", "redelivered": false,
            "properties": {"content_type": "application/json", "delivery_mode": 2},
            "headers": {"task": "t", "eta": null, "retries": 0, "timelimit": [null, null], "stamps": {}, "big": 5000000000},
            "body_base64": "AAEC/w=="}"#;
        let message = captured_message(line).unwrap();
        assert_eq!(message.body.as_ref(), [0, 1, 2, 255]);
        assert_eq!(message.routing_key.as_str(), "q");
        let headers = message.properties.headers().as_ref().unwrap().inner();
        assert_eq!(headers["eta"], AMQPValue::Void);
        assert_eq!(headers["retries"], AMQPValue::LongInt(0));
        assert_eq!(headers["big"], AMQPValue::LongLongInt(5_000_000_000));
        assert_eq!(headers["stamps"], AMQPValue::FieldTable(FieldTable::default()));
    }

    #[test]
    fn says_what_is_wrong_and_never_what_it_read() {
        for line in [
            "secret",
            r#"{"exchange": "", "routing_key": "q"}"#,
            r#"{"exchange": "", "routing_key": "q", "body": "secret", "body_base64": ""}"#,
            r#"{"exchange": "", "routing_key": "q", "body_base64": "secret"}"#,
        ] {
            let Err(error) = captured_message(line) else { panic!("{line}") };
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
