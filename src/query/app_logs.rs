//! The app-log list, as Dify's log page asks for it.

use super::{Creators, QueryError, TenantLogs};
use crate::domain::query::{AppLogFilter, AppLogPage, AppLogRow, LogKeyword, TimeRange};
use crate::domain::{AppId, Document, Kind, Record, RecordId, Timestamp};

/// Dify looks for the first characters of a keyword only.
pub const KEYWORD_CHARS: usize = 30;

/// A page of an app's logs.
#[derive(Debug, Clone, PartialEq)]
pub struct AppLogQuery {
    pub app_id: AppId,
    /// Found in the run's inputs or outputs, in an end user's session id, or the id of the run. Its first
    /// [`KEYWORD_CHARS`] characters count. Empty: no filter.
    pub keyword: Option<String>,
    /// Status of the log's run. Empty: no filter.
    pub status: Option<Box<str>>,
    /// Inclusive, of the log.
    pub created_at_after: Option<Timestamp>,
    /// Inclusive, of the log.
    pub created_at_before: Option<Timestamp>,
    /// Exact session id of an end user. Where nobody knows names, it is compared with what the logs carry along.
    pub session_id: Option<String>,
    /// Exact e-mail of an account; so too.
    pub account: Option<String>,
    /// From 1 on.
    pub page: u64,
    /// At least 1.
    pub limit: usize,
}

/// The page.
#[derive(Debug, Clone, PartialEq)]
pub struct AppLogList {
    pub rows: Vec<AppLogRow>,
    pub creators: Creators,
    /// Exact.
    pub total: u64,
    pub has_more: bool,
    /// Logs may be missing: the directory could not be asked for the keyword's end users, the keyword finds more end users than are looked at, or the names that are asked for are only
    /// known as far as logs carry them.
    pub incomplete: bool,
}

/// The creators whose logs are asked for.
#[derive(Default)]
struct AskedCreator {
    role: Option<&'static str>,
    /// Any of these; empty: any at all.
    ids: Vec<RecordId>,
    /// What the logs themselves carry.
    carried: Option<Box<str>>,
}

impl AskedCreator {
    fn known(role: &'static str, ids: Vec<RecordId>) -> Self {
        Self { role: Some(role), ids, carried: None }
    }

    fn carried(role: &'static str, text: String) -> Self {
        Self { role: Some(role), ids: Vec::new(), carried: Some(text.into()) }
    }
}

impl TenantLogs {
    /// Returns a page of app logs, newest first, ties by descending id, with the creators' names as far as they are
    /// known.
    ///
    /// # Errors
    /// [`QueryError::AccountNotFound`], or a store or directory that cannot be asked.
    pub async fn app_logs(&self, query: &AppLogQuery) -> Result<AppLogList, QueryError> {
        let offset = query.page.saturating_sub(1).saturating_mul(query.limit as u64);
        self.app_log_rows(query, offset, query.limit).await
    }

    /// As [`Self::app_logs`], the `limit` rows from `offset` on in the place of the page's own.
    ///
    /// # Errors
    /// As [`Self::app_logs`].
    pub async fn app_log_rows(&self, query: &AppLogQuery, offset: u64, limit: usize) -> Result<AppLogList, QueryError> {
        let (filter, incomplete) = self.app_log_filter(query).await?;
        let AppLogPage { rows, total } = match filter {
            Some(filter) => self.reader.app_logs(filter, offset, limit).await?,
            None => AppLogPage::default(),
        };
        let of_row = |row: &AppLogRow| row.log.created_by;
        let mut creators = self.creators(rows.iter().map(|row| (&*row.log.created_by_role, of_row(row)))).await;
        creators.fill_from(&rows);
        let has_more = total > query.page.saturating_mul(query.limit as u64);
        Ok(AppLogList { rows, creators, total, has_more, incomplete })
    }

    /// Returns the filter of a query, or `None` where nothing can be found.
    async fn app_log_filter(&self, query: &AppLogQuery) -> Result<(Option<AppLogFilter>, bool), QueryError> {
        let Some(creator) = self.asked_creator(query).await? else { return Ok((None, false)) };
        let (keyword, incomplete) = match query.keyword.as_deref().filter(|keyword| !keyword.is_empty()) {
            Some(keyword) => self.log_keyword(keyword).await,
            None => (None, false),
        };
        let incomplete = incomplete || creator.carried.is_some();
        // Inclusive to half-open: instants are whole microseconds.
        let until = query.created_at_before.and_then(|at| Timestamp::from_micros(at.micros() + 1).ok());
        let filter = AppLogFilter {
            tenant_id: self.tenant_id(),
            apps: self.apps().clone(),
            app_id: query.app_id,
            created: TimeRange { from: query.created_at_after, until },
            created_by_role: creator.role.map(Into::into),
            created_by: creator.ids,
            creator: creator.carried,
            run_status: query.status.clone().filter(|status| !status.is_empty()),
            keyword,
        };
        Ok((Some(filter), incomplete))
    }

    /// Returns whose logs are asked for; `None`: nobody's.
    async fn asked_creator(&self, query: &AppLogQuery) -> Result<Option<AskedCreator>, QueryError> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (session_id, email) = (given(&query.session_id), given(&query.account));
        let directory = self.reader.directory();
        if !directory.knows_everybody() {
            return Ok(match (session_id, email) {
                (None, None) => Some(AskedCreator::default()),
                (Some(session_id), None) => Some(AskedCreator::carried("end_user", session_id)),
                (None, Some(email)) => Some(AskedCreator::carried("account", email)),
                // Nobody is an end user and an account.
                (Some(_), Some(_)) => None,
            });
        }
        // Whatever else is asked for, an account that is not there is said.
        let account = match &email {
            Some(email) => {
                let account = directory.account_of_email(self.tenant_id(), email).await?;
                Some(account.ok_or_else(|| QueryError::AccountNotFound(email.chars().take(320).collect()))?)
            }
            None => None,
        };
        Ok(match (session_id, account) {
            (None, None) => Some(AskedCreator::default()),
            (None, Some(account)) => Some(AskedCreator::known("account", vec![account])),
            (Some(session_id), None) => {
                let end_users = directory.end_users_of_session(self.tenant_id(), &session_id).await?;
                (!end_users.is_empty()).then(|| AskedCreator::known("end_user", end_users))
            }
            (Some(_), Some(_)) => None,
        })
    }

    async fn log_keyword(&self, whole: &str) -> (Option<LogKeyword>, bool) {
        let keyword: String = whole.chars().take(KEYWORD_CHARS).collect();
        // The store finds what runs say; without the directory, only session ids are not searched.
        let matches = self.reader.directory().end_users_matching(self.tenant_id(), &keyword).await.unwrap_or_default();
        let run_id = whole.parse::<RecordId>().ok();
        (Some(LogKeyword { keyword, run_id, end_users: matches.ids }), !matches.complete)
    }

    /// Returns the app logs of a run, oldest first.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn app_logs_of_run(&self, run_id: RecordId) -> Result<Vec<Document>, QueryError> {
        let children = self.reader.children(&[run_id]).await?;
        let ids: Vec<_> = children.keys().iter().filter(|key| key.kind == Kind::AppLog).map(|key| key.id).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut logs = self.reader.records(Kind::AppLog, &ids).await?;
        logs.retain(|document| matches!(document.record, Record::AppLog(_)));
        logs.sort_by_key(|document| (document.record.created_at(), document.record.id()));
        Ok(logs.into_iter().map(|document| self.shown(document)).collect())
    }
}
