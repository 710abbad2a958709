//! What is old enough to go, for whoever cleans up.

use super::delete::oldest;
use super::{NodeQuery, QueryError, RunQuery, TenantLogs};
use crate::domain::Timestamp;
use crate::domain::query::{NodeSummary, RunSummary, TimeRange};

impl TenantLogs {
    /// The oldest runs that started before an instant, whatever their status.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn expired_runs(&self, before: Timestamp, limit: usize) -> Result<Vec<RunSummary>, QueryError> {
        let created = TimeRange { from: None, until: Some(before) };
        let filter = RunQuery { created, ..RunQuery::default() }.within(self.tenant_id);
        Ok(self.ports.queries.runs(&filter, &oldest(None, limit)).await?)
    }

    /// The oldest node executions that started before an instant.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn expired_nodes(&self, before: Timestamp, limit: usize) -> Result<Vec<NodeSummary>, QueryError> {
        let created = TimeRange { from: None, until: Some(before) };
        let filter = NodeQuery { created, ..NodeQuery::default() }.within(self.tenant_id);
        Ok(self.ports.queries.nodes(&filter, &oldest(None, limit)).await?)
    }
}
