//! How many rows are looked up by their ids at a time: few when they are large. It knows nothing of what they are.

use crate::postgres::RowRecord;

/// Bytes of rows that a portion should hold; their documents come on top. One row may hold more.
const PORTION_BYTES: usize = 4 << 20;
const MAX_ROWS: usize = 200;
const FIRST_ROWS: usize = 8;

/// A list, taken in portions.
pub struct Portions<'a, T> {
    left: &'a [T],
    rows: usize,
}

impl<'a, T> Portions<'a, T> {
    pub fn of(list: &'a [T]) -> Self {
        Self { left: list, rows: FIRST_ROWS }
    }

    /// Returns the next portion; `None` at the end.
    pub fn take(&mut self) -> Option<&'a [T]> {
        let (portion, left) = self.left.split_at(self.rows.min(self.left.len()));
        self.left = left;
        (!portion.is_empty()).then_some(portion)
    }

    /// What the latest portion turned out to be.
    pub fn weighed(&mut self, rows: &[RowRecord]) {
        self.adapt(rows.iter().map(|row| row.bytes).sum());
    }

    fn adapt(&mut self, bytes: usize) {
        let fitting = PORTION_BYTES.saturating_mul(self.rows) / bytes.max(1);
        self.rows = fitting.clamp(1, self.rows.saturating_mul(2).min(MAX_ROWS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_grow_with_small_rows_and_shrink_with_large_ones() {
        let list: Vec<u32> = (0..1_000).collect();
        let mut portions = Portions::of(&list);
        let (mut sizes, mut taken) = (Vec::new(), Vec::new());
        for row_bytes in [1_000, 1_000, 1_000, 1_000, 1_000, 1 << 20, 32 << 20, 1_000].into_iter().chain([10; 9]) {
            let portion = portions.take().unwrap();
            sizes.push(portion.len());
            taken.extend_from_slice(portion);
            portions.adapt(portion.len() * row_bytes);
        }
        assert_eq!(sizes[..8], [8, 16, 32, 64, 128, 200, 4, 1]);
        while let Some(portion) = portions.take() {
            taken.extend_from_slice(portion);
        }
        assert_eq!(taken, list);
    }
}
