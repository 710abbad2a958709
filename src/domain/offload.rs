//! `workflow_node_execution_offload`: where Dify put the full text of a payload that it truncated.

use super::schema::Type::{Id, Instant, Varchar};
use super::schema::{Column, column};
use super::{AppId, RecordId, TenantId, Timestamp};

/// A row of `workflow_node_execution_offload`, with the column names of the table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Offload {
    pub id: RecordId,
    pub tenant_id: TenantId,
    pub app_id: AppId,
    /// `None`: an orphan.
    pub node_execution_id: Option<RecordId>,
    /// `inputs`, `process_data` or `outputs`.
    pub r#type: Box<str>,
    /// `upload_files.id` in Dify's database.
    pub file_id: RecordId,
    pub created_at: Timestamp,
}

impl Offload {
    pub(super) const COLUMNS: &[Column] = &[
        column!(Offload, "id", id, Id),
        column!(Offload, "tenant_id", tenant_id, Id),
        column!(Offload, "app_id", app_id, Id),
        column!(Offload, "node_execution_id", node_execution_id, Id).nullable(),
        column!(Offload, "type", r#type, Varchar(20)),
        column!(Offload, "file_id", file_id, Id),
        column!(Offload, "created_at", created_at, Instant),
    ];
}
