//! Who asks: bearer keys, compared by hash in constant time, or people whom a proxy names; each with a scope.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::Api;
use super::audit::Refused;
use super::forward::ForwardedPerson;
use super::problem::Problem;
use super::reach::Reach;
use super::settings::{ApiKey, Right, ServeSettings};
use crate::domain::query::AppScope;
use crate::domain::{TenantId, Timestamp};
use crate::http::headers::is_own;

/// Between two looks whether the file of keys has changed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What somebody reaches and may do.
#[derive(Debug)]
pub(super) struct Grant {
    /// `None`: every tenant.
    tenants: Option<HashSet<TenantId>>,
    /// Of these tenants.
    apps: AppScope,
    rights: Vec<Right>,
}

impl Grant {
    /// Returns what a configuration grants.
    ///
    /// # Errors
    /// What of the configuration cannot be used.
    pub(super) fn of(reach: &Reach<'_>) -> Result<Self, String> {
        let tenants = reach.tenant_ids()?.into_iter().collect();
        Ok(Self { tenants: (!reach.admin).then_some(tenants), apps: reach.scope()?, rights: reach.rights.to_vec() })
    }
}

/// The shares of one key, or of one person.
#[derive(Debug, Clone)]
pub(in crate::http) struct KeyShares {
    /// Of the requests at once.
    pub(in crate::http) permits: Arc<Semaphore>,
    /// Of the bodies that are being read at once.
    pub(in crate::http) bodies: Arc<Semaphore>,
}

impl KeyShares {
    pub(super) fn new(most: u16) -> Self {
        let share = || Arc::new(Semaphore::new(most.into()));
        Self { permits: share(), bodies: share() }
    }

    /// Returns whether a request that is under way holds them.
    pub(super) fn are_used(&self) -> bool {
        Arc::strong_count(&self.permits) > 1
    }
}

/// A key that was recognised, or a person whom a proxy has signed in.
#[derive(Debug)]
pub(in crate::http) struct Caller {
    /// For the log.
    pub(in crate::http) name: Box<str>,
    /// The person; `None`: a key.
    pub(in crate::http) person: Option<Box<str>>,
    pub(in crate::http) shares: KeyShares,
    grant: Arc<Grant>,
}

impl Caller {
    /// Returns somebody whom a proxy has signed in.
    pub(super) fn person(user: &str, grant: Arc<Grant>, shares: KeyShares) -> Self {
        Self { name: format!("user:{user}").into(), person: Some(user.into()), shares, grant }
    }

    pub(in crate::http) fn reaches(&self, tenant_id: TenantId) -> bool {
        self.grant.tenants.as_ref().is_none_or(|tenants| tenants.contains(&tenant_id))
    }

    /// Returns the tenants that it reaches; `None`: every one.
    pub(in crate::http) fn tenants(&self) -> Option<&HashSet<TenantId>> {
        self.grant.tenants.as_ref()
    }

    /// Returns the apps of its tenants that it reaches.
    pub(in crate::http) fn apps(&self) -> &AppScope {
        &self.grant.apps
    }

    pub(in crate::http) fn is_admin(&self) -> bool {
        self.grant.tenants.is_none()
    }

    pub(in crate::http) fn rights(&self) -> &[Right] {
        &self.grant.rights
    }

    /// Dead letters are of any tenant.
    pub(in crate::http) fn may_operate(&self) -> bool {
        self.is_admin() && self.may(Right::Operate)
    }

    pub(in crate::http) fn may(&self, right: Right) -> bool {
        self.grant.rights.contains(&right)
    }
}

/// All keys. Read again when their file changes.
pub(in crate::http) struct Keys {
    known: RwLock<Vec<Known>>,
    per_key: u16,
}

#[derive(Clone)]
struct Known {
    hash: [u8; 32],
    expires_at: Option<Timestamp>,
    caller: Arc<Caller>,
}

impl Keys {
    /// Keys that were checked before.
    pub(in crate::http) fn new(keys: Vec<ApiKey>, per_key: u16) -> Self {
        let new = Self { known: RwLock::default(), per_key };
        new.replace(keys);
        new
    }

    /// Takes keys in the place of those before. One that stays keeps its requests that are under way, and their bounds.
    pub(in crate::http) fn replace(&self, keys: Vec<ApiKey>) {
        let before = self.read();
        let known = keys.into_iter().filter_map(|key| {
            let grant = Arc::new(Grant::of(&key.reach()).ok()?);
            let (hash, expires_at) = (*key.hash().ok()?.as_bytes(), key.expires_at().ok()?);
            let old = before.iter().find(|old| old.hash == hash).map(|old| old.caller.shares.clone());
            let shares = old.unwrap_or_else(|| KeyShares::new(self.per_key));
            let caller = Caller { name: key.name.into(), person: None, shares, grant };
            Some(Known { hash, expires_at, caller: Arc::new(caller) })
        });
        let known = known.collect();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn read(&self) -> Vec<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the hashes of all keys.
    pub(in crate::http) fn hashes(&self) -> impl Iterator<Item = [u8; 32]> + use<> {
        self.read().into_iter().map(|known| known.hash)
    }

    /// Compares with every key, whichever fits, so that the time tells nothing. One that has expired fits nothing.
    pub(in crate::http) fn caller(&self, key: &str, now: Timestamp) -> Option<Arc<Caller>> {
        let hash: [u8; 32] = Sha256::digest(key).into();
        let mut found = None;
        for known in self.known.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if bool::from(known.hash.ct_eq(&hash)) {
                found = Some(known.clone());
            }
        }
        found.filter(|known| known.expires_at.is_none_or(|expires_at| now < expires_at)).map(|known| known.caller)
    }
}

/// Reads the keys again whenever their file changes, until `stopping` is cancelled. A file that cannot be used changes nothing;
/// the log says so once.
pub(in crate::http) async fn follow(
    keys: Arc<Keys>,
    settings: Arc<ServeSettings>,
    stopping: tokio_util::sync::CancellationToken,
) {
    let Some(path) = settings.keys_file.clone() else { return };
    let looked_at =
        || std::fs::metadata(&path).and_then(|found| Ok((found.modified()?, found.len(), found.ino()))).ok();
    // What it was when the process read it is not known: it is read once more.
    let mut seen = None;
    loop {
        let now = looked_at();
        if now != seen {
            seen = now;
            match settings.keys_now() {
                Ok(read) => {
                    info!(keys = read.len(), "the keys were read");
                    keys.replace(read);
                }
                Err(error) => warn!(%error, "the keys stay as they were"),
            }
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

/// Lets a request pass with its [`Caller`]: the key that it brings, else the person whom the proxy names; or answers 401.
pub(in crate::http) async fn authenticated(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let key = bearer(request.headers());
    let known = key.and_then(|key| api.keys.caller(key, api.service.now()));
    let person = request.extensions().get::<ForwardedPerson>().map(ForwardedPerson::caller);
    let caller = match (known, person) {
        (Some(caller), _) => caller,
        // A browser sends what the proxy knows the person by along with what another site's page asks.
        (None, Some(person)) if !request.method().is_safe() && is_own(request.headers()) == Some(false) => {
            let caller = person?;
            let refused =
                Refused { key: Some(&caller.name), tenant_id: None, reason: "another site's page sent the request" };
            api.refusals.note(&refused, request.extensions());
            return Err(Problem::forbidden(
                "this request was sent by a page of another site; send it from a page of this host",
            ));
        }
        (None, Some(person)) => person?,
        (None, None) => {
            let reason = if key.is_some() { "an unknown key" } else { "no key" };
            api.refusals.note(&Refused { key: None, tenant_id: None, reason }, request.extensions());
            return Err(Problem::unauthorized());
        }
    };
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
