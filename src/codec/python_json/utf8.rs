//! Bytes to text: invalid UTF-8 becomes U+FFFD, and positions in the text find their way back to the bytes.

use std::borrow::Cow;
use std::ops::Range;

use super::Cleaned;

/// Returns the text of a body. Borrowed, after one fast check, when the body is valid UTF-8.
pub fn text_of<'a>(body: &'a [u8], cleaned: &mut Cleaned) -> Cow<'a, str> {
    if let Ok(text) = simdutf8::basic::from_utf8(body) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(body.len());
    for segment in (Segments { rest: body }) {
        match segment {
            Segment::Valid(run) => text.push_str(run),
            Segment::Pair(character) => text.push(character),
            Segment::LoneSurrogate => {
                cleaned.surrogates += 1;
                text.push(char::REPLACEMENT_CHARACTER);
            }
            Segment::Invalid(_) => {
                cleaned.invalid_utf8 += 1;
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }
    Cow::Owned(text)
}

/// Translates ranges of the text that [`text_of`] made of a body into ranges of the body. They must ascend.
pub fn to_body_ranges<'r>(body: &[u8], ranges: impl Iterator<Item = &'r mut Range<usize>>) {
    let mut segments = Segments { rest: body };
    let (mut in_body, mut in_text, mut current) = (0, 0, (0, 0));
    let mut translate = |offset: usize| {
        while in_text + current.1 < offset {
            in_body += current.0;
            in_text += current.1;
            let Some(segment) = segments.next() else { return in_body };
            current = segment.lengths();
        }
        if offset - in_text == current.1 { in_body + current.0 } else { in_body + (offset - in_text).min(current.0) }
    };
    for range in ranges {
        *range = translate(range.start)..translate(range.end);
    }
}

enum Segment<'a> {
    Valid(&'a str),
    /// Two surrogates, three bytes each, that make one character.
    Pair(char),
    LoneSurrogate,
    /// So many bytes that are no UTF-8.
    Invalid(usize),
}

impl Segment<'_> {
    /// Length in the body, length in the text.
    fn lengths(&self) -> (usize, usize) {
        let replaced = char::REPLACEMENT_CHARACTER.len_utf8();
        match self {
            Self::Valid(run) => (run.len(), run.len()),
            Self::Pair(character) => (6, character.len_utf8()),
            Self::LoneSurrogate => (3, replaced),
            Self::Invalid(length) => (*length, replaced),
        }
    }
}

struct Segments<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        let chunk = self.rest.utf8_chunks().next()?;
        let segment = match (chunk.valid(), surrogate(self.rest)) {
            ("", Some(high @ 0xd800..=0xdbff)) => {
                let low = surrogate(self.rest.get(3..).unwrap_or_default()).filter(|low| *low >= 0xdc00);
                let scalar = low.map(|low| 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00));
                scalar.and_then(char::from_u32).map_or(Segment::LoneSurrogate, Segment::Pair)
            }
            ("", Some(_)) => Segment::LoneSurrogate,
            ("", None) => Segment::Invalid(chunk.invalid().len()),
            (run, _) => Segment::Valid(run),
        };
        self.rest = self.rest.get(segment.lengths().0..).unwrap_or_default();
        Some(segment)
    }
}

/// Returns the surrogate that the bytes begin with, encoded as UTF-8 would encode it.
fn surrogate(bytes: &[u8]) -> Option<u32> {
    match *bytes {
        [0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf, ..] => {
            Some(0xd000 | u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f))
        }
        _ => None,
    }
}
