//! What is done to payloads before they are stored, whether they come as messages or as rows.

use std::sync::Arc;

use super::mask::Mask;
use super::truncate::{Cut, Limits};
use crate::domain::{Extra, JsonText, Record};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct PayloadPolicy {
    pub truncate: Limits,
    /// What is masked for good; `None`: nothing.
    pub redact: Option<Arc<Mask>>,
}

impl From<Limits> for PayloadPolicy {
    /// Returns a policy that masks nothing.
    fn from(truncate: Limits) -> Self {
        Self { truncate, redact: None }
    }
}

impl PayloadPolicy {
    /// Masks a record for good, its full texts and what its row had beside it. What of the latter cannot be read is left out.
    pub(crate) fn redact(&self, record: &mut Record, extra: &mut Option<JsonText>, full_texts: &mut Vec<Cut>) {
        let Some(mask) = &self.redact else { return };
        let mut beside = Extra::of_json(extra.as_ref()).unwrap_or_default();
        mask.redact(record, &mut beside);
        *extra = beside.to_json();
        for cut in full_texts {
            let field = cut.truncation.field;
            if let Some(masked) = mask.spelled(field.as_str(), cut.full.as_str()) {
                *cut = Cut::of_full_text(field, JsonText::from_clean(masked));
            }
        }
    }
}
