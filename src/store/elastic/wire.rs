//! One host: one request to it, and its whole answer. It follows no redirect, for a redirected POST becomes a GET; what an
//! answer means is decided elsewhere.

use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};
use tokio::time::Instant;
use url::Url;

use super::hosts::{EngineAnswer, EngineRequest, Method, RequestBody};
use super::settings::{ElasticSettings, InvalidSetting, Secret};
use crate::domain::{FaultKind, SinkFault};

/// How long a host that could not be used is passed over.
const COOLDOWN: Duration = Duration::from_secs(30);

/// How long connecting may take; a host that drops packets would else hold each request for all of its time.
const CONNECT: Duration = Duration::from_secs(5);

/// Longest `Retry-After` that is heeded: a gateway's hour would hold documents for one after a fault of seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Largest answer that is read.
const MAX_ANSWER_BYTES: usize = 128 << 20;

/// What makes some editors' and gateways' JSON unreadable: a byte order mark.
const BOM: &[u8] = "\u{feff}".as_bytes();

/// One address of the cluster.
pub(super) struct Host {
    pub(super) name: String,
    base: Url,
    client: Client,
    login: Option<(String, Secret)>,
    gzip: bool,
    health: Mutex<Health>,
}

#[derive(Clone, Copy)]
enum Health {
    Good,
    /// Not asked before then, and then only after it has answered something small.
    Bad(Instant),
}

/// What one try came to, when there was no answer.
pub(super) struct Trouble {
    pub(super) detail: String,
    /// The time was up, which says nothing about the host.
    pub(super) is_timeout: bool,
    pub(super) kind: FaultKind,
}

/// Returns the client of all hosts: its connections are kept per address.
pub(super) fn client(settings: &ElasticSettings) -> Result<Client, InvalidSetting> {
    let invalid = |key, problem| InvalidSetting { key, problem };
    // A proxy of the environment is meant for the world outside; a log store is not there.
    let mut builder =
        Client::builder().no_proxy().redirect(Policy::none()).connect_timeout(settings.timeout().min(CONNECT));
    if !settings.verify_certs {
        builder = builder.danger_accept_invalid_certs(true);
    } else if let Some(path) = &settings.ca_cert {
        let pem = std::fs::read(path).map_err(|error| invalid("ca_cert", format!("{}: {error}", path.display())))?;
        let authorities = Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if authorities.is_empty() {
            return Err(invalid("ca_cert", format!("{}: not a PEM certificate", path.display())));
        }
        for authority in authorities {
            builder = builder.add_root_certificate(authority);
        }
    }
    builder.build().map_err(|error| invalid("hosts", innermost(&error)))
}

impl Host {
    pub(super) fn new(url: Url, client: Client, settings: &ElasticSettings) -> Self {
        let port = url.port_or_known_default().unwrap_or_default();
        let name = format!("{}:{port}", url.host_str().unwrap_or_default());
        let mut base = url;
        // Without its last slash the last part of a path would be replaced.
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let login = settings.username.clone().zip(settings.password.clone());
        Self { name, base, client, login, gzip: settings.gzip, health: Mutex::new(Health::Good) }
    }

    /// Sends a request and reads the whole answer, within a time.
    pub(super) async fn exchange(&self, request: &EngineRequest<'_>, time: Duration) -> Result<EngineAnswer, Trouble> {
        let trouble = |detail| Trouble {
            detail: format!("{}: {detail}", self.name),
            is_timeout: false,
            kind: FaultKind::Unreachable,
        };
        let url = self.base.join(request.path.trim_start_matches('/')).map_err(|error| trouble(error.to_string()))?;
        let mut sent = self.client.request(request.method.spelled(), url).timeout(time).query(request.query);
        sent = sent.header(ACCEPT, "application/json");
        if !self.gzip {
            sent = sent.header(ACCEPT_ENCODING, "identity");
        }
        if let Some((username, password)) = &self.login {
            sent = sent.basic_auth(username, Some(password.expose()));
        }
        sent = match &request.body {
            RequestBody::None => sent.header(CONTENT_TYPE, "application/json"),
            RequestBody::Json(json) => self.with_body(sent.header(CONTENT_TYPE, "application/json"), json),
            RequestBody::Lines(lines) => self.with_body(sent.header(CONTENT_TYPE, "application/x-ndjson"), lines),
        };
        let response = sent.send().await.map_err(|error| self.trouble(&error))?;
        let target = format!("{} {}", request.method.spelled(), request.path);
        self.read(response, target).await
    }

    /// Returns whether it answers something small, whatever it says.
    pub(super) async fn answers(&self, time: Duration) -> bool {
        let asked = self.exchange(&EngineRequest::new(Method::Get, "/"), time).await;
        asked.is_ok_and(|answer| !answer.is_garbage())
    }

    fn with_body(&self, sent: reqwest::RequestBuilder, body: &Bytes) -> reqwest::RequestBuilder {
        if !self.gzip {
            return sent.body(body.clone());
        }
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        // Writing into memory does not fail; were it to, the body goes as it is.
        match packed.write_all(body).and_then(|()| packed.finish()) {
            Ok(packed) => sent.header(CONTENT_ENCODING, "gzip").body(packed),
            Err(_) => sent.body(body.clone()),
        }
    }

    async fn read(&self, mut response: Response, target: String) -> Result<EngineAnswer, Trouble> {
        let status = response.status();
        if status.is_redirection() {
            return Err(self.redirected(&response));
        }
        let retry_after: Option<u64> =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let too_large = || Trouble {
            detail: format!("{}: an answer above {MAX_ANSWER_BYTES} bytes", self.name),
            is_timeout: false,
            kind: FaultKind::Malformed,
        };
        if response.content_length().is_some_and(|length| length > MAX_ANSWER_BYTES as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broke_off(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                return Err(too_large());
            }
        }
        let retry_after = retry_after.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
        let mut body = body.freeze();
        if body.starts_with(BOM) {
            body = body.slice(BOM.len()..);
        }
        Ok(EngineAnswer { status: status.as_u16(), retry_after, body, target })
    }

    fn redirected(&self, response: &Response) -> Trouble {
        let status = response.status().as_u16();
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        // Only the address: the rest may be a login page's query.
        let address = location
            .and_then(|location| response.url().join(location).ok())
            .map_or_else(|| "an address that it does not tell".to_owned(), |url| url.origin().ascii_serialization());
        let detail = format!(
            "{}: redirects to {address} (HTTP {status}), which a bulk request cannot follow: set store.elastic.hosts to \
             the address that answers itself",
            self.name
        );
        Trouble { detail, is_timeout: false, kind: FaultKind::Unreachable }
    }

    fn broke_off(&self, error: &reqwest::Error) -> Trouble {
        let detail = format!("{}: the answer broke off ({})", self.name, innermost(error));
        Trouble { detail, is_timeout: error.is_timeout(), kind: FaultKind::Unreachable }
    }

    fn trouble(&self, error: &reqwest::Error) -> Trouble {
        let cause = innermost(error);
        let hint = self.hint(&cause).map(|hint| format!(" ({hint})")).unwrap_or_default();
        Trouble {
            detail: format!("{}: {cause}{hint}", self.name),
            // A connection that does not come about is the host's fault, and others may be better.
            is_timeout: error.is_timeout() && !error.is_connect(),
            kind: FaultKind::Unreachable,
        }
    }

    /// Returns what may be wrong with the address.
    fn hint(&self, cause: &str) -> Option<&'static str> {
        let says = |words: &[&str]| words.iter().any(|word| cause.contains(word));
        match self.base.scheme() {
            "https" if says(&["InvalidContentType", "corrupt message", "unexpected message", "handshake eof"]) => {
                Some("if the port speaks no TLS, use http:// in store.elastic.hosts")
            }
            "http" if says(&["invalid HTTP version", "connection closed", "reset by peer"]) => {
                Some("if the port speaks TLS, use https:// in store.elastic.hosts")
            }
            _ => None,
        }
    }

    pub(super) fn set_aside(&self) {
        *self.lock() = Health::Bad(Instant::now() + COOLDOWN);
    }

    pub(super) fn is_back(&self) {
        *self.lock() = Health::Good;
    }

    pub(super) fn is_set_aside(&self, now: Instant) -> bool {
        matches!(*self.lock(), Health::Bad(until) if until > now)
    }

    /// Returns whether it must show first that it answers.
    pub(super) fn is_on_trial(&self) -> bool {
        matches!(*self.lock(), Health::Bad(_))
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Trouble> for SinkFault {
    fn from(trouble: Trouble) -> Self {
        Self::new(trouble.kind, trouble.detail)
    }
}

/// Returns the cause at the bottom: the layers above it only repeat the URL.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
