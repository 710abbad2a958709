//! Conditions without a tenant: the scope adds its own, and nobody else can.

use crate::domain::query::{Bounds, NodeFilter, RunFilter, TextFilter, TimeRange};
use crate::domain::{AppId, RecordId, TenantId};

/// Conditions on runs, as [`RunFilter`]; the default finds all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunQuery {
    pub app_id: Option<AppId>,
    pub workflow_id: Option<RecordId>,
    pub types: Vec<Box<str>>,
    pub statuses: Vec<Box<str>>,
    pub triggered_from: Vec<Box<str>>,
    pub created: TimeRange,
    pub created_by: Option<RecordId>,
    /// Seconds.
    pub elapsed_time: Bounds<f64>,
    pub total_tokens: Bounds<i64>,
    pub text: Option<TextFilter>,
}

impl RunQuery {
    pub(super) fn within(&self, tenant_id: TenantId) -> RunFilter {
        let query = self.clone();
        RunFilter {
            tenant_id,
            app_id: query.app_id,
            workflow_id: query.workflow_id,
            types: query.types,
            statuses: query.statuses,
            triggered_from: query.triggered_from,
            created: query.created,
            created_by: query.created_by,
            elapsed_time: query.elapsed_time,
            total_tokens: query.total_tokens,
            text: query.text,
        }
    }
}

/// Conditions on node executions, as [`NodeFilter`]; the default finds all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeQuery {
    pub app_id: Option<AppId>,
    pub workflow_id: Option<RecordId>,
    pub workflow_run_id: Option<RecordId>,
    /// Id within the graph.
    pub node_id: Option<Box<str>>,
    pub node_types: Vec<Box<str>>,
    pub statuses: Vec<Box<str>>,
    pub triggered_from: Vec<Box<str>>,
    pub created: TimeRange,
    pub created_by: Option<RecordId>,
    /// Seconds.
    pub elapsed_time: Bounds<f64>,
    pub text: Option<TextFilter>,
}

impl NodeQuery {
    pub(super) fn within(&self, tenant_id: TenantId) -> NodeFilter {
        let query = self.clone();
        NodeFilter {
            tenant_id,
            app_id: query.app_id,
            workflow_id: query.workflow_id,
            workflow_run_id: query.workflow_run_id,
            node_id: query.node_id,
            node_types: query.node_types,
            statuses: query.statuses,
            triggered_from: query.triggered_from,
            created: query.created,
            created_by: query.created_by,
            elapsed_time: query.elapsed_time,
            text: query.text,
        }
    }
}
