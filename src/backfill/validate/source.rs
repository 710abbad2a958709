//! PostgreSQL's side of a comparison: pages of whole rows, bounded in bytes.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use uuid::Uuid;

use super::ValidationRequest;
use crate::backfill::LifeError;
use crate::domain::query::TimeRange;
use crate::domain::{Kind, RecordId, TenantId};
use crate::postgres::lookup::OffloadedPayload;
use crate::postgres::{
    Catalogue, Client, Database, PostgresError, Range, RowRecord, RowSelection, TableWalk, WalkOrder, WalkPlace,
    WalkRow, lookup,
};

/// Entries of the index that one statement reads.
const STEP: u32 = 5_000;
/// What a page of whole rows may hold.
const PAGE_ROWS: usize = 500;
const PAGE_BYTES: usize = 8 << 20;

/// The database, with its catalogue as it was at the start.
pub struct SourceDatabase<'a> {
    database: &'a Database,
    pub catalogue: Catalogue,
    tenants: &'a [TenantId],
    pub plans: Vec<String>,
}

type Rows = Pin<Box<dyn Stream<Item = Result<WalkRow, PostgresError>> + Send>>;

/// A walk over whole rows, as the server sends them.
pub struct RowWalk {
    /// `None`: the database has no such table, or the walk is at its end.
    walk: Option<TableWalk>,
    client: Client,
    after: Option<WalkPlace>,
    rows: Option<Rows>,
}

impl<'a> SourceDatabase<'a> {
    pub async fn open(database: &'a Database, request: &'a ValidationRequest) -> Result<Self, LifeError> {
        let catalogue = Catalogue::read(&database.client().await?).await?;
        let mut source = Self { database, catalogue, tenants: &request.tenants, plans: Vec::new() };
        for kind in request.kinds.iter().copied() {
            let walk = source.plan(kind, request.created)?;
            source.plans.extend(walk.map(|walk| walk.describe()));
        }
        source.plans.extend(source.catalogue.describe_unknown_columns());
        Ok(source)
    }

    fn plan(&self, kind: Kind, created: TimeRange) -> Result<Option<TableWalk>, LifeError> {
        let selection = RowSelection { tenants: self.tenants.to_vec(), created, changed_since: None, ids: None };
        Ok(TableWalk::plan(kind, &self.catalogue, selection, false)?)
    }

    /// Returns whether a kind can be walked by time.
    pub fn walks_by_time(&self, kind: Kind) -> Result<bool, LifeError> {
        Ok(self.plan(kind, TimeRange::default())?.is_some_and(|walk| walk.order() == WalkOrder::CreatedAt))
    }

    pub async fn walk(&self, kind: Kind, created: TimeRange) -> Result<RowWalk, LifeError> {
        let walk = self.plan(kind, created)?;
        Ok(RowWalk { walk, client: self.database.client().await?, after: None, rows: None })
    }

    pub async fn by_ids(&self, kind: Kind, ids: &[RecordId]) -> Result<Vec<RowRecord>, LifeError> {
        Ok(lookup::rows(&self.database.client().await?, &self.catalogue, kind, ids).await?)
    }

    pub async fn offloaded(&self, node_id: RecordId, keys: bool) -> Result<Vec<OffloadedPayload>, PostgresError> {
        lookup::offloaded(&self.database.client().await?, &self.catalogue, &[node_id], keys).await
    }

    pub async fn present(&self, kind: Kind, ids: &[RecordId]) -> Result<Vec<(TenantId, RecordId)>, LifeError> {
        Ok(lookup::present(&self.database.client().await?, &self.catalogue, kind, ids).await?)
    }

    pub async fn sample(&self, kind: Kind, points: &[Uuid]) -> Result<Vec<RowRecord>, LifeError> {
        Ok(lookup::sample(&self.database.client().await?, &self.catalogue, kind, self.tenants, points).await?)
    }
}

impl RowWalk {
    /// Returns the next rows; none at the end.
    pub async fn next(&mut self) -> Result<Vec<RowRecord>, LifeError> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        while page.len() < PAGE_ROWS && bytes < PAGE_BYTES {
            let Some(rows) = &mut self.rows else {
                let Some(walk) = &self.walk else { break };
                let through = walk.boundary(&self.client, self.after, STEP).await?;
                let rows = walk.read(&self.client, Range { after: self.after, through }).await?;
                self.rows = Some(Box::pin(rows));
                self.after = through;
                if through.is_none() {
                    self.walk = None;
                }
                continue;
            };
            let Some(row) = rows.next().await else {
                self.rows = None;
                continue;
            };
            let row = row?.row;
            bytes += row.bytes;
            page.push(row);
        }
        Ok(page)
    }
}
