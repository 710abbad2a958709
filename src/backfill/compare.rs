//! A row of PostgreSQL beside the document of the same record: equal, ahead, or different, and in which columns.
//!
//! It never decides what follows from that.

use async_trait::async_trait;

use super::canonical::{Cell, columns};
use crate::domain::document::{ContentHash, PayloadField};
use crate::domain::{Document, JsonText, Month, Record, Revision, TenantId};
use crate::store::payload::{PayloadError, PayloadStore};

/// Where full texts of truncated payloads are.
#[async_trait]
pub trait FullTexts: Send + Sync {
    /// The text, verified; `None` if it is not there.
    ///
    /// # Errors
    /// [`PayloadError`] if the store cannot be read or the object is damaged.
    async fn full_text(
        &self,
        tenant_id: TenantId,
        month: Month,
        sha256: ContentHash,
    ) -> Result<Option<JsonText>, PayloadError>;
}

#[async_trait]
impl FullTexts for PayloadStore {
    async fn full_text(
        &self,
        tenant_id: TenantId,
        month: Month,
        sha256: ContentHash,
    ) -> Result<Option<JsonText>, PayloadError> {
        self.get(tenant_id, month, sha256).await
    }
}

/// How the document of a record stands to its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Same,
    /// Equal but for columns that Dify's Celery tasks never write, and that the live message brought.
    Fuller(Vec<&'static str>),
    /// Equal but for payloads that the row does not have, and the document has: newer versions of Dify commit the row of
    /// a run that ended before the message that brings them.
    Poorer(Vec<&'static str>),
    /// The row has not ended, and the document is a newer snapshot of it.
    Ahead,
    /// These columns say something else.
    Different(Vec<&'static str>),
}

impl Standing {
    /// Whether the document holds everything that the row says.
    #[must_use]
    pub const fn holds(&self) -> bool {
        matches!(self, Self::Same | Self::Fuller(_) | Self::Poorer(_))
    }
}

/// Compares a row, as the codec read it, with the document of the same record.
///
/// # Errors
/// [`PayloadError`] if a full text is needed and cannot be read. A damaged one is a difference.
pub async fn standing(row: &Record, document: &Document, texts: &dyn FullTexts) -> Result<Standing, PayloadError> {
    let (mut different, mut absent) = (Vec::new(), 0);
    for ((name, cell), (_, stored)) in columns(row).into_iter().zip(columns(&document.record)) {
        if !cell.same(stored) && !same_in_full(name, cell, document, texts).await? {
            different.push(name);
            absent += usize::from(cell.is_void_json());
        }
    }
    let ended = row.has_ended();
    Ok(if different.is_empty() {
        Standing::Same
    } else if !ended && document.revision > Revision::of(row) {
        Standing::Ahead
    } else if ended && absent == different.len() {
        Standing::Poorer(different)
    } else if document.origin.is_none() && different.iter().all(|name| is_lost_by_celery(name, row, &document.record)) {
        Standing::Fuller(different)
    } else {
        Standing::Different(different)
    })
}

/// Whether a truncated payload is, in its full text, what the row says.
async fn same_in_full(
    name: &str,
    cell: Cell<'_>,
    document: &Document,
    texts: &dyn FullTexts,
) -> Result<bool, PayloadError> {
    let field = PayloadField::from_column(name);
    let Some(mark) = document.truncated.iter().find(|mark| Some(mark.field) == field) else {
        return Ok(false);
    };
    let full = match texts.full_text(document.tenant_id(), document.month(), mark.sha256).await {
        Ok(full) => full,
        Err(PayloadError::Damaged(_)) => None,
        Err(error) => return Err(error),
    };
    Ok(full.is_some_and(|full| match cell {
        Cell::Error(_) => {
            let text: Option<String> = serde_json::from_str(full.as_str()).ok();
            cell.same(Cell::Error(text.as_deref()))
        }
        cell => cell.same(Cell::Json(Some(&full))),
    }))
}

/// Dify's Celery tasks (1.10.1, 1.12.1) store no `exceptions_count`, keep index and predecessor of a retried node's first
/// start, and keep the first start of a resumed run; the message that difylog stored has the newer values.
fn is_lost_by_celery(column: &str, row: &Record, stored: &Record) -> bool {
    match (row, stored) {
        (Record::Run(row), Record::Run(stored)) => match column {
            "exceptions_count" => row.exceptions_count == 0,
            "created_at" | "elapsed_time" => row.created_at < stored.created_at,
            _ => false,
        },
        (Record::Node(row), Record::Node(stored)) => {
            matches!(column, "index" | "predecessor_node_id") && row.index < stored.index
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
