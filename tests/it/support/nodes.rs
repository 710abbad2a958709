//! The nodes of a run, as a store lists them.

use difylog::domain::query::{Content, Direction, ListFilter, NodeQuery, Page, SortBy};
use difylog::domain::{Document, RecordId, TenantId};
use difylog::store::{LogReader, StoreError};

/// All nodes of a run with their payloads, by `created_at`, then id, in short stretches.
pub async fn nodes_of_run(
    store: &(impl LogReader + ?Sized),
    tenant_id: TenantId,
    run_id: RecordId,
) -> Result<Vec<Document>, StoreError> {
    let filter =
        ListFilter::Nodes(NodeQuery { workflow_run_id: Some(run_id), ..NodeQuery::default() }.within(tenant_id));
    let mut page = Page { sort: SortBy::CreatedAt, direction: Direction::Ascending, after: None, limit: 100 };
    let mut nodes = Vec::new();
    loop {
        let found = store.documents(&filter, &page, Content::Full).await?;
        nodes.extend(found.documents);
        match found.next {
            Some(next) => page.after = Some(next),
            None => return Ok(nodes),
        }
    }
}
