//! The seam between two sources of one list, newest first: what the store has, and what Dify's PostgreSQL still has. Pure.
//!
//! Every row has one place, whichever source it comes from, so that pages neither skip nor repeat one:
//! - a row that the store knows has the store's place, its instant to the microsecond and its id;
//! - of a row that only Dify has, Dify tells the second. It stands before all others of that second, in Dify's order.

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::domain::query::Cursor;
use crate::domain::{RecordId, Timestamp};
use crate::http::api::views::seconds;

/// Where a row stands. Greater is newer, and comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowPlace {
    /// Known to the store.
    Stored(Cursor),
    /// Known to Dify alone, by the second.
    Second(i64),
}

impl RowPlace {
    /// Returns the second since the epoch that the row was created in.
    pub(super) fn second(self) -> i64 {
        match self {
            Self::Stored(cursor) => seconds(cursor.created_at),
            Self::Second(second) => second,
        }
    }

    /// Returns the place in the store's own order after which the rows behind this one follow; `None`: after all rows.
    pub(super) fn cursor(self) -> Option<Cursor> {
        match self {
            Self::Stored(cursor) => Some(cursor),
            Self::Second(second) => {
                // The last microsecond of the second with the greatest id: all stored rows of it follow.
                let micros = second.checked_mul(1_000_000)?.checked_add(999_999)?;
                let created_at = Timestamp::from_micros(micros).ok()?;
                Some(Cursor { created_at, id: RecordId::new(uuid::Uuid::max()) })
            }
        }
    }

    fn order(self, other: Self) -> Ordering {
        let rank = |place: Self| match place {
            Self::Stored(cursor) => (0, Some(cursor)),
            Self::Second(_) => (1, None),
        };
        (self.second(), rank(self)).cmp(&(other.second(), rank(other)))
    }
}

/// A row of a list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ListRow<T> {
    pub id: RecordId,
    pub place: RowPlace,
    pub value: T,
}

/// Returns the rows that stand strictly behind `start`, both sources together, each id once, newest first. Where both have a
/// row, `choose` gets the store's and Dify's. Each source must be in the order of its own list; rows that only Dify has
/// keep Dify's order within a second.
pub(super) fn merged<T>(
    start: Option<RowPlace>,
    stored: Vec<ListRow<T>>,
    difys: Vec<ListRow<T>>,
    choose: impl Fn(T, T) -> T,
) -> Vec<ListRow<T>> {
    let mut others: std::collections::HashMap<RecordId, T> = std::collections::HashMap::new();
    let own: HashSet<RecordId> = stored.iter().map(|row| row.id).collect();
    let mut seen = HashSet::new();
    let mut rows = Vec::with_capacity(stored.len() + difys.len());
    for row in difys {
        if own.contains(&row.id) {
            others.insert(row.id, row.value);
        } else if seen.insert(row.id) {
            rows.push(row);
        }
    }
    for row in stored {
        if seen.insert(row.id) {
            let other = others.remove(&row.id);
            rows.push(match other {
                Some(other) => ListRow { id: row.id, place: row.place, value: choose(row.value, other) },
                None => row,
            });
        }
    }
    rows.retain(|row| match (start, row.place) {
        // Rows behind one that only Dify has come by Dify's own cursor, those of the same second included.
        (Some(start @ RowPlace::Second(_)), place @ RowPlace::Second(_)) => place.second() <= start.second(),
        (Some(start), place) => place.order(start) == Ordering::Less,
        (None, _) => true,
    });
    // Stable: equal places are rows of one second that only Dify has, in Dify's order.
    rows.sort_by(|one, other| other.place.order(one.place));
    rows
}

/// Returns the rows `offset` to `offset + limit` of a list by offsets, made of `window`, the store's rows from `begin` on, and
/// `extra`, rows that the store does not have. `begin` must be 0 or at most `offset` less the number of `extra`.
pub(super) fn spliced<T>(
    begin: u64,
    window: Vec<ListRow<T>>,
    extra: Vec<ListRow<T>>,
    offset: u64,
    limit: usize,
) -> Vec<ListRow<T>> {
    let first = window.first().map(|row| row.place);
    let before = |row: &ListRow<T>| begin > 0 && first.is_none_or(|first| row.place.order(first) == Ordering::Greater);
    let (earlier, extra): (Vec<_>, Vec<_>) = extra.into_iter().partition(before);
    let start = begin + earlier.len() as u64;
    let skip = usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX);
    let rows = merged(None, window, extra, |stored, _| stored);
    rows.into_iter().skip(skip).take(limit).collect()
}

#[cfg(test)]
mod tests;
