//! `workflow_node_execution_offload`: where Dify put the full text of a payload that it truncated.

use super::{AppId, RecordId, TenantId, Timestamp};

/// A row of `workflow_node_execution_offload`, with the column names of the table.
#[derive(Debug, Clone, PartialEq)]
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
