//! How much is answered at once, to whom, and for how long. A request whose client goes away is dropped by the server, and
//! its question with it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Api;
use super::auth::Caller;
use super::observe::RequestId;
use super::problem::Problem;
use crate::http::connections::Connection;

/// The right to be answered, a share of the key's and of everybody's; a stream keeps it to its end.
pub(in crate::http) type Permit = Arc<Shares>;

/// See [`Permit`].
pub(in crate::http) struct Shares {
    pub request_id: RequestId,
    _of_key: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

pub(in crate::http) async fn within_limits(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let caller = request.extensions().get::<Arc<Caller>>().cloned().ok_or_else(Problem::unauthorized)?;
    // Before a permit is taken: a body that does not come holds up its own key's bodies only.
    let mut request = with_body(&api, &caller, request).await?;
    let of_key =
        share(&caller.shares.permits, "serve.concurrency_per_key requests of this key are being answered; try again")?;
    let of_all = share(&api.permits, "serve.concurrency requests are being answered; try again")?;
    let request_id = request.extensions().get::<RequestId>().cloned().unwrap_or_default();
    let permit: Permit = Arc::new(Shares { request_id, _of_key: of_key, _of_all: of_all });
    request.extensions_mut().insert(Arc::clone(&permit));
    let seconds = api.settings.query_seconds;
    let answered = tokio::time::timeout(Duration::from_secs(seconds), next.run(request)).await;
    // The request's own share goes when its handler has begun.
    drop(permit);
    answered.map_err(|_| Problem::too_slow(seconds))
}

fn share(of: &Arc<Semaphore>, none_left: &'static str) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(of).try_acquire_owned().map_err(|_| Problem::too_many(none_left))
}

/// Reads a body, if there is one, within its bounds of time and size.
async fn with_body(api: &Api, caller: &Caller, request: Request) -> Result<Request, Problem> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let _reading =
        share(&caller.shares.bodies, "serve.concurrency_per_key bodies of this key are awaited; send them whole")?;
    let most = api.settings.max_body_bytes;
    in_time(api, request, most, &format!("serve.max_body_bytes ({most})")).await
}

/// Lets a request that needs no key pass with its whole body of at most so many bytes. Until that has come, its connection
/// may be closed for another client: nobody else is known whose share such bodies could take.
///
/// # Errors
/// 408 and 413 of a body that is late or too large.
pub(in crate::http) async fn whole_body(
    State((api, most)): State<(Api, usize)>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if request.body().is_end_stream() {
        return Ok(next.run(request).await);
    }
    let resting = request.extensions().get::<Connection>().map(Connection::rest);
    let request = in_time(&api, request, most, &format!("{most} bytes")).await?;
    drop(resting);
    Ok(next.run(request).await)
}

async fn in_time(api: &Api, request: Request, most: usize, bound: &str) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let seconds = api.settings.body_seconds;
    let too_late = |_| {
        let detail = format!("the body did not come within serve.body_seconds ({seconds} s)");
        Problem::of_status(StatusCode::REQUEST_TIMEOUT, detail)
    };
    let whole =
        tokio::time::timeout(Duration::from_secs(seconds), whole(body, most, bound)).await.map_err(too_late)??;
    Ok(Request::from_parts(parts, Body::from(whole)))
}

async fn whole(body: Body, most: usize, bound: &str) -> Result<Vec<u8>, Problem> {
    let mut chunks = body.into_data_stream();
    let mut whole = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|_| Problem::of_status(StatusCode::BAD_REQUEST, "the body broke off before its end"))?;
        if whole.len() + chunk.len() > most {
            let detail = format!("the body is larger than {bound}");
            return Err(Problem::of_status(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}
