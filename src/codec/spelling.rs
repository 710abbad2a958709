//! How a payload column is spelled in Dify's tables beside its cleaned text: nearly always as Python's `json.dumps` spells
//! it, so that the original can be had from the record; where it cannot, it is noted in the row's [`Extra`].

use std::borrow::Cow;
use std::fmt::Write as _;

use super::Cleaned;
use crate::domain::JsonText;
use crate::domain::extra::Extra;

/// Returns the text of a payload column as the row has it; `None` is NULL.
#[must_use]
pub fn row_text<'a>(column: &str, clean: Option<&'a str>, extra: &'a Extra) -> Option<Cow<'a, str>> {
    if let Some(original) = extra.original(column) {
        return original.map(Cow::Borrowed);
    }
    let clean = clean?;
    Some(if extra.verbatim.contains(column) { Cow::Borrowed(clean) } else { ascii(clean) })
}

/// Notes how a payload column was spelled, where [`row_text`] could not tell from the cleaned text.
pub(super) fn note(column: &str, original: &str, clean: Option<&JsonText>, cleaned: &Cleaned, extra: &mut Extra) {
    let clean = clean.map(JsonText::as_str);
    if cleaned.invalid_utf8 > 0 {
        extra.lost.insert(column.into());
    } else if is_value_changed(cleaned) {
        extra.changed.insert(column.into(), Some(original.into()));
    } else if clean.is_some_and(|clean| is_ascii_of(original, clean)) {
    } else if clean == Some(original) {
        extra.verbatim.insert(column.into());
    } else {
        extra.spelled.insert(column.into(), Some(original.into()));
    }
}

/// Escaped control characters say the same as raw ones; all else that cleaning does changes what the text says.
const fn is_value_changed(cleaned: &Cleaned) -> bool {
    cleaned.nan > 0 || cleaned.surrogates > 0 || cleaned.nul > 0 || cleaned.not_json > 0 || cleaned.typed_leaves > 0
}

/// Returns the text with everything beyond printable ASCII escaped as Python does. Within clean JSON only strings can hold
/// such characters; white space between tokens stays.
fn ascii(clean: &str) -> Cow<'_, str> {
    if clean.bytes().all(is_plain) {
        return Cow::Borrowed(clean);
    }
    let mut out = String::with_capacity(clean.len() * 2);
    for character in clean.chars() {
        if character.is_ascii() && character != '\u{7f}' {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(out)
}

const fn is_plain(byte: u8) -> bool {
    byte < 0x7f
}

/// Returns whether the original is [`ascii`] of the cleaned text, without making it.
fn is_ascii_of(original: &str, clean: &str) -> bool {
    let mut rest = original.as_bytes();
    for character in clean.chars() {
        if character.is_ascii() && character != '\u{7f}' {
            let mut byte = [0];
            character.encode_utf8(&mut byte);
            let Some(after) = rest.strip_prefix(&byte) else { return false };
            rest = after;
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            let Some(after) = rest.strip_prefix(&escape(*unit)) else { return false };
            rest = after;
        }
    }
    rest.is_empty()
}

/// `\uXXXX` with lower-case digits.
fn escape(unit: u16) -> [u8; 6] {
    let digit = |shift: u32| char::from_digit(u32::from(unit) >> shift & 0xf, 16).map_or(b'0', |digit| digit as u8);
    [b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{TableCell, decode_row_with_extra};
    use crate::domain::schema::columns;
    use crate::domain::{Kind, Record};
    use proptest::prelude::*;

    /// Returns what becomes of `outputs`: its cleaned text, and what is noted.
    fn noted(text: &str) -> (Option<JsonText>, Extra) {
        let cells = columns(Kind::WorkflowRun).iter().map(|column| match column.name {
            "id" | "tenant_id" | "app_id" | "workflow_id" | "created_by" => TableCell::Uuid(uuid::Uuid::from_u128(7)),
            "outputs" => TableCell::Text(text.as_bytes()),
            "graph" | "inputs" | "error" | "finished_at" => TableCell::Null,
            "elapsed_time" => TableCell::Float(1.5),
            "total_tokens" | "total_steps" | "exceptions_count" => TableCell::Integer(0),
            "created_at" => TableCell::Instant(1_764_000_000_123_456),
            _ if column.is_nullable => TableCell::Null,
            _ => TableCell::Text(b"x"),
        });
        let (mut cleaned, mut extra) = (Cleaned::default(), Extra::default());
        let cells: Vec<_> = cells.collect();
        let Record::Run(run) = decode_row_with_extra(Kind::WorkflowRun, cells, &mut cleaned, &mut extra).unwrap()
        else {
            panic!()
        };
        (run.outputs, extra)
    }

    #[test]
    fn what_python_writes_needs_no_note() {
        for text in ["{}", "{\"a\": \"\\u4f60\\ud83e\\udd80\\u007f\\n\\\"\"}", "{\"a\": [1, 2.5e-09, null]}", "[]"] {
            assert!(noted(text).1.is_empty(), "{text}");
        }
    }

    #[test]
    fn what_says_something_else_once_cleaned_is_told_from_a_spelling() {
        for text in ["{\"n\": NaN}", "NaN", "[-Infinity]", "{\"h\": \"\\ud83d\"}", "no json", "{\"a\": 1} x"] {
            assert_eq!(noted(text).1.changed.len(), 1, "{text}");
        }
        for text in ["", "null", " {} ", "{\"a\": \"\\u4F60\"}", "{\"a\": \"\\u4f60 你\"}", "\"tab\there\""] {
            let (_, extra) = noted(text);
            assert_eq!((extra.changed.len(), extra.spelled.len()), (0, 1), "{text}");
        }
        assert_eq!(noted("{\"a\":\"你\"}").1.verbatim.len(), 1);
    }

    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("{\"a\": NaN}".to_owned()),
            Just("\\ud83d".to_owned()),
            Just("\\u0000".to_owned()),
            "\\PC{0,8}",
            "[ -~]{0,8}",
            "[\\x01-\\x1f]{0,3}",
            "(\\\\u[0-9a-fA-F]{4}){0,3}",
        ]
    }

    proptest! {
        #[test]
        fn any_text_comes_back_byte_for_byte(pieces in prop::collection::vec(piece(), 0..4), form in 0..4) {
            let inner = pieces.concat();
            let text = match form {
                0 => inner,
                1 => format!("{{\"k\": \"{inner}\"}}"),
                2 => format!("{{\"k\": [{inner}], \"k\":1}}"),
                _ => format!("\"{inner}\" "),
            };
            let (clean, extra) = noted(&text);
            let back = row_text("outputs", clean.as_ref().map(JsonText::as_str), &extra);
            prop_assert_eq!(back.as_deref(), Some(text.as_str()));
        }
    }
}
