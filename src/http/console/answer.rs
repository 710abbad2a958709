//! An answer of our own, or why Dify should answer.

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::upstream::UpstreamFault;
use crate::query::{Creators, QueryError};

/// Why the request goes to Dify. Never an error to the caller.
#[derive(Debug, thiserror::Error)]
pub(super) enum PassOnReason {
    /// A request that Dify answers as well or better.
    #[error("{0}")]
    Dify(&'static str),
    #[error("{0}")]
    Upstream(#[from] UpstreamFault),
    #[error("{0}")]
    Query(#[from] QueryError),
}

impl PassOnReason {
    /// Returns whether an operator should hear of it: the store fails, or Dify's answers make no sense. The rest is how
    /// requests come to Dify every day.
    pub(super) const fn is_fault(&self) -> bool {
        match self {
            Self::Dify(_) | Self::Upstream(UpstreamFault::Status(_)) => false,
            Self::Upstream(_) => true,
            Self::Query(error) => !matches!(error, QueryError::LastRunNotExists | QueryError::AccountNotFound(_)),
        }
    }
}

/// Returns the creators, if their names could be looked up.
///
/// # Errors
/// [`PassOnReason::Dify`]: Dify knows them.
pub(super) fn known(creators: Creators) -> Result<Creators, PassOnReason> {
    if creators.are_names_missing() { Err(PassOnReason::Dify("names cannot be looked up now")) } else { Ok(creators) }
}

/// Returns a JSON answer that is not kept on the way.
pub(super) fn json(value: &impl Serialize) -> Response {
    let mut response = Json(value).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
