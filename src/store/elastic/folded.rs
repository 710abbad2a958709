//! Texts as keywords are compared with them ([`fold`]), where an engine's own modules cannot make them so. Pure.
//!
//! What folds by itself, whatever stands beside it, is a rule of a `mapping` char filter. A text that needs more (marks to be
//! composed or put in order, rare letters) is sent folded as well, in the column `folded`, and looked into there instead.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::settings::SearchedTexts;
use crate::domain::query::fold::fold;
use crate::domain::query::keyword::unescape;
use crate::domain::{Document, JsonText, Record};

/// The column of folded texts.
pub(super) const FOLDED: &str = "folded";

/// The characters that have rules, where their folding is more than their lower case: signs, letters and digits that are in
/// common use. Every index holds the rules, so they are few.
const RULED: [(char, char); 15] = [
    ('\u{a0}', '\u{ff}'),
    ('\u{130}', '\u{131}'),
    ('ς', 'ς'),
    ('\u{2000}', '\u{206f}'),
    ('℃', '℃'),
    ('№', '№'),
    ('™', '™'),
    ('\u{2150}', '\u{217f}'),
    ('①', '⑳'),
    ('\u{3000}', '\u{3000}'),
    ('ﬀ', 'ﬆ'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ff01}', '\u{ff5e}'),
    ('\u{ff61}', '\u{ff9f}'),
];

/// Half-width kana with a voiced mark behind them, which are one character in full width.
const MARKED: (char, char) = ('\u{ff66}', '\u{ff9d}');
const MARKS: [char; 2] = ['\u{ff9e}', '\u{ff9f}'];

struct Rules {
    single: HashMap<char, String>,
    marked: HashMap<[char; 2], String>,
}

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let single = RULED.iter().flat_map(|(first, last)| *first..=*last);
    let single = single.map(|character| (character, fold(character.encode_utf8(&mut [0; 4]))));
    let marked = (MARKED.0..=MARKED.1).flat_map(|kana| MARKS.map(|mark| [kana, mark]));
    let marked = marked.map(|pair| (pair, fold(&String::from_iter(pair))));
    Rules {
        single: single.filter(|(character, folded)| !folded.chars().eq([lower(*character)])).collect(),
        marked: marked.filter(|(_, folded)| folded.chars().count() == 1).collect(),
    }
});

/// Returns the engines' lower case. Younger letters than these may have none yet.
fn lower(character: char) -> char {
    let is_old = character < '\u{590}' || ('\u{1e00}'..'\u{2000}').contains(&character);
    character.to_lowercase().next().filter(|_| is_old).unwrap_or(character)
}

/// Returns the rules, as lines of the engines' `mapping` filter.
pub(super) fn rules() -> Vec<String> {
    let single = RULES.single.iter().map(|(character, folded)| (String::from(*character), folded));
    let marked = RULES.marked.iter().map(|(pair, folded)| (String::from_iter(pair), folded));
    let mut rules: Vec<_> =
        single.chain(marked).map(|(from, to)| format!("{} => {}", spelled(&from), spelled(to))).collect();
    rules.sort_unstable();
    rules
}

/// Signs by their number: some have a meaning in a rule, and some are cut off its ends.
fn spelled(text: &str) -> String {
    text.chars().fold(String::new(), |mut rule, character| {
        if character.is_alphanumeric() {
            rule.push(character);
        } else {
            // Cannot fail: it is written into memory.
            let _ = write!(rule, "\\u{:04x}", u32::from(character));
        }
        rule
    })
}

/// Returns what an engine makes of a text by the rules and its own lower case.
fn by_engine(text: &str) -> String {
    let rules = &*RULES;
    let mut made = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character.is_ascii() {
            made.push(character.to_ascii_lowercase());
            continue;
        }
        let marked = characters.peek().and_then(|next| rules.marked.get(&[character, *next]));
        match marked.or_else(|| rules.single.get(&character)) {
            Some(folded) => made.push_str(folded),
            None => made.push(lower(character)),
        }
        if marked.is_some() {
            characters.next();
        }
    }
    made
}

/// Returns a text folded, if an engine cannot fold it.
fn beyond_engine(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let folded = fold(text);
    (folded != by_engine(text)).then_some(folded)
}

/// Returns the searched texts of a document that an engine cannot fold, by their columns.
fn columns(document: &Document, search: SearchedTexts) -> Map<String, Value> {
    let decoded = |text: &JsonText| beyond_engine(&unescape(text.as_str()));
    let json = |column, text: &Option<JsonText>| text.as_ref().and_then(decoded).map(|text| (column, text));
    let plain = |column, text: Option<&str>| text.and_then(beyond_engine).map(|text| (column, text));
    let columns: Vec<Option<(&str, String)>> = match (&document.record, search) {
        (_, SearchedTexts::Off) | (Record::Offload(_), _) => Vec::new(),
        (Record::Run(run), _) => {
            vec![json("inputs", &run.inputs), json("outputs", &run.outputs), plain("error", run.error.as_deref())]
        }
        (Record::Node(node), SearchedTexts::Runs) => {
            vec![plain("title", Some(&node.title)), plain("error", node.error.as_deref())]
        }
        (Record::Node(node), SearchedTexts::All) => vec![
            plain("title", Some(&node.title)),
            plain("error", node.error.as_deref()),
            json("inputs", &node.inputs),
            json("outputs", &node.outputs),
            json("process_data", &node.process_data),
        ],
        (Record::AppLog(log), _) => vec![plain("creator", log.creator.as_deref())],
    };
    columns.into_iter().flatten().map(|(column, text)| (column.to_owned(), text.into())).collect()
}

/// Adds the folded texts of a document to its `_source`, which was just written.
pub(super) fn append(document: &Document, search: SearchedTexts, body: &mut Vec<u8>) -> serde_json::Result<()> {
    let columns = columns(document, search);
    if !columns.is_empty() && body.pop_if(|last| *last == b'}').is_some() {
        body.extend_from_slice(format!(",\"{FOLDED}\":").as_bytes());
        serde_json::to_writer(&mut *body, &columns)?;
        body.push(b'}');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_texts_need_no_second_column() {
        for text in [
            "plain ASCII",
            "你好，世界！（流水线）",
            "ＡＢＣ　１２３",
            "ｶﾞｷﾞ ｱｲｳ",
            "Ünïcode naïve Straße — “quoted” … 20 ℃",
            "Привет, ΣΊΣΥΦΟΣ İstanbul",
            "한국어 テスト がぎ",
            "❤\u{fe0f} 👩\u{200d}💻 so\u{ad}ft",
        ] {
            assert_eq!(beyond_engine(text), None, "{text}");
        }
    }

    #[test]
    fn what_a_rule_cannot_say_is_sent_folded() {
        for (text, folded) in [
            ("cafe\u{301}", "café"),
            ("\u{1112}\u{1161}\u{11ab}", "한"),
            ("か\u{3099}", "が"),
            ("vi\u{ea}\u{323}t", "việt"),
            ("Ａ\u{301}", "á"),
            ("㈱", "(株)"),
            ("\u{10400}", "\u{10428}"),
        ] {
            assert_eq!(beyond_engine(text).as_deref(), Some(folded), "{text}");
        }
    }

    #[test]
    fn rules_are_few_and_spell_their_signs() {
        let rules = rules();
        assert!(rules.len() < 500 && rules.iter().map(String::len).sum::<usize>() < 10_000, "{}", rules.len());
        for rule in [r"Ａ => a", r"\uff0c => \u002c", r"\u3000 => \u0020", r"\u00ad => ", "ß => ss", "ｶ\u{ff9e} => ガ"]
        {
            assert!(rules.iter().any(|one| one == rule), "{rule}: {rules:?}");
        }
    }
}
