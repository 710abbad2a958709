//! What must exist on the broker, and how it is declared. A queue of Dify is never changed: it is used as it is, or
//! declared exactly as Dify declares it.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, ExchangeKind, Queue};

use super::connection::{Connector, Link, answered};
use super::delivery::{long, short};
use super::error::{AmqpError, Reply, reply};
use super::patience::{Patience, patiently};
use super::publisher::{Outgoing, Publisher};
use super::settings::{AmqpSettings, QueueSettings, QueueSource, QueueType};

mod arguments;

/// Declares everything the settings name. Returns what is there now, one line each.
///
/// # Errors
/// The first thing that cannot be declared, and what to do about it.
pub async fn set_up(settings: &AmqpSettings) -> Result<Vec<String>, AmqpError> {
    let link = Link::new(Connector::new(settings, "setup")?);
    let done = answered("declaring queues", declare_all(&link, settings)).await;
    link.close().await;
    done
}

/// Looks whether everything is there and the broker takes messages, changing nothing. Returns what is there, and what can
/// be lost in it, a line each.
///
/// # Errors
/// The first thing that is missing or cannot be reached; [`AmqpError::Blocked`] while the broker blocks publishers.
pub async fn check(settings: &AmqpSettings) -> Result<Vec<String>, AmqpError> {
    let depths = queue_depths(settings).await?;
    let mut lines: Vec<String> = depths
        .into_iter()
        .map(|depth| format!("queue {}: {} messages, {} consumers", depth.queue, depth.ready, depth.consumers))
        .collect();
    let link = Link::new(Connector::new(settings, "check")?);
    let found = async {
        lines.extend(answered("looking at the queues", risks(&link, settings)).await?);
        answered("trying to publish", takes_messages(&link)).await
    };
    let found = found.await;
    link.close().await;
    found.map(|()| lines)
}

/// Returns what can be lost in the queues that the settings name, as far as AMQP tells.
async fn risks(link: &Link, settings: &AmqpSettings) -> Result<Vec<String>, AmqpError> {
    let mut queues = Vec::new();
    for queue in &settings.queues {
        let likely = match queue.source {
            QueueSource::Celery => of_type(QueueType::Classic),
            QueueSource::Native => native_arguments(settings, queue),
        };
        queues.push((queue.name.as_str(), likely));
        queues.extend(queue.forward_to.as_deref().map(|name| (name, of_type(QueueType::Classic))));
    }
    queues.push((&settings.dead_letter_queue, of_type(QueueType::Classic)));
    let mut lines = Vec::new();
    for (name, likely) in queues {
        match arguments::declared(link, name, likely).await? {
            Some(declared) => {
                lines.extend(declared.risks().into_iter().map(|risk| format!("warning: queue {name} {risk}")));
            }
            None => lines.push(format!(
                "warning: it cannot be seen what queue {name} may lose (the user has no right to configure it)"
            )),
        }
    }
    lines.push(
        "policies of the broker (length, expiry, dead-letter exchange) are not visible over AMQP: rabbitmqctl list_queues \
         name policy"
            .to_owned(),
    );
    Ok(lines)
}

/// Publishes a message that no queue gets: a broker says that it blocks publishers only to those that publish.
async fn takes_messages(link: &Link) -> Result<(), AmqpError> {
    let publisher = Publisher::open(link).await?;
    let message = Outgoing {
        exchange: short(""),
        routing_key: short(&format!("difylog.check.{}", uuid::Uuid::new_v4())),
        properties: lapin::BasicProperties::default(),
        body: bytes::Bytes::new(),
    };
    let patience = Patience::new(std::time::Duration::ZERO, |_| {});
    match patiently(link, &patience, publisher.publish(std::slice::from_ref(&message))).await {
        Err(error @ AmqpError::Blocked { .. }) => Err(error),
        // A user that may not publish to the default exchange needs to only where something is forwarded.
        _ => Ok(()),
    }
}

/// A broker that was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerState {
    /// `host:port`
    pub address: String,
    pub virtual_host: String,
    /// Why it blocks publishers, if it does.
    pub blocked: Option<String>,
}

/// Connects, and looks whether the broker takes messages. Returns which broker it is and what it says; AMQP's client does
/// not tell the broker's version.
///
/// # Errors
/// No broker answers, or it refuses access.
pub async fn broker_state(settings: &AmqpSettings) -> Result<BrokerState, AmqpError> {
    let link = Link::new(Connector::new(settings, "status")?);
    let tried = answered("trying to publish", takes_messages(&link)).await;
    let connected = link.connected_to().await;
    link.close().await;
    let blocked = match tried {
        Ok(()) => None,
        Err(AmqpError::Blocked { said, .. }) => Some(said),
        Err(error) => return Err(error),
    };
    let (address, virtual_host) = connected.unwrap_or_default();
    Ok(BrokerState { address, virtual_host, blocked })
}

/// The depth of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    pub queue: String,
    /// Messages ready for delivery. Unacked ones are not in it: AMQP does not tell them.
    pub ready: u64,
    pub consumers: u64,
}

/// Returns the depths of the consumed queues, of the queues forwarded to, and of the dead-letter queue.
///
/// # Errors
/// No broker, or [`AmqpError::Missing`] for the first queue that does not exist.
pub async fn queue_depths(settings: &AmqpSettings) -> Result<Vec<QueueDepth>, AmqpError> {
    let link = Link::new(Connector::new(settings, "status")?);
    let mut names: Vec<&str> = Vec::new();
    for queue in &settings.queues {
        names.push(&queue.name);
        names.extend(queue.forward_to.as_deref());
    }
    names.push(&settings.dead_letter_queue);
    let mut depths = Vec::with_capacity(names.len());
    for name in names {
        let found = match link.channel().await {
            Ok(channel) => answered("looking for a queue", existing_queue(&channel, name)).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(Some(found)) => depths.push(depth(&found)),
            Ok(None) => {
                link.close().await;
                return Err(AmqpError::Missing(format!("queue {name}")));
            }
            Err(error) => return Err(error),
        }
    }
    link.close().await;
    Ok(depths)
}

fn depth(queue: &Queue) -> QueueDepth {
    QueueDepth {
        queue: queue.name().to_string(),
        ready: queue.message_count().into(),
        consumers: queue.consumer_count().into(),
    }
}

async fn declare_all(link: &Link, settings: &AmqpSettings) -> Result<Vec<String>, AmqpError> {
    let mut done = Vec::new();
    declare_dead_letters(link, settings).await?;
    done.push(format!("exchange {}, queue {}", settings.dead_letter_exchange, settings.dead_letter_queue));
    for queue in &settings.queues {
        declare_queue(link, settings, queue).await?;
        done.push(format!("queue {} ({})", queue.name, queue.source.as_str()));
    }
    Ok(done)
}

/// Declares a queue to consume, and what it needs.
pub(super) async fn declare_queue(
    link: &Link,
    settings: &AmqpSettings,
    queue: &QueueSettings,
) -> Result<(), AmqpError> {
    if let Some(forward_to) = &queue.forward_to {
        // The worker that reads it declares it, as it needs it.
        let channel = link.channel().await?;
        if existing_queue(&channel, forward_to).await?.is_none() {
            declare_plain(link, forward_to).await?;
        }
    }
    match queue.source {
        QueueSource::Celery => {
            let channel = link.channel().await?;
            match existing_queue(&channel, &queue.name).await? {
                Some(_) => Ok(()),
                None => declare_plain(link, &queue.name).await,
            }
        }
        QueueSource::Native => declare_native(link, settings, queue).await,
    }
}

/// Declares the dead-letter exchange and queue.
pub(super) async fn declare_dead_letters(link: &Link, settings: &AmqpSettings) -> Result<(), AmqpError> {
    let declared = declare_dead_letters_alone(link, settings).await;
    unless_there(link, declared, &settings.dead_letter_exchange, &settings.dead_letter_queue).await
}

/// A user without the right to declare may use what an operator has declared.
async fn unless_there(
    link: &Link,
    declared: Result<(), AmqpError>,
    exchange: &str,
    queue: &str,
) -> Result<(), AmqpError> {
    let Err(error @ AmqpError::Forbidden { .. }) = declared else {
        return declared;
    };
    let channel = link.channel().await?;
    let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let kind = ExchangeKind::Topic;
    if channel.exchange_declare(short(exchange), kind, passive, FieldTable::default()).await.is_err()
        || existing_queue(&channel, queue).await?.is_none()
    {
        return Err(error);
    }
    close(channel).await;
    Ok(())
}

async fn declare_dead_letters_alone(link: &Link, settings: &AmqpSettings) -> Result<(), AmqpError> {
    let channel = link.channel().await?;
    let (exchange, queue) = (&settings.dead_letter_exchange, &settings.dead_letter_queue);
    declare_exchange(&channel, exchange, ExchangeKind::Topic, "set amqp.dead_letter_exchange to another name").await?;
    let remedy = "set amqp.dead_letter_queue to another name, or delete the queue when it is empty";
    declare_exact(&channel, queue, of_type(QueueType::Classic), remedy).await?;
    bind(&channel, queue, exchange, "#").await?;
    close(channel).await;
    Ok(())
}

/// As Celery declares a queue: durable, classic, no arguments, bound to a direct exchange of its own name.
async fn declare_plain(link: &Link, name: &str) -> Result<(), AmqpError> {
    let channel = link.channel().await?;
    let remedy = "Dify's Celery declares a durable direct exchange of this name; delete the other one";
    declare_exchange(&channel, name, ExchangeKind::Direct, remedy).await?;
    declare_exact(&channel, name, FieldTable::default(), "it was declared meanwhile; start again").await?;
    bind(&channel, name, name, name).await?;
    close(channel).await;
    Ok(())
}

async fn declare_native(link: &Link, settings: &AmqpSettings, queue: &QueueSettings) -> Result<(), AmqpError> {
    declare_dead_letters(link, settings).await?;
    let declared = declare_native_alone(link, settings, queue).await;
    unless_there(link, declared, &settings.native_exchange, &queue.name).await
}

async fn declare_native_alone(link: &Link, settings: &AmqpSettings, queue: &QueueSettings) -> Result<(), AmqpError> {
    let channel = link.channel().await?;
    let exchange = &settings.native_exchange;
    declare_exchange(&channel, exchange, ExchangeKind::Topic, "set amqp.native_exchange to another name").await?;
    let arguments = native_arguments(settings, queue);
    let remedy = "make amqp.queues[].queue_type and amqp.dead_letter_exchange what the queue was created with, \
                  or drain and delete the queue";
    declare_exact(&channel, &queue.name, arguments, remedy).await?;
    bind(&channel, &queue.name, exchange, "#").await?;
    close(channel).await;
    Ok(())
}

fn native_arguments(settings: &AmqpSettings, queue: &QueueSettings) -> FieldTable {
    let mut arguments = of_type(queue.queue_type);
    arguments.insert(short("x-dead-letter-exchange"), long(settings.dead_letter_exchange.as_str()));
    arguments
}

/// Names the type even where it is classic: a virtual host may prefer another one, and a quorum queue without a
/// dead-letter exchange drops what was delivered more often than its limit, so letters would go by being looked at.
fn of_type(queue_type: QueueType) -> FieldTable {
    let name = match queue_type {
        QueueType::Classic => "classic",
        QueueType::Quorum => "quorum",
    };
    let mut arguments = FieldTable::default();
    arguments.insert(short("x-queue-type"), long(name));
    arguments
}

/// Looks for a queue. The broker closes the channel when there is none.
pub(super) async fn existing_queue(channel: &Channel, name: &str) -> Result<Option<Queue>, AmqpError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(short(name), passive, FieldTable::default()).await {
        Ok(queue) => Ok(Some(queue)),
        Err(error) if reply(&error) == Reply::NotFound => Ok(None),
        Err(error) => Err(AmqpError::broker("looking for a queue")(error)),
    }
}

async fn declare_exchange(
    channel: &Channel,
    name: &str,
    kind: ExchangeKind,
    remedy: &'static str,
) -> Result<(), AmqpError> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel
        .exchange_declare(short(name), kind, durable, FieldTable::default())
        .await
        .map_err(|error| declaration_fault(&error, format!("exchange {name}"), remedy))
}

async fn declare_exact(
    channel: &Channel,
    name: &str,
    arguments: FieldTable,
    remedy: &'static str,
) -> Result<(), AmqpError> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(short(name), durable, arguments).await {
        Ok(_) => Ok(()),
        Err(error) => Err(declaration_fault(&error, format!("queue {name}"), remedy)),
    }
}

fn declaration_fault(error: &lapin::Error, what: String, remedy: &'static str) -> AmqpError {
    match reply(error) {
        Reply::PreconditionFailed => AmqpError::Mismatch { what, said: error.to_string(), remedy },
        Reply::AccessRefused => AmqpError::forbidden("declaring", error),
        _ => AmqpError::Broker { doing: "declaring", said: format!("{what}: {error}") },
    }
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<(), AmqpError> {
    let options = QueueBindOptions::default();
    channel
        .queue_bind(short(queue), short(exchange), short(key), options, FieldTable::default())
        .await
        .map_err(AmqpError::broker("binding a queue"))
}

async fn close(channel: Channel) {
    // What was declared is declared; a channel that breaks while it is closed is closed.
    let _ = channel.close(200, "done".into()).await;
}
