//! Dead letters over HTTP: the same work as `difylog dlq`. They take an admin key with the right to operate.

use std::num::NonZeroU32;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Ids, JsonBody, Operating, Params};
use super::letters::{ChosenLetters, LetterConditions};
use super::problem::{Problem, ProblemBody, Problems};
use super::search::ValueCount;
use crate::amqp::dead_letter::{masked, masked_header};
use crate::amqp::{LetterSummary, ReplayPace, ReplayReport};
use crate::domain::document::ContentHash;
use crate::domain::verdict::bounded;
use crate::domain::{Kind, printable};
use crate::http::dead_letters::{ReplayJob, ReplayState};

/// Letters of a page.
const MOST: u16 = 1000;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct LetterPaging {
    /// `next` of the page before
    after: Option<u64>,
    /// 0 to 1000; 0: only counts
    #[param(minimum = 0, maximum = 1000, default = 100)]
    limit: Option<u16>,
}

/// A letter without its body.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LetterView {
    /// Place in the queue, from 1, now
    position: u64,
    /// Hash of the body, by which it is chosen; it stays the same when other letters go
    #[schema(value_type = String)]
    sha256: String,
    reason: String,
    detail: Option<String>,
    /// Of the store's answer
    status: Option<i64>,
    attempts: i64,
    at: Option<String>,
    /// The queue that it came from, and would go back to
    queue: Option<String>,
    /// null: it cannot be read
    tenant_id: Option<String>,
    kind: Option<&'static str>,
    bytes: usize,
    /// Why a replay would pass it over
    doubt: Option<String>,
}

/// Returns a text of a letter's headers: a stranger may have written it.
fn told(text: &str) -> String {
    bounded(printable(text).into_owned())
}

impl From<LetterSummary> for LetterView {
    fn from(found: LetterSummary) -> Self {
        let heading = found.heading;
        Self {
            position: found.position,
            sha256: found.hash.to_string(),
            reason: told(&heading.reason),
            detail: heading.detail.as_deref().map(told),
            status: heading.status,
            attempts: heading.attempts,
            at: heading.at.map(|at| at.to_string()),
            queue: heading.queue.as_deref().map(told),
            tenant_id: found.tenant.map(|tenant| tenant.to_string()),
            kind: found.kind.map(Kind::as_str),
            bytes: found.body_bytes,
            doubt: found.doubt.as_deref().map(told),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct LetterViews {
    /// Letters that were looked at: the first 10,000 of the queue at most
    walked: u64,
    /// Letters behind those
    left: u64,
    /// Letters that fit the conditions
    selected: u64,
    /// Of the selected ones, most first
    reasons: Vec<ValueCount>,
    /// An empty value: the message cannot be read
    tenants: Vec<ValueCount>,
    kinds: Vec<ValueCount>,
    /// In the order of the queue
    data: Vec<LetterView>,
    /// For the next page, as `after`; null at the end
    next: Option<u64>,
}

/// Dead letters, with counts by reason, tenant and kind
#[utoipa::path(
    get, path = "/v1/dead-letters", tag = "Dead letters", params(LetterConditions, LetterPaging),
    responses(
        (status = 200, body = LetterViews),
        (status = 409, description = "A replay holds the letters", body = ProblemBody, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn list(
    Operating(queue, _): Operating,
    Params(conditions, paging): Params<LetterConditions, LetterPaging>,
) -> Result<Json<LetterViews>, Problem> {
    let limit = paging.limit.unwrap_or(100);
    if limit > MOST {
        return Err(Problem::param("limit", "expected 0 to 1000"));
    }
    let page = queue.list(&conditions.selection()?, paging.after.unwrap_or(0), limit.into()).await?;
    let counts = |found: Vec<(String, u64)>| {
        found.into_iter().map(|(value, count)| ValueCount::new(printable(&value).as_ref(), count)).collect()
    };
    Ok(Json(LetterViews {
        walked: page.walked,
        left: page.left,
        selected: page.selected,
        reasons: counts(page.reasons),
        tenants: counts(page.tenants),
        kinds: counts(page.kinds),
        data: page.letters.into_iter().map(Into::into).collect(),
        next: page.next,
    }))
}

#[derive(Serialize, ToSchema)]
pub(super) struct HeaderView {
    name: String,
    /// What may hold what users wrote is its length only
    value: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct WholeLetter {
    letter: LetterView,
    /// Properties and headers
    headers: Vec<HeaderView>,
    /// The body with every text but ids, times and states replaced by its length; `difylog dlq show --reveal` prints it whole
    body: String,
}

/// One dead letter, its body masked
#[utoipa::path(
    get, path = "/v1/dead-letters/{sha256}", tag = "Dead letters", params(("sha256" = String, Path,)),
    responses(
        (status = 200, body = WholeLetter),
        (status = 409, description = "A replay holds the letters", body = ProblemBody, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn letter(Operating(queue, _): Operating, ids: Ids) -> Result<Json<WholeLetter>, Problem> {
    let shown = queue.letter(hash(&ids)?).await?;
    let shown = shown.ok_or_else(|| Problem::not_found("no such letter among the first 10,000"))?;
    let header =
        |(name, value): &(String, String)| HeaderView { value: told(&masked_header(name, value)), name: told(name) };
    Ok(Json(WholeLetter {
        headers: shown.headers.iter().map(header).collect(),
        body: masked(&shown.body),
        letter: shown.found.into(),
    }))
}

pub(in crate::http) fn hash(ids: &Ids) -> Result<ContentHash, Problem> {
    ids.text("sha256").parse().map_err(|_| Problem::param("sha256", "expected 64 hexadecimal digits"))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Replaying {
    selection: ChosenLetters,
    /// Letters a second at most
    #[schema(value_type = Option<u32>, minimum = 1)]
    rate: Option<NonZeroU32>,
    /// Letters at most
    limit: Option<u64>,
    /// true: only say what would be done
    #[serde(default)]
    dry_run: bool,
}

/// What a replay did, so far or in all.
#[derive(Serialize, ToSchema)]
pub(super) struct ReplayView {
    /// null: a dry run
    #[schema(value_type = Option<uuid::Uuid>)]
    id: Option<String>,
    /// dry_run, running, done, stopped or failed
    state: &'static str,
    /// Why it failed; the log of the difylog that ran it has the broker's words
    reason: Option<&'static str>,
    /// Name of the key that began it; null: a dry run
    by: Option<String>,
    begun_at: Option<String>,
    ended_at: Option<String>,
    /// Letters that were to be replayed when it began
    expected: u64,
    /// Letters a second at most
    rate: Option<u32>,
    /// Letters that were looked at
    walked: u64,
    selected: u64,
    /// Back in their queues, confirmed by the broker
    replayed: u64,
    /// Passed over, because they are no letters that may be replayed
    skipped: u64,
    /// Why the first of them was
    doubt: Option<String>,
    /// Not taken by their queue; they stay
    refused: u64,
    /// The broker's words for the first ones
    complaints: Vec<String>,
}

impl ReplayView {
    fn of(id: Option<String>, state: &'static str, expected: u64, report: &ReplayReport) -> Self {
        Self {
            id,
            state,
            reason: None,
            by: None,
            begun_at: None,
            ended_at: None,
            expected,
            rate: None,
            walked: report.walked,
            selected: report.selected,
            replayed: report.replayed,
            skipped: report.skipped,
            doubt: report.doubt.as_ref().map(|(_, doubt)| told(doubt)),
            refused: report.refused,
            complaints: report.complaints.iter().map(|(_, said)| told(said)).collect(),
        }
    }
}

impl From<&ReplayJob> for ReplayView {
    fn from(job: &ReplayJob) -> Self {
        let (state, reason) = match job.state {
            ReplayState::Running => ("running", None),
            ReplayState::Done => ("done", None),
            ReplayState::Stopped => ("stopped", None),
            ReplayState::Failed(_) => ("failed", Some("the broker or the store failed it")),
            ReplayState::Abandoned => (
                "failed",
                Some("the process that ran it ended, or lost the store, before it said how the replay ended"),
            ),
        };
        let view = Self::of(Some(job.id.to_string()), state, job.expected, &job.report);
        Self {
            reason,
            by: Some(job.by.clone()),
            begun_at: Some(job.begun_at.to_string()),
            ended_at: job.ended_at.map(|at| at.to_string()),
            rate: job.rate.map(NonZeroU32::get),
            ..view
        }
    }
}

/// Put letters back into the queues they came from, or say what that would do
#[utoipa::path(
    post, path = "/v1/dead-letters/replays", tag = "Dead letters", request_body = Replaying,
    responses(
        (status = 200, description = "A dry run", body = ReplayView),
        (status = 202, description = "Begun; every replica tells how far it is under its id", body = ReplayView),
        (status = 409, description = "Another replay is under way", body = ProblemBody, content_type = "application/problem+json"),
        (status = 408, description = "The body did not come within serve.body_seconds", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The body is larger than serve.max_body_bytes", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json, or compressed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "JSON of another shape", body = ProblemBody, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn replay(
    Operating(queue, operator): Operating,
    JsonBody(asked): JsonBody<Replaying>,
) -> Result<Response, Problem> {
    let selection = asked.selection.selection()?;
    if asked.dry_run {
        let report = queue.dry_run(&selection, asked.limit).await?;
        let view = ReplayView::of(None, "dry_run", report.selected - report.skipped, &report);
        return Ok(Json(view).into_response());
    }
    operator.chose("replay", &selection);
    let pace = ReplayPace { dry_run: false, rate: asked.rate, limit: asked.limit };
    let by = operator.key.clone();
    let job = queue.begin(&by, selection, pace, move |job| operator.replayed(job)).await?;
    Ok((StatusCode::ACCEPTED, Json(ReplayView::from(&job))).into_response())
}

/// How far a replay is, whichever replica runs it; the newest 20 are known
#[utoipa::path(
    get, path = "/v1/dead-letters/replays/{replay_id}", tag = "Dead letters", params(("replay_id" = uuid::Uuid, Path,)),
    responses((status = 200, body = ReplayView), Problems)
)]
pub(super) async fn replay_state(Operating(queue, _): Operating, ids: Ids) -> Result<Json<ReplayView>, Problem> {
    let job = queue.replay_of(ids.get("replay_id")?).await?;
    Ok(Json(ReplayView::from(&job.ok_or_else(no_such_replay)?)))
}

pub(in crate::http) fn no_such_replay() -> Problem {
    Problem::not_found("no such replay; the newest 20 are known")
}

/// Stop a replay; what is confirmed stays replayed. One of another replica ends within seconds
#[utoipa::path(
    delete, path = "/v1/dead-letters/replays/{replay_id}", tag = "Dead letters", params(("replay_id" = uuid::Uuid, Path,)),
    responses((status = 200, body = ReplayView), Problems)
)]
pub(super) async fn stop_replay(Operating(queue, _): Operating, ids: Ids) -> Result<Json<ReplayView>, Problem> {
    let job = queue.stop(ids.get("replay_id")?).await?;
    Ok(Json(ReplayView::from(&job.ok_or_else(no_such_replay)?)))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Purging {
    selection: ChosenLetters,
    /// How many letters are selected: another number than there are now deletes nothing
    expected: u64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Purged {
    purged: u64,
}

/// Delete letters for good
#[utoipa::path(
    post, path = "/v1/dead-letters/purges", tag = "Dead letters", request_body = Purging,
    responses(
        (status = 200, body = Purged),
        (status = 409, description = "There are more or fewer, or a replay holds them", body = ProblemBody, content_type = "application/problem+json"),
        (status = 408, description = "The body did not come within serve.body_seconds", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The body is larger than serve.max_body_bytes", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json, or compressed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "JSON of another shape", body = ProblemBody, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn purge(
    Operating(queue, operator): Operating,
    JsonBody(asked): JsonBody<Purging>,
) -> Result<Json<Purged>, Problem> {
    let selection = asked.selection.selection()?;
    operator.chose("purge", &selection);
    let outcome = queue.purge(&selection, asked.expected).await;
    operator.purged(&outcome);
    Ok(Json(Purged { purged: outcome? }))
}
