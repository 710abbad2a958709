//! A walk over a queue: takes each message that is in it at the start, once, and holds it unacked, so that what is
//! not acked returns to its place when the walk ends or its process dies. Of a held letter only its tag is kept here.

use std::time::Duration;

use bytes::Bytes;
use lapin::Channel;
use lapin::message::Delivery as Arrival;
use lapin::options::{BasicAckOptions, BasicGetOptions};
use lapin::types::FieldTable;
use sha2::{Digest as _, Sha256};

use super::super::connection::{CLOSE_TIMEOUT, Link};
use super::super::delivery::{Original, short};
use super::super::error::AmqpError;
use super::super::letter::{self, Heading, header_text};
use super::super::publisher::in_order;
use super::super::settings::QueueSettings;
use super::super::topology::existing_queue;
use super::{Inspect, LetterSummary};
use crate::domain::document::ContentHash;

/// Between two looks whether the held letters are back.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

pub(super) struct LetterWalk<'a> {
    link: &'a Link,
    channel: Channel,
    queue: String,
    /// Those that letters come from.
    queues: &'a [QueueSettings],
    position: u64,
    /// Messages of the start that were not met yet. What arrives meanwhile lies behind them.
    left: u64,
    /// Messages that were met and not acked.
    held: u64,
}

/// One letter.
pub(super) struct WalkedLetter {
    pub tag: u64,
    pub found: LetterSummary,
    pub original: Original,
}

impl<'a> LetterWalk<'a> {
    pub async fn begin(link: &'a Link, queue: &str, queues: &'a [QueueSettings]) -> Result<Self, AmqpError> {
        let channel = link.channel().await?;
        let Some(there) = existing_queue(&channel, queue).await? else {
            return Err(AmqpError::Missing(format!("queue {queue} (amqp.dead_letter_queue)")));
        };
        let left = there.message_count().into();
        Ok(Self { link, channel, queue: queue.to_owned(), queues, position: 0, left, held: 0 })
    }

    /// Returns the next letter; with `inspect`, its tenant and kind as well.
    pub async fn next(&mut self, inspect: Option<Inspect<'_>>) -> Result<Option<WalkedLetter>, AmqpError> {
        if self.left == 0 {
            return Ok(None);
        }
        let got = self.channel.basic_get(short(&self.queue), BasicGetOptions::default()).await;
        let Some(message) = got.map_err(AmqpError::broker("walking over the dead letters"))? else {
            // Another consumer took the rest.
            self.left = 0;
            return Ok(None);
        };
        self.left -= 1;
        self.held += 1;
        self.position += 1;
        let Arrival { delivery_tag: tag, exchange, routing_key, properties, data, .. } = message.delivery;
        let original = Original { exchange, routing_key, properties, body: Bytes::from(data) };
        let heading = Heading::read(&original);
        let known = inspect.and_then(|inspect| heading.message(&original).and_then(|message| inspect(&message)));
        let (position, body_bytes) = (self.position, original.body.len());
        let hash = ContentHash::new(Sha256::digest(&original.body).into());
        let (tenant, kind) = known.unzip();
        let doubt = letter::doubt(&heading, &original, self.queues);
        Ok(Some(WalkedLetter {
            tag,
            found: LetterSummary { position, hash, body_bytes, heading, tenant, kind, doubt },
            original,
        }))
    }

    /// Messages of the start that were not met yet.
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// Removes letters from the queue.
    pub async fn ack(&mut self, tags: &[u64]) -> Result<(), AmqpError> {
        let sent = in_order(tags.iter().map(|tag| self.channel.basic_ack(*tag, BasicAckOptions::default()))).await;
        self.held -= tags.len() as u64;
        sent.into_iter().collect::<Result<(), _>>().map_err(AmqpError::broker("acking a letter"))
    }

    /// Gives back what was not acked, and waits until the queue has it, within [`CLOSE_TIMEOUT`].
    ///
    /// RabbitMQ answers the end of a channel before its queue has heard of it, unless the channel has consumers, so
    /// the next walk would find too few letters. Another consumer may take letters meanwhile, hence the bound.
    pub async fn end(self) {
        // A channel that breaks while it is closed gives everything back as well.
        let _ = self.channel.close(200, "done".into()).await;
        if self.held > 0 {
            let _ =
                tokio::time::timeout(CLOSE_TIMEOUT, ready_again(self.link, &self.queue, self.left + self.held)).await;
        }
    }
}

/// Waits until a queue has so many messages ready.
async fn ready_again(link: &Link, queue: &str, count: u64) -> Result<(), AmqpError> {
    let channel = link.channel().await?;
    while existing_queue(&channel, queue).await?.is_some_and(|there| u64::from(there.message_count()) < count) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
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
