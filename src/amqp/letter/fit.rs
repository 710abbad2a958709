//! Makes the headers of a message fit into a frame.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::{DETAIL, LEFT_OUT, OWN};
use crate::amqp::delivery::{long, short};
use crate::amqp::frame::{field, header_bytes};
use crate::amqp::publisher::Outgoing;

/// Without these a Celery message cannot be decoded again: they go last.
const NEEDED: [&str; 4] = ["task", "compression", "id", "lang"];
/// Longest list of what is left out, in bytes.
const LIST_BYTES: usize = 400;

/// Leaves headers out of a message until its header frame has at most `limit` bytes, the largest first, and difylog's
/// own last; the header [`LEFT_OUT`] says which. Returns its text, or `None` if everything fits.
pub(in crate::amqp) fn fit(message: &mut Outgoing, limit: usize) -> Option<String> {
    let before = header_bytes(&message.properties);
    if before <= limit {
        return None;
    }
    let mut headers = message.properties.headers().as_ref().map(|headers| headers.inner().clone()).unwrap_or_default();
    let mut order: Vec<(usize, ShortString)> = headers
        .iter()
        .filter(|(name, _)| rank(name) < KEPT)
        .map(|(name, value)| (field(name.as_str(), value), name.clone()))
        .collect();
    order.sort_by(|(bytes, name), (other_bytes, other)| rank(name).cmp(&rank(other)).then(other_bytes.cmp(bytes)));
    let spare = limit.saturating_sub(field(LEFT_OUT, &long("x".repeat(LIST_BYTES))));
    let (mut bytes, mut left_out) = (before, Vec::new());
    for (size, name) in order {
        if bytes <= spare {
            break;
        }
        headers.remove(&name);
        bytes -= size;
        left_out.push((name, size));
    }
    let said = listed(&left_out);
    headers.insert(short(LEFT_OUT), long(said.as_str()));
    message.properties = with_headers(&message.properties, headers, limit);
    Some(said)
}

/// Headers of this rank stay.
const KEPT: u8 = 3;

fn rank(name: &ShortString) -> u8 {
    match name.as_str() {
        DETAIL => 2,
        name if name.starts_with(OWN) => KEPT,
        name if NEEDED.contains(&name) => 1,
        _ => 0,
    }
}

/// A frame that has no room for the other properties either is one that a client asked for.
fn with_headers(
    properties: &BasicProperties,
    headers: BTreeMap<ShortString, AMQPValue>,
    limit: usize,
) -> BasicProperties {
    let headers = FieldTable::from(headers);
    let whole = properties.clone().with_headers(headers.clone());
    if header_bytes(&whole) <= limit {
        return whole;
    }
    let mut bare = BasicProperties::default().with_headers(headers);
    if let Some(mode) = properties.delivery_mode() {
        bare = bare.with_delivery_mode(*mode);
    }
    if let Some(content_type) = properties.content_type() {
        bare = bare.with_content_type(content_type.clone());
    }
    bare
}

fn listed(left_out: &[(ShortString, usize)]) -> String {
    let mut said = String::new();
    for (position, (name, bytes)) in left_out.iter().enumerate() {
        let one = format!("{}{name} ({bytes} bytes)", if position == 0 { "" } else { ", " });
        if said.len() + one.len() > LIST_BYTES - 32 {
            let _ = write!(said, " and {} more", left_out.len() - position);
            break;
        }
        said.push_str(&one);
    }
    said
}
