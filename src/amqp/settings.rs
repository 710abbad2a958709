//! The section `amqp` of the configuration: defaults, and the rules that are checked before anything starts.

use std::collections::HashSet;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::AmqpError;
use crate::codec::QueueFormat;

mod url;

pub use url::{BrokerUrl, InvalidBrokerUrl};

/// What a queue is on the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueType {
    #[default]
    Classic,
    Quorum,
}

/// The format that a queue carries, as the configuration names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueSource {
    Celery,
    Native,
}

impl QueueSource {
    /// Returns the name in the configuration and in the headers of dead letters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Celery => "celery",
            Self::Native => "native",
        }
    }

    #[must_use]
    pub const fn codec(self) -> QueueFormat {
        match self {
            Self::Celery => QueueFormat::Celery,
            Self::Native => QueueFormat::Native,
        }
    }
}

/// One queue to consume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSettings {
    pub name: String,
    pub source: QueueSource,
    /// Native queues only; a Celery queue is what Dify declares.
    #[serde(default)]
    pub queue_type: QueueType,
    /// Most deliveries that one consumer holds unsettled.
    #[serde(default = "default_prefetch")]
    pub prefetch: NonZeroU16,
    /// Consumers of this process on the queue.
    #[serde(default = "default_consumers")]
    pub consumers: NonZeroU16,
    /// A queue that gets every stored message, for a Celery worker of Dify that still writes PostgreSQL.
    #[serde(default)]
    pub forward_to: Option<String>,
}

const fn default_prefetch() -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add(1999)
}

const fn default_consumers() -> NonZeroU16 {
    NonZeroU16::MIN
}

/// The section `amqp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AmqpSettings {
    /// The nodes of one cluster, tried in turn.
    #[serde(deserialize_with = "url::list")]
    pub urls: Vec<BrokerUrl>,
    /// PEM file of the authority that signed the broker's certificate, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether the broker's certificate is verified. Only `true` is possible.
    pub verify: bool,
    pub heartbeat_seconds: NonZeroU16,
    pub connect_timeout_seconds: NonZeroU16,
    /// Shown in RabbitMQ's management pages.
    pub connection_name: String,
    pub queues: Vec<QueueSettings>,
    /// The topic exchange that native events are published to.
    pub native_exchange: String,
    pub dead_letter_exchange: String,
    pub dead_letter_queue: String,
    /// Bytes of messages in flight, over all queues. A message counts three times its body and headers.
    pub memory_budget_bytes: u64,
    /// A larger message becomes a dead letter undecoded.
    pub max_message_bytes: u64,
    /// How long settled deliveries wait behind an unsettled one before they are acked one by one.
    pub straggler_ack_millis: u64,
    /// A delivery held longer is given back; must be shorter than the broker's consumer timeout (30 minutes by default).
    pub release_after_seconds: u64,
    /// How long a throttled consumer must see no excess before its prefetch is doubled.
    pub regrow_after_seconds: u64,
}

impl Default for AmqpSettings {
    fn default() -> Self {
        let queue = |name: &str, source| QueueSettings {
            name: name.to_owned(),
            source,
            queue_type: QueueType::Classic,
            prefetch: default_prefetch(),
            consumers: default_consumers(),
            forward_to: None,
        };
        Self {
            urls: BrokerUrl::list("amqp://guest:guest@127.0.0.1:5672/%2f").unwrap_or_default(),
            ca_file: None,
            verify: true,
            heartbeat_seconds: NonZeroU16::MIN.saturating_add(29),
            connect_timeout_seconds: NonZeroU16::MIN.saturating_add(9),
            connection_name: "difylog".to_owned(),
            queues: vec![queue("workflow_storage", QueueSource::Celery), queue("difylog.events", QueueSource::Native)],
            native_exchange: "dify.logs".to_owned(),
            dead_letter_exchange: "difylog.dlx".to_owned(),
            dead_letter_queue: "difylog.dead-letters".to_owned(),
            memory_budget_bytes: 256 << 20,
            max_message_bytes: 128 << 20,
            straggler_ack_millis: 50,
            release_after_seconds: 1200,
            regrow_after_seconds: 30,
        }
    }
}

impl AmqpSettings {
    /// Checks what no single value shows.
    ///
    /// # Errors
    /// [`AmqpError::Setting`] for the first rule that is broken, with its key.
    pub fn validate(&self) -> Result<(), AmqpError> {
        self.validate_connection()?;
        self.validate_names()?;
        self.validate_limits()?;
        if self.queues.is_empty() {
            return Err(AmqpError::setting("amqp.queues", "names no queue to consume"));
        }
        let mut names = HashSet::from([self.dead_letter_queue.as_str()]);
        for (index, queue) in self.queues.iter().enumerate() {
            if !names.insert(&queue.name) {
                let problem = "is named twice, or is the dead-letter queue";
                return Err(AmqpError::setting(format!("amqp.queues[{index}].name"), problem));
            }
        }
        for (index, queue) in self.queues.iter().enumerate() {
            self.validate_queue(index, queue)?;
        }
        Ok(())
    }

    fn validate_connection(&self) -> Result<(), AmqpError> {
        if self.urls.is_empty() {
            return Err(AmqpError::setting("amqp.urls", "names no broker"));
        }
        if !self.verify {
            let problem = "verification cannot be switched off; give the broker's authority in amqp.ca_file instead";
            return Err(AmqpError::setting("amqp.verify", problem));
        }
        if self.ca_file.is_some() && !self.urls.iter().any(BrokerUrl::is_tls) {
            return Err(AmqpError::setting("amqp.ca_file", "is set, but no url of amqp.urls begins with amqps://"));
        }
        Ok(())
    }

    fn validate_names(&self) -> Result<(), AmqpError> {
        valid_name("amqp.native_exchange", &self.native_exchange)?;
        valid_name("amqp.dead_letter_exchange", &self.dead_letter_exchange)?;
        valid_name("amqp.dead_letter_queue", &self.dead_letter_queue)?;
        if self.native_exchange == self.dead_letter_exchange {
            return Err(AmqpError::setting("amqp.dead_letter_exchange", "is the same as amqp.native_exchange"));
        }
        Ok(())
    }

    fn validate_limits(&self) -> Result<(), AmqpError> {
        const LEAST_BUDGET: u64 = 1 << 20;
        if self.memory_budget_bytes < LEAST_BUDGET {
            return Err(AmqpError::setting("amqp.memory_budget_bytes", "is below 1 MiB (1048576)"));
        }
        if self.max_message_bytes == 0 {
            return Err(AmqpError::setting("amqp.max_message_bytes", "is 0: no message could be stored"));
        }
        if self.release_after_seconds < 60 {
            return Err(AmqpError::setting("amqp.release_after_seconds", "is below 60: slow stores would look stuck"));
        }
        if self.regrow_after_seconds == 0 {
            return Err(AmqpError::setting("amqp.regrow_after_seconds", "is 0: the prefetch would never settle"));
        }
        Ok(())
    }

    fn validate_queue(&self, index: usize, queue: &QueueSettings) -> Result<(), AmqpError> {
        let key = |name: &str| format!("amqp.queues[{index}].{name}");
        valid_name(&key("name"), &queue.name)?;
        if queue.source == QueueSource::Celery && queue.queue_type != QueueType::Classic {
            let problem = "a Celery queue is classic, as Dify declares it; use a policy of the broker to change it";
            return Err(AmqpError::setting(key("queue_type"), problem));
        }
        if queue.consumers.get() > 64 {
            return Err(AmqpError::setting(key("consumers"), "is above 64"));
        }
        let Some(forward_to) = &queue.forward_to else {
            return Ok(());
        };
        valid_name(&key("forward_to"), forward_to)?;
        let is_own = self.queues.iter().any(|own| own.name == *forward_to) || *forward_to == self.dead_letter_queue;
        if is_own {
            return Err(AmqpError::setting(key("forward_to"), "is a queue that difylog itself uses"));
        }
        Ok(())
    }

    pub(super) fn straggler_ack(&self) -> Duration {
        Duration::from_millis(self.straggler_ack_millis)
    }

    pub(super) fn release_after(&self) -> Duration {
        Duration::from_secs(self.release_after_seconds)
    }

    pub(super) fn regrow_after(&self) -> Duration {
        Duration::from_secs(self.regrow_after_seconds)
    }
}

/// Checks that the broker takes a text as the name of a queue or an exchange.
fn valid_name(key: &str, name: &str) -> Result<(), AmqpError> {
    if name.is_empty() || name.len() > 255 {
        return Err(AmqpError::setting(key, "must have 1 to 255 bytes"));
    }
    if name.starts_with("amq.") {
        return Err(AmqpError::setting(key, "begins with `amq.`, which the broker keeps to itself"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
