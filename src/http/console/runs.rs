//! The list of runs, merged from the store and from what Dify's PostgreSQL still has.

use std::collections::HashMap;

use serde_json::Value;

use super::access::Access;
use super::answer::{PassOnReason, json, known};
use super::merge::{ListRow, RowPlace, merged};
use super::pages::{DifyPage, DifyRow, LARGEST, STATUSES, TRIGGERS, has_ended, place_of};
use super::query::{Query, with_query};
use super::tables::Tables;
use super::upstream::{Credentials, Raw, Upstream, UpstreamFault};
use crate::domain::query::Cursor;
use crate::domain::{AppId, RecordId};
use crate::http::api::views::RunItem;
use crate::query::{After, RunList, TenantLogs};
use axum::http::StatusCode;
use axum::response::Response;

/// Pages of Dify's that are read on the way to a place that its own cursor cannot name.
const WALK: usize = 5;
/// Runs before such a place whose ids are tried as Dify's cursor.
const CANDIDATES: usize = 100;

/// A request for a page.
pub(super) struct PageRequest<'a> {
    /// The path as the caller asked for it.
    pub path: &'a str,
    pub query: Query,
    /// Dify's list of a chat app has two fields more.
    pub is_chat: bool,
}

/// What Dify has behind a place.
#[derive(Default)]
struct Difys {
    rows: Vec<ListRow<DifyRow>>,
    has_more: bool,
}

/// Where a page begins, in both sources.
struct Start {
    place: Option<RowPlace>,
    /// Dify's own cursor, where it knows the run.
    last_id: Option<RecordId>,
}

/// Returns a page of the runs of an app, newest first.
///
/// # Errors
/// [`PassOnReason`] where only Dify should answer: parameters that it judges, a source that fails, or a place that cannot be found
/// in both.
pub(super) async fn page(
    request: &PageRequest<'_>,
    access: &Access,
    logs: &TenantLogs,
    dify: &Upstream,
    credentials: &Credentials,
    tables: &Tables,
) -> Result<Response, PassOnReason> {
    let query = &request.query;
    query.only(&["last_id", "limit", "status", "triggered_from"])?;
    let limit = query.number("limit", 20, 1, 100)?;
    let status = query.one_of("status", &STATUSES)?;
    let triggered_from = query.one_of("triggered_from", &TRIGGERS)?.unwrap_or("debugging");
    let list = RunList {
        app_id: access.app_id,
        triggered_from: vec![triggered_from.into()],
        status: status.map(Into::into),
        after: After::Start,
        limit,
    };
    let source = Source { path: request.path, list: &list, logs, dify, credentials };
    let last_id = query.id("last_id")?;
    let start = source.start(last_id).await?;
    let wanted = limit + 1;
    let stored = logs.runs_after(&list, start.place.and_then(RowPlace::cursor), wanted).await?;
    let stored_more = stored.len() == wanted;
    let oldest = stored.last().filter(|_| stored_more).map(|run| RowPlace::Stored(run.cursor()).second());
    let difys = source.difys(&start, wanted, oldest).await?;
    let creators = logs.creators(stored.iter().map(|run| (&*run.created_by_role, run.created_by))).await;
    let creators = known(creators)?;
    let stored = stored.into_iter().map(|run| ListRow {
        id: run.id,
        place: RowPlace::Stored(run.cursor()),
        value: Entry {
            has_ended: run.revision.has_ended(),
            is_stored: true,
            value: serde_json::to_value(RunItem::new(run, &creators)).unwrap_or_default(),
        },
    });
    let has_more = stored_more || difys.has_more;
    let theirs = difys.rows.into_iter().map(|row| ListRow {
        id: row.id,
        place: row.place,
        value: Entry { has_ended: has_ended(&row.value), is_stored: false, value: Value::Object(row.value) },
    });
    let mut rows = merged(start.place, stored.collect(), theirs.collect(), newer);
    let has_more = has_more || rows.len() > limit;
    rows.truncate(limit);
    if request.is_chat {
        fill_messages(&mut rows, access.app_id, tables).await?;
    }
    let data: Vec<_> = rows.into_iter().map(|row| row.value.value).collect();
    Ok(json(&serde_json::json!({ "limit": limit, "has_more": has_more, "data": data })))
}

struct Entry {
    has_ended: bool,
    /// Made of the store's row, not of Dify's.
    is_stored: bool,
    value: Value,
}

/// Dify's row, with the names that it knows, unless ours has ended and Dify's has not: then ours is the newer one.
fn newer(stored: Entry, difys: Entry) -> Entry {
    if stored.has_ended && !difys.has_ended { stored } else { difys }
}

/// Fills in which conversation and message a run answered: only Dify's `messages` knows it.
async fn fill_messages(rows: &mut [ListRow<Entry>], app_id: AppId, tables: &Tables) -> Result<(), PassOnReason> {
    let unknown: Vec<_> = rows.iter().filter(|row| row.value.is_stored).map(|row| row.id.uuid()).collect();
    let found = tables.messages(app_id, &unknown).await?;
    let found: HashMap<_, _> = found.iter().map(|message| (message.run_id, message)).collect();
    for row in rows.iter_mut().filter(|row| row.value.is_stored) {
        let message = found.get(&row.id.uuid());
        if let Some(fields) = row.value.value.as_object_mut() {
            let id = |id: Option<uuid::Uuid>| id.map_or(Value::Null, |id| id.to_string().into());
            fields.insert("conversation_id".to_owned(), id(message.map(|message| message.conversation_id)));
            fields.insert("message_id".to_owned(), id(message.map(|message| message.message_id)));
        }
    }
    Ok(())
}

struct Source<'a> {
    path: &'a str,
    list: &'a RunList,
    logs: &'a TenantLogs,
    dify: &'a Upstream,
    credentials: &'a Credentials,
}

impl Source<'_> {
    async fn start(&self, last_id: Option<RecordId>) -> Result<Start, PassOnReason> {
        let Some(id) = last_id else { return Ok(Start { place: None, last_id: None }) };
        if let Some(run) = self.logs.run_summaries(&[id]).await?.into_iter().find(|run| run.app_id == self.list.app_id)
        {
            return Ok(Start { place: Some(RowPlace::Stored(run.cursor())), last_id });
        }
        // Only Dify can know it; its word on a run that is not there is its own.
        let raw =
            self.dify.get(&format!("{}/{id}", self.path.replace("/advanced-chat/", "/")), self.credentials).await?;
        let run: DifyRow = raw.json()?;
        let second = run.get("created_at").and_then(Value::as_i64).ok_or(UpstreamFault::Unexpected)?;
        Ok(Start { place: Some(RowPlace::Second(second)), last_id })
    }

    /// Dify's rows behind a place: enough for a page, or all down to `oldest`, beyond which the store's page does not reach.
    async fn difys(&self, start: &Start, wanted: usize, oldest: Option<i64>) -> Result<Difys, PassOnReason> {
        let (mut cursor, mut asked) = match start.last_id {
            None => (None, None),
            Some(id) => match self.dify_page(Some(id), wanted.max(20)).await? {
                Some(page) => (Some(id), Some(page)),
                // Dify's table has it no more: go there from the newest run, or from one just before it.
                None => (self.known_before(start).await?, None),
            },
        };
        let mut found = Difys::default();
        for _ in 0..WALK {
            let page = match asked.take() {
                Some(page) => page,
                None => self.dify_page(cursor, wanted.max(20)).await?.ok_or(UpstreamFault::Unexpected)?,
            };
            let mut rows = self.placed(page.data).await?;
            cursor = rows.last().map(|row| row.id).or(cursor);
            let reached = rows.last().map(|row| row.place.second());
            rows.retain(|row| start.place.is_none_or(|place| row.place.second() <= place.second()));
            found.rows.append(&mut rows);
            found.has_more = page.has_more;
            let past = reached.zip(oldest).is_some_and(|(reached, oldest)| reached < oldest);
            if !page.has_more || past || found.rows.len() > wanted {
                return Ok(found);
            }
        }
        // Rows that were not reached could belong into the page.
        Err(PassOnReason::Dify("the place of the page is too far into Dify's own list"))
    }

    /// Returns a run that Dify knows, shortly before a place that it does not know; `None`: the newest will do.
    async fn known_before(&self, start: &Start) -> Result<Option<RecordId>, PassOnReason> {
        let second = start.place.map_or(i64::MIN, RowPlace::second);
        let first = self.dify_page(None, LARGEST).await?.ok_or(UpstreamFault::Unexpected)?;
        let rows = self.placed(first.data).await?;
        if !first.has_more || rows.last().is_none_or(|row| row.place.second() < second) {
            return Ok(None);
        }
        let Some(RowPlace::Stored(place)) = start.place else { return Ok(None) };
        let newer = self.logs.runs_before(self.list, place, CANDIDATES).await?;
        let steps = std::iter::successors(Some(1usize), |step| Some(step * 2));
        for candidate in steps.map_while(|step| newer.get(step - 1)) {
            if self.dify_page(Some(candidate.id), 1).await?.is_some() {
                return Ok(Some(candidate.id));
            }
        }
        Ok(None)
    }

    /// Returns a page of Dify's own list; `None` if it does not know the run of the cursor.
    async fn dify_page(&self, last_id: Option<RecordId>, limit: usize) -> Result<Option<DifyPage>, PassOnReason> {
        let (limit, last_id) = (limit.min(LARGEST).to_string(), last_id.map(|id| id.to_string()));
        let triggers = self.list.triggered_from.iter().map(|trigger| ("triggered_from", &**trigger));
        let parameters = [("limit", &*limit)]
            .into_iter()
            .chain(self.list.status.as_deref().map(|status| ("status", status)))
            .chain(triggers)
            .chain(last_id.as_deref().map(|id| ("last_id", id)));
        let path = with_query(self.path, parameters);
        let raw: Raw = self.dify.get(&path, self.credentials).await?;
        if raw.status == StatusCode::BAD_REQUEST && last_id.is_some() {
            return Ok(None);
        }
        Ok(Some(raw.json()?))
    }

    /// Dify's rows with their places: the store's own for each that it knows.
    async fn placed(&self, data: Vec<DifyRow>) -> Result<Vec<ListRow<DifyRow>>, PassOnReason> {
        let places = data.iter().map(place_of).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<_> = places.iter().map(|(id, _)| *id).collect();
        let known: HashMap<RecordId, Cursor> =
            self.logs.run_summaries(&ids).await?.into_iter().map(|run| (run.id, run.cursor())).collect();
        let row = |((id, place), value)| {
            let place = known.get(&id).map_or(place, |cursor| RowPlace::Stored(*cursor));
            ListRow { id, place, value }
        };
        Ok(places.into_iter().zip(data).map(row).collect())
    }
}
