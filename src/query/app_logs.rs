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
    /// Exact session id of an end user.
    pub session_id: Option<String>,
    /// Exact e-mail of an account.
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
    /// The keyword finds more end users than are looked at: logs of others may be missing.
    pub incomplete: bool,
}

impl TenantLogs {
    /// A page of app logs, newest first, ties by descending id, with the creators' names as far as they are known.
    ///
    /// # Errors
    /// [`QueryError::AccountNotFound`], [`QueryError::NoNames`], or a store or directory that cannot be asked.
    pub async fn app_logs(&self, query: &AppLogQuery) -> Result<AppLogList, QueryError> {
        let (filter, incomplete) = self.app_log_filter(query).await?;
        let offset = query.page.saturating_sub(1).saturating_mul(query.limit as u64);
        let AppLogPage { rows, total } = match &filter {
            Some(filter) => self.ports.queries.app_logs(filter, offset, query.limit).await?,
            None => AppLogPage::default(),
        };
        let of_row = |row: &AppLogRow| row.log.created_by;
        let mut creators = self.creators(rows.iter().map(|row| (&*row.log.created_by_role, of_row(row)))).await?;
        creators.fill_from(&rows);
        let has_more = total > query.page.saturating_mul(query.limit as u64);
        Ok(AppLogList { rows, creators, total, has_more, incomplete })
    }

    /// The filter of a query, or `None` where nothing can be found.
    async fn app_log_filter(&self, query: &AppLogQuery) -> Result<(Option<AppLogFilter>, bool), QueryError> {
        let mut created_by = Vec::new();
        let mut created_by_role = None;
        if let Some(session_id) = query.session_id.as_deref().filter(|text| !text.is_empty()) {
            created_by =
                self.named("created_by_end_user_session_id")?.end_users_of_session(self.tenant_id, session_id).await?;
            created_by_role = Some("end_user".into());
            if created_by.is_empty() {
                return Ok((None, false));
            }
        }
        if let Some(email) = query.account.as_deref().filter(|text| !text.is_empty()) {
            let account = self.named("created_by_account")?.account_of_email(self.tenant_id, email).await?;
            let account = account.ok_or_else(|| QueryError::AccountNotFound(email.chars().take(320).collect()))?;
            if created_by_role.is_some() {
                // Nobody is an end user and an account.
                return Ok((None, false));
            }
            created_by.push(account);
            created_by_role = Some("account".into());
        }
        let (keyword, incomplete) = match query.keyword.as_deref().filter(|keyword| !keyword.is_empty()) {
            Some(keyword) => self.log_keyword(keyword).await?,
            None => (None, false),
        };
        // Inclusive to half-open: instants are whole microseconds.
        let until = query.created_at_before.and_then(|at| Timestamp::from_micros(at.micros() + 1).ok());
        let filter = AppLogFilter {
            tenant_id: self.tenant_id,
            app_id: query.app_id,
            created: TimeRange { from: query.created_at_after, until },
            created_by_role,
            created_by,
            run_status: query.status.clone().filter(|status| !status.is_empty()),
            keyword,
        };
        Ok((Some(filter), incomplete))
    }

    /// The directory, if it knows names.
    fn named(&self, filter: &'static str) -> Result<&dyn super::Directory, QueryError> {
        let directory = &*self.ports.directory;
        if directory.knows_names() { Ok(directory) } else { Err(QueryError::NoNames(filter)) }
    }

    async fn log_keyword(&self, whole: &str) -> Result<(Option<LogKeyword>, bool), QueryError> {
        let keyword: String = whole.chars().take(KEYWORD_CHARS).collect();
        let matches = self.ports.directory.end_users_matching(self.tenant_id, &keyword).await?;
        let run_id = whole.parse::<RecordId>().ok();
        Ok((Some(LogKeyword { keyword, run_id, end_users: matches.ids }), !matches.complete))
    }

    /// The app logs of a run, oldest first.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn app_logs_of_run(&self, run_id: RecordId) -> Result<Vec<Document>, QueryError> {
        let children = self.ports.scan.children(self.tenant_id, &[run_id]).await?;
        let ids: Vec<_> = children.iter().filter(|key| key.kind == Kind::AppLog).map(|key| key.id).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut logs = self.ports.queries.records(self.tenant_id, Kind::AppLog, &ids).await?;
        logs.retain(|document| matches!(document.record, Record::AppLog(_)));
        logs.sort_by_key(|document| (document.record.created_at(), document.record.id()));
        Ok(logs)
    }
}
