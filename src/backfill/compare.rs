//! A row of PostgreSQL beside the document of the same record: equal, ahead, changed or different, and in which columns.
//!
//! It never decides what follows from that.

mod loss;
mod preview;

use std::borrow::Cow;

use async_trait::async_trait;

pub use self::loss::{Loss, loss};
use super::canonical::{CanonicalCell, columns};
use crate::codec::spelling::row_text;
use crate::domain::document::{ContentHash, PayloadField};
use crate::domain::schema::{self, Type, Value};
use crate::domain::{Document, Extra, JsonText, Kind, Month, Record, Revision, TenantId, Truncation};
use crate::store::payload::{PayloadError, PayloadStore};

/// Where full texts of truncated payloads are.
#[async_trait]
pub trait FullTexts: Send + Sync {
    /// Returns the text, verified; `None` if it is not there.
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

/// How the document of a record stands to its row, columns by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowComparison {
    /// A restored row would be byte for byte what the row is.
    Same,
    /// These columns say the same and would come back spelled otherwise.
    Spelled(Vec<String>),
    /// Equal but for columns that Dify's Celery tasks never write, and that the live message brought.
    Fuller(Vec<String>),
    /// Equal but for payloads that the row does not have, and the document has: newer versions of Dify commit the row of
    /// a run that ended before the message that brings them, and truncate payloads of nodes, whose full texts then lie in
    /// Dify's storage.
    Poorer(Vec<String>),
    /// The row has not ended, and the document is a newer snapshot of it.
    Ahead,
    /// These columns hold what the document has in a changed form only, as `NaN` that became null.
    Changed(Vec<String>),
    /// These columns hold what the document has masked, because it was redacted before it was stored.
    Redacted(Vec<String>),
    /// These columns say something else.
    Different(Vec<String>),
}

impl RowComparison {
    /// Returns whether the document holds everything that the row says.
    #[must_use]
    pub const fn holds(&self) -> bool {
        matches!(self, Self::Same | Self::Spelled(_) | Self::Fuller(_) | Self::Poorer(_))
    }
}

/// A payload that Dify truncated in its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffloadedText {
    pub column: String,
    /// Its full text, from Dify's storage; `None`: that is not configured, or does not have it.
    pub full: Option<JsonText>,
}

/// Compares a row, as the codec read it, with the document of the same record. `offloads`: the payloads of the row that are
/// previews only.
///
/// # Errors
/// [`PayloadError`] if a full text is needed and cannot be read. A damaged one is a difference.
pub async fn standing(
    row: &Record,
    extra: &Extra,
    document: &Document,
    texts: &dyn FullTexts,
    offloads: &[OffloadedText],
) -> Result<RowComparison, PayloadError> {
    let Some(stored_extra) = extra_of(document, texts).await? else {
        return Ok(RowComparison::Different(vec![PayloadField::Extra.as_str().to_owned()]));
    };
    let mut found =
        Found { absent: 0, different: unlike(extra, &stored_extra), changed: Vec::new(), spelled: Vec::new() };
    for (cell, stored) in columns(row).zip(columns(&document.record)) {
        let name = cell.column.name;
        let full = if cell.same(stored) { None } else { Some(full_if_same(cell, document, texts).await?) };
        let spelling = match &full {
            Some(None) => {
                found.different.push(name.to_owned());
                let is_absent = cell.is_void_json() || has_whole((cell, stored), document, texts, offloads).await?;
                found.absent += usize::from(is_absent);
                continue;
            }
            Some(Some(full)) if cell.column.r#type == Type::Json => {
                CanonicalCell { value: Value::Json(full), ..stored }
            }
            // A full text that is the same is the text: `error` has no spellings.
            Some(Some(_)) => cell,
            None => stored,
        };
        found.judge((cell, extra), (spelling, &stored_extra));
    }
    Ok(found.standing(row, document))
}

/// What the columns of a row and its document turned out to be.
struct Found {
    /// How many of the different ones are payloads that the row does not have, or has as previews only.
    absent: usize,
    different: Vec<String>,
    changed: Vec<String>,
    spelled: Vec<String>,
}

impl Found {
    /// Judges a column whose values are the same once cleaned.
    fn judge(&mut self, row: (CanonicalCell<'_>, &Extra), stored: (CanonicalCell<'_>, &Extra)) {
        let name = row.0.column.name;
        if is_exact(row, stored) {
            return;
        }
        let list = if stored.1.is_changed(name) {
            // The row was copied from another original.
            &mut self.different
        } else if row.1.is_changed(name) {
            &mut self.changed
        } else {
            &mut self.spelled
        };
        list.push(name.to_owned());
    }

    fn standing(self, row: &Record, document: &Document) -> RowComparison {
        let Self { absent, different, changed, spelled } = self;
        let ended = row.has_ended();
        if !different.is_empty() && !ended && document.revision > Revision::of(row) {
            return RowComparison::Ahead;
        }
        let lost = |name: &String| is_lost_by_celery(name, row, &document.record);
        let is_poorer = ended && absent == different.len();
        let is_fuller = document.origin.is_none() && different.iter().all(lost);
        if !different.is_empty() && !is_poorer && !is_fuller {
            RowComparison::Different(different)
        } else if !changed.is_empty() {
            RowComparison::Changed(changed)
        } else if !different.is_empty() {
            if is_poorer { RowComparison::Poorer(different) } else { RowComparison::Fuller(different) }
        } else if spelled.is_empty() {
            RowComparison::Same
        } else {
            RowComparison::Spelled(spelled)
        }
    }
}

/// Returns whether a restored column would be byte for byte what the row has.
fn is_exact(row: (CanonicalCell<'_>, &Extra), stored: (CanonicalCell<'_>, &Extra)) -> bool {
    let column = row.0.column;
    let name = column.name;
    if row.1.lost.contains(name) {
        return false;
    }
    let has_same_original = row.1.original(name) == stored.1.original(name);
    match (row.0.value, stored.0.value) {
        (one, other) if column.r#type == Type::Json => {
            let text = |value: Value<'_>, extra: &Extra| {
                let json = if let Value::Json(json) = value { Some(json.as_str()) } else { None };
                row_text(name, json, extra).map(Cow::into_owned)
            };
            let is_alike =
                one == other && has_same_original && row.1.verbatim.contains(name) == stored.1.verbatim.contains(name);
            is_alike || text(one, row.1) == text(other, stored.1)
        }
        (one, other) if column.r#type == Type::Text => one == other,
        // Before the end they mean nothing.
        (Value::Seconds(_), Value::Seconds(_)) if row.0.is_running || stored.0.is_running => true,
        (Value::Seconds(one), Value::Seconds(other)) => one.to_bits() == other.to_bits() && has_same_original,
        _ => has_same_original,
    }
}

/// Unknown columns whose values a restored row would not have.
fn unlike(row: &Extra, stored: &Extra) -> Vec<String> {
    let of_row =
        row.columns.iter().filter(|(name, value)| stored.columns.get(*name) != Some(value)).map(|(name, _)| name);
    // One that the table does not have (any more) is no difference.
    let of_stored = stored.columns.iter().filter(|(name, value)| value.is_some() && row.nulls.contains(*name));
    let mut names: Vec<String> =
        of_row.chain(of_stored.map(|(name, _)| name)).map(std::string::ToString::to_string).collect();
    names.extend(
        row.lost
            .iter()
            .filter(|name| !row.columns.contains_key(*name) && !is_known(name))
            .map(std::string::ToString::to_string),
    );
    names.sort_unstable();
    names.dedup();
    names
}

fn is_known(name: &str) -> bool {
    Kind::ALL.into_iter().flat_map(schema::columns).any(|known| known.name == name)
}

/// Returns what a document carries beside its record; `None` if it is not where it should be, or damaged.
///
/// # Errors
/// [`PayloadError`] if the payload store cannot be read.
pub async fn extra_of(document: &Document, texts: &dyn FullTexts) -> Result<Option<Extra>, PayloadError> {
    let full;
    let mark = document.mark(PayloadField::Extra);
    let text = match (mark, &document.extra) {
        (Some(mark), None) => {
            full = full_text(document, mark, texts).await?;
            if full.is_none() {
                return Ok(None);
            }
            full.as_ref()
        }
        (_, text) => text.as_ref(),
    };
    Ok(Extra::of_json(text).ok())
}

async fn full_text(
    document: &Document,
    mark: &Truncation,
    texts: &dyn FullTexts,
) -> Result<Option<JsonText>, PayloadError> {
    match texts.full_text(document.tenant_id(), document.month(), mark.sha256).await {
        Err(PayloadError::Damaged(_)) => Ok(None),
        read => read,
    }
}

/// Returns the mark of a payload of a document; `None`: it was not truncated.
fn mark_of<'d>(document: &'d Document, cell: CanonicalCell<'_>) -> Option<&'d Truncation> {
    PayloadField::from_column(cell.column.name).and_then(|field| document.mark(field))
}

/// Returns a payload whole, as the document has it: its full text where it was truncated, `None` if that is lost.
async fn whole_text<'d>(
    inline: Option<&'d JsonText>,
    mark: Option<&Truncation>,
    document: &Document,
    texts: &dyn FullTexts,
) -> Result<Option<Cow<'d, JsonText>>, PayloadError> {
    match mark {
        Some(mark) => Ok(full_text(document, mark, texts).await?.map(Cow::Owned)),
        None => Ok(inline.map(Cow::Borrowed)),
    }
}

/// Returns the full text of a truncated payload, if it is what the row says.
async fn full_if_same(
    cell: CanonicalCell<'_>,
    document: &Document,
    texts: &dyn FullTexts,
) -> Result<Option<JsonText>, PayloadError> {
    let Some(mark) = mark_of(document, cell) else { return Ok(None) };
    let full = full_text(document, mark, texts).await?;
    Ok(full.filter(|full| {
        if cell.column.r#type == Type::Json {
            return cell.same(CanonicalCell { value: Value::Json(full), ..cell });
        }
        let text: Option<String> = serde_json::from_str(full.as_str()).ok();
        cell.same(CanonicalCell { value: text.as_deref().map_or(Value::Null, Value::Text), ..cell })
    }))
}

/// Returns whether the document has the whole payload of which the row has a preview.
async fn has_whole(
    (row, stored): (CanonicalCell<'_>, CanonicalCell<'_>),
    document: &Document,
    texts: &dyn FullTexts,
    offloads: &[OffloadedText],
) -> Result<bool, PayloadError> {
    let Some(offload) = offloads.iter().find(|offload| offload.column == row.column.name) else { return Ok(false) };
    let (Value::Json(preview), Value::Json(inline)) = (row.value, stored.value) else { return Ok(false) };
    let Some(whole) = whole_text(Some(inline), mark_of(document, row), document, texts).await? else {
        return Ok(false);
    };
    Ok(match &offload.full {
        Some(full) => {
            let cell = |json| CanonicalCell { value: Value::Json(json), ..row };
            cell(full).same(cell(&*whole))
        }
        None => preview::is_preview_of(preview.as_str(), whole.as_str()),
    })
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
