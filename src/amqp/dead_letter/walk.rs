//! A walk over a queue: takes each message that is in it at the start, once, and holds it unacked, so that what is
//! not acked returns to its place when the walk ends or its process dies. Of a held letter only its tag is kept here.

use bytes::Bytes;
use lapin::Channel;
use lapin::message::Delivery as Arrival;
use lapin::options::{BasicAckOptions, BasicGetOptions};
use lapin::types::FieldTable;

use super::super::connection::Link;
use super::super::delivery::{Original, short};
use super::super::error::AmqpError;
use super::super::letter::{Heading, header_text};
use super::super::publisher::in_order;
use super::super::topology::existing_queue;
use super::{Found, Inspect};

pub(super) struct Walk {
    channel: Channel,
    queue: String,
    position: u64,
    /// Messages of the start that were not met yet. What arrives meanwhile lies behind them.
    left: u64,
}

/// One letter.
pub(super) struct Step {
    pub tag: u64,
    pub found: Found,
    pub original: Original,
}

impl Walk {
    pub async fn begin(link: &Link, queue: &str) -> Result<Self, AmqpError> {
        let channel = link.channel().await?;
        let Some(there) = existing_queue(&channel, queue).await? else {
            return Err(AmqpError::Missing(format!("queue {queue} (amqp.dead_letter_queue)")));
        };
        Ok(Self { channel, queue: queue.to_owned(), position: 0, left: there.message_count().into() })
    }

    /// The next letter; with `inspect`, its tenant and kind as well.
    pub async fn next(&mut self, inspect: Option<Inspect<'_>>) -> Result<Option<Step>, AmqpError> {
        if self.left == 0 {
            return Ok(None);
        }
        let got = self.channel.basic_get(short(&self.queue), BasicGetOptions::default()).await;
        let Some(message) = got.map_err(AmqpError::broker("walking over the dead letters"))? else {
            return Ok(None);
        };
        self.left -= 1;
        self.position += 1;
        let Arrival { delivery_tag: tag, exchange, routing_key, properties, data, .. } = message.delivery;
        let original = Original { exchange, routing_key, properties, body: Bytes::from(data) };
        let heading = Heading::read(&original);
        let known = inspect.and_then(|inspect| heading.message(&original).and_then(|message| inspect(&message)));
        let (position, body_bytes) = (self.position, original.body.len());
        let (tenant, kind) = known.unzip();
        Ok(Some(Step { tag, found: Found { position, body_bytes, heading, tenant, kind }, original }))
    }

    /// Removes letters from the queue.
    pub async fn ack(&self, tags: &[u64]) -> Result<(), AmqpError> {
        let sent = in_order(tags.iter().map(|tag| self.channel.basic_ack(*tag, BasicAckOptions::default()))).await;
        sent.into_iter().collect::<Result<(), _>>().map_err(AmqpError::broker("acking a letter"))
    }

    /// Gives back what was not acked, and waits until the broker has it.
    pub async fn end(self) {
        // A channel that breaks while it is closed gives everything back as well.
        let _ = self.channel.close(200, "done".into()).await;
    }
}

/// Properties and headers as text.
pub(super) fn printed(original: &Original) -> Vec<(String, String)> {
    let properties = &original.properties;
    let mut lines = Vec::new();
    let named = [
        ("content_type", properties.content_type()),
        ("content_encoding", properties.content_encoding()),
        ("correlation_id", properties.correlation_id()),
        ("message_id", properties.message_id()),
        ("type", properties.kind()),
        ("app_id", properties.app_id()),
    ];
    for (name, value) in named {
        lines.extend(value.as_ref().map(|value| (name.to_owned(), value.to_string())));
    }
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        lines.push((name.to_string(), header_text(value)));
    }
    lines
}
