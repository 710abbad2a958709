//! What decoding changed in order to keep a record: counted, so that the operator can see it in the metrics.

use std::ops::AddAssign;

/// How often each rule of cleaning was applied to one message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// `NaN`, `Infinity` and `-Infinity`, bare or as a decimal: became null, or the default of a number column.
    pub nan: u64,
    /// Lone surrogates, escaped or as three raw bytes: became U+FFFD.
    pub surrogates: u64,
    /// Sequences of bytes that are no UTF-8: became U+FFFD.
    pub invalid_utf8: u64,
    /// `{"__type__", "__value__"}` leaves: became plain values.
    pub typed_leaves: u64,
    /// U+0000 in a text column: became U+FFFD.
    pub nul: u64,
    /// Raw control characters within payload strings: were escaped.
    pub control: u64,
    /// Payload columns that are no JSON even by Python's rules: became a JSON string of their text.
    pub not_json: u64,
}

impl Cleaned {
    /// Returns each rule by its name in the metrics.
    #[must_use]
    pub const fn entries(&self) -> [(&'static str, u64); 7] {
        [
            ("nan", self.nan),
            ("surrogate", self.surrogates),
            ("invalid_utf8", self.invalid_utf8),
            ("typed_leaf", self.typed_leaves),
            ("nul", self.nul),
            ("control", self.control),
            ("not_json", self.not_json),
        ]
    }
}

impl AddAssign for Cleaned {
    fn add_assign(&mut self, other: Self) {
        self.nan += other.nan;
        self.surrogates += other.surrogates;
        self.invalid_utf8 += other.invalid_utf8;
        self.typed_leaves += other.typed_leaves;
        self.nul += other.nul;
        self.control += other.control;
        self.not_json += other.not_json;
    }
}
