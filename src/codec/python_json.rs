//! Python's JSON: a validating pull scanner that walks what the decoder knows and copies payloads as clean JSON.
//!
//! It accepts what Python's `json.loads` accepts (`NaN`, `Infinity`, lone surrogates, and raw control characters as with
//! `strict=False`) and never builds a tree. It never recurses: nesting is a stack of bits, so no input can overflow the
//! call stack.

mod copy;
mod leaf;
pub mod string;
pub mod utf8;

use std::borrow::Cow;

use super::cleaned::Cleaned;
use crate::domain::{Refusal, RefusalClass};

/// Deepest nesting of one value.
pub const MAX_DEPTH: usize = 10_000;

/// Why a text is not Python's JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Syntax {
    #[error("not JSON: expected {expected} at byte {at}")]
    Expected { expected: &'static str, at: usize },
    #[error("nested deeper than {MAX_DEPTH} levels at byte {at}")]
    TooDeep { at: usize },
}

impl From<Syntax> for Refusal {
    fn from(error: Syntax) -> Self {
        Self::new(RefusalClass::UndecodableBody, error.to_string())
    }
}

/// What to do with `{"__type__": …, "__value__": …}` objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypedLeaves {
    /// Restore the plain value: Celery's encoder wrote them.
    Restore,
    /// Leave them: nothing but user data looks like that.
    Keep,
}

/// A cursor over the text of one JSON value.
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
    leaves: TypedLeaves,
    /// What was changed so far.
    pub cleaned: Cleaned,
}

/// A value of a column that holds no payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar<'a> {
    Null,
    Bool,
    /// As written, valid by JSON's grammar.
    Number(Cow<'a, str>),
    /// Decoded.
    Text(Cow<'a, str>),
    /// An object or array where a plain value is expected.
    Container,
}

impl<'a> Scanner<'a> {
    #[must_use]
    pub fn new(text: &'a str, leaves: TypedLeaves) -> Self {
        Self { text, at: 0, leaves, cleaned: Cleaned::default() }
    }

    /// Returns the position: bytes from the start of the text.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }

    /// Skips white space; returns the first byte of what follows.
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other,
            }
        }
    }

    /// Demands that only white space is left.
    ///
    /// # Errors
    /// [`Syntax`] if there is more.
    pub fn end(&mut self) -> Result<(), Syntax> {
        if self.peek().is_none() { Ok(()) } else { Err(self.expected("the end")) }
    }

    /// Walks an object. `member` is given each key and must consume its value.
    ///
    /// # Errors
    /// [`Syntax`] if there is no object, or what `member` returns.
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, &str) -> Result<(), Syntax>) -> Result<(), Syntax> {
        self.punctuation(b'{', "an object")?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.punctuation(b':', "`:`")?;
            member(self, &key)?;
            if self.ends_or_continues(b'}', "`,` or `}`")? {
                return Ok(());
            }
        }
    }

    /// Walks an array. `element` is given each index and must consume the element.
    ///
    /// # Errors
    /// [`Syntax`] if there is no array, or what `element` returns.
    pub fn array<E: From<Syntax>>(
        &mut self,
        mut element: impl FnMut(&mut Self, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        self.punctuation(b'[', "an array")?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        for index in 0.. {
            element(self, index)?;
            if self.ends_or_continues(b']', "`,` or `]`")? {
                break;
            }
        }
        Ok(())
    }

    /// Reads a plain value; a container is skipped.
    ///
    /// # Errors
    /// [`Syntax`] if there is no value.
    pub fn scalar(&mut self) -> Result<Scalar<'a>, Syntax> {
        match self.peek() {
            Some(b'"') => self.string().map(Scalar::Text),
            Some(b'{') => {
                if self.leaves == TypedLeaves::Restore
                    && let Some(leaf) = self.typed_leaf()?
                {
                    return Ok(leaf);
                }
                self.skip().map(|()| Scalar::Container)
            }
            Some(b'[') => self.skip().map(|()| Scalar::Container),
            _ => Ok(match self.plain()? {
                Plain::Null => Scalar::Null,
                Plain::Bool => Scalar::Bool,
                Plain::NotFinite => {
                    self.cleaned.nan += 1;
                    Scalar::Null
                }
                Plain::Number(number) => Scalar::Number(Cow::Borrowed(number)),
            }),
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expected(&self, expected: &'static str) -> Syntax {
        Syntax::Expected { expected, at: self.at }
    }

    fn punctuation(&mut self, byte: u8, expected: &'static str) -> Result<(), Syntax> {
        if self.peek() != Some(byte) {
            return Err(self.expected(expected));
        }
        self.at += 1;
        Ok(())
    }

    /// After a value within a container: whether the container ends here.
    fn ends_or_continues(&mut self, closer: u8, expected: &'static str) -> Result<bool, Syntax> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(byte) if byte == closer => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.expected(expected)),
        }
    }

    /// Returns a number or a literal, the position on its first byte.
    fn plain(&mut self) -> Result<Plain<'a>, Syntax> {
        const LITERALS: [(&str, Plain<'static>); 6] = [
            ("null", Plain::Null),
            ("true", Plain::Bool),
            ("false", Plain::Bool),
            ("NaN", Plain::NotFinite),
            ("Infinity", Plain::NotFinite),
            ("-Infinity", Plain::NotFinite),
        ];
        let rest = self.text.get(self.at..).unwrap_or_default();
        if let Some(length) = number_length(rest.as_bytes()) {
            self.at += length;
            return Ok(Plain::Number(rest.get(..length).unwrap_or_default()));
        }
        for (name, plain) in LITERALS {
            if rest.starts_with(name) {
                self.at += name.len();
                return Ok(plain);
            }
        }
        Err(self.expected("a value"))
    }
}

/// A value that is neither a string nor a container.
#[derive(Clone, Copy)]
enum Plain<'a> {
    Null,
    Bool,
    NotFinite,
    Number(&'a str),
}

/// Length of the number that the bytes begin with, by JSON's grammar.
fn number_length(bytes: &[u8]) -> Option<usize> {
    let digits_from = |start: usize| {
        let digits = bytes.iter().skip(start).take_while(|byte| byte.is_ascii_digit()).count();
        (digits > 0).then_some(start + digits)
    };
    let integer = usize::from(bytes.first() == Some(&b'-'));
    let mut end = if bytes.get(integer) == Some(&b'0') { integer + 1 } else { digits_from(integer)? };
    if bytes.get(end) == Some(&b'.') {
        end = digits_from(end + 1).unwrap_or(end);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        end = digits_from(end + 1 + sign).unwrap_or(end);
    }
    Some(end)
}

#[cfg(test)]
mod tests;
