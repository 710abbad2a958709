//! Node executions: one, the last of a node, all of a run.

use futures::Stream;

use super::{NodeQuery, QueryError, TenantLogs};
use crate::domain::query::{Direction, NodeSummary, Page, SortBy};
use crate::domain::{AppId, Document, Kind, RecordId};

/// Light rows per question while all nodes of a run are read.
const STRETCH: usize = 1000;

impl TenantLogs {
    /// One node execution with its payloads. Sees every acknowledged write.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn node(&self, id: RecordId) -> Result<Option<Document>, QueryError> {
        let found = self.reader.record(Kind::NodeExecution, id).await?;
        Ok(found.map(|document| self.shown(document)))
    }

    /// Returns the newest execution of a node of a workflow, single steps included, whatever its status.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn last_node(
        &self,
        app_id: AppId,
        workflow_id: RecordId,
        node_id: &str,
    ) -> Result<Option<Document>, QueryError> {
        let query = NodeQuery {
            app_id: Some(app_id),
            workflow_id: Some(workflow_id),
            node_id: Some(node_id.into()),
            ..NodeQuery::default()
        };
        let newest = self.reader.nodes(&query, &Page::newest(1)).await?;
        match newest.first() {
            Some(newest) => self.node(newest.id).await,
            None => Ok(None),
        }
    }

    /// Returns every node execution of a run with its payloads, by `created_at`, then id. Any number, in constant
    /// memory.
    pub fn run_nodes(
        &self,
        app_id: Option<AppId>,
        run_id: RecordId,
    ) -> impl Stream<Item = Result<Document, QueryError>> + Send + use<> {
        let query = NodeQuery { app_id, workflow_run_id: Some(run_id), ..NodeQuery::default() };
        self.export(&query, Direction::Ascending)
    }

    /// Returns every node execution of a run without payloads, by `created_at`, then index: what replays a stream of
    /// events.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn node_snapshots(
        &self,
        app_id: Option<AppId>,
        run_id: RecordId,
    ) -> Result<Vec<NodeSummary>, QueryError> {
        let query = NodeQuery { app_id, workflow_run_id: Some(run_id), ..NodeQuery::default() };
        let mut page = Page { sort: SortBy::CreatedAt, direction: Direction::Ascending, after: None, limit: STRETCH };
        let mut all = Vec::new();
        loop {
            let stretch = self.reader.nodes(&query, &page).await?;
            page.after = stretch.last().map(NodeSummary::position);
            let is_last = stretch.len() < STRETCH;
            all.extend(stretch);
            if is_last {
                break;
            }
        }
        all.sort_by_key(|node| (node.created_at, node.index, node.id));
        Ok(all)
    }
}
