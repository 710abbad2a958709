//! Addresses of brokers.

use std::fmt;
use std::str::FromStr;

use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::address::{self, Address, InvalidAddress};

/// A broker's address. Its password is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl(AMQPUri);

/// A text that is no broker's URL. The text is not repeated: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBrokerUrl {
    #[error("not a broker's URL (expected amqp[s]://user:password@host:port/vhost): {0}")]
    Address(#[from] InvalidAddress),
    #[error(
        "not a broker's URL: it begins with neither amqp:// nor amqps:// (Celery's pyamqp:// is amqp:// here, and its \
         redis:// and sqs:// are no AMQP brokers)"
    )]
    Scheme,
    #[error(
        "not a broker's URL: the user, the password or the virtual host is not UTF-8 in percent-encoding; write % as %25"
    )]
    Encoding,
    #[error("not a broker's URL: frame_max, channel_max, heartbeat or auth_mechanism has a value that cannot be")]
    Query,
    #[error("some of the brokers' URLs name a user, others do not; all of a list need one, or none")]
    Logins,
}

impl BrokerUrl {
    pub(in crate::amqp) fn uri(&self) -> AMQPUri {
        self.0.clone()
    }

    /// `host:port`, for messages.
    pub fn authority(&self) -> String {
        let AMQPAuthority { host, port, .. } = &self.0.authority;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Returns the virtual host, for messages.
    pub fn virtual_host(&self) -> &str {
        &self.0.vhost
    }

    pub(in crate::amqp) fn is_tls(&self) -> bool {
        self.0.scheme == AMQPScheme::AMQPS
    }

    /// Returns the brokers of a text that holds one URL or several, joined by `;` or `,` as Celery's broker URL may be.
    ///
    /// # Errors
    /// The first URL that cannot be used.
    pub fn list(text: &str) -> Result<Vec<Self>, InvalidBrokerUrl> {
        let texts = address::listed(text);
        let named =
            texts.iter().filter(|text| Address::parse(text).is_ok_and(|address| address.user.is_some())).count();
        // The rest of a password with a separator in it would pass for a broker without a user.
        if named != 0 && named != texts.len() {
            return Err(InvalidBrokerUrl::Logins);
        }
        texts.into_iter().map(str::parse).collect()
    }
}

impl FromStr for BrokerUrl {
    type Err = InvalidBrokerUrl;

    /// The client's own parser takes an IPv6 address for no host at all, and the rest of an unescaped password for a
    /// virtual host; so it is not used.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = Address::parse(text)?;
        let scheme = match address.scheme {
            "amqp" => AMQPScheme::AMQP,
            "amqps" => AMQPScheme::AMQPS,
            _ => return Err(InvalidBrokerUrl::Scheme),
        };
        let (host, port) = address.host_and_port()?;
        let port = port.unwrap_or_else(|| scheme.default_port());
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
        let or = |text: Option<&str>, default: String| text.map_or(Ok(default), decoded);
        let default = AMQPUri::default();
        let login = default.authority.userinfo;
        let userinfo = AMQPUserInfo {
            username: or(address.user, login.username).map_err(|_| InvalidBrokerUrl::Encoding)?,
            password: or(address.password, login.password).map_err(|_| InvalidBrokerUrl::Encoding)?,
        };
        // As Celery and pika do; the empty name that it would be by the letter is no virtual host of anybody's.
        let name = address.path.strip_prefix('/').filter(|name| !name.is_empty());
        let vhost = or(name, default.vhost).map_err(|_| InvalidBrokerUrl::Encoding)?;
        let query = query(address.query.unwrap_or_default())?;
        let authority = AMQPAuthority { userinfo, host: host.to_owned(), port };
        Ok(Self(AMQPUri { scheme, authority, vhost, query }))
    }
}

/// Returns the parameters that the client knows; others are for other clients.
fn query(text: &str) -> Result<AMQPQueryString, InvalidBrokerUrl> {
    fn number<T: FromStr>(value: &str) -> Result<Option<T>, InvalidBrokerUrl> {
        value.parse().map(Some).map_err(|_| InvalidBrokerUrl::Query)
    }
    let mut query = AMQPQueryString::default();
    for (name, value) in text.split('&').filter_map(|parameter| parameter.split_once('=')) {
        match name {
            "frame_max" => query.frame_max = number(value)?,
            "channel_max" => query.channel_max = number(value)?,
            "heartbeat" => query.heartbeat = number(value)?,
            "auth_mechanism" => query.auth_mechanism = number(value)?,
            _ => {}
        }
    }
    Ok(query)
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let (user, vhost) = (encoded(&self.0.authority.userinfo.username), encoded(&self.0.vhost));
        write!(f, "{}://{user}:***@{}/{vhost}", self.0.scheme, self.authority())
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for BrokerUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BrokerUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One text or a list of texts, each of one URL or of several.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<BrokerUrl>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        Some(Vec<String>),
    }
    // Its own error would not do: what is neither may be a password.
    let texts = Texts::deserialize(deserializer).map_err(|_| serde::de::Error::custom("expected a list of URLs"))?;
    let text = match texts {
        Texts::One(text) => text,
        Texts::Some(texts) => texts.join(";"),
    };
    BrokerUrl::list(&text).map_err(serde::de::Error::custom)
}
