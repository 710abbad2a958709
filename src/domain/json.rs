//! A payload: the text of one clean JSON value.

use std::fmt;

/// The text of one JSON value, already cleaned by the codec: valid by RFC 8259, real UTF-8, no lone surrogate.
///
/// It stays text from the broker to the store, so that numbers, key order and white space remain as the producer
/// wrote them and a 50 MB payload never becomes a tree.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct JsonText(Box<str>);

impl JsonText {
    /// Wraps text that the caller knows to be clean. Only the codec and the stores (reading back) may say so.
    #[must_use]
    pub fn from_clean(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Length in bytes of UTF-8.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether it says nothing: `{}`, `null`, or no text. Dify's writers spell an absent payload in each of
    /// these ways.
    #[must_use]
    pub fn is_void(&self) -> bool {
        let mut rest = self.0.bytes().filter(|byte| !byte.is_ascii_whitespace());
        match (rest.next(), rest.next(), rest.next()) {
            (None, ..) | (Some(b'{'), Some(b'}'), None) => true,
            _ => self.0.trim() == "null",
        }
    }

    /// Returns whether the text is empty; a clean value never is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl AsRef<str> for JsonText {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for JsonText {
    /// Returns the size only: payloads never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonText({} bytes)", self.len())
    }
}
