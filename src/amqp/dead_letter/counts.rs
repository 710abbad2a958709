//! How many letters there are of each sort. A stranger's letters may say anything: what is counted apart is bounded.

use std::collections::BTreeMap;

/// Values that are counted apart.
const MOST_VALUES: usize = 100;
/// Characters of a value that tell it from others.
const TELLING: usize = 100;

/// How many letters have each value of one sort. At most 100 values, the first that came, are told apart.
#[derive(Debug, Default)]
pub struct LetterCounts {
    values: BTreeMap<String, u64>,
    others: u64,
}

impl LetterCounts {
    pub fn add(&mut self, value: &str) {
        let value: String = value.chars().take(TELLING).collect();
        if self.values.len() < MOST_VALUES || self.values.contains_key(&value) {
            *self.values.entry(value).or_default() += 1;
        } else {
            self.others += 1;
        }
    }

    /// Returns how many letters have none of the values that are told apart.
    #[must_use]
    pub const fn others(&self) -> u64 {
        self.others
    }

    /// Returns the values that are told apart with their counts, most first, ties by value.
    #[must_use]
    pub fn most_first(self) -> Vec<(String, u64)> {
        let mut values: Vec<_> = self.values.into_iter().collect();
        values.sort_by(|(value, count), (other, more)| more.cmp(count).then_with(|| value.cmp(other)));
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_many_reasons_are_counted_in_bounds() {
        let mut counts = LetterCounts::default();
        for number in 0..10_000_usize {
            counts.add(&format!("reason {}", number % 5_000));
            counts.add("the last one that is told apart");
            counts.add(&"x".repeat(1_000 + number % 3));
        }
        // Told apart: the first 98 numbers and the two that came with them.
        assert_eq!(counts.others(), 10_000 - 98 * 2);
        let values = counts.most_first();
        assert_eq!(values.len(), MOST_VALUES);
        assert!(values.iter().all(|(value, _)| value.len() <= TELLING));
        assert_eq!(values[0], ("the last one that is told apart".to_owned(), 10_000));
        assert_eq!(values[1], ("x".repeat(TELLING), 10_000));
    }
}
