//! Addresses of servers as operators write them, `scheme://user:password@host:port/path?query`: taken apart in one place,
//! so that no part of a password is taken for a host or a path, and shown in one place, without it.
//!
//! Nothing here repeats the text in an error: where an address is malformed, no part of it is known not to be secret.

use std::fmt;
use std::net::Ipv6Addr;

/// An address taken apart. Percent-encoding is left as it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    pub scheme: &'a str,
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
    /// Host and port; some servers take several, by comma.
    pub hosts: &'a str,
    /// With its first `/`; empty without one.
    pub path: &'a str,
    pub query: Option<&'a str>,
}

/// Why a text is no address. Never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    #[error("does not begin with a scheme and ://")]
    Scheme,
    #[error("names no host")]
    NoHost,
    #[error("holds a space or a control character; write a space as %20")]
    Blank,
    #[error(
        "an @ or a # stands behind the host; write these characters of a user or password in percent-encoding: / as %2F, \
         ? as %3F, # as %23, @ as %40, % as %25"
    )]
    Ambiguous,
    #[error(
        "the host is not a name or an address; an IPv6 address stands in brackets, [::1]:5672; each host has a URL of its own"
    )]
    Host,
    #[error("the port is no number from 1 to 65535")]
    Port,
}

/// Parameters of queries whose values may be printed; those of all others may be secret.
const SHOWN: &[&str] = &[
    "application_name",
    "auth_mechanism",
    "channel_binding",
    "channel_max",
    "connect_timeout",
    "connection_timeout",
    "frame_max",
    "heartbeat",
    "sslmode",
    "target_session_attrs",
];

impl<'a> Address<'a> {
    /// Takes an address apart: the user and the password end at the last `@` before the path.
    ///
    /// # Errors
    /// [`InvalidAddress`]: no scheme, no host, blanks, or an `@` or `#` behind the host, which is how a password with an
    /// unescaped `/`, `?` or `#` looks.
    pub fn parse(text: &'a str) -> Result<Self, InvalidAddress> {
        if text.chars().any(|character| character.is_control() || character.is_whitespace()) {
            return Err(InvalidAddress::Blank);
        }
        let (scheme, rest) = text.split_once("://").ok_or(InvalidAddress::Scheme)?;
        if !is_scheme(scheme) {
            return Err(InvalidAddress::Scheme);
        }
        let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if behind.contains(['@', '#']) {
            return Err(InvalidAddress::Ambiguous);
        }
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        if hosts.is_empty() {
            return Err(InvalidAddress::NoHost);
        }
        let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
            Some(Ok((user, password))) => (Some(user), Some(password)),
            Some(Err(user)) => (Some(user), None),
            None => (None, None),
        };
        let (path, query) = match behind.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (behind, None),
        };
        Ok(Self { scheme, user, password, hosts, path, query })
    }

    /// Returns the one host, an IPv6 address without its brackets, and the port if there is one.
    ///
    /// # Errors
    /// [`InvalidAddress::Host`] also for several hosts.
    pub fn host_and_port(&self) -> Result<(&'a str, Option<u16>), InvalidAddress> {
        let (host, port) = match self.hosts.strip_prefix('[') {
            Some(rest) => {
                let (host, behind) = rest.split_once(']').ok_or(InvalidAddress::Host)?;
                host.parse::<Ipv6Addr>().map_err(|_| InvalidAddress::Host)?;
                let port = behind.strip_prefix(':');
                if port.is_none() && !behind.is_empty() {
                    return Err(InvalidAddress::Host);
                }
                (host, port)
            }
            None => match self.hosts.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (self.hosts, None),
            },
        };
        let is_named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
        if host.is_empty() || !host.bytes().all(is_named) {
            return Err(InvalidAddress::Host);
        }
        match port.map(str::parse::<u16>) {
            None => Ok((host, None)),
            // Several hosts with ports, or an IPv6 address without brackets, look like a port that is none.
            Some(Err(_)) if self.hosts.contains([',', ';']) || self.hosts.matches(':').count() > 1 => {
                Err(InvalidAddress::Host)
            }
            Some(Err(_) | Ok(0)) => Err(InvalidAddress::Port),
            Some(Ok(port)) => Ok((host, Some(port))),
        }
    }
}

/// The address without its password, and without a login that is one word: that may be a token.
impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        match (self.user, self.password) {
            (Some(user), Some(_)) => write!(f, "{user}:***@")?,
            (Some(_), None) => f.write_str("***@")?,
            (None, _) => {}
        }
        write!(f, "{}{}", self.hosts, self.path)?;
        for (position, parameter) in self.query.into_iter().flat_map(|query| query.split('&')).enumerate() {
            f.write_str(if position == 0 { "?" } else { "&" })?;
            let shown = parameter.split_once('=').is_some_and(|(name, _)| SHOWN.contains(&name));
            f.write_str(if shown { parameter } else { "***" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns the addresses of a text that lists some, joined by `;` or `,` (as Celery's broker URL may be). A separator
/// counts only before a scheme and at the end: it may stand in a password.
#[must_use]
pub fn listed(text: &str) -> Vec<&str> {
    let mut addresses = Vec::new();
    let mut begin = 0;
    for (at, separator) in text.match_indices([';', ',']) {
        let behind = text.get(at + separator.len()..).unwrap_or_default().trim_start();
        if behind.is_empty() || behind.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme)) {
            addresses.push(text.get(begin..at).unwrap_or_default());
            begin = at + separator.len();
        }
    }
    addresses.push(text.get(begin..).unwrap_or_default());
    addresses.into_iter().map(str::trim).filter(|address| !address.is_empty()).collect()
}

/// Returns an address, or a list of them, as it may be printed: without passwords, and nothing at all of one that
/// cannot be taken apart.
#[must_use]
pub fn redacted(text: &str) -> String {
    let shown =
        |address: &str| Address::parse(address).map_or_else(|_| "***".to_owned(), |address| address.to_string());
    listed(text).into_iter().map(shown).collect::<Vec<_>>().join(";")
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// User, password, hosts and path.
    type Parts<'a> = (Option<&'a str>, Option<&'a str>, &'a str, &'a str);

    fn parsed(text: &str) -> Result<Parts<'_>, InvalidAddress> {
        Address::parse(text).map(|address| (address.user, address.password, address.hosts, address.path))
    }

    #[test]
    fn the_login_ends_at_the_last_at_sign_before_the_path() {
        assert_eq!(parsed("amqp://u:a@b:c@h:1/v"), Ok((Some("u"), Some("a@b:c"), "h:1", "/v")));
        assert_eq!(parsed("amqp://h"), Ok((None, None, "h", "")));
        assert_eq!(parsed("amqp://u@h//"), Ok((Some("u"), None, "h", "//")));
    }

    #[test]
    fn what_may_be_a_password_behind_the_host_is_refused() {
        for text in ["amqp://u:1/2@h/v", "amqp://u:1?2@h", "amqp://u:1#2@h", "amqp://h/v#x", "amqp://u:a@b/c@h"] {
            assert_eq!(parsed(text), Err(InvalidAddress::Ambiguous), "{text}");
        }
        assert_eq!(parsed("amqp:/u:p@h"), Err(InvalidAddress::Scheme));
        assert_eq!(parsed("u:p@h:1"), Err(InvalidAddress::Scheme));
        assert_eq!(parsed("amqp://u:p@/v"), Err(InvalidAddress::NoHost));
        assert_eq!(parsed("amqp://u:a b@h"), Err(InvalidAddress::Blank));
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        let host = |text| Address::parse(text).unwrap().host_and_port();
        assert_eq!(host("amqp://[2001:db8::5]:5671/"), Ok(("2001:db8::5", Some(5671))));
        assert_eq!(host("amqp://[::1]"), Ok(("::1", None)));
        assert_eq!(host("amqp://broker-1.example_x:5"), Ok(("broker-1.example_x", Some(5))));
        for text in ["amqp://::1", "amqp://[::g]", "amqp://[::1]x", "amqp://a:1,b:2", "amqp://a;b:2", "amqp://:1"] {
            assert_eq!(host(text), Err(InvalidAddress::Host), "{text}");
        }
        for text in ["amqp://a:", "amqp://a:0", "amqp://a:65536", "amqp://a:x"] {
            assert_eq!(host(text), Err(InvalidAddress::Port), "{text}");
        }
    }

    #[test]
    fn lists_are_taken_apart_before_schemes_only() {
        assert_eq!(listed("amqp://a//;amqp://b//"), ["amqp://a//", "amqp://b//"]);
        assert_eq!(listed("amqp://a, amqps://b,"), ["amqp://a", "amqps://b"]);
        assert_eq!(listed("amqp://u:p;q,r@a"), ["amqp://u:p;q,r@a"]);
        assert!(listed(" ; ").is_empty());
    }

    #[test]
    fn nothing_secret_is_shown() {
        for (text, shown) in [
            ("amqp://u:p@ss@h:1/v", "amqp://u:***@h:1/v"),
            ("amqp://u:p@h;amqp://u:q@i", "amqp://u:***@h;amqp://u:***@i"),
            ("postgres://u@h/d?sslmode=require&password=x", "postgres://***@h/d?sslmode=require&***"),
            ("amqp://u:1/2@h", "***"),
            ("host=h password=x", "***"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }
}
