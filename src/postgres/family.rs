//! What a cleanup reads, locks and deletes: runs that ended, with all that is their own, and rows whose parent is gone.
//!
//! Each batch is one short transaction. The node executions of a run are found by all columns that either of Dify's
//! indexes needs, so the same statement is a look-up in every version of Dify. It never deletes a row that was not locked
//! in the transaction.

use deadpool_postgres::Transaction;
use uuid::Uuid;

use super::candidates::{bounds, bytes_of, has_ended, naive, size_of};
use super::catalogue::{Catalogue, CatalogueTable, Reference};
use super::error::PostgresError;
use super::lookup::{self, OffloadedPayload, uuids};
use super::pool::Client;
use super::row::RowRecord;
use crate::domain::query::TimeRange;
use crate::domain::{Kind, RecordId, TenantId, Timestamp};

/// What `triggered_from` of a node execution that belongs to a run can be.
const OF_A_RUN: [&str; 2] = ["workflow-run", "rag-pipeline-run"];

/// A row that is locked for the length of the transaction (in a dry run: only looked at).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub kind: Kind,
    pub id: RecordId,
    pub tenant_id: TenantId,
    /// The run that it belongs to, or itself.
    pub family: RecordId,
    /// Bytes of its texts as PostgreSQL keeps them.
    pub bytes: u64,
}

/// A run, with what its nodes are found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockedRun {
    pub member: Member,
    app_id: Uuid,
    workflow_id: Uuid,
    /// Dify keeps a pause of it.
    pub paused: bool,
}

/// One batch: a transaction that is read-only unless it may delete.
pub struct Batch<'c> {
    transaction: Transaction<'c>,
    catalogue: &'c Catalogue,
    deletes: bool,
}

impl<'c> Batch<'c> {
    /// # Errors
    /// [`PostgresError`] if the transaction cannot begin.
    pub async fn begin(
        client: &'c mut Client,
        catalogue: &'c Catalogue,
        deletes: bool,
        lock_timeout_ms: u32,
    ) -> Result<Self, PostgresError> {
        let transaction = client.build_transaction().read_only(!deletes).start().await?;
        transaction.batch_execute(&format!("SET LOCAL lock_timeout = {lock_timeout_ms}")).await?;
        Ok(Self { transaction, catalogue, deletes })
    }

    /// Returns the runs among these that have ended, or began before `unended_before`, and that no other session holds.
    ///
    /// # Errors
    /// [`PostgresError`] if it cannot be read; then the transaction is of no more use.
    pub async fn runs(
        &self,
        ids: &[RecordId],
        created: TimeRange,
        unended_before: Option<Timestamp>,
    ) -> Result<Vec<LockedRun>, PostgresError> {
        let statement = runs_statement(self.catalogue, self.deletes)?;
        let (from, until) = bounds(created);
        let (nothing, _) = bounds(TimeRange::default());
        let unended = unended_before.map_or(nothing, naive);
        let rows = self.transaction.query(&statement, &[&uuids(ids), &from, &until, &unended]).await?;
        let run = |row: &tokio_postgres::Row| {
            let id = RecordId::new(row.try_get(0)?);
            let member = Member {
                kind: Kind::WorkflowRun,
                id,
                tenant_id: TenantId::new(row.try_get(1)?),
                family: id,
                bytes: bytes_of(row.try_get(2)?),
            };
            Ok(LockedRun { member, app_id: row.try_get(3)?, workflow_id: row.try_get(4)?, paused: row.try_get(5)? })
        };
        rows.iter().map(run).collect()
    }

    /// Returns the node executions of runs.
    ///
    /// # Errors
    /// [`PostgresError`], as in [`Self::runs`].
    pub async fn nodes_of(&self, runs: &[LockedRun]) -> Result<Vec<Member>, PostgresError> {
        let statement = nodes_statement(self.catalogue, self.deletes)?;
        // One entry per run and trigger: an index that has `triggered_from` before the run is used in full.
        let entries = || runs.iter().flat_map(|run| OF_A_RUN.map(|trigger| (run, trigger)));
        let tenants: Vec<Uuid> = entries().map(|(run, _)| run.member.tenant_id.uuid()).collect();
        let apps: Vec<Uuid> = entries().map(|(run, _)| run.app_id).collect();
        let workflows: Vec<Uuid> = entries().map(|(run, _)| run.workflow_id).collect();
        let triggers: Vec<&str> = entries().map(|(_, trigger)| trigger).collect();
        let ids: Vec<Uuid> = entries().map(|(run, _)| run.member.id.uuid()).collect();
        let rows = self.transaction.query(&statement, &[&tenants, &apps, &workflows, &triggers, &ids]).await?;
        members(Kind::NodeExecution, &rows)
    }

    /// Returns the app logs of runs, or the offloads of nodes; the family is the parent.
    ///
    /// # Errors
    /// [`PostgresError`], as in [`Self::runs`].
    pub async fn children_of(&self, kind: Kind, parents: &[RecordId]) -> Result<Vec<Member>, PostgresError> {
        let Some(statement) = children_statement(self.catalogue, kind, self.deletes)? else { return Ok(Vec::new()) };
        let rows = self.transaction.query(&statement, &[&uuids(parents)]).await?;
        members(kind, &rows)
    }

    /// Rows by their own keys; each is its own family.
    ///
    /// # Errors
    /// [`PostgresError`], as in [`Self::runs`].
    pub async fn rows_alone(&self, kind: Kind, ids: &[RecordId]) -> Result<Vec<Member>, PostgresError> {
        let Some(statement) = alone_statement(self.catalogue, kind, self.deletes)? else { return Ok(Vec::new()) };
        let rows = self.transaction.query(&statement, &[&uuids(ids)]).await?;
        members(kind, &rows)
    }

    /// Whole rows.
    ///
    /// # Errors
    /// [`PostgresError`], as in [`Self::runs`].
    pub async fn rows(&self, kind: Kind, ids: &[RecordId]) -> Result<Vec<RowRecord>, PostgresError> {
        lookup::rows(&self.transaction, self.catalogue, kind, ids).await
    }

    /// Returns the payloads of a node execution that Dify truncated in its row.
    ///
    /// # Errors
    /// [`PostgresError`], as in [`Self::runs`].
    pub async fn offloaded(&self, node_id: RecordId, keys: bool) -> Result<Vec<OffloadedPayload>, PostgresError> {
        lookup::offloaded(&self.transaction, self.catalogue, &[node_id], keys).await
    }

    /// Returns which of these rows a column of another table refers to.
    ///
    /// # Errors
    /// [`PostgresError`], as in [`Self::runs`].
    pub async fn referenced(&self, reference: &Reference, ids: &[RecordId]) -> Result<Vec<RecordId>, PostgresError> {
        lookup::referenced(&self.transaction, reference, ids).await
    }

    /// Deletes rows that this transaction has locked. Returns how many.
    ///
    /// # Errors
    /// [`PostgresError`], as in [`Self::runs`].
    pub async fn delete(&self, kind: Kind, ids: &[RecordId]) -> Result<u64, PostgresError> {
        let Some(table) = self.catalogue.table_of(kind)? else { return Ok(0) };
        let statement = format!("DELETE FROM {} WHERE id = ANY($1)", table.name);
        Ok(self.transaction.execute(&statement, &[&uuids(ids)]).await?)
    }

    /// Makes the deletions last.
    ///
    /// # Errors
    /// [`PostgresError`], as in [`Self::runs`].
    pub async fn commit(self) -> Result<(), PostgresError> {
        Ok(self.transaction.commit().await?)
    }
}

fn members(kind: Kind, rows: &[tokio_postgres::Row]) -> Result<Vec<Member>, PostgresError> {
    let member = |row: &tokio_postgres::Row| {
        Ok(Member {
            kind,
            id: RecordId::new(row.try_get(0)?),
            tenant_id: TenantId::new(row.try_get(1)?),
            bytes: bytes_of(row.try_get(2)?),
            family: RecordId::new(row.try_get(3)?),
        })
    };
    rows.iter().map(member).collect()
}

/// Returns the statement of [`Batch::runs`].
///
/// # Errors
/// [`PostgresError::Schema`] if the table is not there or lacks columns.
pub fn runs_statement(catalogue: &Catalogue, lock: bool) -> Result<String, PostgresError> {
    let table = needed(catalogue, Kind::WorkflowRun)?;
    let paused = match catalogue.table("workflow_pauses") {
        Some(pauses) => format!("EXISTS (SELECT FROM {} p WHERE p.workflow_run_id = t.id)", pauses.name),
        None => "false".to_owned(),
    };
    let mut statement = format!(
        "SELECT t.id, t.tenant_id, {size}, t.app_id, t.workflow_id, {paused} FROM {name} t WHERE t.id = ANY($1) \
         AND ({ended} OR t.created_at < $4::timestamp) AND t.created_at >= $2::timestamp \
         AND t.created_at < $3::timestamp",
        ended = has_ended(Kind::WorkflowRun),
        size = size_of(table),
        name = table.name,
    );
    if lock {
        statement.push_str(" FOR UPDATE OF t SKIP LOCKED");
    }
    Ok(statement)
}

/// Returns the statement of [`Batch::nodes_of`].
///
/// # Errors
/// [`PostgresError::Schema`] if the table is not there or lacks columns.
pub fn nodes_statement(catalogue: &Catalogue, lock: bool) -> Result<String, PostgresError> {
    let table = needed(catalogue, Kind::NodeExecution)?;
    Ok(format!(
        "SELECT t.id, t.tenant_id, {size}, t.workflow_run_id \
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::uuid[]) \
         AS r(tenant_id, app_id, workflow_id, triggered_from, id) JOIN {name} t ON t.tenant_id = r.tenant_id \
         AND t.app_id = r.app_id AND t.workflow_id = r.workflow_id AND t.triggered_from = r.triggered_from \
         AND t.workflow_run_id = r.id{lock}",
        size = size_of(table),
        name = table.name,
        lock = if lock { " FOR UPDATE OF t" } else { "" },
    ))
}

/// Returns the statement of [`Batch::children_of`].
///
/// # Errors
/// [`PostgresError::Schema`] if the table is not there or lacks columns.
pub fn children_statement(catalogue: &Catalogue, kind: Kind, lock: bool) -> Result<Option<String>, PostgresError> {
    let parent = if kind == Kind::Offload { "node_execution_id" } else { "workflow_run_id" };
    by_column(catalogue, kind, parent, lock)
}

/// Returns the statement of [`Batch::rows_alone`].
///
/// # Errors
/// [`PostgresError::Schema`] if the table is not there or lacks columns.
pub fn alone_statement(catalogue: &Catalogue, kind: Kind, lock: bool) -> Result<Option<String>, PostgresError> {
    by_column(catalogue, kind, "id", lock)
}

fn by_column(catalogue: &Catalogue, kind: Kind, column: &str, lock: bool) -> Result<Option<String>, PostgresError> {
    let Some(table) = catalogue.table_of(kind)? else { return Ok(None) };
    Ok(Some(format!(
        "SELECT t.id, t.tenant_id, {size}, t.{column} FROM {name} t WHERE t.{column} = ANY($1){lock}",
        size = size_of(table),
        name = table.name,
        lock = if lock { " FOR UPDATE" } else { "" },
    )))
}

fn needed(catalogue: &Catalogue, kind: Kind) -> Result<&CatalogueTable, PostgresError> {
    catalogue.table_of(kind)?.ok_or_else(|| PostgresError::Schema(format!("the database has no table of {kind}")))
}
