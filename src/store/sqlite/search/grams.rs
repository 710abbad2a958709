//! Texts as grams: what the search index knows of a text, and what a keyword demands of one. Pure.
//!
//! A gram is one, two or three characters that stand side by side in a folded text. Every character is a gram. At each
//! place there is one more: three characters, or two where one of the three is of a script with thousands of characters
//! (two of these tell as much as three letters, and many a word has no more), or the text ends. A gram is spelled in
//! letters and digits, so that the index's tokenizer takes it for a word, by a prefix-free code: a word begins with
//! another one exactly if its characters begin with the other's.
//!
//! The index knows which grams a text has, not where. So what it finds is looked for in the text itself, unless the
//! keyword is a single gram.

use crate::domain::query::fold::fold;

/// Most grams that a keyword is looked up by: more find hardly fewer texts, and cost time.
const MOST: usize = 12;

/// From here on scripts have thousands of characters: Chinese, Japanese, Korean, emoji.
const WIDE: char = '\u{2e80}';

/// Characters below it are spelled in two letters, the others in four.
const SHORT: u32 = 18 * 36;
const LONG: u32 = 18 * 36 * 36 * 36;

/// Bits that hold any character, and that there is none.
const BITS: u32 = 21;

type Gram<'t> = &'t [char];

/// Returns the words of a text's grams, each once, separated by spaces.
pub fn of_text(folded: &str) -> String {
    let characters: Vec<char> = folded.chars().collect();
    let mut grams: Vec<u64> = Vec::with_capacity(characters.len() * 2);
    for place in 0..characters.len() {
        grams.extend(characters.get(place..=place).map(pack));
        grams.extend(longest(&characters, place).map(pack));
    }
    grams.sort_unstable();
    grams.dedup();
    let mut words = String::with_capacity(grams.len() * 7);
    for gram in grams {
        if !words.is_empty() {
            words.push(' ');
        }
        for character in unpack(gram) {
            spell_character(character, &mut words);
        }
    }
    words
}

/// Returns a gram as a number, in the order of grams: sorting is most of what a text costs, and numbers sort several times
/// as fast as slices.
fn pack(gram: Gram<'_>) -> u64 {
    let at = |place: usize| gram.get(place).map_or(0, |character| u64::from(u32::from(*character)) + 1);
    at(0) << (2 * BITS) | at(1) << BITS | at(2)
}

fn unpack(gram: u64) -> impl Iterator<Item = u32> {
    let characters =
        [2 * BITS, BITS, 0].map(|shift| u32::try_from(gram >> shift & ((1 << BITS) - 1)).unwrap_or_default());
    characters.into_iter().filter_map(|character| character.checked_sub(1))
}

/// Returns the longer gram at a place; `None` at the last character.
fn longest(characters: &[char], place: usize) -> Option<Gram<'_>> {
    match characters.get(place..place + 3) {
        Some(three) if three.iter().all(|character| *character < WIDE) => Some(three),
        _ => characters.get(place..place + 2),
    }
}

/// What a keyword demands of a text: all of these words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GramDemand {
    pub words: Vec<String>,
    /// Words that merely begin so count too.
    pub is_prefix: bool,
    /// Whether every text that meets it holds the keyword.
    pub is_exact: bool,
}

/// `None`: every text holds the empty keyword.
pub fn of_keyword(keyword: &str) -> Option<GramDemand> {
    let folded: Vec<char> = fold(keyword).chars().collect();
    let is_wide = |gram: Gram<'_>| gram.iter().any(|character| *character >= WIDE);
    let (grams, is_prefix): (Vec<Gram<'_>>, bool) = match folded.as_slice() {
        [] => return None,
        [_] => (vec![&folded], false),
        // Beside letters the index has the gram of three that begins so.
        [_, _] => (vec![&folded], !is_wide(&folded)),
        _ => {
            let places = 0..folded.len() - 1;
            let grams = places.filter_map(|place| longest(&folded, place));
            // What follows the keyword in a text decides which gram its last two letters are part of.
            (grams.filter(|gram| gram.len() == 3 || is_wide(gram)).collect(), false)
        }
    };
    let is_exact = grams.len() == 1 && grams.first().is_some_and(|gram| gram.len() == folded.len()) && is_told(&folded);
    // The longest grams are the rarest; of many, some from all over.
    let step = grams.len().div_ceil(MOST).max(1);
    let word = |gram: &Gram<'_>| {
        let mut word = String::new();
        spell(gram, &mut word);
        word
    };
    let mut words: Vec<String> = grams.iter().step_by(step).map(word).collect();
    words.sort_unstable();
    words.dedup();
    Some(GramDemand { words, is_prefix, is_exact })
}

/// Returns whether no other characters are spelled alike.
fn is_told(characters: &[char]) -> bool {
    characters.iter().all(|character| u32::from(*character) < LONG)
}

fn spell(gram: Gram<'_>, word: &mut String) {
    for character in gram {
        spell_character(u32::from(*character), word);
    }
}

fn spell_character(number: u32, word: &mut String) {
    if number < SHORT {
        push(word, number / 36);
    } else {
        // Beyond the code's end characters are spelled like others: the index then finds too much, never too little.
        let number = number % LONG;
        push(word, 18 + number / (36 * 36 * 36));
        push(word, number / (36 * 36) % 36);
        push(word, number / 36 % 36);
    }
    push(word, number % LONG % 36);
}

fn push(word: &mut String, digit: u32) {
    word.extend(char::from_digit(digit, 36));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns what the index answers.
    fn finds(demand: &GramDemand, text: &str) -> bool {
        let words = of_text(&fold(text));
        let words: Vec<&str> = words.split(' ').collect();
        let is_met = |wanted: &String| {
            words.iter().any(|word| if demand.is_prefix { word.starts_with(wanted) } else { word == wanted })
        };
        demand.words.iter().all(is_met)
    }

    fn text() -> impl Strategy<Value = String> {
        let character = prop_oneof![
            4 => prop::char::ranges(vec!['a'..='d', 'A'..='D', '订'..='讥'].into()),
            1 => any::<char>(),
        ];
        prop::collection::vec(character, 0..12).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn a_packed_gram_is_the_gram_in_its_order(one in prop::collection::vec(any::<char>(), 1..4),
                                                  other in prop::collection::vec(any::<char>(), 1..4)) {
            prop_assert_eq!(unpack(pack(&one)).filter_map(char::from_u32).collect::<Vec<_>>(), one.clone());
            prop_assert_eq!(pack(&one).cmp(&pack(&other)), one.cmp(&other));
        }

        #[test]
        fn what_holds_a_keyword_is_found(before in text(), keyword in text(), after in text()) {
            let text = format!("{before}{keyword}{after}");
            // Not where what stands beside it becomes one with it.
            let holds = fold(&text).contains(&fold(&keyword));
            if let Some(demand) = of_keyword(&keyword).filter(|_| holds) {
                prop_assert!(finds(&demand, &text), "{demand:?}");
            }
        }

        #[test]
        fn an_exact_demand_finds_nothing_else(keyword in text(), text in text()) {
            if let Some(demand) = of_keyword(&keyword).filter(|demand| demand.is_exact) {
                prop_assert_eq!(finds(&demand, &text), fold(&text).contains(&fold(&keyword)), "{:?}", demand);
            }
        }
    }

    #[test]
    fn short_keywords_are_single_grams() {
        for (keyword, is_prefix, is_exact) in [
            ("e", false, true),
            ("订", false, true),
            ("订单", false, true),
            ("a订", false, true),
            ("id", true, true),
            ("abc", false, true),
            ("abcd", false, false),
            ("订单号", false, false),
            ("\u{10ffff}", false, false),
        ] {
            let demand = of_keyword(keyword).unwrap();
            assert_eq!((demand.is_prefix, demand.is_exact), (is_prefix, is_exact), "{keyword}");
        }
        assert_eq!(of_keyword(""), None);
        assert!(of_keyword(&"0123456789".repeat(50)).unwrap().words.len() <= MOST);
    }
}
