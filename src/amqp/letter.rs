//! What a dead letter says: its headers, written when a delivery is refused and read back by `difylog dlq`.

use std::ops::Range;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use sha2::{Digest, Sha256};

use super::delivery::{Original, long, number, short, text, whole_number};
use super::publisher::{Outgoing, PERSISTENT};
use super::settings::{QueueSettings, QueueSource};
use crate::codec::Message;
use crate::domain::Timestamp;
use crate::pipeline::receipt::Letter;

pub const REASON: &str = "x-difylog-reason";
pub const DETAIL: &str = "x-difylog-detail";
pub const STATUS: &str = "x-difylog-status";
pub const ATTEMPTS: &str = "x-difylog-attempts";
pub const EXCHANGE: &str = "x-difylog-exchange";
pub const ROUTING_KEY: &str = "x-difylog-routing-key";
pub const QUEUE: &str = "x-difylog-queue";
pub const SOURCE: &str = "x-difylog-source";
pub const SHA256: &str = "x-difylog-sha256";
pub const AT: &str = "x-difylog-at";

/// Headers that hold user data in clear (Celery's printed arguments), or that would send copies elsewhere.
const NOT_IN_A_LETTER: [&str; 4] = ["argsrepr", "kwargsrepr", "CC", "BCC"];
/// Headers of the broker's own dead-lettering. On a replayed message an old broker would take them for a cycle.
const NOT_REPLAYED: [&str; 4] = ["x-death", "x-first-death-queue", "x-first-death-reason", "x-first-death-exchange"];

/// Makes the message for the dead-letter exchange.
pub(super) fn write(
    original: &Original,
    queue: &QueueSettings,
    letter: &Letter,
    at: Timestamp,
    dead_letter_exchange: &str,
) -> Outgoing {
    let body = part(original, letter.part.as_ref());
    let before = original.properties.headers().as_ref();
    let attempts = before.and_then(|headers| number(headers, ATTEMPTS)).unwrap_or(0).max(0).saturating_add(1);
    let mut headers = before.map(|headers| without(headers, &NOT_IN_A_LETTER)).unwrap_or_default();
    let mut set = |name, value| {
        headers.insert(short(name), value);
    };
    set(REASON, long(letter.refusal.class.as_str()));
    set(DETAIL, long(letter.refusal.detail.as_str()));
    if let Some(status) = letter.refusal.status {
        set(STATUS, AMQPValue::LongInt(status.into()));
    }
    set(ATTEMPTS, AMQPValue::LongLongInt(attempts));
    set(EXCHANGE, long(original.exchange.as_str()));
    set(ROUTING_KEY, long(original.routing_key.as_str()));
    set(QUEUE, long(queue.name.as_str()));
    set(SOURCE, long(queue.source.as_str()));
    set(SHA256, long(format!("{:x}", Sha256::digest(&body))));
    set(AT, long(at.to_string()));
    Outgoing {
        exchange: short(dead_letter_exchange),
        routing_key: short(&queue.name),
        properties: properties(&original.properties, headers),
        body,
    }
}

fn part(original: &Original, range: Option<&Range<usize>>) -> bytes::Bytes {
    match range {
        Some(range) if original.body.get(range.clone()).is_some() => original.body.slice(range.clone()),
        _ => original.body.clone(),
    }
}

/// The original properties, but for three. An `expiration` would let the letter vanish from its queue; a `user_id` is
/// refused by the broker unless it is the publisher's own; and a letter is durable whatever the message was.
fn properties(original: &BasicProperties, headers: FieldTable) -> BasicProperties {
    let mut kept = BasicProperties::default().with_headers(headers).with_delivery_mode(PERSISTENT);
    macro_rules! keep {
        ($($property:ident $with:ident),+ $(,)?) => {$(
            if let Some(value) = original.$property() {
                kept = kept.$with(value.clone());
            }
        )+};
    }
    keep!(
        content_type with_content_type,
        content_encoding with_content_encoding,
        priority with_priority,
        correlation_id with_correlation_id,
        reply_to with_reply_to,
        message_id with_message_id,
        timestamp with_timestamp,
        kind with_type,
        app_id with_app_id,
    );
    kept
}

fn without(headers: &FieldTable, names: &[&str]) -> FieldTable {
    let kept = headers.inner().iter().filter(|(name, _)| !names.contains(&name.as_str()));
    FieldTable::from(
        kept.map(|(name, value)| (name.clone(), value.clone())).collect::<std::collections::BTreeMap<_, _>>(),
    )
}

/// The message as it goes to a second queue: unchanged, but for the `user_id`, which only its first publisher may set.
pub(super) fn forward(original: Original, to: &str) -> Outgoing {
    let mut properties = original.properties;
    if properties.user_id().is_some() {
        let headers = properties.headers().clone().unwrap_or_default();
        properties = self::properties(&properties, headers);
    }
    Outgoing { exchange: ShortString::default(), routing_key: short(to), properties, body: original.body }
}

/// The message as it goes back to the queue it came from. Keeps the number of attempts.
pub(super) fn replay(original: Original, to: &str) -> Outgoing {
    let headers = original.properties.headers().as_ref().map(|headers| {
        let kept = headers.inner().iter().filter(|(name, _)| {
            let name = name.as_str();
            name == ATTEMPTS || !(name.starts_with("x-difylog-") || NOT_REPLAYED.contains(&name))
        });
        kept.map(|(name, value)| (name.clone(), value.clone())).collect::<std::collections::BTreeMap<_, _>>()
    });
    Outgoing {
        exchange: ShortString::default(),
        routing_key: short(to),
        properties: properties(&original.properties, headers.unwrap_or_default().into()),
        body: original.body,
    }
}

/// A header's value for people.
pub(super) fn header_text(value: &AMQPValue) -> String {
    match value {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::Boolean(flag) => flag.to_string(),
        AMQPValue::Timestamp(seconds) => seconds.to_string(),
        AMQPValue::Float(number) => number.to_string(),
        AMQPValue::Double(number) => number.to_string(),
        AMQPValue::Void => "null".to_owned(),
        AMQPValue::FieldArray(items) => {
            let items: Vec<_> = items.as_slice().iter().map(header_text).collect();
            format!("[{}]", items.join(", "))
        }
        AMQPValue::FieldTable(fields) => {
            let fields: Vec<_> =
                fields.inner().iter().map(|(name, value)| format!("{name}: {}", header_text(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        AMQPValue::ByteArray(bytes) => format!("({} bytes)", bytes.len()),
        whole => whole_number(whole).map_or_else(|| "?".to_owned(), |number| number.to_string()),
    }
}

/// What the headers of a letter say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// A reason class; `broker:rejected`, `broker:expired`, `broker:maxlen`, `broker:delivery_limit` for a letter of the
    /// broker itself; `unknown` for a message that is no letter.
    pub reason: String,
    pub detail: Option<String>,
    pub status: Option<i64>,
    /// How often difylog refused the message.
    pub attempts: i64,
    pub exchange: Option<String>,
    pub routing_key: Option<String>,
    /// The queue to replay to.
    pub queue: Option<String>,
    pub source: Option<QueueSource>,
    pub sha256: Option<String>,
    pub at: Option<Timestamp>,
}

impl Heading {
    pub(super) fn read(original: &Original) -> Self {
        let nothing = FieldTable::default();
        let headers = original.properties.headers().as_ref().unwrap_or(&nothing);
        let death = Death::read(headers);
        let own = text(headers, REASON);
        let by_broker = |death: &Death| format!("broker:{}", death.reason.as_deref().unwrap_or("unknown"));
        let reason = own.or_else(|| death.as_ref().map(by_broker)).unwrap_or_else(|| "unknown".to_owned());
        let death = death.unwrap_or_default();
        let source = match text(headers, SOURCE).as_deref() {
            Some("celery") => Some(QueueSource::Celery),
            Some("native") => Some(QueueSource::Native),
            // The broker's letters do not say it; only Celery's messages name a task.
            _ if headers.contains_key("task") => Some(QueueSource::Celery),
            _ => death.queue.is_some().then_some(QueueSource::Native),
        };
        Self {
            reason,
            detail: text(headers, DETAIL),
            status: number(headers, STATUS),
            attempts: number(headers, ATTEMPTS).unwrap_or(0),
            exchange: text(headers, EXCHANGE).or(death.exchange),
            routing_key: text(headers, ROUTING_KEY).or(death.routing_key),
            queue: text(headers, QUEUE).or(death.queue),
            source,
            sha256: text(headers, SHA256),
            at: text(headers, AT).and_then(|at| at.parse().ok()).or(death.at),
        }
    }

    /// The letter's message as its queue's consumer would decode it.
    pub(super) fn message(&self, original: &Original) -> Option<Message> {
        Some(original.message(self.source?))
    }
}

/// The newest entry of `x-death`.
#[derive(Default)]
struct Death {
    reason: Option<String>,
    queue: Option<String>,
    exchange: Option<String>,
    routing_key: Option<String>,
    at: Option<Timestamp>,
}

impl Death {
    fn read(headers: &FieldTable) -> Option<Self> {
        let AMQPValue::FieldArray(deaths) = headers.inner().get("x-death")? else {
            return None;
        };
        let AMQPValue::FieldTable(death) = deaths.as_slice().first()? else {
            return None;
        };
        let routing_key = match death.inner().get("routing-keys") {
            Some(AMQPValue::FieldArray(keys)) => match keys.as_slice().first() {
                Some(AMQPValue::LongString(key)) => Some(key.to_string()),
                _ => None,
            },
            _ => None,
        };
        let at = match death.inner().get("time") {
            Some(AMQPValue::Timestamp(seconds)) => i64::try_from(*seconds).ok(),
            _ => None,
        };
        Some(Self {
            reason: text(death, "reason"),
            queue: text(death, "queue"),
            exchange: text(death, "exchange"),
            routing_key,
            at: at.and_then(|seconds| Timestamp::from_micros(seconds.saturating_mul(1_000_000)).ok()),
        })
    }
}

#[cfg(test)]
mod tests;
