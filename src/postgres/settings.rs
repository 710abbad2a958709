//! How PostgreSQL is reached. Nothing here prints a password.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use serde::Deserialize;
use tokio_postgres::Config;

use super::url::{self, InvalidUrl, PostgresAddress};

/// Settings of the connection to Dify's database; `config/default.toml` documents each.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresSettings {
    pub url: PostgresUrl,
    /// Takes the place of a password in the URL.
    pub password: Option<String>,
    /// PEM file of the authority that signed the server's certificate, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether the server's certificate is checked in full; `None`: as `sslmode` of the URL says, and in full if it says
    /// nothing.
    pub verify: Option<bool>,
    /// Connections at most.
    pub pool_size: NonZeroUsize,
    pub connect_timeout_seconds: NonZeroU32,
    /// The server ends a statement that takes longer.
    pub statement_timeout_seconds: NonZeroU32,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            url: PostgresUrl::default(),
            password: None,
            ca_file: None,
            verify: None,
            pool_size: NonZeroUsize::MIN.saturating_add(7),
            connect_timeout_seconds: NonZeroU32::MIN.saturating_add(9),
            statement_timeout_seconds: NonZeroU32::MIN.saturating_add(119),
        }
    }
}

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("url", &self.url)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("ca_file", &self.ca_file)
            .field("verify", &self.verify)
            .field("pool_size", &self.pool_size)
            .field("connect_timeout_seconds", &self.connect_timeout_seconds)
            .field("statement_timeout_seconds", &self.statement_timeout_seconds)
            .finish()
    }
}

/// `postgres://user:password@host:5432/database`, or the driver's `key=value` form.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    address: PostgresAddress,
}

impl std::str::FromStr for PostgresUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        Ok(Self { address: url::parse(text)? })
    }
}

impl Default for PostgresUrl {
    /// Dify's own defaults, without a password.
    fn default() -> Self {
        let mut config = Config::new();
        config.host("127.0.0.1").port(5432).user("postgres").dbname("dify");
        Self { address: PostgresAddress { config, ssl_mode: None, root_cert: None } }
    }
}

impl PostgresUrl {
    pub(super) const fn config(&self) -> &Config {
        &self.address.config
    }

    pub(super) const fn address(&self) -> &PostgresAddress {
        &self.address
    }

    /// Host, port and database, for messages.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = match self.address.config.get_hosts().first() {
            Some(tokio_postgres::config::Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(tokio_postgres::config::Host::Unix(path)) => path.display().to_string(),
            None => String::new(),
        };
        let port = self.address.config.get_ports().first().copied().unwrap_or(5432);
        let database = self.address.config.get_dbname().or_else(|| self.address.config.get_user()).unwrap_or_default();
        format!("{host}:{port}/{database}")
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority())
    }
}

impl<'de> Deserialize<'de> for PostgresUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_printed() {
        let settings = PostgresSettings {
            url: "postgres://dify:hunter2@db.example:5433/dify".parse().unwrap(),
            password: Some("hunter3".into()),
            ..PostgresSettings::default()
        };
        let shown = format!("{settings:?}");
        assert!(shown.contains("db.example:5433/dify") && !shown.contains("hunter"), "{shown}");
    }

    #[test]
    fn the_password_ends_at_the_last_at_sign() {
        let url: PostgresUrl = "postgres://dify:Secret@Tail9@127.0.0.1:1/dify".parse().unwrap();
        assert_eq!(
            (url.authority().as_str(), url.config().get_password()),
            ("127.0.0.1:1/dify", Some(&b"Secret@Tail9"[..]))
        );
        let url: PostgresUrl = "postgres://d@x:a%40b@db/dify?sslmode=disable".parse().unwrap();
        assert_eq!((url.config().get_user(), url.config().get_password()), (Some("d@x"), Some(&b"a@b"[..])));
        for text in [
            "postgres://u:a/b@db/dify",
            "postgres://u:1/b@db/dify",
            "postgres://u:a?b@db/dify",
            "postgres://u:a#b@db/x",
        ] {
            assert!(text.parse::<PostgresUrl>().unwrap_err().to_string().contains("%2F"), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_repeating_it() {
        for wrong in ["", "mysql://root:hunter2@db/dify", "postgres:///dify", "postgres://db:hunter2port/x"] {
            let error = wrong.parse::<PostgresUrl>().unwrap_err();
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
