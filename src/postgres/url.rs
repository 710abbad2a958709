//! The address of Dify's database as operators write it, read with libpq's meaning: a URL, whose password may hold any
//! character, or `key=value` pairs.

use std::fmt::Write as _;
use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode as DriverMode;

use crate::domain::address::{Address as Place, InvalidAddress};

/// What `sslmode` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    /// TLS where the server offers it; its certificate is not looked at. libpq's `allow` asks for the same the other way
    /// round.
    Prefer,
    /// TLS; the certificate is looked at only if `sslrootcert` says by which authority.
    Require,
    /// TLS, and a certificate of a known authority, whatever its name.
    VerifyCa,
    /// TLS, and a certificate of a known authority for this host.
    VerifyFull,
}

/// A text that cannot be used. No part of it is repeated but the name of a parameter: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    #[error("not a PostgreSQL URL (expected postgres://USER:PASSWORD@HOST:PORT/DATABASE)")]
    Malformed,
    #[error("not a PostgreSQL URL (expected postgres://USER:PASSWORD@HOST:PORT/DATABASE): {0}")]
    Place(#[from] InvalidAddress),
    #[error("the parameter {0} is not known")]
    UnknownParameter(String),
    #[error("the parameter {name} is {problem}")]
    Parameter { name: &'static str, problem: &'static str },
}

/// What an address says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresAddress {
    pub config: Config,
    /// `None`: it does not say.
    pub ssl_mode: Option<SslMode>,
    /// PEM file of the only authority that is believed; `system` stands for those of the system.
    pub root_cert: Option<PathBuf>,
}

/// Parameters that the driver knows.
const DRIVERS: [&str; 18] = [
    "user",
    "password",
    "dbname",
    "host",
    "hostaddr",
    "port",
    "options",
    "application_name",
    "sslnegotiation",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

type Pairs = Vec<(String, String)>;

/// Reads an address.
///
/// # Errors
/// [`InvalidUrl`], which names the parameter where one is at fault.
pub fn parse(text: &str) -> Result<PostgresAddress, InvalidUrl> {
    let pairs = if text.contains("://") { of_url(text)? } else { of_pairs(text) };
    address(pairs.ok_or(InvalidUrl::Malformed)?)
}

fn address(pairs: Pairs) -> Result<PostgresAddress, InvalidUrl> {
    let (mut ssl_mode, mut root_cert, mut driver) = (None, None, String::new());
    for (name, value) in pairs {
        match name.as_str() {
            "sslmode" => ssl_mode = Some(mode(&value)?),
            "sslrootcert" => root_cert = Some(PathBuf::from(value)),
            known if DRIVERS.contains(&known) => {
                let value = value.replace('\\', "\\\\").replace('\'', "\\'");
                // Writing into a text does not fail.
                let _ = write!(driver, "{known}='{value}' ");
            }
            _ => return Err(InvalidUrl::UnknownParameter(shown(&name))),
        }
    }
    let mut config: Config = driver.parse().map_err(|_| InvalidUrl::Malformed)?;
    if config.get_hosts().is_empty() {
        return Err(InvalidUrl::Malformed);
    }
    config.ssl_mode(match ssl_mode {
        Some(SslMode::Disable) => DriverMode::Disable,
        None | Some(SslMode::Prefer) => DriverMode::Prefer,
        Some(SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => DriverMode::Require,
    });
    Ok(PostgresAddress { config, ssl_mode, root_cert })
}

fn mode(value: &str) -> Result<SslMode, InvalidUrl> {
    Ok(match value {
        "disable" => SslMode::Disable,
        "allow" | "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => {
            let problem = "none of disable, allow, prefer, require, verify-ca, verify-full";
            return Err(InvalidUrl::Parameter { name: "sslmode", problem });
        }
    })
}

/// Returns a name for messages: what is no name at all is left out, since it may be part of a password.
fn shown(name: &str) -> String {
    let is_name = name.len() <= 40 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
    if is_name { name.to_owned() } else { "after the question mark".to_owned() }
}

/// `postgres://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?NAME=VALUE&…`.
fn of_url(text: &str) -> Result<Option<Pairs>, InvalidUrl> {
    let place = Place::parse(text)?;
    if !matches!(place.scheme, "postgres" | "postgresql") {
        return Ok(None);
    }
    Ok(of_place(&place))
}

fn of_place(place: &Place<'_>) -> Option<Pairs> {
    let mut pairs = Pairs::new();
    pairs.extend(place.user.filter(|user| !user.is_empty()).map(|user| ("user".into(), decoded(user))));
    pairs.extend(place.password.map(|password| ("password".into(), decoded(password))));
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in place.hosts.split(',').filter(|host| !host.is_empty()) {
        let (name, port) = match host.strip_prefix('[') {
            Some(literal) => {
                let (name, port) = literal.split_once(']')?;
                (name, port.strip_prefix(':').unwrap_or(port))
            }
            None => host.split_once(':').unwrap_or((host, "")),
        };
        names.push(decoded(name));
        ports.push(if port.is_empty() { "5432".to_owned() } else { port.to_owned() });
    }
    if !names.is_empty() {
        pairs.push(("host".into(), names.join(",")));
        pairs.push(("port".into(), ports.join(",")));
    }
    let database = place.path.trim_start_matches('/');
    if !database.is_empty() {
        pairs.push(("dbname".into(), decoded(database)));
    }
    for parameter in place.query.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=')?;
        pairs.push((name.to_owned(), decoded(value)));
    }
    Some(pairs)
}

/// Undoes percent-encoding; a `%` that begins none stands for itself.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let digits =
            bytes.get(at + 1..at + 3).filter(|digits| *byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(decoded) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            out.push(decoded);
            at += 3;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// `name=value name='a value'`, with backslashes before what would end a value.
fn of_pairs(text: &str) -> Option<Pairs> {
    let mut pairs = Pairs::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let quoted = after.starts_with('\'');
        let mut value = String::new();
        let mut characters = after.char_indices().skip(usize::from(quoted));
        let mut end = after.len();
        let mut is_closed = !quoted;
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => value.push(characters.next()?.1),
                '\'' if quoted => {
                    (end, is_closed) = (at + 1, true);
                    break;
                }
                blank if !quoted && blank.is_whitespace() => {
                    end = at;
                    break;
                }
                other => value.push(other),
            }
        }
        if !is_closed {
            return None;
        }
        pairs.push((name.trim().to_owned(), value));
        rest = after.get(end..)?.trim_start();
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_postgres::config::Host;

    fn secret(text: &str) -> (String, String) {
        let config = parse(text).unwrap().config;
        let Host::Tcp(host) = config.get_hosts()[0].clone() else { panic!() };
        (String::from_utf8(config.get_password().unwrap().to_vec()).unwrap(), host)
    }

    #[test]
    fn a_password_may_hold_anything() {
        for password in ["Secret@Tail9", "a:b", "100%", "b'c\\d", "ö", "%zz", "a@b@c"] {
            let found = secret(&format!("postgres://dify:{password}@db.example:5433/dify?sslmode=require"));
            assert_eq!(found, (password.to_owned(), "db.example".to_owned()));
        }
        assert_eq!(secret("postgres://dify:a%40b%2Fc@h/dify").0, "a@b/c");
        assert_eq!(
            secret("host=h user=u password='it\\'s @ \\\\ secret' dbname=dify sslmode=disable").0,
            "it's @ \\ secret"
        );
    }

    #[test]
    fn every_form_of_a_host_is_read() {
        let hosts = |text: &str| {
            let config = parse(text).unwrap().config;
            (config.get_hosts().to_vec(), config.get_ports().to_vec(), config.get_dbname().map(str::to_owned))
        };
        let tcp = |host: &str| Host::Tcp(host.to_owned());
        assert_eq!(hosts("postgres://u@h/d"), (vec![tcp("h")], vec![5432], Some("d".into())));
        assert_eq!(hosts("postgresql://u@[::1]:5433"), (vec![tcp("::1")], vec![5433], None));
        assert_eq!(hosts("postgres://u@a:1,b/d"), (vec![tcp("a"), tcp("b")], vec![1, 5432], Some("d".into())));
        assert_eq!(hosts("postgres://u@%2Frun%2Fpg/d").0, [Host::Unix("/run/pg".into())]);
        assert_eq!(hosts("host=h port=7 dbname=d"), (vec![tcp("h")], vec![7], Some("d".into())));
    }

    #[test]
    fn sslmode_is_read_and_what_is_unknown_is_named() {
        let mode = |value: &str| parse(&format!("postgres://u@h/d?sslmode={value}")).map(|address| address.ssl_mode);
        for (value, expected) in [
            ("disable", SslMode::Disable),
            ("allow", SslMode::Prefer),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ] {
            assert_eq!(mode(value), Ok(Some(expected)), "{value}");
        }
        assert!(mode("yes").unwrap_err().to_string().contains("sslmode"));
        let found = parse("host=h sslmode=verify-ca sslrootcert='/etc/my ca.pem'").unwrap();
        assert_eq!(found.root_cert, Some("/etc/my ca.pem".into()));
        let error = parse("postgres://u:hunter2@h/d?sslcert=x").unwrap_err();
        assert_eq!(error, InvalidUrl::UnknownParameter("sslcert".into()));
        for wrong in
            ["", "mysql://root:hunter2@db/dify", "postgres:///dify", "postgres://db:hunter2port/x", "host='hunter2"]
        {
            assert!(!parse(wrong).unwrap_err().to_string().contains("hunter2"), "{wrong}");
        }
    }
}
