//! What of a text a keyword found: cut here, so that it is the same over every store.

use std::ops::Range;

use crate::domain::query::{TextField, TextFilter};
use crate::domain::{JsonText, Record};

/// Characters shown before and after the first place.
const AROUND: usize = 60;
/// Places marked within one snippet.
const MAX_HIGHLIGHTS: usize = 16;

/// A stretch of a field's decoded text around the first place where the keyword stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    pub field: TextField,
    pub text: String,
    /// Where the keyword stands in `text`, in characters.
    pub highlights: Vec<Range<usize>>,
}

/// The snippets of a record: one per field that holds the keyword.
pub(super) fn snippets(record: &Record, filter: &TextFilter) -> Vec<Snippet> {
    let keyword: String = filter.keyword.chars().map(fold).collect();
    let mut fields = filter.fields.clone();
    fields.sort_unstable();
    fields.dedup();
    fields.into_iter().filter_map(|field| cut(field, &text_of(record, field)?, &keyword)).collect()
}

/// The decoded text of a field.
fn text_of(record: &Record, field: TextField) -> Option<String> {
    let decoded = |text: &Option<JsonText>| text.as_ref().map(|text| decode(text.as_str()));
    match (record, field) {
        (Record::Run(run), TextField::Inputs) => decoded(&run.inputs),
        (Record::Run(run), TextField::Outputs) => decoded(&run.outputs),
        (Record::Run(run), TextField::Error) => run.error.as_deref().map(str::to_owned),
        (Record::Node(node), TextField::Inputs) => decoded(&node.inputs),
        (Record::Node(node), TextField::Outputs) => decoded(&node.outputs),
        (Record::Node(node), TextField::ProcessData) => decoded(&node.process_data),
        (Record::Node(node), TextField::Error) => node.error.as_deref().map(str::to_owned),
        (Record::Node(node), TextField::Title) => Some(node.title.to_string()),
        _ => None,
    }
}

/// The text of a JSON value with its escapes undone.
fn decode(json: &str) -> String {
    let mut decoded = String::with_capacity(json.len());
    let mut chars = json.chars();
    while let Some(next) = chars.next() {
        if next != '\\' {
            decoded.push(next);
            continue;
        }
        match chars.next() {
            Some('n') => decoded.push('\n'),
            Some('t') => decoded.push('\t'),
            Some('r') => decoded.push('\r'),
            Some('b') => decoded.push('\u{8}'),
            Some('f') => decoded.push('\u{c}'),
            // Stored text holds real characters; only controls are still spelled so.
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                decoded.push(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).unwrap_or('\u{fffd}'));
            }
            Some(other) => decoded.push(other),
            None => {}
        }
    }
    decoded
}

/// The simple lower case of a character: one character, so that places in folded text are places in the text.
fn fold(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

fn cut(field: TextField, text: &str, keyword: &str) -> Option<Snippet> {
    let folded: String = text.chars().map(fold).collect();
    let length = keyword.chars().count();
    let first = folded.find(keyword)?;
    let start = folded.get(..first)?.chars().count();
    let from = start.saturating_sub(AROUND);
    let shown: String = text.chars().skip(from).take(start - from + length + AROUND).collect();
    let folded: String = shown.chars().map(fold).collect();
    let (mut highlights, mut chars, mut bytes) = (Vec::new(), 0, 0);
    for (at, _) in folded.match_indices(keyword).take(MAX_HIGHLIGHTS) {
        chars += folded.get(bytes..at)?.chars().count();
        bytes = at;
        highlights.push(chars..chars + length);
    }
    Some(Snippet { field, text: shown, highlights })
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "the ranges are the expected highlights")]
mod tests {
    use super::*;

    fn found(json: &str, keyword: &str) -> Option<(String, Vec<Range<usize>>)> {
        let keyword: String = keyword.chars().map(fold).collect();
        cut(TextField::Inputs, &decode(json), &keyword).map(|snippet| (snippet.text, snippet.highlights))
    }

    #[test]
    fn decoded_folded_and_literal() {
        assert_eq!(
            found(r#"{"q": "say \"ÜBER\""}"#, "\"über\""),
            Some((r#"{"q": "say "ÜBER""}"#.into(), vec![11..17]))
        );
        assert_eq!(found(r#"{"q": "C:\\temp\n"}"#, r"c:\temp"), Some(("{\"q\": \"C:\\temp\n\"}".into(), vec![7..14])));
        assert_eq!(found(r#"{"q": "订单订单"}"#, "单"), Some((r#"{"q": "订单订单"}"#.into(), vec![8..9, 10..11])));
        assert_eq!(found(r#"{"q": "50 off"}"#, "%"), None);
        assert_eq!(found(r#"{"q": "\u0001x"}"#, "\u{1}X").map(|found| found.1), Some(vec![7..9]));
    }

    #[test]
    fn long_texts_are_cut_around_the_first_place() {
        let json = format!("\"{}Needle{}\"", "é".repeat(5000), "ü".repeat(5000));
        let (text, highlights) = found(&json, "needle").unwrap();
        assert_eq!(text.chars().count(), 2 * AROUND + 6);
        assert_eq!(highlights, vec![AROUND..AROUND + 6]);
    }
}
