//! Opaque cursors: a place in one list of one tenant. Stateless; whoever forges one only moves within their own list,
//! so a checksum is enough to refuse what belongs to another list.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::domain::query::{Cursor, Direction, Position, SortBy};
use crate::domain::{RecordId, Timestamp};

/// Grows when the meaning of the bytes, or of what is checksummed, changes.
const VERSION: u8 = 2;
const CHECKSUM: usize = 8;

/// A cursor that cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCursor {
    #[error("this is no cursor; begin without one and pass on what the answer gives")]
    Malformed,
    #[error("this cursor is of another version of difylog; begin again without it")]
    Version,
    #[error("this cursor belongs to another query or tenant; keep every filter the same, or begin without it")]
    Foreign,
}

/// What a list is: its filter with the tenant, and its order. Two lists with the same are the same list.
pub(super) struct List([u8; CHECKSUM]);

impl List {
    /// Returns the `Debug` form of a filter names every condition, the tenant first.
    pub(super) fn of(filter: &impl std::fmt::Debug, sort: SortBy, direction: Direction) -> Self {
        let digest = Sha256::digest(format!("{filter:?} {sort:?} {direction:?}"));
        let mut checksum = [0; CHECKSUM];
        checksum.iter_mut().zip(digest).for_each(|(byte, of_digest)| *byte = of_digest);
        Self(checksum)
    }

    /// Returns the cursor after a row.
    pub(super) fn cursor(&self, position: Position) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(self.0);
        bytes.extend(position.cursor.created_at.micros().to_be_bytes());
        bytes.extend(position.cursor.id.as_bytes());
        bytes.extend(position.elapsed_time.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Returns the place that a cursor of this list means.
    pub(super) fn position(&self, cursor: &str) -> Result<Position, InvalidCursor> {
        // 41 bytes are 55 characters: what is longer is not even decoded.
        let bytes = URL_SAFE_NO_PAD.decode(cursor.get(..64).unwrap_or(cursor)).map_err(|_| InvalidCursor::Malformed)?;
        let (version, rest) = bytes.split_first().ok_or(InvalidCursor::Malformed)?;
        if *version != VERSION {
            return Err(InvalidCursor::Version);
        }
        let (checksum, rest) = rest.split_first_chunk().ok_or(InvalidCursor::Malformed)?;
        let (micros, rest) = rest.split_first_chunk().ok_or(InvalidCursor::Malformed)?;
        let (id, rest) = rest.split_first_chunk().ok_or(InvalidCursor::Malformed)?;
        let elapsed_time = f64::from_be_bytes(rest.try_into().map_err(|_| InvalidCursor::Malformed)?);
        if *checksum != self.0 {
            return Err(InvalidCursor::Foreign);
        }
        let created_at = Timestamp::from_micros(i64::from_be_bytes(*micros)).map_err(|_| InvalidCursor::Malformed)?;
        if !elapsed_time.is_finite() {
            return Err(InvalidCursor::Malformed);
        }
        let id = RecordId::new(uuid::Uuid::from_bytes(*id));
        Ok(Position { cursor: Cursor { created_at, id }, elapsed_time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TenantId;
    use crate::domain::query::{RunFilter, RunQuery};
    use proptest::prelude::*;

    fn list(tenant: u128) -> List {
        let filter = RunFilter::all(TenantId::new(uuid::Uuid::from_u128(tenant)));
        List::of(&filter, SortBy::CreatedAt, Direction::Descending)
    }

    #[test]
    fn another_tenant_query_order_or_version_is_refused() {
        let created_at = "2026-11-23T15:28:34.729072Z".parse().unwrap();
        let id = RecordId::new(uuid::Uuid::from_u128(7));
        let position = Position { cursor: Cursor { created_at, id }, elapsed_time: 1.5 };
        let cursor = list(1).cursor(position);
        assert_eq!(list(1).position(&cursor), Ok(position));
        assert_eq!(list(2).position(&cursor), Err(InvalidCursor::Foreign));
        let filter = RunFilter::all(TenantId::new(uuid::Uuid::from_u128(1)));
        let ascending = List::of(&filter, SortBy::CreatedAt, Direction::Ascending);
        assert_eq!(ascending.position(&cursor), Err(InvalidCursor::Foreign));
        let filtered = RunQuery { statuses: vec!["failed".into()], ..filter.conditions }.within(filter.tenant_id);
        let filtered = List::of(&filtered, SortBy::CreatedAt, Direction::Descending);
        assert_eq!(filtered.position(&cursor), Err(InvalidCursor::Foreign));
        assert_eq!(list(1).position(&format!("B{}", &cursor[1..])), Err(InvalidCursor::Version));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_without_harm(text in ".{0,200}") {
            prop_assert!(list(1).position(&text).is_err());
        }
    }
}
