//! Requests to the cluster: to its hosts in turn, on to the next where one cannot be used. What is asked and what an answer
//! means is decided elsewhere.
//!
//! The headers are plain JSON, which Elasticsearch and OpenSearch both take.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::reason::Words;
use super::settings::{ElasticSettings, InvalidSetting};
use super::wire::{self, Host, Trouble};
use crate::domain::{FaultKind, SinkFault};

/// How long an answer may take until the host is asked something small beside it; a busy host answers that, a dead one
/// that accepts connections does not.
const SUSPICION: Duration = Duration::from_secs(2);

/// How long the small answer may take.
const PING: Duration = Duration::from_secs(2);

/// What of a request's path an error quotes.
const SHOWN_PATH: usize = 160;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Put,
    Delete,
}

impl Method {
    pub(super) const fn spelled(self) -> reqwest::Method {
        match self {
            Self::Get => reqwest::Method::GET,
            Self::Post => reqwest::Method::POST,
            Self::Put => reqwest::Method::PUT,
            Self::Delete => reqwest::Method::DELETE,
        }
    }
}

/// A request, without a host.
pub(super) struct EngineRequest<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: RequestBody,
}

pub(super) enum RequestBody {
    None,
    Json(Bytes),
    /// Lines of JSON.
    Lines(Bytes),
}

impl<'a> EngineRequest<'a> {
    pub(super) const fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, query: &[], body: RequestBody::None }
    }

    pub(super) const fn query(mut self, query: &'a [(&'a str, &'a str)]) -> Self {
        self.query = query;
        self
    }

    pub(super) fn json(mut self, value: &serde_json::Value) -> Self {
        self.body = RequestBody::Json(value.to_string().into());
        self
    }

    pub(super) fn lines(mut self, lines: Vec<u8>) -> Self {
        self.body = RequestBody::Lines(lines.into());
        self
    }
}

/// A complete answer.
pub(super) struct EngineAnswer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
    /// What was asked: method and path.
    pub(super) target: String,
}

/// The shards that a request was sent to. Those that an engine skipped, because they hold nothing of it, are successful.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Shards {
    total: u64,
    successful: u64,
    failed: u64,
}

impl EngineAnswer {
    /// Returns the answer to a request that should have succeeded, read as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, SinkFault> {
        self.success()?;
        serde_json::from_slice(&self.body).map_err(|error| not_understood(&error))
    }

    /// Nothing, if the status says success; else the fault that it stands for.
    pub(super) fn success(&self) -> Result<(), SinkFault> {
        if (200..300).contains(&self.status) {
            return Ok(());
        }
        let words = Words::of_answer(&self.body);
        let kind = match self.status {
            _ if words.is_passing => FaultKind::Overloaded,
            401 | 403 => FaultKind::Unauthorized,
            413 => FaultKind::TooLarge,
            429 | 500..=599 => FaultKind::Overloaded,
            _ => FaultKind::Malformed,
        };
        let shown: String = self.target.chars().take(SHOWN_PATH).collect();
        let mut fault = SinkFault::new(kind, format!("HTTP {} to {shown}: {}", self.status, words.detail()));
        fault.retry_after = self.retry_after;
        Err(fault)
    }

    /// As [`Self::success`]; a fault as well if some shards failed, which the engines call a success.
    pub(super) fn of_all_shards(&self) -> Result<(), SinkFault> {
        self.without(self.shards()?.failed)
    }

    /// As [`Self::of_all_shards`], of a count: a shard that is away is neither counted nor a failure of it. (What is sent to
    /// every copy of a shard misses copies that are nowhere yet, and lacks nothing.)
    pub(super) fn counts_all_shards(&self) -> Result<(), SinkFault> {
        let Shards { total, successful, failed } = self.shards()?;
        self.without(failed.max(total.saturating_sub(successful)))
    }

    fn shards(&self) -> Result<Shards, SinkFault> {
        #[derive(Deserialize)]
        struct Answered {
            #[serde(rename = "_shards", default)]
            shards: Shards,
        }
        Ok(self.json::<Answered>()?.shards)
    }

    fn without(&self, shards: u64) -> Result<(), SinkFault> {
        if shards == 0 {
            return Ok(());
        }
        let shown: String = self.target.chars().take(SHOWN_PATH).collect();
        Err(SinkFault::new(FaultKind::Overloaded, format!("{shards} shards did not take part in {shown}")))
    }

    /// Returns whether no engine can have said this: a gateway's page, or another server's.
    pub(super) fn is_garbage(&self) -> bool {
        let is_json = || matches!(self.body.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'{' | b'['));
        let may_be_empty = !(200..300).contains(&self.status) && !(500..600).contains(&self.status);
        !is_json() && (!may_be_empty || !self.body.is_empty())
    }
}

/// Returns a fault for JSON that is not what was expected. The parser's words quote values, so only the position is
/// kept.
pub(super) fn not_understood(error: &serde_json::Error) -> SinkFault {
    let place = format!("line {} column {}", error.line(), error.column());
    SinkFault::new(
        FaultKind::Malformed,
        format!("the answer is not the JSON expected ({:?}, {place})", error.classify()),
    )
}

/// All hosts, used in turn.
pub(super) struct Hosts {
    all: Vec<Host>,
    turn: AtomicUsize,
    timeout: Duration,
}

impl Hosts {
    pub(super) fn new(settings: &ElasticSettings) -> Result<Self, InvalidSetting> {
        let client = wire::client(settings)?;
        let host = |url| Host::new(url, client.clone(), settings);
        let all = settings.host_urls()?.into_iter().map(host).collect();
        Ok(Self { all, turn: AtomicUsize::new(0), timeout: settings.timeout() })
    }

    /// Sends to the next host, and on to others if it cannot be reached, stops answering, redirects or is no engine. Every
    /// request of the store may be repeated without harm. All tries together take no longer than the time-out.
    pub(super) async fn send(&self, request: &EngineRequest<'_>) -> Result<EngineAnswer, SinkFault> {
        let until = Instant::now() + self.timeout;
        let order = self.in_turn();
        let mut troubles: Vec<Trouble> = Vec::new();
        let mut garbage = None;
        for (position, host) in order.iter().enumerate() {
            let has_others = position + 1 < order.len();
            match self.try_host(host, request, until, order.len() > 1, has_others).await {
                Ok(answer) if order.len() > 1 && answer.is_garbage() => {
                    host.set_aside();
                    garbage = Some(answer);
                }
                Ok(answer) => {
                    host.is_back();
                    return Ok(answer);
                }
                Err(trouble) => {
                    host.set_aside();
                    let is_over = trouble.is_timeout && Instant::now() >= until;
                    troubles.push(trouble);
                    if is_over {
                        break;
                    }
                }
            }
        }
        garbage.map_or_else(|| Err(self.fault(troubles)), Ok)
    }

    async fn try_host(
        &self,
        host: &Host,
        request: &EngineRequest<'_>,
        until: Instant,
        has_company: bool,
        has_others: bool,
    ) -> Result<EngineAnswer, Trouble> {
        let silent = || Trouble {
            detail: format!("{}: accepts connections and does not answer", host.name),
            is_timeout: false,
            kind: FaultKind::Unreachable,
        };
        // One that was bad is not trusted with a large request at once.
        if has_company && has_others && host.is_on_trial() && !host.answers(PING).await {
            return Err(silent());
        }
        let left = until.saturating_duration_since(Instant::now());
        let mut exchange = pin!(host.exchange(request, left));
        if !has_others {
            return exchange.await;
        }
        tokio::select! {
            answer = &mut exchange => return answer,
            () = tokio::time::sleep(SUSPICION) => {}
        }
        tokio::select! {
            answer = &mut exchange => return answer,
            is_alive = host.answers(PING) => if !is_alive { return Err(silent()) },
        }
        exchange.await
    }

    /// Returns what all troubles come to.
    fn fault(&self, troubles: Vec<Trouble>) -> SinkFault {
        let seconds = self.timeout.as_secs();
        let kind = troubles.last().map_or(FaultKind::Unreachable, |trouble| trouble.kind);
        let told = |trouble: Trouble| {
            let host = trouble.detail.split_once(": ").map_or("", |(host, _)| host).to_owned();
            if trouble.is_timeout {
                return format!("{host}: no answer within {seconds} s (timeout_seconds)");
            }
            trouble.detail
        };
        let details: Vec<_> = troubles.into_iter().map(told).collect();
        SinkFault::new(kind, if details.is_empty() { "no host".to_owned() } else { details.join("; ") })
    }

    /// Hosts from the next one on; those that were bad a moment ago last.
    fn in_turn(&self) -> Vec<&Host> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.all.len().max(1);
        let now = Instant::now();
        let mut order: Vec<&Host> = self.all.iter().cycle().skip(first).take(self.all.len()).collect();
        order.sort_by_key(|host| host.is_set_aside(now));
        order
    }
}
