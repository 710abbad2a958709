//! `workflow_app_logs`: one record per run of a published workflow app. Never updated.

use super::{AppId, RecordId, TenantId, Timestamp};

/// A row of `workflow_app_logs`, with the column names of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct AppLog {
    pub id: RecordId,
    pub tenant_id: TenantId,
    pub app_id: AppId,
    pub workflow_id: RecordId,
    pub workflow_run_id: RecordId,
    /// `service-api`, `web-app` or `installed-app`.
    pub created_from: Box<str>,
    pub created_by_role: Box<str>,
    pub created_by: RecordId,
    /// Not a column of Dify's: the session id of an end user, or the e-mail of an account, where the event or the
    /// migration carried it along.
    pub creator: Option<Box<str>>,
    /// Whole seconds in Dify's own rows: ties are the rule.
    pub created_at: Timestamp,
}
