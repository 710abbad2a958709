//! One request, one answer: the connections to the hosts, over the official client's transport. It knows addresses,
//! credentials and faults of the wire; what is asked and what an answer means is decided elsewhere.
//!
//! The headers are plain JSON, which Elasticsearch and OpenSearch both take.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use elasticsearch::auth::Credentials;
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::headers::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use elasticsearch::http::response::Response;
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

pub(super) use elasticsearch::http::Method;

use super::reason::Words;
use super::settings::{ElasticSettings, InvalidSetting, Secret};
use crate::domain::{FaultKind, SinkFault};

/// How long a host that could not be reached is passed over.
const RETIREMENT: Duration = Duration::from_secs(30);

/// Largest announced answer that is read. An unannounced (chunked) one is bounded by the timeout.
const MAX_ANSWER_BYTES: u64 = 128 << 20;

/// A request, without a host.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Body,
}

pub(super) enum Body {
    None,
    Json(Bytes),
    /// Lines of JSON.
    Lines(Bytes),
}

impl<'a> Request<'a> {
    pub(super) const fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, query: &[], body: Body::None }
    }

    pub(super) const fn query(mut self, query: &'a [(&'a str, &'a str)]) -> Self {
        self.query = query;
        self
    }

    pub(super) fn json(mut self, value: &serde_json::Value) -> Self {
        self.body = Body::Json(value.to_string().into());
        self
    }

    pub(super) fn lines(mut self, lines: Vec<u8>) -> Self {
        self.body = Body::Lines(lines.into());
        self
    }
}

/// A complete answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

impl Answer {
    /// The answer to a request that should have succeeded, read as JSON.
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
        let mut fault = SinkFault::new(kind, format!("HTTP {}: {}", self.status, words.detail()));
        fault.retry_after = self.retry_after;
        Err(fault)
    }
}

/// A fault for JSON that is not what was expected. The parser's words quote values, so only the position is kept.
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
    gzip: bool,
}

struct Host {
    name: String,
    transport: Transport,
    retired_until: Mutex<Option<Instant>>,
}

impl Hosts {
    pub(super) fn new(settings: &ElasticSettings) -> Result<Self, InvalidSetting> {
        let all = settings.host_urls()?.into_iter().map(|url| Host::new(url, settings)).collect::<Result<_, _>>()?;
        Ok(Self { all, turn: AtomicUsize::new(0), timeout: settings.timeout(), gzip: settings.gzip })
    }

    /// Sends to the next host, and on to others if it cannot be reached. Every request of the store may be repeated
    /// without harm, so a broken connection is no reason to stop; a timeout is, or waits would add up.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Answer, SinkFault> {
        let mut fault = SinkFault::new(FaultKind::Unreachable, "no host");
        for host in self.in_turn() {
            match host.send(request, self.gzip, self.timeout).await {
                Ok(response) => {
                    host.retire(None);
                    return read(response, &host.name).await;
                }
                Err(error) => {
                    host.retire(Some(Instant::now() + RETIREMENT));
                    if error.is_timeout() {
                        let seconds = self.timeout.as_secs();
                        let detail = format!("{}: no answer within {seconds} s (timeout_seconds)", host.name);
                        return Err(SinkFault::new(FaultKind::Unreachable, detail));
                    }
                    let detail = format!("{}: {}", host.name, innermost(&error));
                    fault = SinkFault::new(FaultKind::Unreachable, detail);
                }
            }
        }
        Err(fault)
    }

    /// Hosts from the next one on; those in retirement last.
    fn in_turn(&self) -> Vec<&Host> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.all.len().max(1);
        let now = Instant::now();
        let mut order: Vec<&Host> = self.all.iter().cycle().skip(first).take(self.all.len()).collect();
        order.sort_by_key(|host| host.is_retired(now));
        order
    }
}

impl Host {
    fn new(url: url::Url, settings: &ElasticSettings) -> Result<Self, InvalidSetting> {
        let invalid = |key, problem| InvalidSetting { key, problem };
        let port = url.port_or_known_default().unwrap_or_default();
        let name = format!("{}:{port}", url.host_str().unwrap_or_default());
        // A proxy of the environment is meant for the world outside; a log store is not there.
        let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url))
            .timeout(settings.timeout())
            .request_body_compression(settings.gzip)
            .enable_meta_header(false)
            .disable_proxy();
        if let (Some(username), Some(password)) = (&settings.username, &settings.password) {
            builder = builder.auth(Credentials::Basic(username.clone(), Secret::expose(password).to_owned()));
        }
        if !settings.verify_certs {
            builder = builder.cert_validation(CertificateValidation::None);
        } else if let Some(path) = &settings.ca_cert {
            let pem =
                std::fs::read(path).map_err(|error| invalid("ca_cert", format!("{}: {error}", path.display())))?;
            let authority = Certificate::from_pem(&pem)
                .map_err(|_| invalid("ca_cert", format!("{}: not a PEM certificate", path.display())))?;
            builder = builder.cert_validation(CertificateValidation::Full(authority));
        }
        let transport = builder.build().map_err(|error| invalid("hosts", error.to_string()))?;
        Ok(Self { name, transport, retired_until: Mutex::new(None) })
    }

    async fn send(
        &self,
        request: &Request<'_>,
        gzip: bool,
        timeout: Duration,
    ) -> Result<Response, elasticsearch::Error> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let (body, content_type) = match &request.body {
            Body::None => (None, "application/json"),
            Body::Json(json) => (Some(json), "application/json"),
            Body::Lines(lines) => (Some(lines), "application/x-ndjson"),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if !gzip {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let query = (!request.query.is_empty()).then_some(request.query);
        self.transport.send(request.method, request.path, headers, query, body, Some(timeout)).await
    }

    fn retire(&self, until: Option<Instant>) {
        *self.retired_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn is_retired(&self, now: Instant) -> bool {
        self.retired_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| until > now)
    }
}

async fn read(response: Response, host: &str) -> Result<Answer, SinkFault> {
    if response.content_length().is_some_and(|length| length > MAX_ANSWER_BYTES) {
        return Err(SinkFault::new(FaultKind::Malformed, format!("{host}: an answer above {MAX_ANSWER_BYTES} bytes")));
    }
    let status = response.status_code().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = response.bytes().await.map_err(|error| {
        SinkFault::new(FaultKind::Unreachable, format!("{host}: the answer broke off ({})", innermost(&error)))
    })?;
    Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), body })
}

/// The cause at the bottom: the layers above it only repeat the URL.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
