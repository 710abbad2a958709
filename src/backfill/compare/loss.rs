//! What would be lost if a row were copied over its document: payloads that the row does not have, or of which it has a
//! preview, as far as they are nowhere else.

use super::{FullTexts, OffloadedText, mark_of, preview, whole_text};
use crate::backfill::canonical::{CanonicalCell, columns};
use crate::domain::schema::{Type, Value};
use crate::domain::{Document, JsonText, Record};
use crate::store::payload::PayloadError;

/// Why a copy of a row over its document would lose a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The row does not have it.
    Absent,
    /// The row has what Dify left of it, and Dify's storage, as far as it was looked into, does not have the rest.
    Cut,
}

impl Loss {
    /// Returns what to do, for people.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Absent => {
                "its document has a payload that the row does not have, and that a copy would lose: write it into the row; \
                 or erase the record by the API and run this with --lift-tombstones, which loses it"
            }
            Self::Cut => {
                "its document has a whole payload, of which Dify left a preview in the row: it is copied with the full text \
                 where migrate.dify_storage_dir or migrate.dify_s3 leads to that"
            }
        }
    }
}

/// Returns what a copy of a row over its document would lose; `None`: nothing. `rows`: the row as it is, and where what is
/// stored is masked, the masked row after it. `offloads`: the payloads of the row that are previews only.
///
/// # Errors
/// [`PayloadError`] if a full text is needed and cannot be read. A damaged one is none.
pub async fn loss(
    rows: &[&Record],
    document: &Document,
    texts: &dyn FullTexts,
    offloads: &[OffloadedText],
) -> Result<Option<Loss>, PayloadError> {
    let rows: Vec<Vec<CanonicalCell<'_>>> = rows.iter().map(|row| columns(row).collect()).collect();
    for (at, stored) in columns(&document.record).enumerate().filter(|(_, stored)| stored.column.r#type == Type::Json) {
        let cells: Vec<_> = rows.iter().filter_map(|cells| cells.get(at).copied()).collect();
        let found = of_payload(&cells, stored, document, texts, offloads).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

async fn of_payload(
    rows: &[CanonicalCell<'_>],
    stored: CanonicalCell<'_>,
    document: &Document,
    texts: &dyn FullTexts,
    offloads: &[OffloadedText],
) -> Result<Option<Loss>, PayloadError> {
    let says = |whole: CanonicalCell<'_>| rows.iter().any(|row| row.same(whole));
    let mark = mark_of(document, stored);
    if mark.is_none() && (stored.is_void_json() || says(stored)) {
        return Ok(None);
    }
    let inline = if let Value::Json(inline) = stored.value { Some(inline) } else { None };
    let whole = whole_text(inline, mark, document, texts).await?;
    let whole = whole.as_deref();
    let offload = offloads.iter().find(|offload| offload.column == stored.column.name);
    let is_elsewhere = offload.is_some_and(|offload| offload.full.is_some());
    if is_elsewhere || whole.is_some_and(|whole| says(CanonicalCell { value: Value::Json(whole), ..stored })) {
        return Ok(None);
    }
    // Of a payload that difylog cut itself, the row has more than the document; this one came so from Dify.
    if mark.is_some() && says(stored) {
        return Ok(Some(Loss::Cut));
    }
    if rows.iter().all(|row| row.is_void_json()) {
        return Ok(Some(Loss::Absent));
    }
    let is_cut = offload.is_some() && whole.is_some_and(|whole| is_more_than(rows, whole));
    Ok(is_cut.then_some(Loss::Cut))
}

/// Returns whether a payload may be that of which a row, masked or not, has the preview.
fn is_more_than(rows: &[CanonicalCell<'_>], whole: &JsonText) -> bool {
    rows.iter().enumerate().any(|(at, row)| {
        let Value::Json(preview) = row.value else { return false };
        // A cut may go through what a pattern would have masked.
        let is_masked = at > 0;
        preview::is_preview_of(preview.as_str(), whole.as_str()) || (is_masked && whole.len() > preview.len())
    })
}
