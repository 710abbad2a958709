//! Dify's log page. The store answers; logs that reached it not yet, which are among the newest, are asked of Dify and put
//! in, so that total and pages are those of both.

use std::time::Duration;

use axum::response::Response;
use quick_cache::sync::Cache;
use serde_json::{Value, json as value};

use super::access::Access;
use super::answer::{PassOnReason, json, known};
use super::coverage::Coverage;
use super::merge::{ListRow, RowPlace, spliced};
use super::pages::{DifyPage, DifyRow, LARGEST, place_of};
use super::query::{Query, with_query};
use super::tables::Tables;
use super::upstream::{Credentials, Upstream, UpstreamFault};
use crate::domain::query::{AppLogRow, Cursor};
use crate::domain::{AppId, RecordId, TenantId, Timestamp};
use crate::http::api::views::LogView;
use crate::query::{AppLogQuery, Creators, TenantLogs};
use tokio::time::Instant;

/// Logs are written in order of time but for what a queue or a round of a migration shuffles: so far before the newest
/// stored one Dify may have some that the store has not.
const SHUFFLED_MICROS: i64 = 10 * 60 * 1_000_000;
/// Most logs of Dify's that are put in; if there are more, the store is far behind, and Dify answers.
const MAX_RECENT: usize = 500;
/// Apps whose newest log is remembered.
const REMEMBERED: usize = 10_000;
/// How long it is.
const AGE: Duration = Duration::from_secs(5);

/// Origins of runs of which Dify keeps what triggered them.
const TRIGGERS: [&str; 3] = ["webhook", "schedule", "plugin"];

/// Parameters of Dify's log page.
const KNOWN: [&str; 9] = [
    "keyword",
    "status",
    "created_at__before",
    "created_at__after",
    "created_by_end_user_session_id",
    "created_by_account",
    "detail",
    "page",
    "limit",
];

/// The sources of an answer.
pub(super) struct Sources<'a> {
    /// Dify's path of the log page.
    pub path: &'a str,
    pub logs: &'a TenantLogs,
    pub dify: &'a Upstream,
    pub credentials: &'a Credentials,
    pub coverage: &'a Coverage,
    pub newest: &'a Newest,
    pub tables: &'a Tables,
}

/// When the newest log of an app was made, as of some seconds ago: each page asks for it, and an older answer only makes
/// the bridge look further back into Dify's list.
pub(super) struct Newest(Cache<(TenantId, AppId), (Instant, Timestamp)>);

impl Newest {
    pub(super) fn new() -> Self {
        Self(Cache::new(REMEMBERED))
    }

    async fn of(&self, access: &Access, logs: &TenantLogs) -> Result<Timestamp, PassOnReason> {
        let name = (access.tenant_id, access.app_id);
        if let Some((until, at)) = self.0.get(&name)
            && Instant::now() < until
        {
            return Ok(at);
        }
        let everything = AppLogQuery {
            app_id: access.app_id,
            keyword: None,
            status: None,
            created_at_after: None,
            created_at_before: None,
            session_id: None,
            account: None,
            page: 1,
            limit: 1,
        };
        let newest = logs.app_log_rows(&everything, 0, 1).await?.rows.into_iter().next();
        let at = newest.map(|AppLogRow { log, .. }| log.created_at);
        let at = at.ok_or(PassOnReason::Dify("the store has no log of the app"))?;
        self.0.insert(name, (Instant::now() + AGE, at));
        Ok(at)
    }
}

/// Returns a page of an app's logs with the exact total.
///
/// # Errors
/// [`PassOnReason`] where Dify should answer.
pub(super) async fn page(query: &Query, access: &Access, sources: &Sources<'_>) -> Result<Response, PassOnReason> {
    query.only(&KNOWN)?;
    let detail = query.text("detail").map(str::to_lowercase);
    let is_detailed = detail.is_some_and(|detail| matches!(detail.as_str(), "1" | "true" | "yes" | "on"));
    let asked = asked(query, access)?;
    sources.coverage.need(access.tenant_id).await?;
    let extra = recent(query, access, sources).await?;
    let offset = asked.page.saturating_sub(1).saturating_mul(asked.limit as u64);
    let begin = offset.saturating_sub(extra.len() as u64);
    let list = sources.logs.app_log_rows(&asked, begin, asked.limit + extra.len()).await?;
    if list.incomplete {
        return Err(PassOnReason::Dify("a filter that needs names which are not at hand"));
    }
    let total = list.total + extra.len() as u64;
    let creators = known(list.creators)?;
    let stored = list.rows.into_iter().map(|row| {
        let cursor = Cursor { created_at: row.log.created_at, id: row.log.id };
        ListRow { id: cursor.id, place: RowPlace::Stored(cursor), value: Entry::Stored(Box::new(row)) }
    });
    let rows = spliced(begin, stored.collect(), extra, offset, asked.limit);
    let data = shown(rows, &creators, is_detailed, access, sources).await?;
    let has_more = total > asked.page.saturating_mul(asked.limit as u64);
    Ok(json(&value!({ "page": asked.page, "limit": asked.limit, "total": total, "has_more": has_more, "data": data })))
}

/// A log of either source.
enum Entry {
    Stored(Box<AppLogRow>),
    /// As Dify shows it.
    Difys(Value),
}

impl Entry {
    const fn stored(&self) -> Option<&AppLogRow> {
        match self {
            Self::Stored(row) => Some(row),
            Self::Difys(_) => None,
        }
    }
}

/// Returns the rows of the page in Dify's shape. What is read for them is read for these rows alone.
async fn shown(
    rows: Vec<ListRow<Entry>>,
    creators: &Creators,
    is_detailed: bool,
    access: &Access,
    sources: &Sources<'_>,
) -> Result<Vec<Value>, PassOnReason> {
    let stored = || rows.iter().filter_map(|row| row.value.stored());
    let errors = sources.logs.run_errors(stored().filter_map(|row| row.run.as_ref())).await?;
    let errors = errors.ok_or(PassOnReason::Dify("a page whose error texts are too large to put together here"))?;
    let may_be_noted = |row: &&AppLogRow| row.run.as_ref().is_none_or(|run| TRIGGERS.contains(&&*run.triggered_from));
    let triggered = stored().filter(|_| is_detailed).filter(may_be_noted).map(|row| row.log.workflow_run_id);
    let notes = sources.tables.trigger_metadata(access, &triggered.collect::<Vec<_>>()).await?;
    let value_of = |row: AppLogRow| {
        let details = notes.get(&row.log.workflow_run_id).cloned().unwrap_or_else(|| value!({}));
        // Logs may be of one run.
        let error = row.run.as_ref().and_then(|run| errors.get(&run.id).cloned());
        let mut value = serde_json::to_value(LogView::new(row, creators, error)).unwrap_or_default();
        if let (true, Some(fields)) = (is_detailed, value.as_object_mut()) {
            fields.insert("details".to_owned(), value!({ "trigger_metadata": details }));
        }
        value
    };
    let data = rows.into_iter().map(|row| match row.value {
        Entry::Stored(row) => value_of(*row),
        Entry::Difys(value) => value,
    });
    Ok(data.collect())
}

fn asked(query: &Query, access: &Access) -> Result<AppLogQuery, PassOnReason> {
    let text = |name: &str| query.text(name).map(str::to_owned);
    Ok(AppLogQuery {
        app_id: access.app_id,
        keyword: text("keyword"),
        status: query.text("status").map(Into::into),
        created_at_after: query.instant("created_at__after")?,
        created_at_before: query.instant("created_at__before")?,
        session_id: text("created_by_end_user_session_id"),
        account: text("created_by_account"),
        page: query.number("page", 1, 1, 99_999)? as u64,
        limit: query.number("limit", 20, 1, 100)?,
    })
}

/// Returns the logs that the same question finds in Dify's table and that the store does not have.
async fn recent(query: &Query, access: &Access, sources: &Sources<'_>) -> Result<Vec<ListRow<Entry>>, PassOnReason> {
    let newest = sources.newest.of(access, sources.logs).await?;
    let since = Timestamp::from_micros(newest.micros().saturating_sub(SHUFFLED_MICROS)).unwrap_or(Timestamp::MIN);
    let since = query.instant("created_at__after")?.map_or(since, |asked| asked.max(since));
    let (mut extra, mut page) = (Vec::new(), 1);
    loop {
        let found = dify_page(query, sources, since, page).await?;
        let rows = rows(found.data)?;
        let ids: Vec<RecordId> = rows.iter().map(|row| row.id).collect();
        let stored = sources.logs.stored_app_logs(&ids).await?;
        extra.extend(rows.into_iter().filter(|row| !stored.contains(&row.id)));
        if !found.has_more {
            return Ok(extra);
        }
        if page * LARGEST >= MAX_RECENT {
            return Err(PassOnReason::Dify("the store is far behind Dify's logs"));
        }
        page += 1;
    }
}

async fn dify_page(
    query: &Query,
    sources: &Sources<'_>,
    since: Timestamp,
    page: usize,
) -> Result<DifyPage, PassOnReason> {
    let (since, page, limit) = (since.to_string(), page.to_string(), LARGEST.to_string());
    let filters =
        ["keyword", "status", "created_at__before", "created_by_end_user_session_id", "created_by_account", "detail"];
    let parameters = filters.into_iter().filter_map(|name| query.text(name).map(|text| (name, text))).chain([
        ("created_at__after", &*since),
        ("page", &*page),
        ("limit", &*limit),
    ]);
    let path = with_query(sources.path, parameters);
    let raw = sources.dify.get(&path, sources.credentials).await?;
    Ok(raw.json()?)
}

fn rows(data: Vec<DifyRow>) -> Result<Vec<ListRow<Entry>>, UpstreamFault> {
    let row =
        |row: DifyRow| place_of(&row).map(|(id, place)| ListRow { id, place, value: Entry::Difys(Value::Object(row)) });
    data.into_iter().map(row).collect()
}
