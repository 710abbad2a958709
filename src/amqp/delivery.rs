//! What is kept of a delivery, and what the codec is given of it.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::codec::Message;

use super::settings::QueueSource;

/// A message as it came, kept until it is settled: a dead letter or a forwarded message is made from it.
pub struct Original {
    pub exchange: ShortString,
    pub routing_key: ShortString,
    pub properties: BasicProperties,
    pub body: Bytes,
}

impl Original {
    /// Returns what decoding needs.
    pub fn message(&self, source: QueueSource) -> Message {
        let headers = self.properties.headers().as_ref();
        let header = |name| match source {
            QueueSource::Celery => headers.and_then(|headers| text(headers, name)).map(String::into_boxed_str),
            QueueSource::Native => None,
        };
        Message {
            source: source.codec(),
            content_type: self.properties.content_type().as_ref().map(|text| text.as_str().into()),
            compression: header("compression"),
            task: header("task"),
            body: self.body.clone(),
        }
    }
}

/// Returns a header that is text.
pub(super) fn text(headers: &FieldTable, name: &str) -> Option<String> {
    match headers.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// Returns a header that is a whole number.
pub(super) fn number(headers: &FieldTable, name: &str) -> Option<i64> {
    whole_number(headers.inner().get(name)?)
}

pub(super) fn whole_number(value: &AMQPValue) -> Option<i64> {
    Some(match *value {
        AMQPValue::ShortShortInt(number) => number.into(),
        AMQPValue::ShortShortUInt(number) => number.into(),
        AMQPValue::ShortInt(number) => number.into(),
        AMQPValue::ShortUInt(number) => number.into(),
        AMQPValue::LongInt(number) => number.into(),
        AMQPValue::LongUInt(number) => number.into(),
        AMQPValue::LongLongInt(number) => number,
        _ => return None,
    })
}

/// Makes a name for the wire. Names from the configuration and from the broker have at most 255 bytes; anything longer
/// is cut, and the broker then says that it does not exist.
pub(super) fn short(text: &str) -> ShortString {
    let end = text.floor_char_boundary(255);
    ShortString::try_new(text.get(..end).unwrap_or_default()).unwrap_or_default()
}

pub(super) fn long(text: impl Into<String>) -> AMQPValue {
    AMQPValue::LongString(text.into().into_bytes().into())
}
