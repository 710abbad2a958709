//! `workflow_app_logs`: one record per run of a published workflow app. Never updated.

use super::schema::Type::{Id, Instant, Varchar};
use super::schema::{Column, column};
use super::{AppId, RecordId, TenantId, Timestamp};

/// A row of `workflow_app_logs`, with the column names of the table.
#[derive(Debug, Clone, PartialEq, Default)]
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

impl AppLog {
    pub(super) const COLUMNS: &[Column] = &[
        column!(AppLog, "id", id, Id),
        column!(AppLog, "tenant_id", tenant_id, Id),
        column!(AppLog, "app_id", app_id, Id),
        column!(AppLog, "workflow_id", workflow_id, Id),
        column!(AppLog, "workflow_run_id", workflow_run_id, Id),
        column!(AppLog, "created_from", created_from, Varchar(255)),
        column!(AppLog, "created_by_role", created_by_role, Varchar(255)),
        column!(AppLog, "created_by", created_by, Id),
        column!(AppLog, "creator", creator, Varchar(255)).nullable().ours(),
        column!(AppLog, "created_at", created_at, Instant),
    ];
}
