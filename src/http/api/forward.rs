//! People whom a proxy in front has signed in: it names them in headers, and the configuration says what they reach. Headers
//! from any other address count as absent. They are taken off every request, so that nothing behind this module sees or logs
//! them.

mod network;
mod settings;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;
use tracing::warn;

use self::network::ProxyNetwork;
pub use self::settings::{AccessEntry, ForwardAuthSettings, SharedSecretSettings};
use self::settings::{MAX_NAME, header_name};
use super::Api;
use super::audit::Refused;
use super::auth::{Caller, Grant, KeyShares};
use super::observe::RequestId;
use super::problem::Problem;
use crate::domain::document::ContentHash;
use crate::http::connections::Connection;

/// Lines about headers that do not count come at most this often.
const PAUSE: Duration = Duration::from_secs(60);
/// People whose shares are remembered. Who asks nothing is forgotten first.
const MOST_PEOPLE: usize = 1000;

/// Somebody whom the proxy names, or why nobody is.
#[derive(Clone)]
pub(in crate::http) struct ForwardedPerson(Result<Arc<Caller>, NoPerson>);

impl ForwardedPerson {
    /// Returns the caller that the person is.
    ///
    /// # Errors
    /// What to answer to somebody who is named and has no access.
    pub(in crate::http) fn caller(&self) -> Result<Arc<Caller>, Problem> {
        self.0.as_ref().map(Arc::clone).map_err(|reason| Problem::no_access(reason.advice()))
    }
}

/// Why a request that a trusted proxy handed on is nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NoPerson {
    Several,
    Unusable,
    /// No entry fits this user.
    NoEntry(Box<str>),
}

impl NoPerson {
    fn advice(&self) -> String {
        let advice = match self {
            Self::Several => {
                "the proxy handed on more than one header that says who you are; make it replace what clients send \
                 (serve.forward_auth)"
            }
            Self::Unusable => {
                "the proxy's header does not name a user: it is empty, longer than 256 bytes or no UTF-8 \
                 (serve.forward_auth.user_header)"
            }
            Self::NoEntry(user) => {
                return format!(
                    "the proxy has signed you in as {user}, and no entry of serve.forward_auth.access is for this user or \
                     its groups: ask who runs difylog to add one"
                );
            }
        };
        advice.to_owned()
    }
}

struct Access {
    user: Option<Box<str>>,
    group: Option<Box<str>>,
    grant: Arc<Grant>,
}

/// See the module.
pub(in crate::http) struct ForwardAuth {
    user: HeaderName,
    groups: Option<HeaderName>,
    separator: Box<str>,
    secret: Option<(HeaderName, [u8; 32])>,
    networks: Vec<ProxyNetwork>,
    access: Vec<Access>,
    /// The requests at once of each person.
    shares: Mutex<HashMap<Box<str>, KeyShares>>,
    of_person: u16,
    /// When the last line about headers that do not count was written, and how many came since.
    noted: Mutex<(Option<Instant>, u64)>,
}

impl ForwardAuth {
    /// Returns what settings say.
    ///
    /// # Errors
    /// The setting that cannot be used, and why.
    pub(super) fn new(settings: &ForwardAuthSettings, of_person: u16) -> Result<Self, String> {
        settings.validate()?;
        let access = settings.access.iter().map(|entry| {
            let grant = Arc::new(Grant::of(&entry.reach())?);
            let name = |name: &Option<String>| name.as_deref().map(Into::into);
            Ok::<_, String>(Access { user: name(&entry.user), group: name(&entry.group), grant })
        });
        let secret = settings.shared_secret.as_ref().map(|secret| {
            let hash: ContentHash = secret.sha256.parse().map_err(|error| format!("shared_secret.sha256: {error}"))?;
            Ok::<_, String>((header_name("shared_secret.header", &secret.header)?, *hash.as_bytes()))
        });
        let groups = settings.groups_header.as_deref().map(|text| header_name("groups_header", text));
        Ok(Self {
            user: header_name("user_header", &settings.user_header)?,
            groups: groups.transpose()?,
            separator: settings.groups_separator.as_str().into(),
            secret: secret.transpose()?,
            networks: settings.trusted_proxies.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
            access: access.collect::<Result<_, _>>()?,
            shares: Mutex::default(),
            of_person,
            noted: Mutex::default(),
        })
    }

    /// Takes the headers off a request, and returns them.
    fn take(&self, headers: &mut HeaderMap) -> HeaderMap {
        let mut taken = HeaderMap::new();
        let names = [Some(&self.user), self.groups.as_ref(), self.secret.as_ref().map(|(name, _)| name)];
        for name in names.into_iter().flatten() {
            for value in headers.get_all(name) {
                taken.append(name.clone(), value.clone());
            }
            headers.remove(name);
        }
        taken
    }

    /// Returns whether a request comes from a proxy: by its address and, if there is one, by the secret.
    fn is_of_proxy(&self, address: Option<IpAddr>, taken: &HeaderMap) -> bool {
        let is_near = address.is_some_and(|address| self.networks.iter().any(|network| network.holds(address)));
        let is_proved = self.secret.as_ref().is_none_or(|(name, hash)| {
            let sent: [u8; 32] = Sha256::digest(taken.get(name).map_or(&b""[..], |value| value.as_bytes())).into();
            bool::from(sent.ct_eq(hash)) && taken.get_all(name).iter().count() == 1
        });
        is_near && is_proved
    }

    /// Returns the name and the groups that a proxy's headers say.
    fn named(&self, taken: &HeaderMap) -> Result<(Box<str>, Vec<Box<str>>), NoPerson> {
        let one = |name: &HeaderName| match taken.get_all(name).iter().count() {
            0 | 1 => Ok(taken.get(name)),
            _ => Err(NoPerson::Several),
        };
        let text = |bytes: &[u8]| {
            std::str::from_utf8(bytes).map(|text| text.trim().to_owned()).map_err(|_| NoPerson::Unusable)
        };
        let user = text(one(&self.user)?.map_or(&b""[..], |value| value.as_bytes()))?;
        if !(1..=MAX_NAME).contains(&user.len()) || user.contains(char::is_control) {
            return Err(NoPerson::Unusable);
        }
        let groups = match &self.groups {
            Some(name) => text(one(name)?.map_or(&b""[..], |value| value.as_bytes()))?,
            None => String::new(),
        };
        let groups = groups.split(&*self.separator).map(str::trim).filter(|group| !group.is_empty());
        Ok((user.into(), groups.map(Into::into).collect()))
    }

    /// Returns what the first entry that fits grants to a user.
    fn caller(&self, user: &str, groups: &[Box<str>]) -> Result<Arc<Caller>, NoPerson> {
        let fits = |access: &&Access| {
            access.user.as_deref().is_some_and(|name| name == user)
                || access.group.as_ref().is_some_and(|name| groups.contains(name))
        };
        let access = self.access.iter().find(fits).ok_or_else(|| NoPerson::NoEntry(user.into()))?;
        Ok(Arc::new(Caller::person(user, Arc::clone(&access.grant), self.shares_of(user))))
    }

    fn shares_of(&self, user: &str) -> KeyShares {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shares.get(user) {
            return known.clone();
        }
        if shares.len() >= MOST_PEOPLE {
            shares.retain(|_, shares| shares.are_used());
        }
        let new = KeyShares::new(self.of_person);
        if shares.len() < MOST_PEOPLE {
            shares.insert(user.into(), new.clone());
        }
        new
    }

    /// Logs that headers did not count, or counts it if a line was written a moment ago. Never a value of theirs.
    fn note(&self, address: Option<IpAddr>, request_id: &str) {
        let unlogged_before = {
            let mut last = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if last.0.is_some_and(|at| at.elapsed() < PAUSE) {
                last.1 += 1;
                return;
            }
            std::mem::replace(&mut *last, (Some(Instant::now()), 0)).1
        };
        let address = address.map_or_else(|| "-".to_owned(), |address| address.to_string());
        warn!(
            address,
            request_id,
            unlogged_before,
            "headers that name a user do not count: they are not from serve.forward_auth.trusted_proxies, or without its shared_secret"
        );
    }
}

/// Takes the headers of the proxy off a request that Dify may be given: its shared secret is for nobody else.
pub(in crate::http) async fn withheld(
    State(forward): State<Arc<ForwardAuth>>,
    mut request: Request,
    next: Next,
) -> Response {
    forward.take(request.headers_mut());
    next.run(request).await
}

/// Takes the headers of the proxy off every request, and keeps whom they name, if they count.
pub(in crate::http) async fn told(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let Some(forward) = api.forward.clone() else { return next.run(request).await };
    let taken = forward.take(request.headers_mut());
    if taken.contains_key(&forward.user) || forward.groups.as_ref().is_some_and(|name| taken.contains_key(name)) {
        let address = request.extensions().get::<Connection>().map(Connection::address);
        let request_id = request.extensions().get::<RequestId>().cloned().unwrap_or_default();
        if !forward.is_of_proxy(address, &taken) {
            forward.note(address, request_id.as_str());
        } else if taken.contains_key(&forward.user) {
            let named = forward.named(&taken);
            let found = named.as_ref().map_err(Clone::clone).and_then(|(user, groups)| forward.caller(user, groups));
            if let Err(reason) = &found {
                let user = named.as_ref().ok().map(|(user, _)| format!("user:{user}"));
                let reason = match reason {
                    NoPerson::NoEntry(_) => "no entry of serve.forward_auth.access fits the user",
                    NoPerson::Several | NoPerson::Unusable => "the headers of the proxy name nobody",
                };
                let refused = Refused { key: user.as_deref(), tenant_id: None, reason };
                api.refusals.note(&refused, request.extensions());
            }
            request.extensions_mut().insert(ForwardedPerson(found));
        }
    }
    next.run(request).await
}
