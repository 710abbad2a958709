//! What goes wrong, as RFC 9457 problem details: a stable `code`, and in `detail` what to do. Nothing of a payload or a
//! secret gets in.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use super::observe::RefusalCause;
use crate::amqp::AmqpError;
use crate::http::dead_letters::LettersError;
use crate::query::QueryError;
use crate::store::StoreError;
use crate::store::payload::PayloadError;

/// Seconds after which a store that is down is worth another try.
const RETRY_SECONDS: u32 = 5;

const NO_STORE: &str =
    "the store does not answer; try again later. The log of `difylog serve` has the reason under this x-request-id";
const NO_PAYLOADS: &str = "the full text cannot be fetched now; try again later, or ask without full=true. The log of \
                           `difylog serve` has the reason under this x-request-id";
const NO_DIRECTORY: &str = "sessions and accounts cannot be looked up now, which this filter needs; leave it out, or try \
                            again later. The log of `difylog serve` has the reason under this x-request-id";
const NO_BROKER: &str = "the broker does not answer this difylog serve; it needs the workers' amqp.urls (AMQP_URL). Its log has the \
                         reason under this x-request-id";
const NO_QUEUE: &str = "the broker has no dead-letter queue (amqp.dead_letter_queue); run `difylog setup`";
const UNREADABLE: &str =
    "the store holds something unreadable. The log of `difylog serve` says what under this x-request-id";

/// A problem on its way out.
#[derive(Debug)]
pub(in crate::http) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    retry_after: Option<u32>,
    /// For the log only.
    cause: Option<String>,
}

/// What a page says of a problem, in the place of the JSON.
#[derive(Debug, Clone)]
pub(in crate::http) struct Faced {
    pub status: StatusCode,
    pub code: &'static str,
    pub detail: String,
}

/// Problem details (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ProblemBody {
    /// Always `about:blank`: `code` tells problems apart.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    status: u16,
    /// Stable, for programs: `invalid_param`, `invalid_cursor`, `unauthorized`, …
    code: &'static str,
    /// For people: what was wrong, and what to do.
    detail: String,
}

/// The problems that any request may meet.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "it describes answers; it is never made")]
pub(in crate::http) enum Problems {
    /// A parameter is wrong; `detail` names it and what it may be
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(#[to_schema] ProblemBody),
    /// No key, or an unknown one
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(#[to_schema] ProblemBody),
    /// The key lacks the right
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] ProblemBody),
    /// Not there, or of a tenant or an app that the key does not reach
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] ProblemBody),
    /// Too many requests at once; see Retry-After
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(#[to_schema] ProblemBody),
    /// The store holds something unreadable
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(#[to_schema] ProblemBody),
    /// The store that is configured has no answer to that, now or later
    #[response(status = 501, content_type = "application/problem+json")]
    NotSupported(#[to_schema] ProblemBody),
    /// The store does not answer, or not in time; see Retry-After
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] ProblemBody),
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after: None, cause: None }
    }

    /// Returns that a parameter cannot be used: its name, and what it may be.
    pub(in crate::http) fn param(name: &str, expected: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_param", format!("{name}: {expected}"))
    }

    pub(in crate::http) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_param", detail)
    }

    pub(in crate::http) fn of_status(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::new(status, "invalid_body", detail)
    }

    pub(in crate::http) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "send a key of serve.keys as `Authorization: Bearer KEY`")
    }

    pub(in crate::http) fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// Somebody whom a proxy has signed in, and who reaches nothing here.
    pub(in crate::http) fn no_access(detail: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "no_access", detail)
    }

    pub(in crate::http) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(in crate::http) fn method_not_allowed() -> Self {
        let detail = "the path is right, the method is not; see /docs";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    pub(in crate::http) fn too_many(detail: &'static str) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail) }
    }

    pub(in crate::http) fn too_slow(seconds: u64) -> Self {
        let detail =
            format!("no answer within serve.query_seconds ({seconds} s); narrow the question by app, time or status");
        Self { retry_after: Some(RETRY_SECONDS), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "query_timeout", detail) }
    }

    /// A fault of the program; what it was is logged.
    pub(in crate::http) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the request could not be answered; the server's log says why",
        )
    }

    /// Something else is under way, or is not as the request says.
    pub(in crate::http) fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// The broker is not known, does not answer, or lacks what difylog sets up.
    pub(in crate::http) fn no_broker(detail: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "broker_unavailable", detail)
    }

    /// Returns what no retry mends: the store as it is configured cannot answer.
    fn unsupported(code: &'static str, error: &StoreError) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, code, error.public())
    }

    /// Returns that a part does not answer. The cause names hosts, folders and statements: it is logged, and not
    /// answered.
    fn unavailable(code: &'static str, detail: &'static str, cause: String) -> Self {
        let retry_after = Some(RETRY_SECONDS);
        Self { retry_after, cause: Some(cause), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail) }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        let detail = error.to_string();
        match error {
            QueryError::LastRunNotExists | QueryError::AccountNotFound(_) => Self::bad_request(detail),
            QueryError::Cursor(_) => Self::new(StatusCode::BAD_REQUEST, "invalid_cursor", detail),
            QueryError::Directory(_) => Self::unavailable("directory_unavailable", NO_DIRECTORY, detail),
            QueryError::Store(StoreError::Corrupt(_)) | QueryError::Payload(PayloadError::Damaged(_)) => {
                let problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable", UNREADABLE);
                Self { cause: Some(detail), ..problem }
            }
            QueryError::Store(error @ StoreError::NotIndexed(_)) => Self::unsupported("text_not_indexed", &error),
            QueryError::Store(error @ StoreError::Unsupported(_)) => Self::unsupported("unsupported", &error),
            QueryError::Store(error @ StoreError::TooManySpans) => Self::param("seconds", error.public()),
            QueryError::Store(_) => Self::unavailable("store_unavailable", NO_STORE, detail),
            QueryError::Payload(_) => Self::unavailable("payloads_unavailable", NO_PAYLOADS, detail),
            QueryError::PayloadMissing(_) => Self::new(StatusCode::NOT_FOUND, "payload_missing", detail),
        }
    }
}

impl From<LettersError> for Problem {
    fn from(error: LettersError) -> Self {
        let detail = error.to_string();
        match error {
            LettersError::UnderWay(_) => Self::conflict("replay_under_way", detail),
            LettersError::OtherNumber(_) => {
                Self::conflict("count_changed", format!("{detail}; look again, and send that number as expected"))
            }
            LettersError::State(error) => QueryError::Store(error).into(),
            LettersError::Broker(AmqpError::Missing(_)) => Self::no_broker(NO_QUEUE),
            LettersError::Broker(_) => Self::unavailable("broker_unavailable", NO_BROKER, detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Problem");
        let faced = Faced { status: self.status, code: self.code, detail: self.detail.clone() };
        let body = ProblemBody {
            r#type: "about:blank",
            title,
            status: self.status.as_u16(),
            code: self.code,
            detail: self.detail,
        };
        let mut response = (self.status, Json(body)).into_response();
        response.extensions_mut().insert(faced);
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(RefusalCause(cause));
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
