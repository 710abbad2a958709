//! What of a text a keyword found: cut here, so that it is the same over every store.

use std::ops::Range;

use crate::domain::query::fold::{Folded, fold};
use crate::domain::query::keyword::unescape;
use crate::domain::query::{TextField, TextFilter};
use crate::domain::{JsonText, Record};

/// Characters shown before and after the first place.
const AROUND: usize = 60;
/// Characters of the first place shown at most: a keyword of an API may be this long.
const MAX_SHOWN: usize = 1_000;
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

/// Returns the snippets of a record: one per field that holds the keyword.
pub(super) fn snippets(record: &Record, filter: &TextFilter) -> Vec<Snippet> {
    let keyword = fold(&filter.keyword);
    let mut fields = filter.fields.clone();
    fields.sort_unstable();
    fields.dedup();
    fields.into_iter().filter_map(|field| cut(field, &text_of(record, field)?, &keyword)).collect()
}

/// Returns the decoded text of a field.
fn text_of(record: &Record, field: TextField) -> Option<String> {
    let decoded = |text: &Option<JsonText>| text.as_ref().map(|text| unescape(text.as_str()).into_owned());
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

fn cut(field: TextField, text: &str, keyword: &str) -> Option<Snippet> {
    let folded = Folded::new(text)?;
    let mut places = folded.places(keyword).peekable();
    let first = places.peek()?.clone();
    let from = first.start.saturating_sub(AROUND);
    // Thousands of marks can stand on one character.
    let until = first.end.min(first.start + MAX_SHOWN) + AROUND;
    let shown: String = text.chars().skip(from).take(until - from).collect();
    let end = from + shown.chars().count();
    let within = places.take_while(|place| place.start < end).take(MAX_HIGHLIGHTS);
    let highlights = within.map(|place| place.start - from..place.end.min(end) - from).collect();
    Some(Snippet { field, text: shown, highlights })
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "the ranges are the expected highlights")]
mod tests {
    use super::*;

    fn found(json: &str, keyword: &str) -> Option<(String, Vec<Range<usize>>)> {
        cut(TextField::Inputs, &unescape(json), &fold(keyword)).map(|snippet| (snippet.text, snippet.highlights))
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
    fn equal_spellings_are_marked_as_they_are_written() {
        let highlights = |json: &str, keyword: &str| found(json, keyword).map(|found| found.1);
        assert_eq!(highlights("\"Cafe\u{301} ｶﾞ\"", "CAFÉ"), Some(vec![1..6]));
        assert_eq!(highlights(r#""Cafe\u0301 caf\u00e9""#, "CAFÉ"), Some(vec![1..6, 7..11]));
        assert_eq!(highlights("\"Straße\"", "STRASSE"), Some(vec![1..7]));
        assert_eq!(highlights("\"ＡＢＣ，ｶﾞ\"", "abc,ガ"), Some(vec![1..7]));
        assert_eq!(highlights(r#""\u4e2d\u6587""#, "中文"), Some(vec![1..3]));
        let zalgo = format!("\"x{}\"", "\u{301}".repeat(100_000));
        let (text, highlights) = found(&zalgo, &zalgo).unwrap();
        assert!(text.chars().count() <= MAX_SHOWN + 2 * AROUND && highlights == vec![0..text.chars().count()]);
    }

    #[test]
    fn long_texts_are_cut_around_the_first_place() {
        let json = format!("\"{}Needle{}\"", "é".repeat(5000), "ü".repeat(5000));
        let (text, highlights) = found(&json, "needle").unwrap();
        assert_eq!(text.chars().count(), 2 * AROUND + 6);
        assert_eq!(highlights, vec![AROUND..AROUND + 6]);
    }
}
