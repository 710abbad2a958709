//! What it means that a text holds a keyword. Every store finds exactly this; none may find by words or patterns.

use std::borrow::Cow;
use std::str::Chars;

use super::fold::fold;

/// A keyword, ready to be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyword {
    folded: String,
}

impl Keyword {
    #[must_use]
    pub fn new(keyword: &str) -> Self {
        Self { folded: fold(keyword) }
    }

    /// Returns whether a text holds it as a substring, without regard to case and to what Unicode calls equal
    /// ([`fold`]).
    #[must_use]
    pub fn is_in_text(&self, text: &str) -> bool {
        fold(text).contains(&self.folded)
    }

    /// As [`Self::is_in_text`], in a JSON text whose escapes are undone first: names and punctuation are text too.
    #[must_use]
    pub fn is_in_json(&self, json: &str) -> bool {
        self.is_in_text(&unescape(json))
    }
}

/// Undoes the escapes of a JSON text. What is no escape, such as half of a surrogate pair, stays as it is spelled.
#[must_use]
pub fn unescape(json: &str) -> Cow<'_, str> {
    if !json.contains('\\') {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let mut characters = after.chars();
        if let Some(character) = escaped(&mut characters) {
            text.push(character);
            rest = characters.as_str();
        } else {
            text.push('\\');
            rest = after;
        }
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Returns the character that an escape stands for, without its backslash.
fn escaped(characters: &mut Chars<'_>) -> Option<char> {
    match characters.next()? {
        same @ ('"' | '\\' | '/') => Some(same),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'u' => {
            let first = unit(characters)?;
            if let Some(character) = char::from_u32(first) {
                return Some(character);
            }
            let is_low = characters.next() == Some('\\') && characters.next() == Some('u');
            let second = if is_low { unit(characters)? } else { return None };
            char::decode_utf16([u16::try_from(first).ok()?, u16::try_from(second).ok()?]).next()?.ok()
        }
        _ => None,
    }
}

/// Four hexadecimal digits.
fn unit(characters: &mut Chars<'_>) -> Option<u32> {
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit * 16 + characters.next()?.to_digit(16)?;
    }
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyword_is_a_substring_without_case() {
        for (text, keyword) in [
            ("Ord 1", "D 1"),
            ("ÜBER", "über"),
            ("订单编号", "单编"),
            ("100%", "%"),
            ("İx", "ix"),
            ("straße", "STRASSE"),
        ] {
            assert!(Keyword::new(keyword).is_in_text(text), "{keyword} in {text}");
        }
        for (text, keyword) in [("order", "oder"), ("order", "%"), ("order", "o_der"), ("é", "e"), ("", "a")] {
            assert!(!Keyword::new(keyword).is_in_text(text), "{keyword} in {text}");
        }
    }

    #[test]
    fn escapes_of_json_are_undone() {
        let json = r#"{"q": "\u4f60\u597D \ud83e\udd80 \"x\" C:\\u0041 \/ \n"}"#;
        for keyword in ["你好 🦀", r#""x""#, r"c:\u0041", "/ \n", r#"{"q": "#] {
            assert!(Keyword::new(keyword).is_in_json(json), "{keyword}");
        }
        assert!(!Keyword::new("4f60").is_in_json(json));
    }

    #[test]
    fn what_is_no_escape_stays() {
        for json in [r"\ud83e x", r"\udd80", r"\u12", r"\u 041", r"\x", "\\"] {
            assert_eq!(unescape(json), json);
        }
        assert_eq!(unescape(r"\ud83e\u0041"), r"\ud83eA");
    }
}
