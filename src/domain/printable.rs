//! Foreign text for people: what could move a cursor, colour a screen, forge a line or turn the order of letters round is
//! written out.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns `text` on one line, with every character that does something instead of being seen written out: control
/// characters as `\n`, `\r`, `\t` or `\x1b`, invisible and direction-changing ones as `\u{202e}`. Letters, spaces and
/// symbols of every script stay, and so does a backslash: this is for eyes, not to be read back.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, acts)
}

/// Returns `text` as [`printable`] does, but keeps its line breaks. Every further line is indented by two spaces, so that
/// none of them looks like a line of its own.
#[must_use]
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    if !text.contains('\n') {
        return printable(text);
    }
    let lines: Vec<_> = text.lines().map(printable).collect();
    Cow::Owned(lines.join("\n  "))
}

/// Returns `text` with everything that acts written out, but line breaks and what follows them left alone: for text whose
/// parts are [`printable`] already, such as a table.
#[must_use]
pub fn printable_block(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && acts(c))
}

/// Returns a JSON text that means the same and shows no acting character: within strings they become `\u` escapes; white
/// space between them becomes a space.
#[must_use]
pub fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.contains(acts) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match c {
            // JSON's strings cannot hold these, so they are white space between them.
            '\0'..='\x1f' => shown.push(' '),
            c if acts(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(shown, "\\u{unit:04x}");
                }
            }
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

fn escaped(text: &str, hide: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hide) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !hide(c) => shown.push(c),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            '\0'..='\x7f' => {
                let _ = write!(shown, "\\x{:02x}", u32::from(c));
            }
            c => {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    Cow::Owned(shown)
}

/// Returns whether a character does something instead of being seen: C0 and C1 controls, DEL, line and paragraph
/// separators, directional marks, zero-width and other invisible ones. Variation selectors of emoji stay.
const fn acts(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_written_out_and_what_is_seen_stays() {
        for (text, shown) in [
            ("\x1b[2J\x1b]0;pwned\x07", "\\x1b[2J\\x1b]0;pwned\\x07"),
            ("a\r\nfake row\t|\0", "a\\r\\nfake row\\t|\\x00"),
            ("\u{9b}31m \u{85} \x7f", "\\u{9b}31m \\u{85} \\x7f"),
            ("\u{202e}gnp.exe \u{2066}x\u{2069}", "\\u{202e}gnp.exe \\u{2066}x\\u{2069}"),
            (
                "zero\u{200b}width\u{feff} soft\u{ad} \u{2028}\u{2029}",
                "zero\\u{200b}width\\u{feff} soft\\u{ad} \\u{2028}\\u{2029}",
            ),
            ("\u{e0041}", "\\u{e0041}"),
            ("日本語　全角 ñ é e\u{301} 👍🏽 ✔\u{fe0f} C:\\x", "日本語　全角 ñ é e\u{301} 👍🏽 ✔\u{fe0f} C:\\x"),
        ] {
            assert_eq!(printable(text), shown);
            assert!(matches!(printable(shown), Cow::Borrowed(_)), "{shown}");
        }
    }

    #[test]
    fn lines_are_kept_where_they_are_ours_and_never_look_like_another_message() {
        assert_eq!(printable_lines("two rules:\na\x1b\r\nb"), "two rules:\n  a\\x1b\n  b");
        assert_eq!(printable_block("┌─┐\n│a│\x1b"), "┌─┐\n│a│\\x1b");
    }

    #[test]
    fn json_means_the_same() {
        let json = "{\"a\":\"\u{9b}\u{202e}\u{e0041}\\n\",\r\n\"b\":\"語\"}";
        let shown = printable_json(json);
        assert!(!shown.contains(acts), "{shown}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&shown), read(json));
    }
}
