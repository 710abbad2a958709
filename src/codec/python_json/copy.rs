//! Copying one value as clean JSON text, or skipping it: one loop over the grammar for both.

use std::ops::Range;

use super::string::{control_escape, find_special, push_quoted};
use super::{MAX_DEPTH, Plain, Scalar, Scanner, Syntax, TypedLeaves};
use crate::domain::JsonText;

/// Receives what must be replaced; all else is copied verbatim.
trait Sink {
    /// Whether replacements matter.
    const COPIES: bool;
    fn replace(&mut self, source: &str, range: Range<usize>, with: &str);
}

struct Discard;

impl Sink for Discard {
    const COPIES: bool = false;
    fn replace(&mut self, _: &str, _: Range<usize>, _: &str) {}
}

/// Copies in runs as long as nothing needs cleaning: most payloads are one `memcpy`.
struct Copy {
    out: String,
    copied: usize,
}

impl Sink for Copy {
    const COPIES: bool = true;
    fn replace(&mut self, source: &str, range: Range<usize>, with: &str) {
        self.out.push_str(source.get(self.copied..range.start).unwrap_or_default());
        self.out.push_str(with);
        self.copied = range.end;
    }
}

/// The open containers, a bit each: set for an object.
#[derive(Default)]
struct Nesting {
    words: Vec<u64>,
    depth: usize,
}

impl Nesting {
    fn push(&mut self, object: bool, at: usize) -> Result<(), Syntax> {
        if self.depth == MAX_DEPTH {
            return Err(Syntax::TooDeep { at });
        }
        if self.depth.is_multiple_of(64) {
            self.words.push(0);
        }
        if let Some(word) = self.words.last_mut() {
            let bit = 1 << (self.depth % 64);
            *word = if object { *word | bit } else { *word & !bit };
        }
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) {
        self.depth -= 1;
        if self.depth.is_multiple_of(64) {
            self.words.pop();
        }
    }

    /// Returns whether the innermost container is an object; `None` outside of any.
    fn in_object(&self) -> Option<bool> {
        let last = self.depth.checked_sub(1)?;
        self.words.last().map(|word| word >> (last % 64) & 1 == 1)
    }
}

impl Scanner<'_> {
    /// Skips one value.
    ///
    /// # Errors
    /// [`Syntax`] if it is not Python's JSON.
    pub fn skip(&mut self) -> Result<(), Syntax> {
        self.value(&mut Discard)
    }

    /// Copies one value as clean JSON.
    ///
    /// # Errors
    /// [`Syntax`] if it is not Python's JSON.
    pub fn copy(&mut self) -> Result<JsonText, Syntax> {
        self.peek();
        let mut copy = Copy { out: String::new(), copied: self.at };
        self.value(&mut copy)?;
        let rest = self.text.get(copy.copied..self.at).unwrap_or_default();
        if copy.out.is_empty() {
            return Ok(JsonText::from_clean(rest));
        }
        copy.out.push_str(rest);
        Ok(JsonText::from_clean(copy.out))
    }

    /// Copies the one value that the whole text is.
    ///
    /// # Errors
    /// [`Syntax`] if it is not Python's JSON, or not alone.
    pub fn document(mut self) -> Result<(JsonText, super::Cleaned), Syntax> {
        let text = self.copy()?;
        self.end()?;
        Ok((text, self.cleaned))
    }

    fn value<S: Sink>(&mut self, sink: &mut S) -> Result<(), Syntax> {
        let mut nesting = Nesting::default();
        loop {
            if self.opened(&mut nesting, sink)? {
                continue;
            }
            // A value has ended: leave the containers that end with it.
            loop {
                let Some(in_object) = nesting.in_object() else {
                    return Ok(());
                };
                let ended = if in_object {
                    self.ends_or_continues(b'}', "`,` or `}`")?
                } else {
                    self.ends_or_continues(b']', "`,` or `]`")?
                };
                if !ended {
                    if in_object {
                        self.key(sink)?;
                    }
                    break;
                }
                nesting.pop();
            }
        }
    }

    /// Reads the start of a value: all of it, or the opening of a container that is not empty (then returns `true`).
    fn opened<S: Sink>(&mut self, nesting: &mut Nesting, sink: &mut S) -> Result<bool, Syntax> {
        match self.peek() {
            Some(b'"') => self.raw_string(sink)?,
            Some(b'{') => {
                if S::COPIES && self.leaves == TypedLeaves::Restore && self.replaced_leaf(sink)? {
                    return Ok(false);
                }
                nesting.push(true, self.at)?;
                self.at += 1;
                if self.peek() != Some(b'}') {
                    self.key(sink)?;
                    return Ok(true);
                }
                self.at += 1;
                nesting.pop();
            }
            Some(b'[') => {
                nesting.push(false, self.at)?;
                self.at += 1;
                if self.peek() != Some(b']') {
                    return Ok(true);
                }
                self.at += 1;
                nesting.pop();
            }
            _ => {
                let start = self.at;
                if let Plain::NotFinite = self.plain()? {
                    self.cleaned.nan += u64::from(S::COPIES);
                    sink.replace(self.text, start..self.at, "null");
                }
            }
        }
        Ok(false)
    }

    fn replaced_leaf<S: Sink>(&mut self, sink: &mut S) -> Result<bool, Syntax> {
        let start = self.at;
        let plain = match self.typed_leaf()? {
            None => return Ok(false),
            Some(Scalar::Number(number)) => number.into_owned(),
            Some(Scalar::Text(text)) => {
                let mut quoted = String::with_capacity(text.len() + 2);
                push_quoted(&mut quoted, &text);
                quoted
            }
            Some(_) => "null".to_owned(),
        };
        sink.replace(self.text, start..self.at, &plain);
        Ok(true)
    }

    fn key<S: Sink>(&mut self, sink: &mut S) -> Result<(), Syntax> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key"));
        }
        self.raw_string(sink)?;
        self.punctuation(b':', "`:`")
    }

    /// Reads a string and has replaced what clean JSON writes otherwise, the position on its opening quote.
    fn raw_string<S: Sink>(&mut self, sink: &mut S) -> Result<(), Syntax> {
        self.at += 1;
        loop {
            self.at = find_special(self.text.as_bytes(), self.at);
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.raw_escape(sink)?,
                Some(control) => {
                    self.cleaned.control += u64::from(S::COPIES);
                    if S::COPIES {
                        sink.replace(self.text, self.at..self.at + 1, &control_escape(control));
                    }
                    self.at += 1;
                }
                None => return Err(self.expected("the end of a string")),
            }
        }
    }

    /// Has an escape replaced by its character, unless the character needs an escape.
    fn raw_escape<S: Sink>(&mut self, sink: &mut S) -> Result<(), Syntax> {
        let start = self.at;
        let before = self.cleaned.surrogates;
        let decoded = self.escape()?;
        if !S::COPIES {
            self.cleaned.surrogates = before;
            return Ok(());
        }
        let short = self.at - start == 2;
        match decoded {
            '\0'..='\u{1f}' => {}
            '"' | '\\' if short => {}
            '"' => sink.replace(self.text, start..self.at, "\\\""),
            '\\' => sink.replace(self.text, start..self.at, "\\\\"),
            other => sink.replace(self.text, start..self.at, other.encode_utf8(&mut [0; 4])),
        }
        Ok(())
    }
}
