//! Publishing for a command: everything is confirmed, or the error says what was not.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::ShortString;

use super::connection::{Connector, Link};
use super::delivery::short;
use super::error::AmqpError;
use super::patience::{Patience, patiently};
use super::publisher::{Outgoing, PERSISTENT, Publisher, group_length};
use super::settings::AmqpSettings;
use crate::domain::{Kind, TenantId};

/// Publishes events, each confirmed.
pub struct EventPublisher {
    link: Link,
    publisher: Publisher,
    native_exchange: ShortString,
    patience: Patience,
}

impl EventPublisher {
    /// Connects. `patience` is for a broker that blocks publishers.
    ///
    /// # Errors
    /// No broker, or it refuses.
    pub async fn connect(settings: &AmqpSettings, patience: Patience) -> Result<Self, AmqpError> {
        let link = Link::new(Connector::new(settings, "publish")?);
        let publisher = Publisher::open(&link).await?;
        Ok(Self { link, publisher, native_exchange: short(&settings.native_exchange), patience })
    }

    /// Returns a native event for the topic exchange.
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
    /// [`AmqpError::Blocked`] when it blocks publishers for too long: what was not confirmed may be published later.
    pub async fn publish(&self, messages: &[Outgoing]) -> Result<(), AmqpError> {
        let mut rest = messages;
        while !rest.is_empty() {
            let (group, after) = rest.split_at(group_length(rest));
            let fates = patiently(&self.link, &self.patience, self.publisher.publish(group)).await?;
            for (message, fate) in group.iter().zip(fates) {
                if let Some(complaint) = fate.complaint() {
                    let key = &message.routing_key;
                    return Err(AmqpError::NotTakenOver(format!("routing key {key}: {complaint}")));
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
