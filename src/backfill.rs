//! Rows of PostgreSQL into the store, and the two side by side.
//!
//! `migrate` walks Dify's tables in the order of an index and sends the rows, prepared as documents that carry the
//! migration's id, through the same flow as live messages; the chunks of a walk are its ledger, and its checkpoint moves
//! only over chunks whose every row is settled.
//!
//! `validate` compares both sides in a canonical form and writes a report; `cleanup` deletes from PostgreSQL what a report
//! vouches for and is compared once more; `restore` puts rows back; `rollback` takes a migration's documents back. Only
//! `cleanup` and `restore` write to PostgreSQL.

pub mod canonical;
mod chunk;
pub mod cleanup;
pub mod compare;
mod error;
mod migration;
pub mod names;
mod put_back;
pub mod recopy;
mod rejects;
pub mod removal;
pub mod report;
pub mod restore;
pub mod rollback;
mod settings;
pub mod state;
mod tally;
pub mod validate;

use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::codec::mask::Mask;
use crate::codec::{Cleaned, decode_payload};
use crate::domain::{Document, Extra, Kind, Record, RecordId, TenantId};
use crate::postgres::PostgresError;
use crate::postgres::lookup::OffloadedPayload;
use crate::store::payload::{DifyStorage, PayloadError};
use crate::store::{LogReader, StoreError, StoreOverview};

use self::compare::{Loss, OffloadedText, RowComparison};
pub use chunk::Tail;
pub use error::MigrateError;
pub use migration::{Migration, MigrationPorts, MigrationReport, Start, Task};
pub use rejects::Reject;
pub use settings::MigrateSettings;
pub use tally::{Progress, Spent, Tally};

/// The store's side of a comparison.
#[derive(Clone, Copy)]
pub struct StoreSide<'a> {
    pub reader: &'a dyn LogReader,
    pub overview: &'a dyn StoreOverview,
    /// Where the full texts of truncated payloads are.
    pub texts: &'a dyn compare::FullTexts,
    /// What is masked before it is stored; `None`: nothing.
    pub redact: Option<&'a Mask>,
    /// Where Dify keeps the full texts of payloads that it truncated in their rows; `None`: it is not configured.
    pub dify: Option<&'a DifyStorage>,
}

impl StoreSide<'_> {
    /// Compares a row with its document; where payloads of a node differ, once more beside those that Dify truncated in the
    /// row, which are returned as well. `offloaded` looks these up, with their keys if it is told so.
    ///
    /// # Errors
    /// [`LifeError`] if a full text is needed and cannot be read, and what the look-up answers.
    async fn standing_beside(
        &self,
        row: &Record,
        extra: &Extra,
        document: &Document,
        offloaded: impl AsyncFnOnce(bool) -> Result<Vec<OffloadedPayload>, PostgresError>,
    ) -> Result<(RowComparison, Vec<OffloadedText>), LifeError> {
        let found = self.standing(row, extra, document, &[]).await?;
        let RowComparison::Different(columns) = &found else { return Ok((found, Vec::new())) };
        if row.kind() != Kind::NodeExecution || !columns.iter().any(|column| is_payload(column)) {
            return Ok((found, Vec::new()));
        }
        let texts = Box::pin(self.offloads(offloaded)).await?;
        if texts.is_empty() {
            return Ok((found, texts));
        }
        Ok((self.standing(row, extra, document, &texts).await?, texts))
    }

    /// Returns what a copy of a row over its document would lose; `None`: nothing. `known`: the payloads that Dify truncated
    /// in the row, as [`Self::standing_beside`] returned them; where it did not look for any, `offloaded` does.
    ///
    /// # Errors
    /// [`LifeError`], as there.
    async fn loss(
        &self,
        row: &Record,
        document: &Document,
        known: Vec<OffloadedText>,
        offloaded: impl AsyncFnOnce(bool) -> Result<Vec<OffloadedPayload>, PostgresError>,
    ) -> Result<Option<Loss>, LifeError> {
        let is_marked = document.truncated.iter().any(|mark| is_payload(mark.field.as_str()));
        let offloads = if known.is_empty() && is_marked && row.kind() == Kind::NodeExecution {
            self.offloads(offloaded).await?
        } else {
            known
        };
        let masked = self.redact.map(|mask| redacted(mask, row, &Extra::default()).0);
        let rows: Vec<&Record> = std::iter::once(row).chain(&masked).collect();
        Ok(compare::loss(&rows, document, self.texts, &offloads).await?)
    }

    async fn offloads(
        &self,
        offloaded: impl AsyncFnOnce(bool) -> Result<Vec<OffloadedPayload>, PostgresError>,
    ) -> Result<Vec<OffloadedText>, LifeError> {
        let mut texts = Vec::new();
        for OffloadedPayload { column, key, .. } in offloaded(self.dify.is_some()).await? {
            let object = match (self.dify, key) {
                (Some(storage), Some(key)) => storage.get(&key).await?,
                _ => None,
            };
            let full = object.and_then(|object| decode_payload(&object, &mut Cleaned::default()));
            texts.push(OffloadedText { column, full });
        }
        Ok(texts)
    }

    /// Compares a row with its document, and where they differ once more with the row redacted.
    ///
    /// # Errors
    /// [`PayloadError`] if a full text is needed and cannot be read.
    async fn standing(
        &self,
        row: &Record,
        extra: &Extra,
        document: &Document,
        offloads: &[OffloadedText],
    ) -> Result<RowComparison, PayloadError> {
        let found = compare::standing(row, extra, document, self.texts, offloads).await?;
        let (RowComparison::Different(columns), Some(mask)) = (&found, self.redact) else { return Ok(found) };
        let (row, extra) = redacted(mask, row, extra);
        // Dify's storage has what is masked in the document: the masked preview is what can be compared.
        let offloads: Vec<OffloadedText> =
            offloads.iter().map(|offload| OffloadedText { full: None, ..offload.clone() }).collect();
        let redacted = compare::standing(&row, &extra, document, self.texts, &offloads).await?;
        Ok(if redacted.holds() { RowComparison::Redacted(columns.clone()) } else { found })
    }
}

/// Returns a row as it would be stored.
fn redacted(mask: &Mask, row: &Record, extra: &Extra) -> (Record, Extra) {
    let (mut row, mut extra) = (row.clone(), extra.clone());
    mask.redact(&mut row, &mut extra);
    (row, extra)
}

/// Returns whether Dify truncates a column of node executions.
fn is_payload(column: &str) -> bool {
    matches!(column, "inputs" | "process_data" | "outputs")
}

/// One of the two sides cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    #[error("{0}")]
    Postgres(#[from] PostgresError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Payloads(#[from] PayloadError),
    #[error("migration {0} is running: end it first, or wait for its lease to end if it died")]
    Running(uuid::Uuid),
    #[error("{0}")]
    Removal(removal::RemovalError),
}

/// The state entry of the latest validation's outcome.
pub const VALIDATION: &str = "validation/last";

/// Tenants whose documents are looked up at once.
const LOOKUPS: usize = 8;

/// Documents by their keys, whatever tenants they are of; absent ones are left out. What comes back is about as large as
/// the rows that it is compared with: the caller bounds these.
async fn documents(
    store: StoreSide<'_>,
    kind: Kind,
    keys: impl Iterator<Item = (TenantId, RecordId)>,
) -> Result<HashMap<(TenantId, RecordId), Document>, StoreError> {
    let mut tenants: BTreeMap<TenantId, Vec<RecordId>> = BTreeMap::new();
    for (tenant_id, id) in keys {
        tenants.entry(tenant_id).or_default().push(id);
    }
    let lookups = stream::iter(tenants)
        .map(|(tenant_id, ids)| async move { store.reader.records(tenant_id, kind, &ids).await })
        .buffer_unordered(LOOKUPS);
    let found: Vec<Vec<Document>> = lookups.try_collect().await?;
    Ok(found.into_iter().flatten().map(|document| ((document.tenant_id(), document.record.id()), document)).collect())
}
