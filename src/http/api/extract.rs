//! What handlers take: the scope that the key and the path allow, and parameters of which none is unknown.

use std::str::FromStr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::Api;
use super::audit::{Actor, Operator, Refused};
use super::auth::Caller;
use super::observe::RequestId;
use super::problem::Problem;
use super::settings::Right;
use crate::domain::printable;
use crate::http::dead_letters::DeadLetterQueue;
use crate::query::{AdminLogs, TenantLogs};

/// The ids of a path, by name.
pub(in crate::http) struct Ids(Vec<(String, String)>);

impl Ids {
    pub(in crate::http) fn get<T: FromStr>(&self, name: &str) -> Result<T, Problem> {
        let text = self.0.iter().find(|(key, _)| key == name).map(|(_, text)| text.as_str());
        text.and_then(|text| text.parse().ok()).ok_or_else(|| Problem::param(name, "expected a uuid"))
    }

    pub(in crate::http) fn text(&self, name: &str) -> &str {
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

async fn scope(parts: &mut Parts, api: &Api, right: Right) -> Result<(TenantLogs, Arc<Caller>), Problem> {
    let caller = caller(parts)?;
    let ids = Ids::from_request_parts(parts, api).await?;
    let tenant_id = ids.get("tenant_id")?;
    let refused = |reason| {
        let refused = Refused { key: Some(&caller.name), tenant_id: Some(tenant_id), reason };
        api.refusals.note(&refused, &parts.extensions);
    };
    if !caller.reaches(tenant_id) {
        refused("the key does not reach this tenant");
        // As if it were not there: whether it is, is nobody else's business.
        return Err(Problem::not_found("no such tenant"));
    }
    // A path of one app: of another one, nothing is looked up. What is no id is the handler's to refuse.
    if let Ok(app_id) = ids.get("app_id")
        && !caller.apps().holds(app_id)
    {
        refused("the key does not reach this app");
        return Err(Problem::not_found("no such app"));
    }
    match caller.may(right) {
        true => Ok((api.logs_for(&caller, tenant_id), caller)),
        false if right == Right::Delete => {
            refused("the key may not delete");
            Err(Problem::forbidden("this key may not delete; give it rights = [\"delete\"]"))
        }
        false => {
            refused("the key may not read");
            Err(Problem::forbidden("this key may not read; give it rights = [\"read\"]"))
        }
    }
}

/// What needs more than a key has; one that is limited to apps is told that as well.
fn beyond(caller: &Caller, detail: &str) -> Problem {
    match caller.apps().apps() {
        Some(_) => Problem::forbidden(&format!("this key is limited to apps; {detail}")),
        None => Problem::forbidden(detail),
    }
}

/// The logs of the path's tenant, for a key that may read them.
pub(in crate::http) struct Reading(pub(in crate::http) TenantLogs);

impl FromRequestParts<Api> for Reading {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        scope(parts, api, Right::Read).await.map(|(logs, _)| Self(logs))
    }
}

/// The logs of the path's tenant, for a key that may delete them, and who it is.
pub(in crate::http) struct Deleting(pub(in crate::http) TenantLogs, pub(in crate::http) Actor);

impl FromRequestParts<Api> for Deleting {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let (logs, caller) = scope(parts, api, Right::Delete).await?;
        let request_id = parts.extensions.get::<RequestId>().map_or("-", RequestId::as_str).to_owned();
        let actor = Actor { key: caller.name.to_string(), tenant_id: logs.tenant_id(), request_id };
        Ok(Self(logs, actor))
    }
}

/// The logs of all tenants, for an admin key that may read.
pub(in crate::http) struct Everything(pub(in crate::http) AdminLogs);

impl FromRequestParts<Api> for Everything {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let caller = caller(parts)?;
        if caller.is_admin() && caller.may(Right::Read) {
            return Ok(Self(api.service.admin().masked(api.mask_for(&caller))));
        }
        let refused = Refused { key: Some(&caller.name), tenant_id: None, reason: "the key may not cross tenants" };
        api.refusals.note(&refused, &parts.extensions);
        Err(beyond(&caller, "this crosses tenants: it takes a key with admin = true and the right to read"))
    }
}

/// The dead-letter queue, for an admin key that may operate, and who it is.
pub(in crate::http) struct Operating(pub(in crate::http) DeadLetterQueue, pub(in crate::http) Operator);

impl FromRequestParts<Api> for Operating {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let caller = caller(parts)?;
        if !caller.may_operate() {
            let refused = Refused { key: Some(&caller.name), tenant_id: None, reason: "the key may not operate" };
            api.refusals.note(&refused, &parts.extensions);
            let detail = "this key may not see dead letters: it takes admin = true and rights = [\"operate\"]";
            return Err(beyond(&caller, detail));
        }
        let Some(queue) = api.dead_letters.clone() else {
            return Err(Problem::no_broker(
                "this difylog serve was started without a broker: set amqp.urls (AMQP_URL)",
            ));
        };
        let request_id = parts.extensions.get::<RequestId>().map_or("-", RequestId::as_str).to_owned();
        Ok(Self(queue, Operator { key: caller.name.to_string(), request_id }))
    }
}

/// A JSON body, whose faults are named.
pub(in crate::http) struct JsonBody<T>(pub(in crate::http) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let unsupported = |detail: String| Problem::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail);
        let headers = request.headers().clone();
        let header = |name| {
            let value: &HeaderValue = headers.get(name)?;
            Some(printable(&String::from_utf8_lossy(value.as_bytes())).chars().take(100).collect::<String>())
        };
        if let Some(coding) = header(header::CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("identity"))
        {
            return Err(unsupported(format!(
                "content-encoding is {coding}; send the body as it is, without compression"
            )));
        }
        let content_type = header(header::CONTENT_TYPE);
        let media_type = content_type.as_deref().and_then(|text| text.split(';').next()).unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            let sent = content_type.unwrap_or_else(|| "missing".to_owned());
            return Err(unsupported(format!("content-type is {sent}; expected application/json")));
        }
        let whole = Bytes::from_request(request, state).await;
        let whole = whole.map_err(|rejection| Problem::of_status(rejection.status(), rejection.body_text()))?;
        // Editors and some clients put a mark of byte order before UTF-8.
        let text = whole.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&whole);
        if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
            return Err(Problem::of_status(StatusCode::BAD_REQUEST, "the body is UTF-16; send UTF-8"));
        }
        match Json::<T>::from_bytes(text) {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(Problem::of_status(rejection.status(), rejection.body_text())),
        }
    }
}

/// The parameters of a request: one set, or two. A parameter that is in none is refused, because a filter with a typing
/// error must not find everything.
pub(in crate::http) struct Params<A, B = Nothing>(pub(in crate::http) A, pub(in crate::http) B);

/// No parameters.
#[derive(serde::Deserialize)]
pub(in crate::http) struct Nothing {}

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
