//! Identifiers. Each is a UUID by construction, so none can carry a wildcard, a path or a quote into an index name,
//! a file name or a statement.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A text that is not a UUID where one is needed. The text itself is not repeated: it is untrusted and may be long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a uuid ({length} bytes)")]
pub struct InvalidId {
    /// Length of the rejected text in bytes.
    pub length: usize,
}

/// Parses the hyphenated (36 characters) or plain (32 characters) form, any case.
///
/// The URN and braced forms of the `uuid` crate are refused: PostgreSQL accepts braces, but no Dify writer produces them.
fn parse_uuid(text: &str) -> Result<Uuid, InvalidId> {
    let error = InvalidId { length: text.len() };
    if !matches!(text.len(), 32 | 36) {
        return Err(error);
    }
    Uuid::try_parse(text).map_err(|_| error)
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID.
            #[must_use]
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Returns the UUID itself.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// As [`Self::uuid`], borrowed.
            #[must_use]
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }

            /// Returns the 16 bytes; their order is the order PostgreSQL sorts UUIDs in.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self.0.as_hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_uuid(text).map(Self)
            }
        }
    };
}

identifier!(
    /// A workspace of Dify: the unit of isolation.
    TenantId
);
identifier!(
    /// An app of a tenant (for RAG pipelines: the pipeline).
    AppId
);
identifier!(
    /// The row id of a record, or of another row that a record points to (run, workflow, creator, file).
    RecordId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_both_usual_forms_and_prints_lower_case() {
        let hyphenated: TenantId = "669DD85A-0949-4cda-99c9-4984b192aea0".parse().unwrap();
        let plain: TenantId = "669dd85a09494cda99c94984b192aea0".parse().unwrap();
        assert_eq!(hyphenated, plain);
        assert_eq!(plain.to_string(), "669dd85a-0949-4cda-99c9-4984b192aea0");
    }

    #[test]
    fn refuses_everything_else() {
        for hostile in [
            "",
            "*",
            "..",
            "-x",
            "a,b",
            "urn:uuid:669dd85a-0949-4cda-99c9-4984b192aea0",
            "{669dd85a-0949-4cda-99c9-4984b192aea0}",
            "669dd85a-0949-4cda-99c9-4984b192aeag",
            "６６９dd85a-0949-4cda-99c9-4984b192aea0",
            &"x".repeat(300),
        ] {
            assert!(hostile.parse::<TenantId>().is_err(), "{hostile}");
        }
    }
}
