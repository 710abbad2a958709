//! How much is answered at once, and for how long. A request whose client goes away is dropped by the server, and its
//! question with it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::OwnedSemaphorePermit;

use super::Api;
use super::problem::Problem;

/// The right to be answered; a stream keeps it to its end.
pub(super) type Permit = Arc<OwnedSemaphorePermit>;

pub(super) async fn within_limits(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let permit = Arc::clone(&api.permits).try_acquire_owned().map_err(|_| Problem::too_many())?;
    let permit: Permit = Arc::new(permit);
    request.extensions_mut().insert(Arc::clone(&permit));
    let seconds = api.settings.query_seconds;
    let answered = tokio::time::timeout(Duration::from_secs(seconds), next.run(request)).await;
    // The request's own share goes when its handler has begun.
    drop(permit);
    answered.map_err(|_| Problem::too_slow(seconds))
}
