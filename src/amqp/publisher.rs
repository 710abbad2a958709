//! Publishing with confirms. A group of messages is sent at once and its confirms are awaited together, so the number
//! of unconfirmed messages is bounded by the group. Never acks anything and never retries.

use bytes::Bytes;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};

use super::connection::Link;
use super::error::{AmqpError, is_of_a_message};
use super::frame::{header_bytes, header_limit};
use super::letter;

/// Most messages of a group.
pub const GROUP: usize = 256;
/// A group is closed when its messages reach this many bytes.
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

    /// Returns the bytes of body and properties.
    pub(super) fn bytes(&self) -> usize {
        self.body.len().saturating_add(header_bytes(&self.properties))
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
    /// It was not sent: its properties have so many bytes, and this many would fit a frame.
    TooLarge { bytes: usize, limit: usize },
}

impl Fate {
    /// Returns why the message is not in a queue; `None` if it is.
    pub fn complaint(&self) -> Option<String> {
        match self {
            Self::Confirmed => None,
            Self::Refused => Some("the queue refuses it".to_owned()),
            Self::Unroutable(said) => Some(format!("no queue gets it ({said})")),
            Self::TooLarge { bytes, limit } => {
                Some(format!("its headers have {bytes} bytes, and the broker's frame_max leaves room for {limit}"))
            }
        }
    }
}

/// A channel in confirm mode. It must not be used by anybody else.
pub(super) struct Publisher {
    channel: Channel,
    /// Bytes that the properties of a message may have.
    header_limit: usize,
}

impl Publisher {
    pub async fn open(link: &Link) -> Result<Self, AmqpError> {
        let (channel, frame_max) = link.channel_and_frame_max().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .map_err(AmqpError::broker("asking for confirms"))?;
        Ok(Self { channel, header_limit: header_limit(frame_max) })
    }

    /// Leaves headers out of a message that would not fit a frame. Returns what was left out, if anything.
    pub fn fit(&self, message: &mut Outgoing) -> Option<String> {
        letter::fit(message, self.header_limit)
    }

    /// Publishes a group, in order, and waits for all of its confirms. What does not fit a frame is not sent.
    ///
    /// # Errors
    /// The channel broke: any of the messages may or may not be in its queue. [`AmqpError::NotTakenOver`] if it broke
    /// because of one of them, such as one larger than the broker's `max_message_size`.
    pub async fn publish(&self, group: &[Outgoing]) -> Result<Vec<Fate>, AmqpError> {
        let fault = |error: lapin::Error| {
            if is_of_a_message(&error) {
                return AmqpError::NotTakenOver(error.to_string());
            }
            AmqpError::broker("publishing")(error)
        };
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let mut fates: Vec<Fate> = group.iter().map(|message| self.before_sending(message)).collect();
        let sendable = group.iter().zip(&fates).filter(|(_, fate)| **fate == Fate::Confirmed);
        let mut sent = in_order(sendable.map(|(message, _)| {
            let (exchange, routing_key) = (message.exchange.clone(), message.routing_key.clone());
            self.channel.basic_publish(exchange, routing_key, options, &message.body, message.properties.clone())
        }))
        .await
        .into_iter();
        let mut returned = Vec::new();
        for fate in fates.iter_mut().filter(|fate| **fate == Fate::Confirmed) {
            let Some(confirm) = sent.next() else { break };
            let confirmation = confirm.map_err(fault)?.await.map_err(fault)?;
            if let Confirmation::NotRequested = confirmation {
                return Err(AmqpError::NotTakenOver("the channel is not in confirm mode".to_owned()));
            }
            if !confirmation.is_ack() {
                *fate = Fate::Refused;
            }
            returned.extend(confirmation.take_message());
        }
        for message in returned {
            mark_returned(group, &mut fates, &message)?;
        }
        Ok(fates)
    }

    /// Returns what becomes of a message if the broker agrees.
    fn before_sending(&self, message: &Outgoing) -> Fate {
        let (bytes, limit) = (header_bytes(&message.properties), self.header_limit);
        if bytes > limit { Fate::TooLarge { bytes, limit } } else { Fate::Confirmed }
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
        !matches!(fate, Fate::Unroutable(_) | Fate::TooLarge { .. })
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

/// `delivery_mode` of messages that survive a restart of the broker.
pub(super) const PERSISTENT: u8 = 2;

/// Returns how many messages from the front make a group: at least one.
pub(super) fn group_length(messages: &[Outgoing]) -> usize {
    let mut bytes = 0_usize;
    let within = messages.iter().take(GROUP).take_while(|message| {
        let fits = bytes < GROUP_BYTES;
        bytes = bytes.saturating_add(message.bytes());
        fits
    });
    within.count()
}
