//! What is known of one copy of a record, without its content.

use crate::domain::{Document, Precedence, RecordId, Revision, Timestamp};

/// One copy of a record. A record has several when its start moved to another month: see
/// [`Precedence`] for the one that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredCopy {
    pub id: RecordId,
    /// Its month is the one that the copy lies in.
    pub created_at: Timestamp,
    pub revision: Revision,
}

impl StoredCopy {
    pub(super) fn of(document: &Document) -> Self {
        let record = &document.record;
        Self { id: record.id(), created_at: record.created_at(), revision: document.revision }
    }

    /// Its place among the copies of its record: the greatest counts.
    #[must_use]
    pub fn precedence(&self) -> Precedence {
        Precedence::new(self.revision, self.created_at.month())
    }
}
