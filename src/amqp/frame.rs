//! How many bytes the properties of a message take on the wire. All of them travel in one frame, which cannot be longer
//! than what client and broker agreed on (`frame_max`); a longer one makes the broker close the connection.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable};

/// Bytes around the payload of a frame: type, channel, length, end.
const ENVELOPE: usize = 8;
/// Class, weight, length of the body, flags.
const FIXED: usize = 14;

/// Returns the bytes that the payload of a header frame may have.
pub(super) fn header_limit(frame_max: u32) -> usize {
    match usize::try_from(frame_max).unwrap_or(usize::MAX) {
        // No limit was agreed on.
        0 => usize::MAX,
        frame_max => frame_max.saturating_sub(ENVELOPE),
    }
}

/// Returns the bytes of the payload of the header frame that carries these properties.
pub(super) fn header_bytes(properties: &BasicProperties) -> usize {
    let texts = [
        properties.content_type(),
        properties.content_encoding(),
        properties.correlation_id(),
        properties.reply_to(),
        properties.expiration(),
        properties.message_id(),
        properties.kind(),
        properties.user_id(),
        properties.app_id(),
        properties.cluster_id(),
    ];
    let texts: usize = texts.into_iter().flatten().map(|text| 1 + text.as_str().len()).sum();
    let bytes = usize::from(properties.delivery_mode().is_some()) + usize::from(properties.priority().is_some());
    let time = properties.timestamp().map_or(0, |_| 8);
    FIXED + texts + bytes + time + properties.headers().as_ref().map_or(0, table)
}

/// Returns the bytes of one header with its name.
pub(super) fn field(name: &str, content: &AMQPValue) -> usize {
    1 + name.len() + value(content)
}

fn table(fields: &FieldTable) -> usize {
    4 + fields.inner().iter().map(|(name, content)| field(name.as_str(), content)).sum::<usize>()
}

fn array(items: &FieldArray) -> usize {
    4 + items.as_slice().iter().map(value).sum::<usize>()
}

/// With the byte of its type.
fn value(content: &AMQPValue) -> usize {
    1 + match content {
        AMQPValue::Void => 0,
        AMQPValue::Boolean(_) | AMQPValue::ShortShortInt(_) | AMQPValue::ShortShortUInt(_) => 1,
        AMQPValue::ShortInt(_) | AMQPValue::ShortUInt(_) => 2,
        AMQPValue::LongInt(_) | AMQPValue::LongUInt(_) | AMQPValue::Float(_) => 4,
        AMQPValue::DecimalValue(_) => 5,
        AMQPValue::LongLongInt(_) | AMQPValue::Double(_) | AMQPValue::Timestamp(_) => 8,
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.len(),
        AMQPValue::FieldArray(items) => array(items),
        AMQPValue::FieldTable(fields) => table(fields),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn counts_what_the_wire_format_takes() {
        assert_eq!(header_bytes(&BasicProperties::default()), 14);
        let list = AMQPValue::FieldArray(vec![AMQPValue::Boolean(true), AMQPValue::Void].into());
        let headers = BTreeMap::from([
            ("a".into(), AMQPValue::LongString("xyz".into())),
            ("bc".into(), AMQPValue::LongLongInt(1)),
            ("d".into(), list),
        ]);
        let properties = BasicProperties::default()
            .with_content_type("text".into())
            .with_delivery_mode(2)
            .with_timestamp(1)
            .with_headers(headers.into());
        // Table: its length 4; a: 2 + 1 + 4 + 3; bc: 3 + 1 + 8; d: 2 + 1 + 4 + 2 + 1.
        assert_eq!(header_bytes(&properties), 14 + 5 + 1 + 8 + 4 + 10 + 12 + 10);
        assert_eq!((header_limit(131_072), header_limit(0)), (131_064, usize::MAX));
    }
}
