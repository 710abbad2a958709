//! What is done to letters: a dry run, a replay with its progress, a purge that asks for the number.

use std::num::NonZeroU32;

use axum::Form;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use uuid::Uuid;

use super::PATH;
use crate::amqp::{LetterSelection, ReplayPace, ReplayReport};
use crate::domain::printable;
use crate::http::api::dead_letters::no_such_replay;
use crate::http::api::extract::{Ids, Operating};
use crate::http::api::letters::LetterConditions;
use crate::http::api::problem::Problem;
use crate::http::dead_letters::{LettersError, ReplayJob, ReplayState};
use crate::http::ui::access::Viewer;
use crate::http::ui::format::{count, line, time};
use crate::http::ui::layout::{PageFrame, page as whole_page};

/// The fields of a form that say which letters.
const SELECTING: [&str; 7] = ["reason", "tenant_id", "kind", "since", "until", "doubtful", "sha256"];

/// Returns the address of a replay's progress.
pub(super) fn path(id: Uuid) -> String {
    format!("{PATH}/replays/{id}")
}

/// The fields of the form, empty ones left out.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let number = self.get(name).map(|text| text.trim().parse());
        number.transpose().map_err(|_| Problem::param(name, "expected a whole number"))
    }

    fn rate(&self) -> Result<Option<NonZeroU32>, Problem> {
        let rate = self.number("rate")?.map(|rate| u32::try_from(rate).ok().and_then(NonZeroU32::new));
        rate.map(|rate| rate.ok_or_else(|| Problem::param("rate", "expected letters per second, from 1 on")))
            .transpose()
    }

    fn selection(&self) -> Result<LetterSelection, Problem> {
        let hashes: Vec<_> =
            self.0.iter().filter(|(name, _)| name == "sha256").map(|(_, hash)| hash.as_str()).collect();
        let conditions = LetterConditions {
            tenant_id: self.get("tenant_id"),
            kind: self.get("kind"),
            reason: self.get("reason"),
            since: self.get("since"),
            until: self.get("until"),
            doubtful: self.get("doubtful").map(|text| text == "true"),
            sha256: Some(hashes.join(",")),
        };
        conditions.selection()
    }
}

/// Leads to the replay that holds the letters, as a second click on the same button does; any other error is a problem.
pub(super) fn under_way(error: LettersError) -> Result<Response, Problem> {
    match error {
        LettersError::UnderWay(id) => Ok(Redirect::to(&path(id)).into_response()),
        other => Err(other.into()),
    }
}

/// Leads from the address of the form to the list: a browser asks for it when it signs in or tries again after the form was sent.
pub(in crate::http::ui) async fn acted() -> Redirect {
    Redirect::to(PATH)
}

/// Takes the form of the list.
pub(in crate::http::ui) async fn act(
    viewer: Viewer,
    operating: Operating,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let fields = Fields(pairs.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect());
    match fields.get("act").as_deref() {
        Some("dry") => {
            let report = operating.0.dry_run(&fields.selection()?, None).await;
            report.map_or_else(under_way, |report| Ok(dry_run(&viewer, &fields, &report)))
        }
        Some("replay") => replay(operating, &fields).await,
        Some("purge") => purge(operating, &fields).await,
        _ => Err(Problem::param("act", "expected dry, replay or purge")),
    }
}

async fn replay(Operating(queue, operator): Operating, fields: &Fields) -> Result<Response, Problem> {
    let (selection, rate) = (fields.selection()?, fields.rate()?);
    operator.chose("replay", &selection);
    let pace = ReplayPace { dry_run: false, rate, limit: None };
    let by = operator.key.clone();
    let begun = queue.begin(&by, selection, pace, move |job| operator.replayed(job)).await;
    begun.map_or_else(under_way, |job| Ok(Redirect::to(&path(job.id)).into_response()))
}

async fn purge(Operating(queue, operator): Operating, fields: &Fields) -> Result<Response, Problem> {
    let (selection, number) = (fields.selection()?, fields.number("number")?);
    let number = number.ok_or_else(|| Problem::param("number", "type how many letters are to be deleted"))?;
    operator.chose("purge", &selection);
    let outcome = queue.purge(&selection, number).await;
    operator.purged(&outcome);
    outcome.map_or_else(under_way, |purged| Ok(Redirect::to(&format!("{PATH}?purged={purged}")).into_response()))
}

fn dry_run(viewer: &Viewer, fields: &Fields, report: &ReplayReport) -> Response {
    let texts = viewer.look.texts();
    let would = report.selected - report.skipped;
    let content = html! {
        section.state {
            h1 { (texts.dry_run) }
            p { strong { (count(would.into())) } " " (texts.dry_run_would) }
            @if let Some((_, doubt)) = &report.doubt {
                p { strong { (count(report.skipped.into())) } " " (texts.dry_run_skipped) " " (line(doubt, 300)) }
            }
            form.actions method="post" action={ (PATH) "/act" } {
                @for (name, value) in fields.0.iter().filter(|(name, _)| SELECTING.contains(&name.as_str()) || name == "rate") {
                    input type="hidden" name=(name) value=(value);
                }
                @if would > 0 { button type="submit" name="act" value="replay" { (texts.replay) " (" (count(would.into())) ")" } }
                a.button.quiet href=(PATH) { (texts.to_letters) }
            }
        }
    };
    // The address of the form is none to come back to.
    let frame = PageFrame { here: PATH.to_owned(), ..viewer.frame(texts.dry_run) };
    whole_page(StatusCode::OK, &frame, &content)
}

/// Returns how far a replay is: a page, or the part of it that a script asks for and puts in the place of the old one. What can be
/// pressed is not in that part.
pub(in crate::http::ui) async fn progress(
    viewer: Viewer,
    Operating(queue, _): Operating,
    ids: Ids,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let job = queue.replay_of(ids.get("replay_id")?).await?.ok_or_else(no_such_replay)?;
    let texts = viewer.look.texts();
    let part = told(&viewer, &job);
    if headers.contains_key("x-part") {
        return Ok(Html(part.into_string()).into_response());
    }
    let is_running = job.state == ReplayState::Running;
    let content = html! {
        section.state {
            div role="status" data-follow[is_running] { (part) }
            @if is_running {
                p.actions { a.button.quiet href=(path(job.id)) { (texts.refresh) } }
                form method="post" action={ (path(job.id)) "/stop" } { button.quiet type="submit" { (texts.stop) } }
            } @else {
                p.actions { a.button href=(PATH) { (texts.to_letters) } }
            }
        }
    };
    Ok(whole_page(StatusCode::OK, &viewer.frame(texts.replay), &content))
}

fn told(viewer: &Viewer, job: &ReplayJob) -> Markup {
    let texts = viewer.look.texts();
    let zone = viewer.look.zone;
    let ReplayReport { replayed, refused, complaints, .. } = &job.report;
    let title = match &job.state {
        ReplayState::Running => texts.replaying,
        ReplayState::Done => texts.replay_done,
        ReplayState::Stopped => texts.replay_stopped,
        ReplayState::Failed(_) | ReplayState::Abandoned => texts.replay_failed,
    };
    html! {
        h1 data-ended[job.state != ReplayState::Running] { (title) }
        progress max=(job.expected.max(1)) value=(replayed + refused) aria-label=(title) {}
        p { strong { (count((*replayed).into())) } " " (texts.replayed_of) " " (count(job.expected.into())) }
        @if *refused > 0 {
            p { strong { (count((*refused).into())) } " " (texts.refused_letters) }
            ul { @for (_, said) in complaints { li { (printable(said)) } } }
        }
        @match job.state {
            ReplayState::Failed(_) => { p { (texts.replay_failed_hint) } }
            ReplayState::Abandoned => { p { (texts.replay_abandoned) } }
            _ => {}
        }
        p.faint { (texts.begun) " " (time(job.begun_at, zone)) " · " (texts.key) " " (line(&job.by, 60))
            @if let Some(at) = job.ended_at { " · " (texts.ended) " " (time(at, zone)) } }
    }
}

/// Stops a replay.
pub(in crate::http::ui) async fn stop(Operating(queue, _): Operating, ids: Ids) -> Result<Redirect, Problem> {
    let job = queue.stop(ids.get("replay_id")?).await?.ok_or_else(no_such_replay)?;
    Ok(Redirect::to(&path(job.id)))
}

/// Leads from the address of the form that stops a replay to its progress.
pub(in crate::http::ui) async fn stopped(ids: Ids) -> Result<Redirect, Problem> {
    Ok(Redirect::to(&path(ids.get("replay_id")?)))
}
