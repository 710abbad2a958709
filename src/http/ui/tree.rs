//! A payload as a tree that opens: bounded in items and in the length of a text, whatever it holds.

use maud::{Markup, html};
use serde_json::Value;

use super::format::{clipped, count};
use super::i18n::PageTexts;
use crate::domain::{printable, printable_block};

/// Bytes of a payload that is shown as a tree; a larger one is behind its link.
pub(super) const MOST_BYTES: usize = 256 << 10;
/// Items of a tree, and characters of one text.
const MOST_ITEMS: usize = 600;
const MOST_CHARACTERS: usize = 4000;
/// Levels that are open at first.
const OPEN: usize = 2;

/// Returns the tree of a JSON text; of what is no JSON, its text.
pub(super) fn tree(texts: &PageTexts, json: &str) -> Markup {
    let mut left = MOST_ITEMS;
    match serde_json::from_str::<Value>(json) {
        Ok(Value::String(whole)) => text(&whole),
        Ok(value) => html! { div.tree { (node(texts, None, &value, 0, &mut left)) } },
        // Nested deeper than anybody reads, or a plain text.
        Err(_) => text(json),
    }
}

/// Returns a text with its lines.
pub(super) fn text(whole: &str) -> Markup {
    // What may scroll is reached by keys.
    let may_scroll = whole.len() > 1000 || whole.lines().nth(16).is_some();
    html! { pre.text dir="auto" tabindex=[may_scroll.then_some("0")] { (printable_block(&clipped(whole, MOST_CHARACTERS))) } }
}

fn node(texts: &PageTexts, key: Option<&str>, value: &Value, depth: usize, left: &mut usize) -> Markup {
    *left = left.saturating_sub(1);
    match value {
        Value::Object(members) if !members.is_empty() => {
            let items = members.iter().map(|(key, value)| (Some(key.as_str()), value));
            branch(texts, key, members.len(), ('{', '}'), items, depth, left)
        }
        Value::Array(items) if !items.is_empty() => {
            let pairs = items.iter().map(|value| (None, value));
            branch(texts, key, items.len(), ('[', ']'), pairs, depth, left)
        }
        leaf => html! { div.leaf { (name(key)) (scalar(leaf)) } },
    }
}

fn branch<'a>(
    texts: &PageTexts,
    key: Option<&str>,
    length: usize,
    brackets: (char, char),
    items: impl Iterator<Item = (Option<&'a str>, &'a Value)>,
    depth: usize,
    left: &mut usize,
) -> Markup {
    let mut shown = Vec::new();
    for (key, value) in items {
        if *left == 0 {
            break;
        }
        shown.push(node(texts, key, value, depth + 1, left));
    }
    let rest = length - shown.len();
    html! {
        details open[depth < OPEN] {
            summary { (name(key)) span.size { (brackets.0) (count(length as i128)) (brackets.1) } }
            div.inside {
                @for item in shown { (item) }
                @if rest > 0 { p.faint { (count(rest as i128)) " " (texts.more_items) } }
            }
        }
    }
}

fn name(key: Option<&str>) -> Markup {
    html! { @if let Some(key) = key { span.key-name { bdi { (printable(&clipped(key, 200))) } ":" } " " } }
}

fn scalar(value: &Value) -> Markup {
    match value {
        Value::String(whole) if whole.contains('\n') => text(whole),
        Value::String(whole) => html! { span.string { bdi { (printable(&clipped(whole, MOST_CHARACTERS))) } } },
        Value::Number(number) => html! { span.num { (number) } },
        Value::Object(_) => html! { span.void { "{}" } },
        Value::Array(_) => html! { span.void { "[]" } },
        other => html! { span.void { (other) } },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::ui::i18n::Lang;

    fn shown(json: &str) -> String {
        tree(Lang::En.texts(), json).into_string()
    }

    #[test]
    fn a_tree_is_bounded_and_holds_no_markup() {
        let hostile = shown("{\"<script>alert(1)</script>\": \"</pre><img src=x onerror=alert(1)>\\u202e\\u0000\"}");
        assert!(!hostile.contains("<script") && !hostile.contains("<img"), "{hostile}");
        assert!(!hostile.contains('\u{202e}') && !hostile.contains('\0'), "{hostile}");
        let many = shown(&format!("[{}]", vec!["1"; 10_000].join(",")));
        assert!(many.contains("9,401 more"), "{}", &many[many.len() - 200..]);
        assert!(many.len() < 40_000);
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        assert!(shown(&deep).len() < 5 * 5000);
        let long = shown(&format!("{{\"a\": \"{}\"}}", "x".repeat(1_000_000)));
        assert!(long.len() < 5000);
    }

    #[test]
    fn numbers_and_texts_are_as_they_came() {
        let tree = shown(r#"{"a": 1.50, "b": [true, null, {}], "c": "你好\nx"}"#);
        for part in ["1.5", "true", "null", "{}", "你好\nx", "{3}"] {
            assert!(tree.contains(part), "{part}: {tree}");
        }
    }
}
