//! What the headers of a letter say, and whether they can be believed: any producer that may write to the dead-letter
//! queue can put a message there that looks like a letter.

use lapin::types::{AMQPValue, FieldTable};
use sha2::{Digest, Sha256};

use super::{AT, ATTEMPTS, DETAIL, EXCHANGE, LEFT_OUT, QUEUE, REASON, ROUTING_KEY, SHA256, SOURCE, STATUS};
use crate::amqp::delivery::{Original, number, text, whole_number};
use crate::amqp::settings::{QueueSettings, QueueSource};
use crate::codec::Message;
use crate::domain::verdict::bounded;
use crate::domain::{RefusalClass, Timestamp};

/// Returns a header's value for people.
pub(in crate::amqp) fn header_text(value: &AMQPValue) -> String {
    match value {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::Boolean(flag) => flag.to_string(),
        AMQPValue::Timestamp(seconds) => seconds.to_string(),
        AMQPValue::Float(number) => number.to_string(),
        AMQPValue::Double(number) => number.to_string(),
        AMQPValue::Void => "null".to_owned(),
        AMQPValue::FieldArray(items) => {
            let items: Vec<_> = items.as_slice().iter().map(header_text).collect();
            format!("[{}]", items.join(", "))
        }
        AMQPValue::FieldTable(fields) => {
            let fields: Vec<_> =
                fields.inner().iter().map(|(name, value)| format!("{name}: {}", header_text(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        AMQPValue::ByteArray(bytes) => format!("({} bytes)", bytes.len()),
        whole => whole_number(whole).map_or_else(|| "?".to_owned(), |number| number.to_string()),
    }
}

/// What the headers of a letter say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// A reason class; `broker:rejected`, `broker:expired`, `broker:maxlen`, `broker:delivery_limit` for a letter of the
    /// broker itself; `unknown` for a message that is no letter.
    pub reason: String,
    pub detail: Option<String>,
    pub status: Option<i64>,
    /// How often difylog refused the message.
    pub attempts: i64,
    pub exchange: Option<String>,
    pub routing_key: Option<String>,
    /// The queue to replay to.
    pub queue: Option<String>,
    pub source: Option<QueueSource>,
    pub sha256: Option<String>,
    pub at: Option<Timestamp>,
    /// Headers of the message that did not fit into the letter.
    pub left_out: Option<String>,
}

impl Heading {
    pub(in crate::amqp) fn read(original: &Original) -> Self {
        let nothing = FieldTable::default();
        let headers = original.properties.headers().as_ref().unwrap_or(&nothing);
        let death = Death::read(headers);
        // A producer of forged letters chooses these texts, and they are held for every letter of a list.
        let text = |name| text(headers, name).map(bounded);
        let own = text(REASON);
        let by_broker = |death: &Death| format!("broker:{}", death.reason.as_deref().unwrap_or("unknown"));
        let reason = own.or_else(|| death.as_ref().map(by_broker)).unwrap_or_else(|| "unknown".to_owned());
        let death = death.unwrap_or_default();
        let source = match text(SOURCE).as_deref() {
            Some("celery") => Some(QueueSource::Celery),
            Some("native") => Some(QueueSource::Native),
            // The broker's letters do not say it; only Celery's messages name a task.
            _ if headers.contains_key("task") => Some(QueueSource::Celery),
            _ => death.queue.is_some().then_some(QueueSource::Native),
        };
        Self {
            reason: shortened(reason),
            detail: text(DETAIL),
            status: number(headers, STATUS),
            attempts: number(headers, ATTEMPTS).unwrap_or(0),
            exchange: text(EXCHANGE).or(death.exchange.map(bounded)),
            routing_key: text(ROUTING_KEY).or(death.routing_key.map(bounded)),
            queue: text(QUEUE).or(death.queue.map(bounded)),
            source,
            sha256: text(SHA256),
            at: text(AT).and_then(|at| at.parse().ok()).or(death.at),
            left_out: text(LEFT_OUT),
        }
    }

    /// Returns the letter's message as its queue's consumer would decode it.
    pub(in crate::amqp) fn message(&self, original: &Original) -> Option<Message> {
        Some(original.message(self.source?))
    }
}

/// Characters of a reason: more than any of ours or the broker's has.
const REASON_CHARACTERS: usize = 64;

/// Returns a reason that is no longer than it needs to be, since letters are counted by it.
fn shortened(mut reason: String) -> String {
    if let Some((end, _)) = reason.char_indices().nth(REASON_CHARACTERS) {
        reason.truncate(end);
        reason.push('…');
    }
    reason
}

/// Returns why a message of the dead-letter queue is no letter that may be replayed; `None` if it is one.
///
/// A letter of difylog names a queue of the settings with its source, a known reason, and the hash of its body; one of
/// the broker names the queue. Who may write to the queue itself can forge that, and gains nothing by it.
pub(in crate::amqp) fn doubt(heading: &Heading, original: &Original, queues: &[QueueSettings]) -> Option<String> {
    let Some(name) = &heading.queue else {
        return Some("does not say which queue it came from".to_owned());
    };
    let Some(queue) = queues.iter().find(|queue| queue.name == *name) else {
        return Some(bounded(format!("names the queue {}, which amqp.queues does not", name.escape_debug())));
    };
    let nothing = FieldTable::default();
    let headers = original.properties.headers().as_ref().unwrap_or(&nothing);
    let is_own = headers.inner().keys().any(|name| name.as_str() != ATTEMPTS && name.as_str().starts_with(super::OWN));
    if !is_own {
        return None;
    }
    if heading.reason.parse::<RefusalClass>().is_err() {
        return Some("its reason is none that difylog gives".to_owned());
    }
    if text(headers, SOURCE).as_deref() != Some(queue.source.as_str()) {
        return Some(format!("is not of the source that amqp.queues gives to {name} ({})", queue.source.as_str()));
    }
    if text(headers, AT).is_none_or(|at| at.parse::<Timestamp>().is_err()) || heading.attempts < 1 {
        return Some("its headers are not those that difylog writes".to_owned());
    }
    let hash = format!("{:x}", Sha256::digest(&original.body));
    (heading.sha256.as_ref() != Some(&hash)).then(|| "its body is not the one that its hash was made of".to_owned())
}

/// The newest entry of `x-death`.
#[derive(Default)]
struct Death {
    reason: Option<String>,
    queue: Option<String>,
    exchange: Option<String>,
    routing_key: Option<String>,
    at: Option<Timestamp>,
}

impl Death {
    fn read(headers: &FieldTable) -> Option<Self> {
        let AMQPValue::FieldArray(deaths) = headers.inner().get("x-death")? else {
            return None;
        };
        let AMQPValue::FieldTable(death) = deaths.as_slice().first()? else {
            return None;
        };
        let routing_key = match death.inner().get("routing-keys") {
            Some(AMQPValue::FieldArray(keys)) => match keys.as_slice().first() {
                Some(AMQPValue::LongString(key)) => Some(key.to_string()),
                _ => None,
            },
            _ => None,
        };
        let at = match death.inner().get("time") {
            Some(AMQPValue::Timestamp(seconds)) => i64::try_from(*seconds).ok(),
            _ => None,
        };
        Some(Self {
            reason: text(death, "reason"),
            queue: text(death, "queue"),
            exchange: text(death, "exchange"),
            routing_key,
            at: at.and_then(|seconds| Timestamp::from_micros(seconds.saturating_mul(1_000_000)).ok()),
        })
    }
}
