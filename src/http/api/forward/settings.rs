//! The section `serve.forward_auth` of the configuration.

use axum::http::{HeaderName, header};
use serde::Deserialize;

use super::network::ProxyNetwork;
use crate::domain::document::ContentHash;
use crate::http::api::reach::Reach;
use crate::http::api::settings::Right;

/// Longest name of a user or a group, in bytes.
pub(super) const MAX_NAME: usize = 256;
const MOST_ENTRIES: usize = 10_000;

/// Who says who the people are, and what each may do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardAuthSettings {
    /// The header in which the proxy names the user.
    pub user_header: String,
    /// The header in which it names the user's groups.
    #[serde(default)]
    pub groups_header: Option<String>,
    /// What stands between two groups.
    #[serde(default = "comma")]
    pub groups_separator: String,
    /// Addresses and networks of the proxies. Headers from anywhere else count as absent.
    pub trusted_proxies: Vec<String>,
    /// A second proof that a request comes from the proxy.
    #[serde(default)]
    pub shared_secret: Option<SharedSecretSettings>,
    /// What users and groups reach; of several entries that fit, the first.
    pub access: Vec<AccessEntry>,
}

fn comma() -> String {
    ",".into()
}

/// A secret that the proxy sends along, known by its hash only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedSecretSettings {
    pub header: String,
    /// SHA-256 of the secret, 64 hexadecimal digits.
    pub sha256: String,
}

/// What a user, or each of a group, reaches and may do; beside the name, the fields of a key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessEntry {
    /// Exactly as the proxy says it; either this or `group`.
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub group: Option<String>,
    #[serde(default)]
    pub tenants: Vec<String>,
    #[serde(default)]
    pub admin: bool,
    #[serde(default)]
    pub apps: Option<Vec<String>>,
    #[serde(default = "Right::read_only")]
    pub rights: Vec<Right>,
}

impl AccessEntry {
    pub(super) fn reach(&self) -> Reach<'_> {
        let Self { tenants, admin, rights, .. } = self;
        let place = match (&self.user, &self.group) {
            (Some(user), _) => format!("access: user {user:?}"),
            (None, Some(group)) => format!("access: group {group:?}"),
            (None, None) => "access".to_owned(),
        };
        Reach { place, tenants, admin: *admin, apps: self.apps.as_deref(), rights }
    }

    fn check(&self, settings: &ForwardAuthSettings) -> Result<(), String> {
        let named = match (&self.user, &self.group) {
            (Some(name), None) => name,
            (None, Some(name)) if settings.groups_header.is_some() => name,
            (None, Some(_)) => return Err(format!("{}: set groups_header, which names groups", self.reach().place)),
            _ => return Err("access: each entry needs either user or group".into()),
        };
        let is_name =
            (1..=MAX_NAME).contains(&named.len()) && named.trim() == named && !named.contains(char::is_control);
        if !is_name || (self.group.is_some() && named.contains(&settings.groups_separator)) {
            return Err(format!("{}: no header can hold this name", self.reach().place));
        }
        self.reach().check()
    }
}

/// Headers that a browser or the connection itself sends: no proxy says in them who somebody is.
const NEVER: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::ORIGIN,
    header::CONNECTION,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];

pub(super) fn header_name(setting: &str, text: &str) -> Result<HeaderName, String> {
    let name: HeaderName = text.parse().map_err(|_| format!("{setting}: {text:?} is no name of a header"))?;
    if NEVER.contains(&name) {
        return Err(format!("{setting}: {name} is sent by clients; take one that only the proxy sets"));
    }
    Ok(name)
}

impl ForwardAuthSettings {
    /// Checks the rules that need no file.
    ///
    /// # Errors
    /// The first broken rule, with the name of the setting below `serve.forward_auth`.
    pub fn validate(&self) -> Result<(), String> {
        let mut headers = vec![header_name("user_header", &self.user_header)?];
        headers.extend(self.groups_header.as_deref().map(|text| header_name("groups_header", text)).transpose()?);
        if let Some(SharedSecretSettings { header, sha256 }) = &self.shared_secret {
            headers.push(header_name("shared_secret.header", header)?);
            sha256.parse::<ContentHash>().map_err(|error| format!("shared_secret.sha256: {error}"))?;
        }
        let mut names: Vec<&str> = headers.iter().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() < headers.len() {
            return Err("user_header, groups_header and shared_secret.header must be three different headers".into());
        }
        if !(1..=8).contains(&self.groups_separator.len()) || self.groups_separator.contains(char::is_control) {
            return Err("groups_separator must be 1 to 8 bytes, without control characters".into());
        }
        if self.trusted_proxies.is_empty() {
            return Err(
                "trusted_proxies: name the proxies, such as [\"10.0.0.5\"]; without it nobody is trusted".into()
            );
        }
        for network in &self.trusted_proxies {
            network.parse::<ProxyNetwork>().map_err(|problem| format!("trusted_proxies: {problem}"))?;
        }
        self.check_access()
    }

    fn check_access(&self) -> Result<(), String> {
        if self.access.is_empty() || self.access.len() > MOST_ENTRIES {
            return Err(format!(
                "access: 1 to {MOST_ENTRIES} [[serve.forward_auth.access]] entries say what people reach"
            ));
        }
        let mut names = std::collections::HashSet::new();
        for entry in &self.access {
            entry.check(self)?;
            if !names.insert((&entry.user, &entry.group)) {
                return Err(format!("{}: is there twice; the first entry that fits counts", entry.reach().place));
            }
        }
        Ok(())
    }
}
