//! What handlers take: the scope that the key and the path allow, and parameters of which none is unknown.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Query, RawPathParams};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::Api;
use super::auth::Caller;
use super::problem::Problem;
use super::settings::Right;
use crate::query::{AdminLogs, TenantLogs};

/// The ids of a path, by name.
pub(super) struct Ids(Vec<(String, String)>);

impl Ids {
    pub(super) fn get<T: FromStr>(&self, name: &str) -> Result<T, Problem> {
        let text = self.0.iter().find(|(key, _)| key == name).map(|(_, text)| text.as_str());
        text.and_then(|text| text.parse().ok()).ok_or_else(|| Problem::param(name, "expected a uuid"))
    }

    pub(super) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, text)| text)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Ids {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let raw = RawPathParams::from_request_parts(parts, state).await;
        let raw = raw.map_err(|_| Problem::bad_request("the path is not UTF-8"))?;
        Ok(Self(raw.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

fn caller(parts: &Parts) -> Result<Arc<Caller>, Problem> {
    parts.extensions.get::<Arc<Caller>>().cloned().ok_or_else(Problem::unauthorized)
}

async fn scope(parts: &mut Parts, api: &Api, right: Right) -> Result<TenantLogs, Problem> {
    let caller = caller(parts)?;
    let tenant_id = Ids::from_request_parts(parts, api).await?.get("tenant_id")?;
    if !caller.reaches(tenant_id) {
        // As if it were not there: whether it is, is nobody else's business.
        return Err(Problem::not_found("no such tenant"));
    }
    match caller.may(right) {
        true => Ok(api.service.tenant(tenant_id)),
        false if right == Right::Delete => {
            Err(Problem::forbidden("this key may not delete; give it rights = [\"delete\"]"))
        }
        false => Err(Problem::forbidden("this key may not read; give it rights = [\"read\"]")),
    }
}

/// The logs of the path's tenant, for a key that may read them.
pub(super) struct Reading(pub(super) TenantLogs);

impl FromRequestParts<Api> for Reading {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        scope(parts, api, Right::Read).await.map(Self)
    }
}

/// The logs of the path's tenant, for a key that may delete them.
pub(super) struct Deleting(pub(super) TenantLogs);

impl FromRequestParts<Api> for Deleting {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        scope(parts, api, Right::Delete).await.map(Self)
    }
}

/// The logs of all tenants, for an admin key that may read.
pub(super) struct Everything(pub(super) AdminLogs);

impl FromRequestParts<Api> for Everything {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let caller = caller(parts)?;
        if caller.is_admin() && caller.may(Right::Read) {
            return Ok(Self(api.service.admin()));
        }
        Err(Problem::forbidden("this crosses tenants: it takes a key with admin = true and the right to read"))
    }
}

/// The parameters of a request: one set, or two. A parameter that is in none is refused, because a filter with a typing
/// error must not find everything.
pub(super) struct Params<A, B = Nothing>(pub(super) A, pub(super) B);

/// No parameters.
#[derive(serde::Deserialize)]
pub(super) struct Nothing {}

impl IntoParams for Nothing {
    fn into_params(
        _: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
    ) -> Vec<utoipa::openapi::path::Parameter> {
        Vec::new()
    }
}

impl<S, A, B> FromRequestParts<S> for Params<A, B>
where
    S: Send + Sync,
    A: DeserializeOwned + IntoParams,
    B: DeserializeOwned + IntoParams,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
        let known = [A::into_params(|| None), B::into_params(|| None)].concat();
        for (name, _) in &pairs {
            if !known.iter().any(|parameter| parameter.name == *name) {
                let names: Vec<_> = known.iter().map(|parameter| parameter.name.as_str()).collect();
                let name: String = name.chars().take(100).collect();
                return Err(Problem::param(&name, &format!("unknown parameter; there are: {}", names.join(", "))));
            }
        }
        let (Query(first), Query(second)) = (read::<A>(parts)?, read::<B>(parts)?);
        Ok(Self(first, second))
    }
}

fn read<T: DeserializeOwned>(parts: &Parts) -> Result<Query<T>, Problem> {
    Query::try_from_uri(&parts.uri).map_err(|rejection| {
        let text = rejection.body_text();
        Problem::bad_request(text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text))
    })
}
