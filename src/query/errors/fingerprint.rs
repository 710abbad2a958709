//! What of an error text is the same whenever it comes again, and the pieces of it that a search can ask for.

use std::iter::Peekable;
use std::str::Chars;

use crate::domain::query::fold::{fold, may_be_cut_before};

/// Bytes of a fingerprint after which no further word is taken.
const TELLING: usize = 300;
/// Characters of a quoted part at most; a longer one is not taken for a quotation.
const QUOTED: usize = 200;
/// Characters of the keyword that finds the runs of a group.
const KEYWORD: usize = 80;

/// What an error text has in common with others of its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::query) struct Fingerprint {
    /// Numbers, ids and quoted parts are left out, white space and case do not count.
    pub text: String,
    /// What stands between the parts that were left out, as the text spells it. Texts of one fingerprint have as many pieces, which
    /// differ in white space and case alone.
    pub pieces: Vec<String>,
}

impl Fingerprint {
    /// Returns the fingerprint of a text, from its beginning.
    pub(in crate::query) fn of(error: &str) -> Self {
        let mut found = Found::default();
        let mut characters = error.chars().peekable();
        while found.shown.len() < TELLING
            && let Some(character) = characters.next()
        {
            if passes_quoted(character, &found.shown, &mut characters) {
                found.leave_out("“…”");
            } else if character.is_alphanumeric() {
                word(character, &mut characters, &mut found);
            } else if matches!(character, '#' | '*') {
                // They stand for what is left out here, and for what is masked in a record.
                found.leave_out(character.encode_utf8(&mut [0; 4]));
            } else if character.is_whitespace() {
                found.keep(if found.shown.ends_with(' ') { "" } else { " " }, character.encode_utf8(&mut [0; 4]));
            } else {
                let said = character.to_string();
                found.keep(&said, &said);
            }
        }
        cut(&mut found.piece, characters.next());
        found.end_piece();
        Self { text: found.shown.trim().to_owned(), pieces: found.pieces }
    }
}

/// What was found of a text so far.
#[derive(Default)]
struct Found {
    shown: String,
    piece: String,
    pieces: Vec<String>,
}

impl Found {
    /// Adds what counts, as it is shown and as the text says it.
    fn keep(&mut self, shown: &str, said: &str) {
        self.shown.push_str(shown);
        self.piece.push_str(said);
    }

    /// Adds what stands for a part that differs: a piece ends there.
    fn leave_out(&mut self, mark: &str) {
        self.shown.push_str(mark);
        self.end_piece();
    }

    fn end_piece(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        let piece = piece.trim_start_matches(|c: char| c.is_whitespace() || !may_be_cut_before(c)).trim_end();
        if !piece.is_empty() {
            self.pieces.push(piece.to_owned());
        }
    }
}

/// Shortens a part of a text that `next` follows until the text may be cut there.
fn cut(part: &mut String, mut next: Option<char>) {
    while next.is_some_and(|next| !may_be_cut_before(next)) {
        next = part.pop();
    }
}

/// Takes a quoted part that `opening` begins. Returns whether there is one.
fn passes_quoted(opening: char, shown: &str, characters: &mut Peekable<Chars<'_>>) -> bool {
    let end = match opening {
        '“' => '”',
        '「' => '」',
        '"' | '`' => opening,
        // An apostrophe within a word quotes nothing.
        '\'' if !shown.ends_with(char::is_alphanumeric) => opening,
        _ => return false,
    };
    let Some(place) = characters.clone().take(QUOTED + 1).position(|next| next == end) else { return false };
    characters.nth(place);
    true
}

/// Takes a word, or what a number or an id begins.
fn word(first: char, characters: &mut Peekable<Chars<'_>>, found: &mut Found) {
    let mut word = String::from(first);
    while let Some(next) = characters.next_if(|next| next.is_alphanumeric() || *next == '_') {
        word.push(next);
    }
    let is_id = word.len() >= 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id && !word.contains(|c: char| c.is_ascii_digit()) {
        return found.keep(&word.to_lowercase(), &word);
    }
    found.leave_out(if found.shown.ends_with('#') { "" } else { "#" });
    // The parts of an id or of a number are one.
    while characters.next_if(|next| matches!(next, '-' | '.' | ':')).is_some() {
        while characters.next_if(|next| next.is_alphanumeric()).is_some() {}
    }
}

/// A piece that all texts of a group have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CommonPiece {
    said: String,
    /// Only its words are the same in all of them: white space differs.
    words_only: bool,
}

/// The pieces that all texts of a group have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::query) struct CommonPieces(Vec<CommonPiece>);

impl CommonPieces {
    /// Returns the pieces of the first text.
    pub(in crate::query) fn new(pieces: &[String]) -> Self {
        Self(pieces.iter().map(|said| CommonPiece { said: said.clone(), words_only: false }).collect())
    }

    /// Keeps what another text of the same fingerprint has, too.
    pub(in crate::query) fn narrow(&mut self, pieces: &[String]) {
        for (known, other) in self.0.iter_mut().zip(pieces) {
            known.words_only |= known.said != *other && fold(&known.said) != fold(other);
        }
    }

    /// Returns the longest part that each text holds, at most 80 characters; empty where there is none with a letter.
    pub(in crate::query) fn keyword(&self) -> String {
        let parts = self.0.iter().flat_map(|piece| {
            let ends = |c: char| if piece.words_only { c.is_whitespace() } else { c.is_control() };
            piece.said.split(ends).map(|part| part.trim().trim_start_matches(|c| !may_be_cut_before(c)))
        });
        let telling = parts.filter(|part| part.contains(char::is_alphanumeric));
        let longest = telling.max_by_key(|part| part.chars().count()).unwrap_or_default();
        let mut keyword: String = longest.chars().take(KEYWORD).collect();
        cut(&mut keyword, longest.chars().nth(KEYWORD));
        keyword.trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fingerprint(error: &str) -> String {
        Fingerprint::of(error).text
    }

    /// The keyword of a group of these texts.
    fn keyword(texts: &[&str]) -> String {
        let found: Vec<_> = texts.iter().map(|text| Fingerprint::of(text)).collect();
        assert!(found.iter().all(|of| of.text == found[0].text), "{found:?}");
        let mut common = CommonPieces::new(&found[0].pieces);
        for of in &found {
            common.narrow(&of.pieces);
        }
        common.keyword()
    }

    #[test]
    fn errors_that_say_the_same_have_one_fingerprint() {
        for (one, other) in [
            ("upstream answered 503", "Upstream answered 502"),
            ("no file \"a.txt\" in 12.5 s", "no file \"b.pdf\" in 3 s"),
            ("run b89565b5-f42d-4138-9461-0644ab17b0c9 is gone", "run 669dd85a-0949-4cda-99c9-4984b192aea0 is gone"),
            ("timeout\n at 10:00:01", "timeout at 11:22:33"),
            ("找不到文件 3", "找不到文件 77"),
        ] {
            assert_eq!(fingerprint(one), fingerprint(other));
        }
        for (one, other) in [("can't open", "can't close"), ("upstream answered 503", "upstream hung up"), ("", "x")] {
            assert_ne!(fingerprint(one), fingerprint(other));
        }
        assert!(fingerprint(&"word ".repeat(100_000)).len() <= TELLING + 10);
        assert!(fingerprint(&"'".repeat(100_000)).len() <= TELLING + 10);
    }

    #[test]
    fn a_keyword_is_in_each_text_of_its_group() {
        let long = |end: &str| format!("{} then: {end}", "the model refused ".repeat(20));
        let (one, other) = (long("of the first of all of them"), long("x"));
        for (texts, expected) in [
            // What providers of models answer.
            (
                [
                    r#"Error code: 400 - {"error": {"message": "The model was overloaded by requests of many"}}"#,
                    r#"Error code: 429 - {"error": {"message": "No"}}"#,
                ],
                "Error code:",
            ),
            (["no run 7f3abcdefghijklmnop here", "no run 12 here"], "no run"),
            (["bad “a long name of a file” in use", "bad “b” in use"], "in use"),
            (["缺少「一个很长的变量名称」参数", "缺少「乙」参数"], "参数"),
            ([&one, &other], "the model refused the model refused the model refused the model refused the mode"),
            (["timeout\n at 10:00", "TIMEOUT at 11:22"], "timeout"),
            (["issue #12 is open", "issue 12 is open"], "is open"),
            ([r#"{"a": "b"}"#, r#"{"c": "d"}"#], ""),
            (["key *** of 1 is wrong", "key *** of 2 is wrong"], "is wrong"),
        ] {
            let found = keyword(&texts);
            assert!(texts.iter().all(|text| fold(text).contains(&fold(&found))), "{found}: {texts:?}");
            assert_eq!(found, expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_holds_its_keyword(parts in proptest::collection::vec(
            prop_oneof![r#"["'`“”「」#*_\-.: \n]{1,3}"#, "[a-zA-Z]{1,8}", "[0-9a-f]{1,20}", any::<String>()], 0..30,
        )) {
            let text = parts.concat();
            prop_assert!(fold(&text).contains(&fold(&keyword(&[&text]))), "{text}");
            // The same text with other white space and case is of the same group, and found by the same keyword.
            if text.is_ascii() {
                let other = text.to_uppercase().replace(' ', " \t");
                if fingerprint(&text) == fingerprint(&other) {
                    let found = fold(&keyword(&[&text, &other]));
                    prop_assert!(fold(&text).contains(&found) && fold(&other).contains(&found), "{text}");
                }
            }
        }
    }
}
