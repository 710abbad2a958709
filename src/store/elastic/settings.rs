//! What an operator can set for Elasticsearch and OpenSearch, with its bounds. It opens no file and no connection.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use url::Url;

use crate::domain::TenantId;
use crate::domain::address::Address;

/// A text that never shows in a log, an error or `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"***\"")
    }
}

/// How tenants share indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tenancy {
    /// An index per kind, tenant and month.
    #[default]
    Dedicated,
    /// An index per kind and month, routed by tenant; for many small tenants.
    Shared,
}

/// Which texts are indexed for keyword search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchedTexts {
    /// None: a keyword is an error.
    Off,
    /// Inputs, outputs and error of runs; title and error of nodes; creators of app logs.
    #[default]
    Runs,
    /// Also inputs, outputs and process data of nodes, which are most of all bytes.
    All,
}

/// The settings of the store, with the names of the configuration's keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ElasticSettings {
    /// Base URLs, without credentials. Requests go round them; a dead one is left out until it recovers.
    pub hosts: Vec<String>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// PEM file of the certificate authority, if the server's certificate is not signed by a public one.
    pub ca_cert: Option<PathBuf>,
    /// `false` accepts any certificate: for trials only.
    pub verify_certs: bool,
    /// Longest wait for one answer, connecting included.
    pub timeout_seconds: u64,
    /// First part of every index and template name.
    pub prefix: String,
    /// Priority of the index templates: the greatest of those that match an index wins.
    pub template_priority: u64,
    pub tenancy: Tenancy,
    /// With shared tenancy: the tenants that have indices of their own nevertheless.
    #[serde(deserialize_with = "tenant_ids")]
    pub dedicated_tenants: Vec<TenantId>,
    /// Compress request bodies. Saves network, costs more CPU than everything else on the write path.
    pub gzip: bool,
    /// Primary shards of each new index.
    pub shards: u32,
    /// Replicas of each shard. 0 keeps one copy only; production wants at least 1.
    pub replicas: u32,
    /// How soon a write shows in lists, as the engines write durations: `5s`, `500ms`, `1m`.
    pub refresh_interval: String,
    /// Compress stored documents harder (`index.codec: best_compression`).
    pub best_compression: bool,
    /// Which texts are indexed for keyword search.
    pub search: SearchedTexts,
    /// Largest body of a bulk request; a larger batch is sent in several. The engines refuse more than 100 MB.
    pub max_request_bytes: usize,
}

impl Default for ElasticSettings {
    fn default() -> Self {
        Self {
            hosts: vec!["http://127.0.0.1:9200".into()],
            username: None,
            password: None,
            ca_cert: None,
            verify_certs: true,
            timeout_seconds: 30,
            prefix: "dify".into(),
            template_priority: 500,
            tenancy: Tenancy::Dedicated,
            dedicated_tenants: Vec::new(),
            gzip: false,
            shards: 1,
            replicas: 1,
            refresh_interval: "5s".into(),
            best_compression: true,
            search: SearchedTexts::Runs,
            max_request_bytes: 20 << 20,
        }
    }
}

/// A setting that cannot work, named by its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct InvalidSetting {
    /// The key within the store's section.
    pub key: &'static str,
    pub problem: String,
}

fn invalid(key: &'static str, problem: impl Into<String>) -> InvalidSetting {
    InvalidSetting { key, problem: problem.into() }
}

impl ElasticSettings {
    /// Checks bounds and combinations.
    ///
    /// # Errors
    /// The first setting that cannot work, with its key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        self.host_urls()?;
        if self.username.is_some() != self.password.is_some() {
            return Err(invalid("username", "needs password, and password needs username"));
        }
        if !valid_prefix(&self.prefix) {
            return Err(invalid("prefix", "1 to 41 of a-z 0-9 _ -, a letter first, without `-workflow` in it"));
        }
        if self.tenancy == Tenancy::Dedicated && !self.dedicated_tenants.is_empty() {
            return Err(invalid("dedicated_tenants", "has a meaning only with tenancy = \"shared\""));
        }
        if !valid_duration(&self.refresh_interval) {
            return Err(invalid("refresh_interval", "a whole number and a unit, such as 5s, 500ms or 1m"));
        }
        for (key, value, range) in [
            ("timeout_seconds", self.timeout_seconds, 1..=600),
            // Above the engines' own templates (100, 200); they compare 64 bits with sign.
            ("template_priority", self.template_priority, 201..=1_000_000_000),
            ("shards", self.shards.into(), 1..=1024),
            ("replicas", self.replicas.into(), 0..=10),
            ("max_request_bytes", self.max_request_bytes as u64, 65_536..=100_000_000),
        ] {
            if !range.contains(&value) {
                return Err(invalid(key, format!("{} to {}", range.start(), range.end())));
            }
        }
        Ok(())
    }

    /// Returns the hosts, parsed.
    ///
    /// # Errors
    /// If there is none, or one is no plain base URL.
    pub fn host_urls(&self) -> Result<Vec<Url>, InvalidSetting> {
        if self.hosts.is_empty() {
            return Err(invalid("hosts", "at least one, such as https://search.example.com:9200"));
        }
        self.hosts.iter().map(|host| host_url(host)).collect()
    }

    #[must_use]
    pub const fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }
}

fn host_url(host: &str) -> Result<Url, InvalidSetting> {
    if host.contains("://") {
        let address = Address::parse(host).map_err(|error| invalid("hosts", format!("not a URL: {error}")))?;
        if address.user.is_some() {
            return Err(invalid("hosts", "no credentials in the URL: set username and password"));
        }
    }
    let url = Url::parse(host).map_err(|error| invalid("hosts", format!("not a URL ({error})")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(invalid("hosts", "a URL that begins with http:// or https://"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("hosts", "no query and no fragment"));
    }
    Ok(url)
}

/// The part `-workflow` would let the names of one prefix match the templates of another.
fn valid_prefix(prefix: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    (1..=41).contains(&prefix.len())
        && prefix.starts_with(|first: char| first.is_ascii_lowercase())
        && prefix.bytes().all(allowed)
        && !prefix.contains("-workflow")
}

fn valid_duration(text: &str) -> bool {
    let digits = text.len() - text.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    (1..=6).contains(&number.len()) && matches!(unit, "ms" | "s" | "m")
}

fn tenant_ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TenantId>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem_key(change: impl FnOnce(&mut ElasticSettings)) -> &'static str {
        let mut settings = ElasticSettings::default();
        change(&mut settings);
        settings.validate().unwrap_err().key
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(ElasticSettings::default().validate(), Ok(()));
    }

    #[test]
    fn every_bad_value_is_named_by_its_key() {
        assert_eq!(problem_key(|s| s.hosts.clear()), "hosts");
        for host in ["search", "ftp://search", "http://a:b@search:9200", "http://search/?x=1"] {
            assert_eq!(problem_key(|s| s.hosts = vec![host.into()]), "hosts");
        }
        assert_eq!(problem_key(|s| s.username = Some("elastic".into())), "username");
        assert_eq!(problem_key(|s| s.password = Some(Secret::new("x"))), "username");
        for prefix in ["", "Dify", "-dify", "9dify", "di*fy", "..", "dify,x", "dify-workflow-runs", &"d".repeat(42)] {
            assert_eq!(problem_key(|s| s.prefix = prefix.into()), "prefix", "{prefix}");
        }
        assert_eq!(problem_key(|s| s.dedicated_tenants = vec![TenantId::new(uuid::Uuid::nil())]), "dedicated_tenants");
        for interval in ["", "5", "s", "-1", "5 s", "5h", "é"] {
            assert_eq!(problem_key(|s| s.refresh_interval = interval.into()), "refresh_interval", "{interval}");
        }
        assert_eq!(problem_key(|s| s.timeout_seconds = 0), "timeout_seconds");
        assert_eq!(problem_key(|s| s.template_priority = 200), "template_priority");
        assert_eq!(problem_key(|s| s.shards = 0), "shards");
        assert_eq!(problem_key(|s| s.replicas = 11), "replicas");
        assert_eq!(problem_key(|s| s.max_request_bytes = 1), "max_request_bytes");
    }

    #[test]
    fn unknown_keys_are_errors_and_tenants_are_uuids() {
        let error = serde_json::from_str::<ElasticSettings>(r#"{"hostz":[]}"#).unwrap_err();
        assert!(error.to_string().contains("hostz"));
        assert!(serde_json::from_str::<ElasticSettings>(r#"{"dedicated_tenants":["*"]}"#).is_err());
        let shared = r#"{"tenancy":"shared","dedicated_tenants":["669dd85a-0949-4cda-99c9-4984b192aea0"]}"#;
        assert_eq!(serde_json::from_str::<ElasticSettings>(shared).unwrap().validate(), Ok(()));
    }

    #[test]
    fn the_password_is_masked() {
        let settings = ElasticSettings { password: Some(Secret::new("hunter2")), ..ElasticSettings::default() };
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
