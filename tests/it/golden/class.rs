//! The named differences from Dify's answers. Each says why, and the case's check says what the answer must be instead.

/// Where our answer is not Dify's, on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Rows with one timestamp have no order in Dify, and its 1.10 pages lose some of them. Ours: by descending id, none
    /// lost.
    Ties,
    /// Dify compares the JSON encoding, 1.10 with `%` and `_` as wildcards. Ours: the decoded text, everything literal,
    /// and logs without a run are looked at too.
    DecodedSearch,
    /// Dify crashes on a keyword together with a session id. Ours: both conditions hold.
    KeywordAndSession,
    /// Archives, trigger logs and pauses are Dify's own tables. Ours: not answered, or counted as 0.
    NotInTheStore,
    /// Asked over HTTP, by `tests/api`.
    AskedOverHttp,
}

/// How a case came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Equal,
    Class(Class),
}

impl Outcome {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Class(Class::Ties) => "ties",
            Self::Class(Class::DecodedSearch) => "decoded-search",
            Self::Class(Class::KeywordAndSession) => "keyword-and-session",
            Self::Class(Class::NotInTheStore) => "not-in-the-store",
            Self::Class(Class::AskedOverHttp) => "asked-over-http",
        }
    }
}

/// How many of the 1,017 cases come out how.
pub const SIZES: &[(&str, usize)] = &[
    ("equal", 959),
    ("ties", 22),
    ("decoded-search", 21),
    ("asked-over-http", 9),
    ("not-in-the-store", 5),
    ("keyword-and-session", 1),
];
