//! Keyword search: which texts are indexed, how, and how a keyword is asked for. Pure.
//!
//! A keyword is a substring of the decoded text, as both are folded ([`fold`]). Texts are cut into overlapping pairs of
//! characters, so that a keyword of two or more is a phrase of pairs, and one character is the beginning of a pair; a
//! character that no text holds ends each text, so that its last character begins a pair too. JSON is indexed with its
//! escapes undone. `_source` stays as it was written, and nothing is scored: no norms.
//!
//! Only modules that every engine has are used: the tokenizer `ngram`, the filter `lowercase` (each character by its
//! simple lower case), the char filters `mapping` and `pattern_replace`. They cannot fold every text: `folded` has the rest.

use serde_json::{Map, Value, json};

use super::folded::{self, FOLDED};
use super::names::Family;
use super::settings::{ElasticSettings, SearchedTexts};
use crate::domain::Kind;
use crate::domain::query::fold::fold;
use crate::domain::query::{TextField, TextFilter};
use crate::store::StoreError;

/// A noncharacter: no text for interchange holds it.
const END: &str = "\u{ffff}";

/// Returns what finds the records that hold a keyword, and the columns that are looked at.
///
/// # Errors
/// [`StoreError::NotIndexed`] if a field that is asked for is not indexed by the settings.
pub(super) fn condition(
    search: SearchedTexts,
    kind: Kind,
    text: &TextFilter,
) -> Result<(Value, Vec<&'static str>), StoreError> {
    if search == SearchedTexts::Off {
        return Err(StoreError::NotIndexed("runs"));
    }
    let is_node = kind == Kind::NodeExecution;
    let mut columns = Vec::new();
    for field in &text.fields {
        columns.push(match field {
            TextField::Error => "error",
            TextField::Title if is_node => "title.text",
            TextField::Title | TextField::ProcessData if !is_node => continue,
            _ if is_node && search != SearchedTexts::All => return Err(StoreError::NotIndexed("all")),
            TextField::Inputs => "inputs",
            TextField::Outputs => "outputs",
            TextField::Title | TextField::ProcessData => "process_data",
        });
    }
    let mut conditions: Vec<_> = columns.iter().flat_map(|column| ways(column, &text.keyword)).collect();
    if conditions.is_empty() {
        conditions.push(json!({ "match_none": {} }));
    }
    Ok((json!({ "bool": { "should": conditions, "minimum_should_match": 1 } }), columns))
}

/// Returns what finds the documents whose column holds a keyword.
pub(super) fn holds(column: &str, keyword: &str) -> Value {
    json!({ "bool": { "should": ways(column, keyword), "minimum_should_match": 1 } })
}

/// Returns the conditions of which a document satisfies one if its column holds a keyword.
fn ways(column: &str, keyword: &str) -> Vec<Value> {
    let base = column.trim_end_matches(".text");
    let beside = format!("{FOLDED}.{base}");
    let folded = fold(keyword);
    if folded.is_empty() {
        return vec![json!({ "exists": { "field": base } })];
    }
    let mut spelled = vec![phrase(column, &folded)];
    // An index made before there was a folding holds texts as they were spelled.
    let lower: String = keyword.chars().filter_map(|character| character.to_lowercase().next()).collect();
    if lower != folded {
        spelled.push(phrase(column, &lower));
    }
    let is_beside = json!({ "exists": { "field": beside } });
    let here = |phrase| json!({ "bool": { "filter": [phrase], "must_not": [is_beside] } });
    spelled.into_iter().map(here).chain([phrase(&beside, &folded)]).collect()
}

fn phrase(column: &str, folded: &str) -> Value {
    if folded.chars().nth(1).is_none() {
        return json!({ "prefix": { column: { "value": folded } } });
    }
    json!({ "match_phrase": { column: { "query": folded } } })
}

/// Adds the searched texts to a mapping.
pub(super) fn add_texts(mappings: &mut Value, family: Family, settings: &ElasticSettings) {
    if settings.search == SearchedTexts::Off {
        return;
    }
    let Some(properties) = mappings.get_mut("properties").and_then(Value::as_object_mut) else { return };
    let (json_columns, plain, within): (&[&str], &[&str], &[&str]) = match family {
        Family::Records(Kind::WorkflowRun) => (&["inputs", "outputs"], &["error"], &[]),
        Family::Records(Kind::NodeExecution) if settings.search == SearchedTexts::All => {
            (&["inputs", "outputs", "process_data"], &["error"], &["title"])
        }
        Family::Records(Kind::NodeExecution) => (&[], &["error"], &["title"]),
        Family::Records(Kind::AppLog) => (&[], &[], &["creator"]),
        Family::Records(Kind::Offload) | Family::Graphs => (&[], &[], &[]),
    };
    let folded = json_columns.iter().chain(plain).chain(within);
    let folded: Map<_, _> = folded.map(|column| ((*column).to_owned(), text("difylog_plain"))).collect();
    if !folded.is_empty() {
        properties.insert(FOLDED.to_owned(), json!({ "properties": folded }));
    }
    for column in json_columns {
        properties.insert((*column).to_owned(), text("difylog_json"));
    }
    for column in plain {
        properties.insert((*column).to_owned(), text("difylog_plain"));
    }
    for column in within {
        if let Some(keyword) = properties.get_mut(*column).and_then(Value::as_object_mut) {
            keyword.insert("fields".to_owned(), json!({ "text": text("difylog_plain") }));
        }
    }
}

fn text(analyzer: &str) -> Value {
    json!({ "type": "text", "norms": false, "analyzer": analyzer, "search_analyzer": "difylog_keyword" })
}

/// Returns the analyzers.
pub(super) fn analysis() -> Value {
    let analyzer = |char_filters: &[&str]| json!({ "type": "custom", "char_filter": char_filters, "tokenizer": "difylog_pairs", "filter": ["lowercase"] });
    let folding = folded::rules();
    let both: Vec<_> = unescape().into_iter().chain(folding.iter().cloned()).collect();
    json!({
        "char_filter": {
            "difylog_unescape": { "type": "mapping", "mappings": both },
            "difylog_fold": { "type": "mapping", "mappings": folding },
            "difylog_end": { "type": "pattern_replace", "pattern": "\\z", "replacement": END },
        },
        "tokenizer": { "difylog_pairs": { "type": "ngram", "min_gram": "2", "max_gram": "2" } },
        "analyzer": {
            "difylog_json": analyzer(&["difylog_unescape", "difylog_end"]),
            "difylog_plain": analyzer(&["difylog_fold", "difylog_end"]),
            "difylog_keyword": { "type": "custom", "tokenizer": "difylog_pairs", "filter": ["lowercase"] },
        },
    })
}

/// Returns the escapes of JSON, as rules of the engines' `mapping` filter, in which a backslash is written twice.
/// Stored texts hold real characters: only controls are still spelled by number.
fn unescape() -> Vec<String> {
    let named = [
        (r#"\\""#, r#"""#),
        (r"\\\\", r"\\"),
        (r"\\/", "/"),
        (r"\\n", r"\n"),
        (r"\\t", r"\t"),
        (r"\\r", r"\r"),
        (r"\\b", r"\b"),
        (r"\\f", r"\f"),
    ];
    let mut rules: Vec<_> = named.iter().map(|(escape, plain)| format!("{escape} => {plain}")).collect();
    for control in 0..0x20_u8 {
        let (lower, upper) = (format!("{control:04x}"), format!("{control:04X}"));
        rules.push(format!(r"\\u{lower} => \u{lower}"));
        if upper != lower {
            rules.push(format!(r"\\u{upper} => \u{lower}"));
        }
    }
    rules
}
