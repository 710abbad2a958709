//! The one folding of texts and keywords: what Unicode calls equal, and upper and lower case, become the same characters.
//! Every index, every question and every snippet goes by it.
//!
//! It is Unicode's NFKC with case folding: composed and decomposed, half and full width, ligatures and `ß` (`ss`) are one;
//! what is not to be seen (soft hyphens, joiners, selectors) is left out. Dotted and dotless i are one as well, so that
//! Turkish texts are found in either case. Accents count: `e` is not `é`.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::{canonical_combining_class, decompose_compatible};
use unicode_normalization::{IsNormalized, is_nfc_quick};

/// Grows with every change of what texts fold to: an index that was made with another one finds too little.
pub const FOLDING: i64 = 2;

/// Returns the folded text, in time that grows with the text. Folding twice is folding once.
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut folded = String::with_capacity(text.len());
    each_run(text, |_, run| fold_run(run, &mut folded));
    folded
}

/// A folded text that knows which of its characters came from where.
#[derive(Debug)]
pub struct Folded {
    text: String,
    /// Where each run begins: in bytes of the folded text, and in characters of the text that it was. Empty where both are
    /// the same.
    runs: Vec<(u32, u32)>,
    characters: usize,
}

impl Folded {
    /// `None` for a text of 4 GiB: no store holds one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        u32::try_from(text.len().checked_mul(18)?).ok()?;
        let characters = text.chars().count();
        if text.is_ascii() {
            return Some(Self { text: text.to_ascii_lowercase(), runs: Vec::new(), characters });
        }
        let (mut folded, mut runs) = (String::with_capacity(text.len()), Vec::new());
        each_run(text, |place, run| {
            runs.extend(u32::try_from(folded.len()).ok().zip(u32::try_from(place).ok()));
            fold_run(run, &mut folded);
        });
        Some(Self { text: folded, runs, characters })
    }

    /// Returns where a folded keyword stands, in characters of the text before it was folded, in ascending order. A
    /// place is widened to whole characters, with the marks on them. Nowhere if the keyword is empty.
    pub fn places<'f>(&'f self, keyword: &'f str) -> impl Iterator<Item = Range<usize>> + 'f {
        let text = if keyword.is_empty() { "" } else { self.text.as_str() };
        let mut found = 0;
        let places = text.match_indices(keyword).map(|(at, hit)| self.widened(at, at + hit.len()));
        places.filter(move |place| {
            let is_new = place.start >= found && !place.is_empty();
            found = found.max(place.end);
            is_new
        })
    }

    fn widened(&self, from: usize, until: usize) -> Range<usize> {
        if self.runs.is_empty() {
            return from..until;
        }
        let first = self.runs.partition_point(|(byte, _)| *byte as usize <= from);
        let next = self.runs.partition_point(|(byte, _)| (*byte as usize) < until);
        let character =
            |place: usize| self.runs.get(place).map_or(self.characters, |(_, character)| *character as usize);
        character(first.saturating_sub(1))..character(next)
    }
}

/// Calls `each` with the runs of a text that can be folded one by one, and with the place of their first character: a
/// character, and all that may become one with it. Characters that are left out are in none.
fn each_run(text: &str, mut each: impl FnMut(usize, &[char])) {
    let (mut run, mut first) = (Vec::new(), 0);
    for (place, character) in text.chars().enumerate().filter(|(_, character)| !is_left_out(*character)) {
        if begins(character) && !run.is_empty() {
            each(first, &run);
            run.clear();
        }
        if run.is_empty() {
            first = place;
        }
        run.push(character);
    }
    if !run.is_empty() {
        each(first, &run);
    }
}

/// Returns whether a text may be cut before a character: what is on either side then folds as it does in the whole text.
#[must_use]
pub fn may_be_cut_before(character: char) -> bool {
    begins(character) && !is_left_out(character)
}

/// Returns whether a character never becomes one with those before it.
fn begins(character: char) -> bool {
    if is_plain(character) || matches!(character, '\u{ac00}'..='\u{d7a3}') {
        return true;
    }
    let mut first = None;
    decompose_compatible(character, |part| first = first.or(Some(part)));
    first.is_none_or(|first| {
        canonical_combining_class(first) == 0 && is_nfc_quick(std::iter::once(first)) == IsNormalized::Yes
    })
}

/// ASCII, and the bulk of Chinese characters: most of all texts, and quickly told.
const fn is_plain(character: char) -> bool {
    character.is_ascii() || matches!(character, '\u{4e00}'..='\u{9fff}')
}

fn fold_run(run: &[char], folded: &mut String) {
    if let [only] = run
        && is_plain(*only)
    {
        folded.push(only.to_ascii_lowercase());
        return;
    }
    let mut before = None;
    let lower = run.iter().copied().nfkd().flat_map(without_case);
    // What is left of a dotted I.
    let undotted = lower.filter(|character| !(before.replace(*character) == Some('i') && *character == '\u{307}'));
    folded.extend(undotted.nfkc().filter(|character| !is_left_out(*character)));
}

/// By way of upper case, as Unicode's case folding: `ß`, `ẞ` and `ss` become one, so do `ς` and `σ`.
fn without_case(character: char) -> impl Iterator<Item = char> {
    character.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

/// Unicode's `Default_Ignorable_Code_Point`.
const fn is_left_out(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_spellings_fold_to_the_same() {
        for spellings in [
            &["Caf\u{e9}", "cafe\u{301}", "CAFE\u{301}"][..],
            &[
                "Ti\u{1ebf}ng Vi\u{1ec7}t",
                "ti\u{ea}\u{301}ng vi\u{ea}\u{323}t",
                "tie\u{302}\u{301}ng vie\u{323}\u{302}t",
            ],
            &["ＡＢＣ１２３！", "abc123!"],
            &["ｶﾞｷﾞ", "ガギ", "カ\u{3099}ギ"],
            &["Straße", "STRASSE", "STRAẞE"],
            &["ﬁnal oﬃce", "FINAL OFFICE"],
            &["İstanbul ISPARTA", "istanbul ısparta"],
            &["ΣΊΣΥΦΟΣ", "σίσυφος"],
            &["한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"],
            &["❤\u{fe0f} so\u{ad}ft \u{200b}x\u{feff}", "❤ soft x"],
            &["Ⅷ ① ㈱ ℃", "viii 1 (株) °c"],
        ] {
            let folded: Vec<_> = spellings.iter().map(|text| fold(text)).collect();
            assert!(folded.windows(2).all(|two| two[0] == two[1]), "{folded:?}");
        }
        assert_ne!(fold("e"), fold("é"));
        assert_ne!(fold("か"), fold("が"));
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "the ranges are the expected places")]
    fn places_are_those_of_the_text() {
        let places = |text: &str, keyword: &str| Folded::new(text).unwrap().places(&fold(keyword)).collect::<Vec<_>>();
        assert_eq!(places("a cafe\u{301}!", "CAFÉ"), [2..7]);
        assert_eq!(places("Straße s", "s"), [0..1, 4..5, 7..8]);
        assert_eq!(places("xﬁx", "i"), [1..2]);
        assert_eq!(places("ｶﾞx", "ガ"), [0..2]);
        assert_eq!(places("❤\u{fe0f}❤", "❤"), [0..2, 2..3]);
        assert_eq!(places("ASCII", "i"), [3..4, 4..5]);
        assert!(places("\u{301}\u{200d}", "\u{200d}").is_empty());
    }

    proptest! {
        #[test]
        fn folding_is_stable_and_blind_to_equal_spellings(text in any::<String>()) {
            let folded = fold(&text);
            prop_assert_eq!(fold(&folded), folded.clone());
            prop_assert_eq!(fold(&text.nfc().collect::<String>()), folded.clone());
            prop_assert_eq!(fold(&text.nfd().collect::<String>()), folded);
        }

        #[test]
        fn places_lie_within_the_text(text in any::<String>(), keyword in any::<String>(), from in 0..9_usize) {
            let part: String = text.chars().skip(from).take(3).collect();
            for keyword in [keyword, part] {
                let mut end = 0;
                for place in Folded::new(&text).unwrap().places(&fold(&keyword)) {
                    prop_assert!(end <= place.start && place.start < place.end);
                    end = place.end;
                }
                prop_assert!(end <= text.chars().count());
            }
        }
    }
}
