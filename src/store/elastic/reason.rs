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
    /// Whether the same search, sent again, can be expected to succeed: its status may be that of a wrong request (400
    /// for a cancelled task or a query that met a closed analyzer, 404 for a shard that is gone), but nothing of it was
    /// wrong.
    pub(super) is_passing: bool,
}

/// What shards fail with that are only starting, moving or being deleted while a search runs. `task_cancelled`: a search
/// that must not have gaps stops its other shards when one fails. `already_closed`: Lucene's word for whatever a shard
/// has let go of, seen inside of a `query_shard_exception`.
const PASSING: [&str; 9] = [
    "already_closed_exception",
    "index_not_found_exception",
    "index_closed_exception",
    "shard_not_found_exception",
    "illegal_index_shard_state_exception",
    "index_shard_closed_exception",
    "no_shard_available_action_exception",
    "search_context_missing_exception",
    "task_cancelled_exception",
];

impl Words {
    /// From the value of an `error` member: usually an object, a text from some gateways.
    pub(super) fn of(error: &RawValue) -> Self {
        if let Ok(error) = serde_json::from_str::<Error>(error.get()) {
            return error.words();
        }
        let text = serde_json::from_str::<String>(error.get()).unwrap_or_default();
        Self { reason: harmless(&text), ..Self::default() }
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

/// A search's error says only that shards failed; why is said by each of them.
#[derive(Deserialize)]
struct Error<'a> {
    #[serde(borrow, default)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    failed_shards: Vec<ShardFailure<'a>>,
    #[serde(borrow, default)]
    caused_by: Option<Box<Error<'a>>>,
}

#[derive(Deserialize)]
struct ShardFailure<'a> {
    #[serde(borrow)]
    reason: Error<'a>,
}

impl Error<'_> {
    /// Returns whether this, or what caused it, is known to pass.
    fn is_passing(&self) -> bool {
        PASSING.contains(&self.r#type.as_ref()) || self.caused_by.as_ref().is_some_and(|cause| cause.is_passing())
    }

    fn words(self) -> Words {
        let mut reason = harmless(self.reason.as_deref().unwrap_or(""));
        let is_passing =
            !self.failed_shards.is_empty() && self.failed_shards.iter().all(|failure| failure.reason.is_passing());
        let of_shard = self.failed_shards.into_iter().next().map(|failure| failure.reason);
        if let Some(cause) = of_shard.or(self.caused_by.map(|cause| *cause)).map(Self::words) {
            let separator = if reason.is_empty() { "" } else { ", " };
            reason = format!("{reason}{separator}caused by {}: {}", cause.kind, cause.reason);
        }
        Words { kind: self.r#type.into_owned(), reason, is_passing }
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
    use serde_json::{Value, json};

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
    fn a_search_that_met_a_shard_on_its_way_out_can_be_sent_again() {
        let error = |kind: &str| json!({ "type": kind, "reason": "" });
        let caused = |kind: &str, by: Value| json!({ "type": kind, "reason": "", "caused_by": by });
        let is_passing = |reasons: &[Value]| {
            let shards: Vec<_> = reasons.iter().map(|reason| json!({ "reason": reason })).collect();
            let error = json!({ "type": "search_phase_execution_exception", "failed_shards": shards });
            Words::of_answer(json!({ "error": error }).to_string().as_bytes()).is_passing
        };
        let (cancelled, wrong) = (error("task_cancelled_exception"), error("query_shard_exception"));
        assert!(is_passing(&[cancelled.clone(), error("index_not_found_exception")]));
        assert!(is_passing(&[caused("query_shard_exception", error("already_closed_exception"))]));
        assert!(!is_passing(&[cancelled, wrong]));
        assert!(!is_passing(&[caused("query_shard_exception", error("number_format_exception"))]));
        assert!(!is_passing(&[]));
    }

    #[test]
    fn both_shapes_of_an_error_are_read() {
        let object = br#"{"error":{"root_cause":[],"type":"a_exception","reason":"b"},"status":400}"#;
        assert_eq!(Words::of_answer(object).detail(), "a_exception: b");
        let search = br#"{"error":{"type":"search_phase_execution_exception","reason":"Partial shards failure",
            "failed_shards":[{"shard":0,"index":"i","reason":{"type":"query_shard_exception","reason":"no mapping",
            "caused_by":{"type":"a_exception","reason":"said 'my secret'"}}}]},"status":400}"#;
        assert_eq!(
            Words::of_answer(search).detail(),
            "search_phase_execution_exception: Partial shards failure, caused by query_shard_exception: no mapping, \
             caused by a_exception: said '…'"
        );
        assert_eq!(Words::of_answer(br#"{"error":"no handler"}"#).detail(), "no handler");
        assert_eq!(Words::of_answer(b"<html>").detail(), "no reason given");
    }
}
