//! What a dead letter says: its headers, written when a delivery is refused and read back by `difylog dlq`.
//!
//! Letters of one message take about its size in all: its headers go with the first letter only. The pipeline bounds the
//! number of letters of a message.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use sha2::{Digest, Sha256};

use super::delivery::{Original, long, number, short};
use super::publisher::{Outgoing, PERSISTENT};
use super::settings::QueueSettings;
use crate::domain::{RefusalClass, Timestamp};
use crate::pipeline::receipt::Letter;

mod fit;
mod heading;

pub(super) use fit::fit;
pub use heading::Heading;
pub(super) use heading::{doubt, header_text};

/// Headers of this beginning are difylog's own; those that a producer sent are dropped.
const OWN: &str = "x-difylog-";
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
/// Of a message that became several letters: its hash, and which of them this is (`2 of 3`).
pub const MESSAGE: &str = "x-difylog-message-sha256";
pub const PART: &str = "x-difylog-part";
/// Headers of the message that are not in the letter, because they do not fit the broker's frames, with their bytes.
pub const LEFT_OUT: &str = "x-difylog-left-out";

/// A message cannot have been refused more often; a producer may claim so.
const MOST_ATTEMPTS: i64 = 1_000_000;

/// Headers that hold user data in clear (Celery's printed arguments).
const PRINTED_ARGUMENTS: [&str; 2] = ["argsrepr", "kwargsrepr"];
/// Headers by which the broker sends copies elsewhere, with the rights of the process that publishes.
const COPIES: [&str; 3] = ["CC", "BCC", "x-cc"];
/// Headers of the broker's own dead-lettering. On a replayed message an old broker would take them for a cycle.
const NOT_REPLAYED: [&str; 4] = ["x-death", "x-first-death-queue", "x-first-death-reason", "x-first-death-exchange"];

/// A letter to publish.
pub(super) struct Written {
    pub message: Outgoing,
    pub class: RefusalClass,
}

/// Returns the messages for the dead-letter exchange that a refused delivery becomes, one per letter. The headers that it
/// came with go with the first; the others name the message by its hash.
pub(super) fn write(
    original: &Original,
    queue: &QueueSettings,
    letters: &[Letter],
    at: Timestamp,
    dead_letter_exchange: &str,
) -> Vec<Written> {
    let whole = (letters.len() > 1).then(|| format!("{:x}", Sha256::digest(&original.body)));
    let written = letters.iter().enumerate().map(|(position, letter)| {
        let body = part(original, letter.part.as_ref());
        let mut headers = if position == 0 { foreign(original, &PRINTED_ARGUMENTS) } else { FieldTable::default() };
        describe(&mut headers, original, queue, letter, &body);
        let mut set = |name, value| {
            headers.insert(short(name), value);
        };
        set(AT, long(at.to_string()));
        if let Some(whole) = &whole {
            set(MESSAGE, long(whole.as_str()));
            set(PART, long(format!("{} of {}", position + 1, letters.len())));
        }
        let message = Outgoing {
            exchange: short(dead_letter_exchange),
            routing_key: short(&queue.name),
            properties: properties(&original.properties, headers),
            body,
        };
        Written { message, class: letter.refusal.class }
    });
    written.collect()
}

/// What difylog says of a refused message or part.
fn describe(headers: &mut FieldTable, original: &Original, queue: &QueueSettings, letter: &Letter, body: &Bytes) {
    let before = original.properties.headers().as_ref();
    let attempts = before.and_then(|headers| number(headers, ATTEMPTS)).unwrap_or(0).clamp(0, MOST_ATTEMPTS) + 1;
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
    set(SHA256, long(format!("{:x}", Sha256::digest(body))));
}

fn part(original: &Original, range: Option<&Range<usize>>) -> Bytes {
    match range {
        Some(range) if original.body.get(range.clone()).is_some() => original.body.slice(range.clone()),
        // Nothing of a message is ever left out.
        _ => original.body.clone(),
    }
}

/// Returns the original properties, but for three. An `expiration` would let the letter vanish from its queue; a
/// `user_id` is refused by the broker unless it is the publisher's own; and a letter is durable whatever the message
/// was.
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

/// Returns the headers that the message came with, without those that are difylog's own to set, those that would send
/// copies elsewhere, and `without`.
fn foreign(original: &Original, without: &[&str]) -> FieldTable {
    let is_kept = |name: &str| !name.starts_with(OWN) && !COPIES.contains(&name) && !without.contains(&name);
    let headers = original.properties.headers().iter().flat_map(FieldTable::inner);
    let kept = headers.filter(|(name, _)| is_kept(name.as_str()));
    FieldTable::from(kept.map(|(name, value)| (name.clone(), value.clone())).collect::<BTreeMap<_, _>>())
}

/// Returns the message as it goes to a second queue: unchanged, but for the headers that only difylog may set or that
/// would send copies elsewhere (also back into the queue it came from), and for the `user_id`, which only its first
/// publisher may set.
pub(super) fn forward(original: Original, to: &str) -> Outgoing {
    let headers = foreign(&original, &[]);
    let properties = match (original.properties.user_id(), original.properties.headers()) {
        (None, None) => original.properties,
        (None, Some(_)) => original.properties.with_headers(headers),
        (Some(_), _) => properties(&original.properties, headers),
    };
    Outgoing { exchange: ShortString::default(), routing_key: short(to), properties, body: original.body }
}

/// Returns the message as it goes back to the queue it came from. Keeps the number of attempts.
pub(super) fn replay(original: Original, to: &str) -> Outgoing {
    let mut headers = foreign(&original, &NOT_REPLAYED);
    let before = original.properties.headers().as_ref();
    if let Some(attempts) = before.and_then(|headers| number(headers, ATTEMPTS)) {
        headers.insert(short(ATTEMPTS), AMQPValue::LongLongInt(attempts.clamp(0, MOST_ATTEMPTS)));
    }
    Outgoing {
        exchange: ShortString::default(),
        routing_key: short(to),
        properties: properties(&original.properties, headers),
        body: original.body,
    }
}

#[cfg(test)]
mod tests;
