//! What a store may lack. Who asks for it there is told so, by name.

use std::fmt;

/// Something that not every store can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// Finds records by a keyword in their texts.
    TextSearch,
    /// Lists app logs by what their runs are.
    AppLogs,
    /// Counts by day, by value and by span of time.
    Statistics,
    /// Tells how much there is of whom, and what belongs together: what retention, deletes and comparisons ask.
    Inventory,
    /// Removes single records, and keeps what was removed from coming back.
    Erasure,
    /// Copies of months: backups.
    MonthCopies,
}

impl Capability {
    /// Every one of them: what a complete store has.
    pub const ALL: &[Self] =
        &[Self::TextSearch, Self::AppLogs, Self::Statistics, Self::Inventory, Self::Erasure, Self::MonthCopies];
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TextSearch => "search in texts",
            Self::AppLogs => "list of app logs",
            Self::Statistics => "statistics",
            Self::Inventory => "inventory of its records",
            Self::Erasure => "removal of single records",
            Self::MonthCopies => "copies of months",
        })
    }
}
