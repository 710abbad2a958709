//! The second pass: writes what the caps and the budget leave.

use std::ops::Range;

use super::lexer::{JsonToken, Lexer, TokenKind};
use super::{Caps, ELLIPSIS};

/// Writes a text under its caps, in at most `budget` bytes whatever the caps.
pub(super) fn cut(text: &str, budget: usize, caps: Caps) -> String {
    let mut cutter = Cutter { text, budget, caps, out: String::with_capacity(budget), open: Vec::new(), pending: 0 };
    let mut tokens = Lexer::new(text);
    while let Some(token) = tokens.next() {
        if cutter.take(&token) == Taken::Spent {
            break;
        }
        if cutter.beyond_cap() {
            // The rest of this container goes, up to its own end.
            match end_of_container(&mut tokens) {
                Some(closer) => cutter.close(closer.range),
                None => break,
            }
        }
    }
    cutter.finish()
}

#[derive(PartialEq, Eq)]
enum Taken {
    Fits,
    /// The budget is spent: nothing more can be written but closers.
    Spent,
}

struct Container {
    closer: char,
    position: usize,
}

struct Cutter<'a> {
    text: &'a str,
    budget: usize,
    caps: Caps,
    out: String,
    /// Each has its closer's byte reserved in the budget.
    open: Vec<Container>,
    /// Start of what was read but not written: a comma, a key, white space. It goes with the value that follows.
    pending: usize,
}

impl Cutter<'_> {
    fn take(&mut self, token: &JsonToken) -> Taken {
        match token.kind {
            TokenKind::Comma => {
                if let Some(container) = self.open.last_mut() {
                    container.position += 1;
                }
                Taken::Fits
            }
            TokenKind::Key => Taken::Fits,
            TokenKind::Plain => self.write(token.range.clone(), ""),
            TokenKind::Text => self.text_value(&token.range),
            TokenKind::Open => self.container(token.range.clone()),
            TokenKind::Close => {
                self.close(self.pending..token.range.end);
                Taken::Fits
            }
        }
    }

    /// Bytes that may still be written, the closers of all open containers set aside.
    fn room(&self) -> usize {
        self.budget.saturating_sub(self.out.len() + self.open.len())
    }

    /// Writes what is pending, then a piece of the text with a suffix, all or nothing.
    fn write(&mut self, piece: Range<usize>, suffix: &str) -> Taken {
        let pending = self.text.get(self.pending..piece.end).unwrap_or_default();
        if pending.len() + suffix.len() > self.room() {
            return Taken::Spent;
        }
        self.out.push_str(pending);
        self.out.push_str(suffix);
        self.pending = piece.end;
        Taken::Fits
    }

    fn text_value(&mut self, token: &Range<usize>) -> Taken {
        let before = token.start - self.pending;
        let cap = self.caps.string.min(self.room().saturating_sub(before + 2));
        if token.len() - 2 <= cap {
            return self.write(token.clone(), "");
        }
        let Some(kept) = cap.checked_sub(ELLIPSIS.len()) else {
            return Taken::Spent;
        };
        let content = self.text.get(token.start + 1..token.end - 1).unwrap_or_default();
        let kept = boundary(content, kept);
        let outcome = self.write(token.start..token.start + 1 + kept, "...\"");
        self.pending = token.end;
        outcome
    }

    fn container(&mut self, token: Range<usize>) -> Taken {
        let closer = if self.text.get(token.clone()) == Some("{") { '}' } else { ']' };
        // The closer's byte must be there before the opener is written.
        self.open.push(Container { closer, position: 0 });
        let outcome = self.write(token, "");
        if outcome == Taken::Spent {
            self.open.pop();
        }
        outcome
    }

    /// Closes the innermost container, with the white space before its closer if there is room.
    fn close(&mut self, tail: Range<usize>) {
        let space = self.text.get(tail.start..tail.end.saturating_sub(1)).unwrap_or_default();
        if space.len() <= self.room() {
            self.out.push_str(space);
        }
        self.out.extend(self.open.pop().map(|container| container.closer));
        self.pending = tail.end;
    }

    fn beyond_cap(&self) -> bool {
        self.open.last().is_some_and(|container| container.position >= self.caps.elements)
    }

    fn finish(mut self) -> String {
        while let Some(container) = self.open.pop() {
            self.out.push(container.closer);
        }
        if self.out.is_empty() {
            // A number or a literal that is too long by itself, or white space before it.
            self.out.push_str("null");
        }
        self.out
    }
}

/// Skips to the end of the container that the tokens are in.
fn end_of_container(tokens: &mut Lexer<'_>) -> Option<JsonToken> {
    let mut depth = 0_usize;
    for token in tokens {
        match token.kind {
            TokenKind::Open => depth += 1,
            TokenKind::Close if depth == 0 => return Some(token),
            TokenKind::Close => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Returns the largest length up to `limit` at which the content of a JSON string can be cut: between characters, and
/// not within an escape.
fn boundary(content: &str, limit: usize) -> usize {
    let limit = content.floor_char_boundary(limit);
    let kept = content.get(..limit).unwrap_or_default();
    let mut at = 0;
    while let Some(found) = kept.get(at..).and_then(|rest| rest.find('\\')) {
        let escape = at + found;
        let length = if content.as_bytes().get(escape + 1) == Some(&b'u') { 6 } else { 2 };
        if escape + length > limit {
            return escape;
        }
        at = escape + length;
    }
    limit
}
