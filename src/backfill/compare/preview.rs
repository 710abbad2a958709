//! What Dify leaves of a payload in the row when it puts the full text into its storage: strings are cut and end with `...`,
//! what does not fit is `...`, arrays end early, objects lack members. Texts are looked at level by level; no tree of a
//! payload is built.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::backfill::canonical::push_json;

/// What Dify puts where something was cut.
const CUT: &str = "...";
/// Deepest level that is looked at; what lies below must be the same.
const DEPTH: usize = 100;

/// Returns whether Dify may have made this preview of this payload.
pub(super) fn is_preview_of(preview: &str, whole: &str) -> bool {
    is_part(preview, whole, DEPTH)
}

fn is_part(part: &str, whole: &str, depth: usize) -> bool {
    let (part, whole) = (part.trim(), whole.trim());
    let Some(depth) = depth.checked_sub(1) else { return is_same(part, whole) };
    match part.as_bytes().first() {
        Some(b'{') => object(part, whole, depth).unwrap_or(false),
        Some(b'[') => array(part, whole, depth).unwrap_or(false),
        Some(b'"') => string(part, whole).unwrap_or(false),
        _ => is_same(part, whole),
    }
}

fn is_same(part: &str, whole: &str) -> bool {
    let canonical = |text| {
        let mut bytes = Vec::new();
        push_json(&mut bytes, text);
        bytes
    };
    canonical(part) == canonical(whole)
}

/// `None`: one of them is no object.
fn object(part: &str, whole: &str, depth: usize) -> Option<bool> {
    let members = |text| serde_json::from_str::<HashMap<Cow<'_, str>, &RawValue>>(text).ok();
    let (part, whole) = (members(part)?, members(whole)?);
    Some(part.iter().all(|(key, value)| whole.get(key).is_some_and(|whole| is_part(value.get(), whole.get(), depth))))
}

fn array(part: &str, whole: &str, depth: usize) -> Option<bool> {
    let items = |text| serde_json::from_str::<Vec<&RawValue>>(text).ok();
    let (part, whole) = (items(part)?, items(whole)?);
    let all = part.iter().zip(&whole).all(|(part, whole)| is_part(part.get(), whole.get(), depth));
    Some(part.len() <= whole.len() && all)
}

fn string(part: &str, whole: &str) -> Option<bool> {
    let part: Cow<'_, str> = serde_json::from_str(part).ok()?;
    if part == CUT {
        return Some(true);
    }
    let whole: Cow<'_, str> = serde_json::from_str(whole).ok()?;
    Some(part == whole || part.strip_suffix(CUT).is_some_and(|start| whole.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Vectors {
        cases: Vec<Vector>,
    }

    #[derive(serde::Deserialize)]
    struct Vector {
        input: Box<RawValue>,
        result: Box<RawValue>,
    }

    #[test]
    fn what_dify_made_of_payloads_are_previews_of_them() {
        let text = include_str!("../../../tests/corpus/truncation_vectors.json");
        let Vectors { cases } = serde_json::from_str(text).unwrap();
        assert!(cases.len() > 50);
        for Vector { input, result } in cases {
            assert!(is_preview_of(result.get(), input.get()), "{result} of {input}");
        }
    }

    #[test]
    fn what_says_something_else_is_none() {
        let whole = r#"{"a":"xyz","l":[1,2,3],"o":{"k":{"v":true}},"n":1}"#;
        for preview in
            [r#"{"a": "xyz"}"#, r#"{"a":"x..."}"#, r#"{"l":[1.0,2]}"#, r#"{"o":{"k":"..."}}"#, r#"{"n":"..."}"#]
        {
            assert!(is_preview_of(preview, whole), "{preview}");
        }
        for other in [
            r#"{"a":"z..."}"#,
            r#"{"a":"xy"}"#,
            r#"{"l":[2]}"#,
            r#"{"l":[1,2,3,4]}"#,
            r#"{"o":{"k":{"v":false}}}"#,
            r#"{"b":"..."}"#,
            r#"{"n":2}"#,
            r#"["xyz"]"#,
            r#"{"o":[]}"#,
            "nonsense",
        ] {
            assert!(!is_preview_of(other, whole), "{other}");
        }
        let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(300), "]".repeat(300));
        assert!(is_preview_of(&deep("1"), &deep("1")) && !is_preview_of(&deep(""), &deep("1")));
    }
}
