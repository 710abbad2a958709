//! How many rows have not ended, and since when: a cleanup leaves them, so every command says it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ReportText;
use crate::domain::{Kind, Timestamp};

/// Rows of one kind that have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unended {
    pub kind: ReportText<Kind>,
    pub rows: u64,
    /// `created_at` of the oldest.
    pub since: ReportText<Timestamp>,
}

impl Unended {
    /// None yet.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self { kind: ReportText(kind), rows: 0, since: ReportText(Timestamp::MAX) }
    }

    /// Counts one.
    pub fn add(&mut self, created_at: Timestamp) {
        self.rows += 1;
        self.since = self.since.min(ReportText(created_at));
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.since = self.since.min(other.since);
    }
}

impl fmt::Display for Unended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} have not ended, the oldest since {}", self.kind.0, self.rows, self.since.0)
    }
}
