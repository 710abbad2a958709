//! Publishing with confirms. A group of messages is sent at once and its confirms are awaited together, so the number
//! of unconfirmed messages is bounded by the group. Never acks anything and never retries.

use bytes::Bytes;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};

use super::connection::{Connector, Link};
use super::delivery::short;
use super::error::{AmqpError, Reply, reply};
use super::settings::AmqpSettings;
use crate::domain::{Kind, TenantId};

/// Most messages of a group.
pub const GROUP: usize = 256;
/// A group is closed when its bodies reach this many bytes.
pub const GROUP_BYTES: usize = 8 << 20;

/// A message to publish.
#[derive(Clone)]
pub struct Outgoing {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

impl Outgoing {
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }
}

/// What became of a published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is in a queue, and durable if the queue is.
    Confirmed,
    /// The broker refused it: a full queue that rejects, or an internal fault.
    Refused,
    /// No queue is bound for it.
    Unroutable(String),
}

/// A channel in confirm mode. It must not be used by anybody else.
pub(super) struct Publisher {
    channel: Channel,
}

impl Publisher {
    pub async fn open(link: &Link) -> Result<Self, AmqpError> {
        let channel = link.channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .map_err(AmqpError::broker("asking for confirms"))?;
        Ok(Self { channel })
    }

    /// Publishes a group, in order, and waits for all of its confirms.
    ///
    /// # Errors
    /// The channel broke: any of the messages may or may not be in its queue. [`AmqpError::NotTakenOver`] if it broke
    /// because of one of them, such as one larger than the broker's `max_message_size`.
    pub async fn publish(&self, group: &[Outgoing]) -> Result<Vec<Fate>, AmqpError> {
        let fault = |error: lapin::Error| match reply(&error) {
            Reply::PreconditionFailed => AmqpError::NotTakenOver(error.to_string()),
            _ => AmqpError::broker("publishing")(error),
        };
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let sent = in_order(group.iter().map(|message| {
            let (exchange, routing_key) = (message.exchange.clone(), message.routing_key.clone());
            self.channel.basic_publish(exchange, routing_key, options, &message.body, message.properties.clone())
        }));
        let mut fates = Vec::with_capacity(group.len());
        let mut returned = Vec::new();
        for confirm in sent.await {
            let confirmation = confirm.map_err(fault)?.await.map_err(fault)?;
            fates.push(if confirmation.is_ack() { Fate::Confirmed } else { Fate::Refused });
            if let Confirmation::NotRequested = confirmation {
                return Err(AmqpError::NotTakenOver("the channel is not in confirm mode".to_owned()));
            }
            returned.extend(confirmation.take_message());
        }
        for message in returned {
            mark_returned(group, &mut fates, &message)?;
        }
        Ok(fates)
    }

    pub async fn close(self) {
        // All confirms were awaited; nothing can be lost here.
        let _ = self.channel.close(200, "done".into()).await;
    }
}

/// Finds the message that was returned. lapin hands a returned message over with *some* confirm of the same time, not
/// necessarily its own, so the group is searched for its like.
fn mark_returned(group: &[Outgoing], fates: &mut [Fate], message: &BasicReturnMessage) -> Result<(), AmqpError> {
    let place = group.iter().zip(fates.iter()).position(|(sent, fate)| {
        !matches!(fate, Fate::Unroutable(_))
            && sent.exchange == message.exchange
            && sent.routing_key == message.routing_key
            && sent.body == message.data
    });
    let said = message.reply_text.to_string();
    match place.and_then(|place| fates.get_mut(place)) {
        Some(fate) => {
            *fate = Fate::Unroutable(said);
            Ok(())
        }
        None => Err(AmqpError::NotTakenOver(format!("an unknown message came back: {said}"))),
    }
}

/// Starts futures in order, then awaits them all. lapin queues a frame when its future is first polled, so this keeps
/// the order of the frames without a pause between them.
pub(super) async fn in_order<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut started = Vec::new();
    for future in futures {
        let mut future = Box::pin(futures::future::maybe_done(future));
        let _ = futures::poll!(future.as_mut());
        started.push(future);
    }
    let mut done = Vec::with_capacity(started.len());
    for mut future in started {
        future.as_mut().await;
        done.extend(future.as_mut().take_output());
    }
    done
}

/// Publishes events for a command: everything is confirmed, or the error says what was not.
pub struct EventPublisher {
    link: Link,
    publisher: Publisher,
    native_exchange: ShortString,
}

impl EventPublisher {
    /// Connects.
    ///
    /// # Errors
    /// No broker, or it refuses.
    pub async fn connect(settings: &AmqpSettings) -> Result<Self, AmqpError> {
        let link = Link::new(Connector::new(settings, "publish")?);
        let publisher = Publisher::open(&link).await?;
        Ok(Self { link, publisher, native_exchange: short(&settings.native_exchange) })
    }

    /// A native event for the topic exchange.
    pub fn native(&self, kind: Kind, tenant: TenantId, body: Bytes) -> Outgoing {
        let properties = BasicProperties::default()
            .with_content_type(short("application/json"))
            .with_content_encoding(short("utf-8"))
            .with_delivery_mode(PERSISTENT);
        let routing_key = short(&format!("{kind}.{tenant}"));
        Outgoing { exchange: self.native_exchange.clone(), routing_key, properties, body }
    }

    /// Publishes messages and returns when the broker has confirmed each.
    ///
    /// # Errors
    /// The broker refused a message, had no queue for it, or was lost; messages before it may be published.
    pub async fn publish(&self, messages: &[Outgoing]) -> Result<(), AmqpError> {
        let mut rest = messages;
        while !rest.is_empty() {
            let (group, after) = rest.split_at(group_length(rest));
            for (message, fate) in group.iter().zip(self.publisher.publish(group).await?) {
                let key = &message.routing_key;
                match fate {
                    Fate::Confirmed => {}
                    Fate::Refused => {
                        return Err(AmqpError::NotTakenOver(format!("routing key {key}: the queue refuses it")));
                    }
                    Fate::Unroutable(said) => {
                        return Err(AmqpError::NotTakenOver(format!("routing key {key}: no queue gets it ({said})")));
                    }
                }
            }
            rest = after;
        }
        Ok(())
    }

    pub async fn close(self) {
        self.publisher.close().await;
        self.link.close().await;
    }
}

/// `delivery_mode` of messages that survive a restart of the broker.
pub(super) const PERSISTENT: u8 = 2;

/// How many messages from the front make a group: at least one.
pub(super) fn group_length(messages: &[Outgoing]) -> usize {
    let mut bytes = 0_usize;
    let within = messages.iter().take(GROUP).take_while(|message| {
        let fits = bytes < GROUP_BYTES;
        bytes = bytes.saturating_add(message.body.len());
        fits
    });
    within.count()
}
