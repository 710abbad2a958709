//! What the scanner accepts, cleans and refuses.

use proptest::prelude::*;

use super::utf8::{text_of, to_body_ranges};
use super::*;

fn clean(text: &str) -> (String, Cleaned) {
    let (json, cleaned) = Scanner::new(text, TypedLeaves::Restore).document().unwrap();
    (json.as_str().to_owned(), cleaned)
}

#[test]
fn clean_json_is_copied_verbatim() {
    for text in [
        "null",
        "-0",
        "123456789012345678901234567890",
        "1e-09",
        r#"{ "b" : 1 ,"a":[ ] , "a": { }, "" :"好 😀" }"#,
        "[true,\n\tfalse,\r\nnull]",
        r#""\" \\ \b\f\n\r\t\u0000\u001f""#,
    ] {
        assert_eq!(clean(text), (text.to_owned(), Cleaned::default()));
    }
}

#[test]
fn python_json_is_cleaned_and_counted() {
    let none = Cleaned::default();
    for (text, expected, cleaned) in [
        ("[NaN, Infinity,-Infinity]", "[null, null,null]", Cleaned { nan: 3, ..none }),
        (r#""\u4f60\u597D\ud83d\ude00\/""#, r#""你好😀/""#, none),
        (r#""\u0022\u005c\u007f""#, "\"\\\"\\\\\u{7f}\"", none),
        (r#""a\ud83db""#, "\"a\u{fffd}b\"", Cleaned { surrogates: 1, ..none }),
        (r#""\ude00\ud83d\ud83d\ude00""#, "\"\u{fffd}\u{fffd}😀\"", Cleaned { surrogates: 2, ..none }),
        (r#"{"\ud800": 1}"#, "{\"\u{fffd}\": 1}", Cleaned { surrogates: 1, ..none }),
        ("\"a\0b\nc\"", "\"a\\u0000b\\u000ac\"", Cleaned { control: 2, ..none }),
        ("  [1]  ", "[1]", none),
    ] {
        assert_eq!(clean(text), (expected.to_owned(), cleaned), "{text}");
    }
}

#[test]
fn what_python_refuses_is_refused() {
    for text in [
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "[1 2]",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "1e",
        "--1",
        "nul",
        "-NaN",
        "tRue",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "[1]]",
        "{} {}",
        "\u{feff}{}",
        "{]",
        "[}",
        "{\"a\":1,}",
        "'a'",
        "\"\\",
        "[1",
        "{\"a\":1",
        "\u{a0}1",
    ] {
        assert!(Scanner::new(text, TypedLeaves::Restore).document().is_err(), "{text:?}");
    }
}

#[test]
fn typed_leaves_become_plain_values() {
    let leaf = |name: &str, value: &str| format!(r#"{{"__type__": "{name}", "__value__": {value}}}"#);
    for (name, value, expected) in [
        ("datetime", r#""2026-11-23T15:28:34.729072""#, r#""2026-11-23T15:28:34.729072""#),
        ("date", r#""2026-11-23""#, r#""2026-11-23""#),
        ("decimal", r#""0.002428""#, "0.002428"),
        ("decimal", r#""0E-7""#, "0E-7"),
        ("decimal", r#""1E+2""#, "1E+2"),
        ("decimal", r#""-sNaN""#, "null"),
        ("decimal", r#""Infinity""#, "null"),
        ("decimal", r#""007""#, r#""007""#),
        ("uuid", r#""669dd85a09494cda99c94984b192aea0""#, r#""669dd85a-0949-4cda-99c9-4984b192aea0""#),
        (
            "uuid",
            r#"{"hex": "669dd85a09494cda99c94984b192aea0", "version": 4}"#,
            r#""669dd85a-0949-4cda-99c9-4984b192aea0""#,
        ),
        ("uuid", r#""no\nuuid""#, r#""no\nuuid""#),
        ("bytes", r#""\u4f60""#, r#""你""#),
        ("base64", r#""/w==""#, r#""/w==""#),
    ] {
        let (text, cleaned) = clean(&format!("[{}]", leaf(name, value)));
        assert_eq!((text, cleaned.typed_leaves), (format!("[{expected}]"), 1), "{name} {value}");
    }
    let reversed = r#"{"__value__":"1.5","__type__":"decimal"}"#;
    assert_eq!(clean(reversed).0, "1.5");
}

#[test]
fn what_only_looks_like_a_typed_leaf_stays() {
    for text in [
        r#"{"__type__": "set", "__value__": "x"}"#,
        r#"{"__type__": "decimal"}"#,
        r#"{"__type__": "decimal", "__value__": 1}"#,
        r#"{"__type__": "decimal", "__value__": "1", "more": 1}"#,
        r#"{"__type__": "decimal", "__type__": "decimal"}"#,
        r#"{"__type__": "uuid", "__value__": {"hex": 1}}"#,
        r#"{"__type__": {"__type__": "date", "x": "y"}, "__value__": []}"#,
        r#"{"__x": 1}"#,
    ] {
        assert_eq!(clean(text), (text.to_owned(), Cleaned::default()));
    }
    let (kept, _) = Scanner::new(r#"{"__type__":"date","__value__":"x"}"#, TypedLeaves::Keep).document().unwrap();
    assert_eq!(kept.as_str(), r#"{"__type__":"date","__value__":"x"}"#);
}

#[test]
fn nesting_is_bounded_and_never_recursive() {
    let nested = |depth: usize| r#"{"a":["#.repeat(depth / 2) + &"]}".repeat(depth / 2);
    assert_eq!(clean(&nested(MAX_DEPTH)).0, nested(MAX_DEPTH));
    let deeper = nested(MAX_DEPTH + 2);
    let error = Scanner::new(&deeper, TypedLeaves::Keep).document().unwrap_err();
    assert!(matches!(error, Syntax::TooDeep { .. }), "{error}");
    assert!(Scanner::new(&"[".repeat(5_000_000), TypedLeaves::Keep).document().is_err());
}

#[test]
fn bytes_become_text_and_ranges_find_back() {
    let body = b"[\"\xff\", \"\xed\xa0\xbd\xed\xb8\x80\", \"\xed\xa0\xbdx\", \"\xe4\xbd\", \"\xe4\xbd\xa0\"]";
    let mut cleaned = Cleaned::default();
    let text = text_of(body, &mut cleaned);
    assert_eq!(text, "[\"\u{fffd}\", \"😀\", \"\u{fffd}x\", \"\u{fffd}\", \"你\"]");
    assert_eq!((cleaned.invalid_utf8, cleaned.surrogates), (2, 1));
    let mut ranges = Vec::new();
    let mut scanner = Scanner::new(&text, TypedLeaves::Keep);
    scanner
        .array::<Syntax>(|scanner, _| {
            scanner.peek();
            let start = scanner.at();
            scanner.skip()?;
            ranges.push(start..scanner.at());
            Ok(())
        })
        .unwrap();
    to_body_ranges(body, ranges.iter_mut());
    let found: Vec<_> = ranges.into_iter().map(|range| &body[range]).collect();
    let expected: [&[u8]; 5] =
        [b"\"\xff\"", b"\"\xed\xa0\xbd\xed\xb8\x80\"", b"\"\xed\xa0\xbdx\"", b"\"\xe4\xbd\"", b"\"\xe4\xbd\xa0\""];
    assert_eq!(found, expected);
}

proptest! {
    #[test]
    fn any_text_survives_quoting(text in ".*") {
        let mut quoted = String::new();
        string::push_quoted(&mut quoted, &text);
        prop_assert_eq!(&Scanner::new(&quoted, TypedLeaves::Keep).string().unwrap(), &text);
        prop_assert_eq!(&serde_json::from_str::<String>(&quoted).unwrap(), &text);
        prop_assert_eq!(clean(&quoted), (quoted, Cleaned::default()));
    }

    #[test]
    fn special_bytes_are_found(bytes in prop::collection::vec(prop_oneof![9 => any::<u8>(), 90 => 0x23_u8..0x5c], 0..80),
        from in 0_usize..90) {
        let expected = bytes.iter().enumerate().skip(from).find(|(_, byte)| matches!(byte, 0..0x20 | b'"' | b'\\'));
        prop_assert_eq!(string::find_special(&bytes, from), expected.map_or(bytes.len(), |(position, _)| position));
    }

    #[test]
    fn accepts_what_a_strict_parser_accepts(text in "[\\[\\]{}:,\" a01.\\\\n-]{0,16}") {
        let strict = serde_json::from_str::<serde_json::Value>(&text);
        let ours = Scanner::new(&text, TypedLeaves::Keep).document();
        prop_assert_eq!(ours.is_ok(), strict.is_ok());
        if let (Ok((json, cleaned)), Ok(value)) = (ours, strict) {
            prop_assert_eq!(cleaned, Cleaned::default());
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(json.as_str()).unwrap(), value);
        }
    }
}
