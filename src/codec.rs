//! Bytes to records. Pure: no I/O, no clock, no knowledge of who delivered the bytes or where the records go.
//!
//! Whatever is wrong with a message is a [`Refusal`] with a reason class; nothing panics and nothing is dropped.

mod celery;
mod cleaned;
pub mod mask;
mod native;
mod policy;
pub mod python_json;
mod row;
pub mod spelling;
mod table;
pub mod truncate;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;

use crate::domain::{JsonText, Record, Refusal, RefusalClass};
pub use cleaned::Cleaned;
pub use native::{MAX_EVENTS, encode_native};
pub use policy::PayloadPolicy;
pub use table::{TableCell, decode_payload, decode_row, decode_row_with_extra};

/// Which format a queue carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueFormat {
    /// Dify's Celery tasks, message protocol 2.
    Celery,
    /// difylog's own events.
    Native,
}

/// A message as far as decoding needs it.
#[derive(Clone)]
pub struct Message {
    pub source: QueueFormat,
    /// The `content_type` property.
    pub content_type: Option<Box<str>>,
    /// Celery: the `compression` header.
    pub compression: Option<Box<str>>,
    /// Celery: the `task` header.
    pub task: Option<Box<str>>,
    pub body: Bytes,
}

/// What decoding may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecodeLimits {
    /// The largest body, in bytes after decompression.
    #[serde(alias = "message-bytes")]
    pub message_bytes: usize,
}

impl Default for DecodeLimits {
    /// 128 MiB: the largest message of RabbitMQ before version 4, and more than later ones carry.
    fn default() -> Self {
        Self { message_bytes: 128 << 20 }
    }
}

impl DecodeLimits {
    fn check(self, bytes: usize) -> Result<(), Refusal> {
        if bytes <= self.message_bytes {
            return Ok(());
        }
        let detail =
            format!("larger than {} bytes; raise `pipeline.max_message_bytes` to accept it", self.message_bytes);
        Err(Refusal::new(RefusalClass::TooLarge, detail))
    }
}

/// A message decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    pub content: DecodedEvents,
    /// What was changed to keep the records.
    pub cleaned: Cleaned,
    /// Fields of native events that no record has, by the event's position.
    pub extras: Extras,
}

/// Texts of [`Extra`](crate::domain::Extra)s by the position of their events; most have none.
pub type Extras = BTreeMap<usize, JsonText>;

/// One record or several.
#[derive(Clone, PartialEq)]
pub enum DecodedEvents {
    One(Record),
    /// The events of an array, in their order; none if it is empty.
    Parts(Vec<EventPart>),
}

/// One event of an array: what is wrong with it does not touch the others.
#[derive(Clone, PartialEq)]
pub struct EventPart {
    /// Its bytes within the body.
    pub range: Range<usize>,
    pub record: Result<Record, Refusal>,
}

/// Decodes a message.
///
/// # Errors
/// The [`Refusal`] of the whole message.
pub fn decode(message: &Message, limits: DecodeLimits) -> Result<Decoded, Refusal> {
    limits.check(message.body.len())?;
    match message.source {
        QueueFormat::Celery => {
            let (record, cleaned) = celery::decode(message, limits)?;
            Ok(Decoded { content: DecodedEvents::One(record), cleaned, extras: Extras::new() })
        }
        QueueFormat::Native => native::decode(message),
    }
}

/// Returns whether a message has to be decompressed, so that its size says nothing of what decoding it takes.
#[must_use]
pub fn is_compressed(message: &Message) -> bool {
    message.source == QueueFormat::Celery && celery::is_compressed(message)
}

/// Returns the bytes that a message unfolds to, at most one more than the largest message: decompresses it without keeping
/// anything, which takes as long as decompressing it.
#[must_use]
pub fn unfolded_bytes(message: &Message, limits: DecodeLimits) -> u64 {
    match message.source {
        QueueFormat::Celery => celery::unfolded_bytes(message, limits),
        QueueFormat::Native => message.body.len() as u64,
    }
}

/// JSON, or no content type at all. Parameters such as `charset` do not matter: JSON is UTF-8.
fn check_content_type(message: &Message) -> Result<(), Refusal> {
    let Some(content_type) = message.content_type.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(());
    };
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Refusal::new(RefusalClass::UnsupportedContentType, media_type))
}

impl fmt::Debug for DecodedEvents {
    /// Ids only: payloads never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(record) => write!(f, "One({:?})", record.key()),
            Self::Parts(parts) => f.debug_list().entries(parts).finish(),
        }
    }
}

impl fmt::Debug for EventPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({:?}, {:?})", self.range, self.record.as_ref().map(Record::key))
    }
}
