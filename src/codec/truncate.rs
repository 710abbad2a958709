//! Structural truncation: a payload over its budget becomes a smaller payload that is still valid JSON.
//!
//! The smallest loss comes first. Long strings are cut to the longest common cap that makes the whole fit; if even
//! short strings are too much, containers lose the elements beyond the largest count that fits; if that is not enough,
//! everything after the point where the budget is spent goes. The result never breaks a character, an escape or the
//! structure. It takes two passes over the text; memory grows with the depth and the number of long strings only.

mod cut;
mod fit;
mod lexer;
mod survey;

use serde::Deserialize;

use crate::domain::JsonText;
pub use fit::{Cut, fit, fits, take_graph};

/// Strings are never cut below this for the sake of others: bytes between the quotes.
const SHORTEST_CAP: usize = 64;

/// Smaller budgets count as this one: what stands for any value fits into it.
pub const MIN_BUDGET: usize = 8;

/// Ends every string that was cut.
const ELLIPSIS: &str = "...";

/// How large payloads may be before they are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// One payload field, in bytes of UTF-8.
    #[serde(alias = "field-bytes")]
    pub field_bytes: usize,
    /// All payload fields of a record together; a graph counts by itself, with the same limit.
    #[serde(alias = "document-bytes")]
    pub document_bytes: usize,
}

impl Default for Limits {
    /// 1 MiB per field, 4 MiB per document.
    fn default() -> Self {
        Self { field_bytes: 1 << 20, document_bytes: 4 << 20 }
    }
}

/// What a truncated text keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Caps {
    /// Longest string value, in bytes between the quotes.
    string: usize,
    /// Most elements or members of a container.
    elements: usize,
}

/// Truncates a payload to at most `budget` bytes (at least [`MIN_BUDGET`]). `None`: it is within already.
#[must_use]
pub fn truncate(json: &JsonText, budget: usize) -> Option<JsonText> {
    let budget = budget.max(MIN_BUDGET);
    if json.len() <= budget {
        return None;
    }
    let caps = survey::caps(json.as_str(), budget);
    Some(JsonText::from_clean(cut::cut(json.as_str(), budget, caps)))
}

/// Largest cap `c` for which the sum of `min(length, c)` is at most `allowed`. `None`: everything fits as it is.
fn water_level(lengths: &mut [usize], allowed: usize) -> Option<usize> {
    lengths.sort_unstable();
    let mut left = allowed;
    for (position, &length) in lengths.iter().enumerate() {
        let share = left / (lengths.len() - position);
        if length > share {
            return Some(share);
        }
        left -= length;
    }
    None
}

#[cfg(test)]
mod tests;
