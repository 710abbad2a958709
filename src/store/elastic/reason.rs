//! The words of an engine about an error, made fit for a log or a dead letter. Values of documents never pass.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::verdict::bounded;

/// Where the engines begin to quote a document's values.
const QUOTING: [&str; 6] = [
    "Preview of field's value",
    "prefix of the first immense term",
    "failed to parse date field",
    "For input string",
    "Numeric value",
    "original message",
];

/// An error as the engines describe it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// Such as `mapper_parsing_exception`; empty if there was none.
    pub(super) kind: String,
    pub(super) reason: String,
}

impl Words {
    /// From the value of an `error` member: usually an object, a text from some gateways.
    pub(super) fn of(error: &RawValue) -> Self {
        #[derive(Deserialize)]
        struct Error<'a> {
            #[serde(borrow, default)]
            r#type: Cow<'a, str>,
            #[serde(borrow, default)]
            reason: Option<Cow<'a, str>>,
        }
        if let Ok(error) = serde_json::from_str::<Error>(error.get()) {
            return Self { kind: error.r#type.into_owned(), reason: harmless(error.reason.as_deref().unwrap_or("")) };
        }
        let text = serde_json::from_str::<String>(error.get()).unwrap_or_default();
        Self { kind: String::new(), reason: harmless(&text) }
    }

    /// From a whole answer that reports an error.
    pub(super) fn of_answer(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            error: &'a RawValue,
        }
        serde_json::from_slice::<Answer>(body).map(|answer| Self::of(answer.error)).unwrap_or_default()
    }

    /// `type: reason`, bounded.
    pub(super) fn detail(&self) -> String {
        let text = match (self.kind.as_str(), self.reason.as_str()) {
            ("", "") => "no reason given".to_owned(),
            ("", text) | (text, "") => text.to_owned(),
            (kind, reason) => format!("{kind}: {reason}"),
        };
        bounded(text)
    }
}

/// Cuts a reason before it quotes a value, and empties what quotation marks hold.
fn harmless(reason: &str) -> String {
    let end = QUOTING.iter().filter_map(|marker| reason.find(marker)).min().unwrap_or(reason.len());
    let mut text = String::new();
    let mut quoted = None;
    for character in reason.get(..end).unwrap_or_default().chars() {
        match quoted {
            Some(mark) if character == mark => {
                quoted = None;
                text.push('…');
                text.push(mark);
            }
            Some(_) => {}
            None => {
                if matches!(character, '\'' | '"') {
                    quoted = Some(character);
                }
                text.push(if character.is_control() { ' ' } else { character });
            }
        }
    }
    text.truncate(text.trim_end_matches([' ', '.', ';', ':']).len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_documents_do_not_pass() {
        for (reason, expected) in [
            (
                "failed to parse field [created_at] of type [date_nanos] in document with id 't:3'. \
                 Preview of field's value: 'my secret'",
                "failed to parse field [created_at] of type [date_nanos] in document with id '…'",
            ),
            ("failed to parse date field [my secret] with format [x]", ""),
            (
                "Document contains at least one immense term in field=\"version\" (whose UTF8 encoding is longer than \
                 the max length 32766). The prefix of the first immense term is: '[109, 121]...'",
                "Document contains at least one immense term in field=\"…\" (whose UTF8 encoding is longer than \
                 the max length 32766). The",
            ),
            ("unexpected 'my secret", "unexpected '"),
        ] {
            assert_eq!(harmless(reason), expected);
        }
    }

    #[test]
    fn both_shapes_of_an_error_are_read() {
        let object = br#"{"error":{"root_cause":[],"type":"a_exception","reason":"b"},"status":400}"#;
        assert_eq!(Words::of_answer(object).detail(), "a_exception: b");
        assert_eq!(Words::of_answer(br#"{"error":"no handler"}"#).detail(), "no handler");
        assert_eq!(Words::of_answer(b"<html>").detail(), "no reason given");
    }
}
