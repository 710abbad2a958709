//! What a queue is that exists, as far as AMQP tells, and what it can lose.
//!
//! AMQP has no question for the arguments of a queue. But a broker refuses to declare a queue that exists with others than
//! it has, and names the first that differs; so the queue is declared again, with what was named, until the broker agrees.
//! Nothing is changed by it. Policies are not told: they are the broker's own.

use std::collections::BTreeMap;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::super::connection::Link;
use super::super::delivery::{long, short, text, whole_number};
use super::super::error::{AmqpError, Reply, reply};
use super::existing_queue;

/// Differences asked for. A queue has some 20 arguments at most.
const ROUNDS: usize = 32;

/// A queue as it was declared.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Declared {
    pub durable: bool,
    pub auto_delete: bool,
    pub arguments: BTreeMap<ShortString, AMQPValue>,
}

/// Returns how a queue was declared; `None` if that cannot be known: it does not exist, the user may not configure it, or
/// the broker speaks of differences in other words. `likely` is what it was declared with, most likely.
pub(super) async fn declared(link: &Link, name: &str, likely: FieldTable) -> Result<Option<Declared>, AmqpError> {
    let mut guess = Declared { durable: true, auto_delete: false, arguments: likely.inner().clone() };
    for _ in 0..ROUNDS {
        let channel = link.channel().await?;
        // Right before: a declaration must not create what was deleted meanwhile.
        if existing_queue(&channel, name).await?.is_none() {
            return Ok(None);
        }
        let options = QueueDeclareOptions {
            durable: guess.durable,
            auto_delete: guess.auto_delete,
            ..QueueDeclareOptions::default()
        };
        let Err(error) = channel.queue_declare(short(name), options, guess.arguments.clone().into()).await else {
            super::close(channel).await;
            return Ok(Some(guess));
        };
        match reply(&error) {
            Reply::PreconditionFailed if guess.learn(&error.to_string()) => {}
            Reply::PreconditionFailed | Reply::AccessRefused => return Ok(None),
            _ => return Err(AmqpError::broker("looking at a queue")(error)),
        }
    }
    Ok(None)
}

impl Declared {
    /// Takes over what the broker says of one difference: `inequivalent arg 'x' for queue …: received … but current is
    /// the value 'v' of type 't'`. Returns false if it says something else.
    fn learn(&mut self, said: &str) -> bool {
        let Some((name, current)) = difference(said) else {
            return false;
        };
        match (name, current) {
            ("durable", "'true'" | "'false'") => self.durable = current == "'true'",
            ("auto_delete", "'true'" | "'false'") => self.auto_delete = current == "'true'",
            (name, "none") => return self.arguments.remove(name).is_some(),
            (name, current) => {
                let Some(value) = value(current) else {
                    return false;
                };
                self.arguments.insert(short(name), value);
            }
        }
        true
    }

    /// Returns what can be lost in this queue, a line each.
    pub fn risks(&self) -> Vec<String> {
        let table = FieldTable::from(self.arguments.clone());
        let number = |name| self.arguments.get(name).and_then(whole_number);
        let kind = text(&table, "x-queue-type").unwrap_or_else(|| "classic".to_owned());
        let to = text(&table, "x-dead-letter-exchange");
        let goes = to.as_ref().map_or_else(|| "are lost".to_owned(), |to| format!("go to the exchange {to}"));
        let mut risks = Vec::new();
        if kind == "stream" {
            risks.push("is a stream, which keeps what is acked: difylog needs a classic or a quorum queue".to_owned());
        }
        if kind == "quorum" && to.is_none() {
            risks.push(
                "is a quorum queue without a dead-letter exchange: a message that was given back more often than its \
                 delivery limit (20 since RabbitMQ 4.0) is lost; set dead-letter-exchange by a policy"
                    .to_owned(),
            );
        }
        let refuses = text(&table, "x-overflow").is_some_and(|overflow| overflow.starts_with("reject-publish"));
        for (name, unit) in [("x-max-length", "messages"), ("x-max-length-bytes", "bytes")] {
            match number(name) {
                Some(most) if refuses => {
                    risks.push(format!("refuses what is published to it beyond {most} {unit} ({name})"));
                }
                Some(most) => risks.push(format!("holds {most} {unit} at most ({name}): the oldest beyond {goes}")),
                None => {}
            }
        }
        if let Some(millis) = number("x-message-ttl") {
            risks.push(format!("keeps messages for {millis} ms (x-message-ttl): older ones {goes}"));
        }
        if let Some(millis) = number("x-expires") {
            risks.push(format!("is deleted after {millis} ms without a consumer (x-expires)"));
        }
        if !self.durable {
            risks.push("is not durable: its messages are lost when the broker restarts".to_owned());
        }
        if self.auto_delete {
            risks.push("is deleted when its last consumer ends (auto-delete)".to_owned());
        }
        risks
    }
}

fn difference(said: &str) -> Option<(&str, &str)> {
    let (_, rest) = said.split_once("inequivalent arg '")?;
    let (name, rest) = rest.split_once('\'')?;
    let (_, current) = rest.rsplit_once("but current is ")?;
    Some((name, current.trim_end()))
}

/// `the value 'v' of type 't'`, or `'v'` for a type of queues.
fn value(current: &str) -> Option<AMQPValue> {
    if let Some(text) = current.strip_prefix('\'') {
        return Some(long(text.strip_suffix('\'')?));
    }
    let (value, kind) = current.strip_prefix("the value '")?.split_once("' of type '")?;
    Some(match kind.trim_end_matches(|character: char| !character.is_alphanumeric()) {
        "longstr" => long(value),
        "bool" => AMQPValue::Boolean(value == "true"),
        _ => AMQPValue::LongLongInt(value.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_learnt_from_the_brokers_words() {
        let mut guess = Declared { durable: true, auto_delete: false, arguments: BTreeMap::new() };
        guess.arguments.insert(short("x-queue-type"), long("classic"));
        let of = "for queue 'q' in vhost '/': received";
        for said in [
            format!("PRECONDITION_FAILED - inequivalent arg 'durable' {of} 'true' but current is 'false'"),
            format!("inequivalent arg 'x-queue-type' {of} the value 'classic' of type 'longstr' but current is none"),
            format!("inequivalent arg 'x-queue-type' {of} 'classic' but current is 'quorum'"),
            format!("inequivalent arg 'x-max-length' {of} none but current is the value '9' of type 'signedint'"),
            format!("inequivalent arg 'x-overflow' {of} none but current is the value 'drop-head' of type 'longstr'"),
        ] {
            assert!(guess.learn(&said), "{said}");
        }
        assert!(!guess.durable && guess.arguments.len() == 3);
        assert_eq!(guess.arguments["x-queue-type"], long("quorum"));
        assert_eq!(guess.arguments["x-max-length"], AMQPValue::LongLongInt(9));
        assert!(!guess.learn("PRECONDITION_FAILED - something else"));
        let risks = guess.risks();
        assert!(risks.len() == 3 && risks[0].contains("delivery limit"), "{risks:?}");
        assert!(risks[1].contains("9 messages") && risks[1].contains("lost"), "{risks:?}");
    }

    #[test]
    fn a_quorum_queue_needs_a_dead_letter_exchange() {
        let mut queue = Declared { durable: true, auto_delete: false, arguments: BTreeMap::new() };
        assert!(queue.risks().is_empty());
        queue.arguments.insert(short("x-queue-type"), long("quorum"));
        assert!(queue.risks()[0].contains("delivery limit"));
        queue.arguments.insert(short("x-dead-letter-exchange"), long("difylog.dlx"));
        assert!(queue.risks().is_empty());
    }
}
