//! The section `serve` of the configuration, and the file of keys that it may name.

use std::fs::File;
use std::path::PathBuf;

use axum_server::tls_rustls::RustlsConfig;
use serde::Deserialize;

use super::forward::ForwardAuthSettings;
use super::reach::Reach;
use crate::codec::mask::{Mask, MaskSettings};
use crate::domain::Timestamp;
use crate::domain::document::ContentHash;
use crate::http::ConnectionSettings;
use crate::http::console::settings::ConsoleSettings;

/// What `difylog serve` listens on, whom it answers, and how much.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServeSettings {
    /// Address and port; port 0 takes a free one.
    pub listen: String,
    /// Requests at once; more get 429.
    pub concurrency: u16,
    /// Requests of one key at once, so that one key cannot take them all; never more than `concurrency`.
    pub concurrency_per_key: u16,
    /// Longest time of one question, in seconds.
    pub query_seconds: u64,
    /// A request that takes longer, in milliseconds, is logged.
    pub slow_query_ms: u64,
    /// Longest time in which the body of a request must have come, in seconds.
    pub body_seconds: u64,
    /// Largest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// Whether names are looked up in Dify's PostgreSQL (section `postgres`).
    pub names: bool,
    /// Longest wait for names, in milliseconds; answers show ids then, and say so.
    pub names_timeout_ms: u64,
    /// Whether names are carried into the store, and shown where PostgreSQL has none.
    pub keep_names: bool,
    /// What keys without the right to reveal do not see of payloads.
    pub mask: MaskSettings,
    pub connections: ConnectionSettings,
    pub tls: Option<TlsSettings>,
    pub keys: Vec<ApiKey>,
    /// A proxy in front that says who people are.
    pub forward_auth: Option<ForwardAuthSettings>,
    /// A TOML file of more `[[keys]]`, read again when it changes.
    pub keys_file: Option<PathBuf>,
    /// Whether each record that is read by its id, and each export, is a line in the log.
    pub audit_reads: bool,
    /// Where a run is in Dify's own pages: an address with `{app_id}`, and, if wanted, `{run_id}`.
    pub dify_link: Option<String>,
    /// The Dify whose console is answered here as well; `None`: only the API is served.
    pub dify: Option<ConsoleSettings>,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8089".into(),
            concurrency: 64,
            concurrency_per_key: 32,
            query_seconds: 30,
            slow_query_ms: 1000,
            body_seconds: 10,
            max_body_bytes: 1 << 20,
            names: false,
            names_timeout_ms: 2000,
            keep_names: false,
            mask: MaskSettings::default(),
            connections: ConnectionSettings::default(),
            tls: None,
            keys: Vec::new(),
            forward_auth: None,
            keys_file: None,
            audit_reads: true,
            dify_link: None,
            dify: None,
        }
    }
}

/// Certificate chain and private key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    Read,
    Delete,
    /// Dead letters: look, replay, purge. With `admin`, because letters are of any tenant.
    Operate,
    /// Sees what `serve.mask` masks.
    Reveal,
}

impl Right {
    /// Returns the rights of a key or a person for which the configuration names none.
    pub(super) fn read_only() -> Vec<Self> {
        vec![Self::Read]
    }

    /// Returns the name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Delete => "delete",
            Self::Operate => "operate",
            Self::Reveal => "reveal",
        }
    }
}

/// A key, known by its hash only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// For the log.
    pub name: String,
    /// SHA-256 of the key, 64 hexadecimal digits.
    pub sha256: String,
    /// The tenants it may reach; none with `admin`.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// Reaches every tenant, and the calls that cross tenants.
    #[serde(default)]
    pub admin: bool,
    /// Of its tenants, the only apps whose records it may reach; without it: every app. Not with `admin`.
    #[serde(default)]
    pub apps: Option<Vec<String>>,
    #[serde(default = "Right::read_only")]
    pub rights: Vec<Right>,
    /// The instant from which on it opens nothing, ISO 8601; a day begins at midnight UTC.
    #[serde(default)]
    pub expires: Option<String>,
}

/// Settings that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("serve.{0}")]
pub struct InvalidServe(pub String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    #[serde(default)]
    keys: Vec<ApiKey>,
}

impl ApiKey {
    pub(super) fn hash(&self) -> Result<ContentHash, String> {
        self.sha256.parse().map_err(|error| format!("keys: {}: sha256: {error}", self.name))
    }

    pub(super) fn reach(&self) -> Reach<'_> {
        let Self { tenants, admin, rights, .. } = self;
        Reach { place: format!("keys: {}", self.name), tenants, admin: *admin, apps: self.apps.as_deref(), rights }
    }

    pub(super) fn expires_at(&self) -> Result<Option<Timestamp>, String> {
        let Some(text) = &self.expires else { return Ok(None) };
        let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.clone() };
        let expected = || format!("keys: {}: expires: expected such as 2026-12-31 or 2026-12-31T18:00:00Z", self.name);
        whole.parse().map(Some).map_err(|_| expected())
    }

    fn check(&self) -> Result<(), String> {
        self.hash()?;
        self.expires_at()?;
        self.reach().check()
    }
}

impl ServeSettings {
    /// Rules that need no file.
    ///
    /// # Errors
    /// [`InvalidServe`]: the first broken rule.
    pub fn validate(&self) -> Result<(), InvalidServe> {
        let broken = |problem: &str| Err(InvalidServe(problem.to_owned()));
        if self.concurrency == 0 || self.concurrency_per_key == 0 {
            return broken("concurrency and concurrency_per_key must be at least 1");
        }
        if !(1..=3600).contains(&self.query_seconds) {
            return broken("query_seconds must be 1 to 3600");
        }
        if !(1..=3600).contains(&self.body_seconds) {
            return broken("body_seconds must be 1 to 3600");
        }
        if !(1..=60_000).contains(&self.names_timeout_ms) {
            return broken("names_timeout_ms must be 1 to 60000");
        }
        Mask::new(&self.mask).map_err(|problem| InvalidServe(format!("mask.{problem}")))?;
        if let Some(link) = &self.dify_link
            && !((link.starts_with("https://") || link.starts_with("http://")) && link.contains("{app_id}"))
        {
            return broken("dify_link must begin with https:// or http:// and hold {app_id}");
        }
        self.connections.validate().map_err(InvalidServe)?;
        if let Some(dify) = &self.dify {
            dify.validate().map_err(|problem| InvalidServe(format!("dify.{problem}")))?;
        }
        if let Some(forward) = &self.forward_auth {
            forward.validate().map_err(|problem| InvalidServe(format!("forward_auth.{problem}")))?;
        }
        self.keys.iter().try_for_each(ApiKey::check).map_err(InvalidServe)
    }

    /// Reads the certificate and its key, and sees whether they belong together.
    ///
    /// # Errors
    /// What to do, with the names of the keys.
    pub async fn try_certificate(&self) -> Result<(), String> {
        self.certificate().await.map(|_| ())
    }

    pub(super) async fn certificate(&self) -> Result<Option<RustlsConfig>, String> {
        let Some(TlsSettings { cert_file, key_file }) = &self.tls else { return Ok(None) };
        for (name, path) in [("cert_file", cert_file), ("key_file", key_file)] {
            File::open(path).map_err(|error| format!("serve.tls.{name}: {}: {error}", path.display()))?;
        }
        let config = RustlsConfig::from_pem_file(cert_file, key_file).await;
        config.map(Some).map_err(|error| {
            format!(
                "serve.tls: {} and {}: {error}; cert_file must hold the chain and key_file its private key, both PEM",
                cert_file.display(),
                key_file.display()
            )
        })
    }

    /// Returns the keys of the configuration and of `keys_file`; at least one.
    ///
    /// # Errors
    /// [`InvalidServe`] for a file that cannot be read, a key that cannot be used, or none.
    pub fn all_keys(&self) -> Result<Vec<ApiKey>, InvalidServe> {
        let keys = self.keys_now()?;
        // The bridge asks Dify about its callers, and a proxy names people: neither needs a key.
        if keys.is_empty() && self.dify.is_none() && self.forward_auth.is_none() {
            return Err(InvalidServe(
                "keys: there is none, so nobody could ask; add [[serve.keys]] or keys_file (README, \"Reading the logs\")"
                    .into(),
            ));
        }
        Ok(keys)
    }

    /// As [`Self::all_keys`], none included: a file whose last key was removed opens nothing any more.
    pub(super) fn keys_now(&self) -> Result<Vec<ApiKey>, InvalidServe> {
        let mut keys = self.keys.clone();
        if let Some(path) = &self.keys_file {
            let failed = |problem: String| InvalidServe(format!("keys_file: {}: {problem}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
            // The parser's own words would repeat the line, and a line may hold a key that does not belong there.
            let file: KeysFile = toml::from_str(&text).map_err(|error| failed(error.message().to_owned()))?;
            keys.extend(file.keys);
        }
        keys.iter().try_for_each(ApiKey::check).map_err(InvalidServe)?;
        Ok(keys)
    }
}
