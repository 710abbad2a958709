//! What a store says of one action, what becomes of its delivery, and the one table between them.

use std::fmt;
use std::time::Duration;

/// The store's answer for one bulk action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Positively confirmed durable.
    Stored,
    /// The store holds this revision or a newer one: as good as stored. A 409 of the engines is this.
    Superseded,
    /// Not stored, but the same action may succeed later.
    Retry(RetryCause),
    /// Not stored, and it never will be.
    Refused(Refusal),
}

/// What to do with the delivery behind an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// Tell the broker that the delivery is done.
    Ack,
    /// Give it back to the queue. Only on drain and abandonment: a transient fault is held, not requeued.
    Requeue,
    /// Publish a dead letter, wait for its confirm, then ack.
    DeadLetter(Refusal),
}

/// What follows from a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Settle the delivery now.
    Settle(Disposition),
    /// Hold the delivery and try again after a backoff.
    Hold(RetryCause),
}

impl From<Verdict> for Next {
    /// Returns the table. There is no other place that decides what is acked.
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Stored | Verdict::Superseded => Self::Settle(Disposition::Ack),
            Verdict::Refused(refusal) => Self::Settle(Disposition::DeadLetter(refusal)),
            Verdict::Retry(cause) => Self::Hold(cause),
        }
    }
}

/// Why an action was not stored this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryCause {
    /// HTTP status of the item, where the store speaks HTTP.
    pub status: Option<u16>,
    /// The store's words, bounded in length.
    pub detail: String,
    /// The store has too much to do, so that fewer requests would help. Not so where one index is blocked or away.
    pub overload: bool,
}

impl RetryCause {
    /// Returns a cause that is no overload.
    #[must_use]
    pub fn new(status: impl Into<Option<u16>>, detail: impl Into<String>) -> Self {
        Self { status: status.into(), detail: detail.into(), overload: false }
    }
}

/// Why a message or an action can never be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {detail}")]
pub struct Refusal {
    pub class: RefusalClass,
    /// What exactly, bounded in length; field names and the store's words, never a payload.
    pub detail: String,
    /// HTTP status of the store's answer, if a store refused it.
    pub status: Option<u16>,
}

impl Refusal {
    /// Longest detail kept, in bytes.
    pub const MAX_DETAIL: usize = 512;

    /// Returns a refusal found before any store was asked.
    #[must_use]
    pub fn new(class: RefusalClass, detail: impl Into<String>) -> Self {
        Self { class, detail: bounded(detail.into()), status: None }
    }

    /// Returns a refusal in the words of a store.
    #[must_use]
    pub fn by_store(status: Option<u16>, detail: impl Into<String>) -> Self {
        Self { class: RefusalClass::RefusedByStore, detail: bounded(detail.into()), status }
    }
}

/// Cuts a text to [`Refusal::MAX_DETAIL`] bytes at a character boundary.
#[must_use]
pub fn bounded(mut text: String) -> String {
    if text.len() > Refusal::MAX_DETAIL {
        let end = text.floor_char_boundary(Refusal::MAX_DETAIL);
        text.truncate(end);
        text.push('…');
    }
    text
}

macro_rules! refusal_classes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)?) => {
        /// The reason classes of dead letters: a closed list, stable names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum RefusalClass { $($(#[$doc])* $variant,)+ }

        impl RefusalClass {
            /// Every class.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the name in headers, metrics and the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

refusal_classes!(
    /// The body is not the JSON it should be, or its compression is broken.
    UndecodableBody = "undecodable-body",
    /// The content type is not JSON; pickles are never read.
    UnsupportedContentType = "unsupported-content-type",
    /// A compression that difylog does not know.
    UnsupportedCompression = "unsupported-compression",
    /// A Celery task of another name, or none.
    UnknownTask = "unknown-task",
    /// A native event of an unknown kind.
    UnknownKind = "unknown-kind",
    /// A native event of an unknown version.
    UnknownVersion = "unknown-version",
    /// A needed field is absent or null.
    MissingField = "missing-field",
    /// A field of the wrong type, or longer than its column.
    InvalidField = "invalid-field",
    /// An id that is not a UUID.
    InvalidId = "invalid-id",
    /// An instant outside 1970 to 2262.
    DateOutOfRange = "date-out-of-range",
    /// Larger than the configured largest message.
    TooLarge = "too-large",
    /// The store said no for good.
    RefusedByStore = "refused-by-store",
);

impl fmt::Display for RefusalClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for RefusalClass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|class| class.as_str() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|class| class.as_str()).collect();
            format!("unknown reason class; one of {}", names.join(", "))
        })
    }
}

/// A whole request failed: no action of it has a verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct SinkFault {
    pub kind: FaultKind,
    /// What the operator can look at, bounded in length.
    pub detail: String,
    /// How long the store asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl SinkFault {
    #[must_use]
    pub fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: bounded(detail.into()), retry_after: None }
    }
}

/// What kind of fault, as far as the reaction differs. Every kind but `TooLarge` holds the batch and backs off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// No connection, a broken one, or no answer in time.
    Unreachable,
    /// 429 or 5xx for the whole request.
    Overloaded,
    /// 401 or 403: credentials or rights must be mended; nothing is dead-lettered for it.
    Unauthorized,
    /// 413: the request must be split.
    TooLarge,
    /// An answer that breaks the protocol: not JSON, or another number of items than actions.
    Malformed,
    /// The store is there but not set up: run `difylog setup`.
    NotSetUp,
    /// The local disk or file refuses: full, locked, read-only, damaged.
    Storage,
}

impl FaultKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "store unreachable",
            Self::Overloaded => "store overloaded",
            Self::Unauthorized => "store refused the credentials",
            Self::TooLarge => "request too large",
            Self::Malformed => "store answered nonsense",
            Self::NotSetUp => "store is not set up",
            Self::Storage => "storage fault",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stored_and_superseded_are_acked() {
        let cause = RetryCause::new(429, "");
        let refusal = Refusal::by_store(Some(400), "mapper_parsing_exception");
        for (verdict, next) in [
            (Verdict::Stored, Next::Settle(Disposition::Ack)),
            (Verdict::Superseded, Next::Settle(Disposition::Ack)),
            (Verdict::Retry(cause.clone()), Next::Hold(cause)),
            (Verdict::Refused(refusal.clone()), Next::Settle(Disposition::DeadLetter(refusal))),
        ] {
            assert_eq!(Next::from(verdict), next);
        }
    }

    #[test]
    fn details_are_bounded_at_a_character() {
        let refusal = Refusal::new(RefusalClass::InvalidField, "é".repeat(1000));
        assert!(refusal.detail.len() <= Refusal::MAX_DETAIL + '…'.len_utf8());
    }
}
