//! Strings: finding their end fast, and their escapes.

use std::borrow::Cow;

use super::{Scanner, Syntax};

/// Returns a byte that ends a run of plain text within a string: `"`, `\` or a control character. Returns the length if
/// there is none from `from` on.
pub fn find_special(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let (words, tail) = rest.as_chunks::<8>();
    for (position, word) in words.iter().enumerate() {
        let lanes = special_lanes(u64::from_le_bytes(*word));
        if lanes != 0 {
            return from + position * 8 + (lanes.trailing_zeros() / 8) as usize;
        }
    }
    let in_tail = tail.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\').unwrap_or(tail.len());
    bytes.len() - tail.len() + in_tail
}

/// Eight bytes at once: the top bit of each special lane. A borrow can mark a lane above the first special one wrongly,
/// never below it, and only the lowest mark is used.
const fn special_lanes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    (quote.wrapping_sub(ONES) & !quote
        | backslash.wrapping_sub(ONES) & !backslash
        | word.wrapping_sub(ONES * 0x20) & !word)
        & TOPS
}

/// Appends a JSON string.
pub fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    let mut copied = 0;
    loop {
        let special = find_special(text.as_bytes(), copied);
        out.push_str(text.get(copied..special).unwrap_or_default());
        let Some(&byte) = text.as_bytes().get(special) else {
            out.push('"');
            return;
        };
        push_escape(out, byte);
        copied = special + 1;
    }
}

fn push_escape(out: &mut String, byte: u8) {
    match byte {
        b'"' => out.push_str("\\\""),
        b'\\' => out.push_str("\\\\"),
        b'\n' => out.push_str("\\n"),
        b'\r' => out.push_str("\\r"),
        b'\t' => out.push_str("\\t"),
        _ => out.push_str(&control_escape(byte)),
    }
}

/// `\u001f` and the like.
pub(super) fn control_escape(byte: u8) -> String {
    format!("\\u{byte:04x}")
}

impl<'a> Scanner<'a> {
    /// Reads a string, decoded. Raw control characters are taken as they are.
    ///
    /// # Errors
    /// [`Syntax`] if there is no string, or it does not end.
    pub fn string(&mut self) -> Result<Cow<'a, str>, Syntax> {
        self.punctuation(b'"', "a string")?;
        let mut decoded = None::<String>;
        let mut copied = self.at;
        let mut special = self.at;
        loop {
            special = find_special(self.text.as_bytes(), special);
            self.at = special;
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    let run = self.text.get(copied..special).unwrap_or_default();
                    return Ok(match decoded {
                        None => Cow::Borrowed(run),
                        Some(text) => Cow::Owned(text + run),
                    });
                }
                Some(b'\\') => {
                    let text = decoded.get_or_insert_default();
                    text.push_str(self.text.get(copied..special).unwrap_or_default());
                    text.push(self.escape()?);
                    copied = self.at;
                    special = self.at;
                }
                Some(_) => special += 1,
                None => return Err(self.expected("the end of a string")),
            }
        }
    }

    /// Reads an escape, the position on its backslash. Surrogate pairs are one character; a lone one is U+FFFD.
    pub(super) fn escape(&mut self) -> Result<char, Syntax> {
        let decoded = match self.text.as_bytes().get(self.at + 1) {
            Some(b'u') => return self.unicode_escape(),
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            _ => return Err(self.expected("an escape")),
        };
        self.at += 2;
        Ok(decoded)
    }

    fn unicode_escape(&mut self) -> Result<char, Syntax> {
        let bytes = self.text.as_bytes();
        let first = code_unit(bytes, self.at).ok_or_else(|| self.expected("four hexadecimal digits"))?;
        self.at += 6;
        if let Some(decoded) = char::from_u32(first) {
            return Ok(decoded);
        }
        if first < 0xdc00
            && let Some(second @ 0xdc00..=0xdfff) = code_unit(bytes, self.at)
        {
            self.at += 6;
            let scalar = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            return Ok(char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        self.cleaned.surrogates += 1;
        Ok(char::REPLACEMENT_CHARACTER)
    }
}

/// Returns the UTF-16 code unit of the `\uXXXX` at a position, if there is one.
fn code_unit(bytes: &[u8], at: usize) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = bytes.get(at..at + 6)? else {
        return None;
    };
    digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
}
