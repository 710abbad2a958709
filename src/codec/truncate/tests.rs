//! What truncation keeps, and what it never breaks.

use proptest::prelude::*;

use super::*;
use crate::codec::python_json::{Scanner, TypedLeaves};

fn cut(text: &str, budget: usize) -> String {
    truncate(&JsonText::from_clean(text), budget).map_or_else(|| text.to_owned(), |json| json.as_str().to_owned())
}

fn is_json(text: &str) -> bool {
    let document = Scanner::new(text, TypedLeaves::Keep).document();
    document.is_ok_and(|(json, cleaned)| json.as_str() == text && cleaned == crate::codec::Cleaned::default())
}

#[test]
fn long_strings_go_first_and_short_ones_stay() {
    let long = "x".repeat(1_000);
    let middle = "y".repeat(100);
    let text = format!(r#"{{"a": "{long}", "b": [1, 2, "{middle}"], "c": "short"}}"#);
    let cap = 300 - (text.len() - 1_000);
    let expected = text.replace(&long, &format!("{}...", "x".repeat(cap - 3)));
    assert_eq!(cut(&text, 300), expected);
}

#[test]
fn the_cap_is_common_to_all_long_strings() {
    let text = format!(r#"["{}","{}","{}"]"#, "x".repeat(1_000), "y".repeat(500), "z".repeat(70));
    let expected = format!(r#"["{}...","{}...","{}"]"#, "x".repeat(157), "y".repeat(157), "z".repeat(70));
    assert_eq!(cut(&text, expected.len()), expected);
}

#[test]
fn tails_of_long_containers_go_next_and_what_follows_them_stays() {
    let numbers = (0..10_000).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
    let cut = cut(&format!(r#"{{"embedding": [{numbers}], "answer": "yes"}}"#), 1_000);
    assert!(cut.starts_with(r#"{"embedding": [0, 1, 2, "#), "{cut}");
    assert!(cut.ends_with(r#"], "answer": "yes"}"#), "{cut}");
    assert!((800..=1_000).contains(&cut.len()), "{}", cut.len());
}

#[test]
fn what_no_cap_can_save_is_cut_at_the_budget() {
    for (text, budget, expected) in [
        (r#"{"aaaaaaaaaaaaaaaaaaaa": {"b": 1}, "c": 2}"#, 20, "{}"),
        (r#"{"a": {"b": {"c": 123456789}}}"#, 24, r#"{"a": {"b": {}}}"#),
        (r#"["abcdefghijklmnopqrstuvwxyz"]"#, 12, r#"["abcde..."]"#),
        (r#""abcdefghijklmnopqrstuvwxyz""#, 8, r#""abc...""#),
        ("123456789012345678901234567890", 10, "null"),
        ("[1234567890]", 0, "[]"),
    ] {
        assert_eq!(cut(text, budget), expected);
    }
}

#[test]
fn neither_characters_nor_escapes_are_broken() {
    let text = format!(r#""{}""#, r#"好\"\\\u0000😀"#.repeat(40));
    for budget in MIN_BUDGET..text.len() {
        let cut = cut(&text, budget);
        assert!(is_json(&cut) && cut.len() <= budget && cut.len() + 9 > budget, "{budget}: {cut}");
    }
}

#[test]
fn deep_nesting_is_closed() {
    let text = "[".repeat(5_000) + &"]".repeat(5_000);
    assert_eq!(cut(&text, 100), "[".repeat(50) + &"]".repeat(50));
}

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("-1.50e+7".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any_string(0..12),
        any_string(50..400),
    ];
    let space = prop_oneof![Just(""), Just(" "), Just("\n  ")];
    leaf.prop_recursive(6, 60, 12, move |value| {
        let members = prop::collection::vec((any_string(0..6), value.clone()), 0..12);
        prop_oneof![
            (prop::collection::vec(value, 0..12), space.clone())
                .prop_map(|(elements, space)| format!("[{space}{}{space}]", elements.join(&format!(",{space}")))),
            (members, space.clone()).prop_map(|(members, space)| {
                let members: Vec<_> = members.iter().map(|(key, value)| format!("{key}:{space}{value}")).collect();
                format!("{{{space}{}{space}}}", members.join(&format!(",{space}")))
            }),
        ]
    })
}

fn any_string(length: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let character =
        prop_oneof![4 => Just('a'), 1 => Just('"'), 1 => Just('\\'), 1 => Just('\u{1}'), 2 => any::<char>()];
    prop::collection::vec(character, length).prop_map(|characters| {
        let mut quoted = String::new();
        crate::codec::python_json::string::push_quoted(&mut quoted, &characters.into_iter().collect::<String>());
        quoted
    })
}

proptest! {
    #[test]
    fn valid_within_budget_and_stable(text in any_json(), budget in 0_usize..2_000) {
        let json = JsonText::from_clean(text);
        let budget = budget.max(MIN_BUDGET);
        match truncate(&json, budget) {
            None => prop_assert!(json.len() <= budget),
            Some(cut) => {
                prop_assert!(json.len() > budget);
                prop_assert!(cut.len() <= budget, "{} > {budget}", cut.len());
                prop_assert!(is_json(cut.as_str()), "{}", cut.as_str());
                prop_assert_eq!(truncate(&cut, budget), None);
                let first = |json: &JsonText| json.as_str().chars().next().filter(|first| "{[\"".contains(*first));
                prop_assert!(first(&json).is_none() || first(&json) == first(&cut), "the type of the value is kept");
            }
        }
    }
}
