//! The canonical form of a JSON text: equal values have equal bytes. Numbers count by value, the order of keys does not
//! count, the last of equal keys wins. It never recurses and never builds a tree.
//!
//! The texts are clean ([`crate::domain::JsonText`]), so the grammar is not checked again; what is no JSON after all
//! stands for itself.

/// A container that is open.
enum Frame {
    Array,
    Object { members: Vec<Member>, awaits_key: bool },
}

/// A member of an object: its key, and where its canonical bytes (key and value) begin.
struct Member {
    key: Box<str>,
    start: usize,
}

/// Appends the canonical form of a text.
pub fn push_json(out: &mut Vec<u8>, text: &str) {
    let start = out.len();
    let walk = Walk { text, at: 0, out, open: Vec::new() };
    if walk.run().is_none() {
        out.truncate(start);
        out.push(b'!');
        push_text(out, text);
    }
}

/// A text with its length before it, so that neighbours cannot run together.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

struct Walk<'a> {
    text: &'a str,
    at: usize,
    out: &'a mut Vec<u8>,
    open: Vec<Frame>,
}

impl Walk<'_> {
    /// `None`: this is no JSON.
    fn run(mut self) -> Option<()> {
        while let Some(byte) = self.text.as_bytes().get(self.at).copied() {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' | b':' => self.at += 1,
                b',' => {
                    if let Some(Frame::Object { awaits_key, .. }) = self.open.last_mut() {
                        *awaits_key = true;
                    }
                    self.at += 1;
                }
                b'{' => self.begin(byte, Frame::Object { members: Vec::new(), awaits_key: true }),
                b'[' => self.begin(byte, Frame::Array),
                b'}' | b']' => self.end(byte)?,
                b'"' => self.string()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                b'-' | b'0'..=b'9' => self.number()?,
                _ => return None,
            }
        }
        self.open.is_empty().then_some(())
    }

    fn begin(&mut self, byte: u8, frame: Frame) {
        self.out.push(byte);
        self.open.push(frame);
        self.at += 1;
    }

    fn end(&mut self, byte: u8) -> Option<()> {
        match (self.open.pop()?, byte) {
            (Frame::Object { members, .. }, b'}') => sort_members(self.out, &members),
            (Frame::Array, b']') => {}
            _ => return None,
        }
        self.out.push(byte);
        self.at += 1;
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let (mut end, mut escaped) = (start + 1, false);
        loop {
            match bytes.get(end)? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    end += 2;
                }
                _ => end += 1,
            }
        }
        self.at = end + 1;
        let raw = self.text.get(start + 1..end)?;
        let decoded: Option<String> =
            if escaped { Some(serde_json::from_str(self.text.get(start..=end)?).ok()?) } else { None };
        let value = decoded.as_deref().unwrap_or(raw);
        if let Some(Frame::Object { members, awaits_key }) = self.open.last_mut()
            && *awaits_key
        {
            *awaits_key = false;
            members.push(Member { key: value.into(), start: self.out.len() });
        }
        self.out.push(b'"');
        push_text(self.out, value);
        Some(())
    }

    fn literal(&mut self, name: &'static str) -> Option<()> {
        self.text.get(self.at..)?.starts_with(name).then_some(())?;
        self.out.extend(name.bytes().take(1));
        self.at += name.len();
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let part_of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.as_bytes().iter().take_while(|byte| part_of_number(byte)).count();
        push_number(self.out, rest.get(..length)?);
        self.at += length;
        Some(())
    }
}

/// Puts the members of the object at the end of `out` into the order of their keys.
fn sort_members(out: &mut Vec<u8>, members: &[Member]) {
    if members.is_sorted_by(|one, next| one.key < next.key) {
        return;
    }
    let Some(first) = members.first().map(|member| member.start) else { return };
    let written = out.split_off(first);
    let ends = members.iter().skip(1).map(|member| member.start).chain([first + written.len()]);
    let mut spans: Vec<_> =
        members.iter().zip(ends).map(|(member, end)| (&member.key, member.start - first..end - first)).collect();
    // Stable, and from the back: of equal keys the last one comes first, and stays.
    spans.reverse();
    spans.sort_by_key(|(key, _)| *key);
    spans.dedup_by_key(|(key, _)| *key);
    for (_, span) in spans {
        out.extend_from_slice(written.get(span).unwrap_or_default());
    }
}

/// A number as sign, digits without zeros at either end, and a power of ten: exact at any size and precision.
fn push_number(out: &mut Vec<u8>, text: &str) {
    out.push(b'#');
    let normal = normal_form(text).unwrap_or_else(|| text.to_owned());
    push_text(out, &normal);
}

fn normal_form(text: &str) -> Option<String> {
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text), |unsigned| ("-", unsigned));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some("0".into());
    }
    let shift = i64::try_from(digits.len() - significant.len()).ok()? - i64::try_from(fraction.len()).ok()?;
    let exponent = exponent.parse::<i64>().ok()?.checked_add(shift)?;
    Some(format!("{sign}{significant}e{exponent}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn canonical(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        push_json(&mut out, text);
        out
    }

    #[test]
    fn equal_values_have_equal_bytes() {
        for (one, other) in [
            ("{\"a\":1,\"b\":[true,null]}", "{ \"b\" : [ true , null ], \"a\" : 1.0 }"),
            ("[100,-0.0,1e-9,123456789012345678901234567890]", "[1e2,0,0.000000001,123456789012345678901234567890.0]"),
            ("\"é\\n\\\"\"", "\"\\u00e9\\u000a\\u0022\""),
            ("{\"k\":1,\"k\":2}", "{\"k\":2}"),
            ("{\"b\":{\"d\":1,\"c\":2},\"a\":3}", "{\"a\":3,\"b\":{\"c\":2,\"d\":1}}"),
        ] {
            assert_eq!(canonical(one), canonical(other), "{one} and {other}");
        }
    }

    #[test]
    fn different_values_have_different_bytes() {
        let values = [
            "1",
            "-1",
            "10",
            "0",
            "\"1\"",
            "true",
            "false",
            "null",
            "[]",
            "{}",
            "[1]",
            "[[1]]",
            "[1,1]",
            "[11]",
            "\"\"",
            "{\"a\":1}",
            "{\"a\":\"1\"}",
            "{\"1\":\"a\"}",
            "[\"a\",1]",
            "{\"a\":[1,2]}",
            "{\"a\":[2,1]}",
            "\"null\"",
            "0.1",
            "0.10000000000000001",
            "1e400",
            "1e401",
            "no json",
            "no json either",
            "[1",
            "{\"a\":{}}",
        ];
        for (at, one) in values.iter().enumerate() {
            for other in &values[at + 1..] {
                assert_ne!(canonical(one), canonical(other), "{one} and {other}");
            }
        }
    }

    #[test]
    fn depth_and_damage_are_harmless() {
        let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        assert_eq!(canonical(&deep).len(), deep.len());
        for broken in ["]", "{]", "\"", "\"\\", "\\", "{\"a\":1]", "\"\\ud800\"", "tru", "1e99999999999999999999", ""] {
            assert_eq!(canonical(broken), canonical(broken));
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1_000_i64..1_000).prop_map(|n| Value::from(n as f64 / 8.0)),
            "\\PC{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-d]{1,2}", inner), 0..4).prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    /// Returns the same value, its keys in reverse.
    fn reversed(value: &Value) -> Value {
        match value {
            Value::Array(elements) => elements.iter().map(reversed).collect(),
            Value::Object(members) => members.iter().rev().map(|(key, value)| (key.clone(), reversed(value))).collect(),
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn white_space_and_the_order_of_keys_do_not_count(value in value()) {
            let pretty = serde_json::to_string_pretty(&reversed(&value)).unwrap();
            prop_assert_eq!(canonical(&value.to_string()), canonical(&pretty));
        }
    }
}
