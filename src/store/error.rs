//! Why a store could not be read or changed, and what may be told of it to whom.

use super::Capability;
use crate::domain::query::MOST_SPANS;
use crate::domain::{FaultKind, SinkFault};

const TOO_MANY_SPANS: &str =
    "there are rows in more than 10000 spans of time; ask for longer spans, or for a shorter time";
const _: () = assert!(MOST_SPANS == 10_000, "TOO_MANY_SPANS names it");

/// A read or an administrative call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The same call may succeed later.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// The store's operator has closed a part of it that the answer depends on, so that nobody can tell what it holds. Says
    /// which, and how it is opened; no retry helps before.
    #[error("store unavailable: {0}")]
    Closed(String),
    /// Credentials or rights are not enough.
    #[error("store refused access: {0}")]
    Unauthorized(String),
    /// The store lacks what `difylog setup` installs, or has an older version of it.
    #[error("store is not set up: {0}; run `difylog setup`")]
    NotSetUp(String),
    /// What the store holds or answers cannot be understood.
    #[error("store holds or answers something unreadable: {0}")]
    Corrupt(String),
    /// A keyword is looked for in texts that the settings leave out of the index. Names the value of `store.elastic.search`
    /// that has them; no retry helps until then.
    #[error(
        "the text that is asked for is not indexed: set store.elastic.search = \"{0}\", which holds for what is written \
         from then on"
    )]
    NotIndexed(&'static str),
    /// Rows lie in more spans of time than an answer may have; no retry helps.
    #[error("{TOO_MANY_SPANS}")]
    TooManySpans,
    /// The store never can; no retry helps.
    #[error("this kind of store has no {0}: ask without it, or use a store that has it (store.kind)")]
    Unsupported(Capability),
}

impl StoreError {
    /// Returns what an asker may be told who is no operator: no folder, process, host or index is in it. The whole text
    /// belongs into the log.
    #[must_use]
    pub const fn public(&self) -> &'static str {
        match self {
            Self::Unavailable(_) | Self::Closed(_) => {
                "the store cannot answer now; try again later, or ask the operator, whose log says why"
            }
            Self::Unauthorized(_) | Self::NotSetUp(_) => {
                "the store cannot be used until its operator has seen to it; the log says why"
            }
            Self::NotIndexed(_) => {
                "this store does not index the text that is asked for; look for the keyword in other fields, or ask the \
                 operator (store.elastic.search)"
            }
            Self::Unsupported(Capability::TextSearch) => "this store has no search in texts; ask without a keyword",
            Self::Unsupported(_) => {
                "this store cannot answer that, now or later; ask the operator for another kind of store"
            }
            Self::TooManySpans => TOO_MANY_SPANS,
            Self::Corrupt(_) => "the store holds something unreadable; ask the operator, whose log says what",
        }
    }
}

impl From<SinkFault> for StoreError {
    /// A read or an administrative call meets the same faults as a write.
    fn from(fault: SinkFault) -> Self {
        let detail = fault.to_string();
        match fault.kind {
            FaultKind::Unreachable | FaultKind::Overloaded | FaultKind::TooLarge | FaultKind::Storage => {
                Self::Unavailable(detail)
            }
            FaultKind::Unauthorized => Self::Unauthorized(fault.detail),
            FaultKind::NotSetUp => Self::NotSetUp(fault.detail),
            FaultKind::Malformed => Self::Corrupt(detail),
        }
    }
}
