//! Tokens of clean JSON. The text is known to be valid, so nothing is checked again.

use std::ops::Range;

use crate::codec::python_json::string::find_special;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Open,
    Close,
    Comma,
    /// A member's name, up to and with its colon.
    Key,
    /// A string value, with its quotes.
    Text,
    /// A number or a literal.
    Plain,
}

#[derive(Debug, Clone)]
pub(super) struct JsonToken {
    pub kind: TokenKind,
    pub range: Range<usize>,
}

pub(super) struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), at: 0 }
    }

    fn skip_while(&mut self, matches: impl Fn(u8) -> bool) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches(byte) {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    fn skip_white_space(&mut self) -> Option<u8> {
        self.skip_while(|byte| byte.is_ascii_whitespace())
    }

    /// Returns a string, and whether it is a key: then its colon is consumed as well.
    fn string(&mut self) -> TokenKind {
        self.at += 1;
        loop {
            self.at = find_special(self.bytes, self.at);
            match self.bytes.get(self.at) {
                Some(b'\\') => self.at += 2,
                _ => break,
            }
        }
        self.at += 1;
        let end = self.at;
        if self.skip_white_space() == Some(b':') {
            self.at += 1;
            return TokenKind::Key;
        }
        self.at = end;
        TokenKind::Text
    }
}

impl Iterator for Lexer<'_> {
    type Item = JsonToken;

    fn next(&mut self) -> Option<JsonToken> {
        let first = self.skip_white_space()?;
        let start = self.at;
        let kind = match first {
            b'"' => self.string(),
            b'{' | b'[' => TokenKind::Open,
            b'}' | b']' => TokenKind::Close,
            b',' => TokenKind::Comma,
            _ => {
                self.skip_while(|byte| !matches!(byte, b',' | b'}' | b']') && !byte.is_ascii_whitespace());
                TokenKind::Plain
            }
        };
        if matches!(kind, TokenKind::Open | TokenKind::Close | TokenKind::Comma) {
            self.at += 1;
        }
        Some(JsonToken { kind, range: start..self.at })
    }
}
