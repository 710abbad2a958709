//! Who asks: bearer keys, compared by hash in constant time, each with a scope.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use super::Api;
use super::audit::Refused;
use super::problem::Problem;
use super::settings::{ApiKey, Right};
use crate::domain::TenantId;

/// A key that was recognised.
#[derive(Debug)]
pub(in crate::http) struct Caller {
    /// For the log.
    pub(in crate::http) name: Box<str>,
    /// Its share of the requests at once.
    pub(in crate::http) permits: Arc<Semaphore>,
    /// Bodies that are being read at once.
    pub(in crate::http) bodies: Arc<Semaphore>,
    /// `None`: every tenant.
    tenants: Option<HashSet<TenantId>>,
    rights: Vec<Right>,
}

impl Caller {
    pub(in crate::http) fn reaches(&self, tenant_id: TenantId) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(&tenant_id))
    }

    /// The tenants that it reaches; `None`: every one.
    pub(in crate::http) const fn tenants(&self) -> Option<&HashSet<TenantId>> {
        self.tenants.as_ref()
    }

    pub(in crate::http) const fn is_admin(&self) -> bool {
        self.tenants.is_none()
    }

    pub(in crate::http) fn rights(&self) -> &[Right] {
        &self.rights
    }

    /// Dead letters are of any tenant.
    pub(in crate::http) fn may_operate(&self) -> bool {
        self.is_admin() && self.may(Right::Operate)
    }

    pub(in crate::http) fn may(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }
}

/// All keys.
pub(in crate::http) struct Keys(Vec<([u8; 32], Arc<Caller>)>);

impl Keys {
    /// Keys that were checked before.
    pub(in crate::http) fn new(keys: Vec<ApiKey>, per_key: u16) -> Self {
        let share = || Arc::new(Semaphore::new(per_key.into()));
        let known = keys.into_iter().filter_map(|key| {
            let tenants = key.tenant_ids().ok()?.into_iter().collect();
            let tenants = (!key.admin).then_some(tenants);
            let hash = *key.hash().ok()?.as_bytes();
            let caller =
                Caller { name: key.name.into(), permits: share(), bodies: share(), tenants, rights: key.rights };
            Some((hash, Arc::new(caller)))
        });
        Self(known.collect())
    }

    /// The hashes of all keys.
    pub(in crate::http) fn hashes(&self) -> impl Iterator<Item = [u8; 32]> + '_ {
        self.0.iter().map(|(hash, _)| *hash)
    }

    /// Compares with every key, whichever fits, so that the time tells nothing.
    pub(in crate::http) fn caller(&self, key: &str) -> Option<Arc<Caller>> {
        let hash: [u8; 32] = Sha256::digest(key).into();
        let mut found = None;
        for (known, caller) in &self.0 {
            if bool::from(known.ct_eq(&hash)) {
                found = Some(Arc::clone(caller));
            }
        }
        found
    }
}

/// Lets a request pass with its [`Caller`], or answers 401.
pub(in crate::http) async fn authenticated(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let key = bearer(request.headers());
    let Some(caller) = key.and_then(|key| api.keys.caller(key)) else {
        let reason = if key.is_some() { "an unknown key" } else { "no key" };
        api.refusals.note(&Refused { key: None, tenant_id: None, reason }, request.extensions());
        return Err(Problem::unauthorized());
    };
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
