//! What a row of Dify's tables holds and a record cannot: columns that this version does not know, and texts that the
//! codec had to change to keep the record. It rides beside the record as one JSON text, so that a restored row is byte for
//! byte what it was.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::JsonText;

/// Texts of columns by their names; `None` is NULL.
pub type ColumnTexts = BTreeMap<Box<str>, Option<Box<str>>>;

/// See the module. A payload that is in none of the lists is spelled as Python's `json.dumps` spells the record's text:
/// what is not ASCII as `\uXXXX`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Extra {
    /// Columns that no record has, as PostgreSQL writes their values. NULL stands here only where the column has a default,
    /// which would take its place.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: ColumnTexts,
    /// What stood in columns whose value the record could not keep: `NaN`, lone surrogates, text that is no JSON.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub changed: ColumnTexts,
    /// What stood in columns whose value the record has, in another spelling.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub spelled: ColumnTexts,
    /// Payloads that are spelled as the record's text is, characters beyond ASCII included.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub verbatim: BTreeSet<Box<str>>,
    /// Columns whose bytes are no UTF-8: what stood there cannot be kept.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub lost: BTreeSet<Box<str>>,
    /// Unknown columns that are NULL in the row; not kept.
    #[serde(skip)]
    pub nulls: BTreeSet<Box<str>>,
}

/// A text that is not what [`Extra::to_json`] writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the extra of a row: {0}")]
pub struct InvalidExtra(String);

impl Extra {
    /// Returns whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
            && self.changed.is_empty()
            && self.spelled.is_empty()
            && self.verbatim.is_empty()
            && self.lost.is_empty()
    }

    /// Returns the text that documents carry; `None` if there is nothing to keep.
    #[must_use]
    pub fn to_json(&self) -> Option<JsonText> {
        if self.is_empty() {
            return None;
        }
        serde_json::to_string(self).ok().map(JsonText::from_clean)
    }

    /// Returns what a document carries.
    ///
    /// # Errors
    /// [`InvalidExtra`] if the text is not of [`Self::to_json`].
    pub fn of_json(text: Option<&JsonText>) -> Result<Self, InvalidExtra> {
        let Some(text) = text else { return Ok(Self::default()) };
        serde_json::from_str(text.as_str()).map_err(|error| InvalidExtra(error.to_string()))
    }

    /// Returns what is kept of a known column besides the record: `Some(None)` is NULL.
    #[must_use]
    pub fn original(&self, column: &str) -> Option<Option<&str>> {
        self.changed.get(column).or_else(|| self.spelled.get(column)).map(Option::as_deref)
    }

    /// Returns whether the value of a known column could not be kept in the record.
    #[must_use]
    pub fn is_changed(&self, column: &str) -> bool {
        self.changed.contains_key(column) || self.lost.contains(column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_as_it_was_and_nothing_is_no_text() {
        assert_eq!(Extra::default().to_json(), None);
        assert_eq!(Extra::of_json(None), Ok(Extra::default()));
        let mut extra = Extra::default();
        extra.columns.insert("no\"te".into(), Some("kept \u{1} 'by' \\ hand".into()));
        extra.columns.insert("flag".into(), None);
        extra.changed.insert("outputs".into(), Some("{\"n\": NaN, \"half\": \"\\ud83d\"}".into()));
        extra.spelled.insert("total_steps".into(), None);
        extra.verbatim.insert("inputs".into());
        let text = extra.to_json().unwrap();
        assert_eq!(Extra::of_json(Some(&text)), Ok(extra.clone()));
        assert_eq!(extra.original("total_steps"), Some(None));
        assert_eq!(extra.original("inputs"), None);
        assert!(extra.is_changed("outputs") && !extra.is_changed("total_steps"));
        assert!(Extra::of_json(Some(&JsonText::from_clean("[1]"))).is_err());
    }
}
