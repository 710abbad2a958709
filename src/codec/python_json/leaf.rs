//! `{"__type__": …, "__value__": …}`: how Celery's JSON encoder writes dates, decimals, UUIDs and bytes.

use std::borrow::Cow;

use super::{Scalar, Scanner, Syntax, number_length};

/// The two members of a typed leaf.
struct Members<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
}

impl<'a> Scanner<'a> {
    /// Reads an object as a typed leaf if it is one: exactly these two keys, a type that is known, a value of its form.
    /// Otherwise the position stays.
    pub(super) fn typed_leaf(&mut self) -> Result<Option<Scalar<'a>>, Syntax> {
        let (start, cleaned) = (self.at, self.cleaned);
        if self.may_be_leaf()
            && let Some(Members { name, value }) = self.leaf_members()?
            && let Some(plain) = self.restored(&name, value)
        {
            self.cleaned.typed_leaves += 1;
            return Ok(Some(plain));
        }
        self.at = start;
        self.cleaned = cleaned;
        Ok(None)
    }

    /// Returns a cheap look at the first key, before anything is parsed twice.
    fn may_be_leaf(&mut self) -> bool {
        let start = self.at;
        self.at += 1;
        self.peek();
        let likely = self.text.get(self.at..).is_some_and(|rest| rest.starts_with("\"__"));
        self.at = start;
        likely
    }

    /// Type and value, as far as both are strings (a UUID's value may be `{"hex": …, "version": …}`).
    fn leaf_members(&mut self) -> Result<Option<Members<'a>>, Syntax> {
        let (mut name, mut value) = (None, None);
        self.punctuation(b'{', "an object")?;
        for last in [false, true] {
            let key = self.string()?;
            self.punctuation(b':', "`:`")?;
            let target = match &*key {
                "__type__" => &mut name,
                "__value__" => &mut value,
                _ => return Ok(None),
            };
            *target = match self.peek() {
                Some(b'"') => Some(self.string()?),
                Some(b'{') => self.hex_member()?,
                _ => None,
            };
            let closer_follows = self.peek() == Some(b'}');
            if target.is_none() || closer_follows != last || (!last && self.peek() != Some(b',')) {
                return Ok(None);
            }
            self.at += 1;
        }
        Ok(name.zip(value).map(|(name, value)| Members { name, value }))
    }

    /// `{"hex": "…"}`, with or without a `version`.
    fn hex_member(&mut self) -> Result<Option<Cow<'a, str>>, Syntax> {
        let mut hex = None;
        self.at += 1;
        loop {
            if self.peek() != Some(b'"') {
                return Ok(None);
            }
            let key = self.string()?;
            self.punctuation(b':', "`:`")?;
            match (&*key, self.peek()) {
                ("hex", Some(b'"')) => hex = Some(self.string()?),
                ("version", Some(b'n' | b'0'..=b'9')) => self.skip()?,
                _ => return Ok(None),
            }
            if self.ends_or_continues(b'}', "`,` or `}`")? {
                return Ok(hex);
            }
        }
    }

    fn restored(&mut self, name: &str, value: Cow<'a, str>) -> Option<Scalar<'a>> {
        match name {
            "uuid" => {
                let plain = uuid::Uuid::try_parse(&value).ok();
                Some(Scalar::Text(plain.map_or(value, |uuid| uuid.as_hyphenated().to_string().into())))
            }
            "decimal" if number_length(value.as_bytes()) == Some(value.len()) => Some(Scalar::Number(value)),
            "decimal" if is_not_finite(&value) => {
                self.cleaned.nan += 1;
                Some(Scalar::Null)
            }
            "datetime" | "date" | "time" | "bytes" | "base64" | "decimal" => Some(Scalar::Text(value)),
            _ => None,
        }
    }
}

/// Returns whether a text is how Python's `Decimal` writes a value that is no number: `NaN`, `-sNaN123`, `Infinity`, …
fn is_not_finite(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let payload = unsigned.trim_start_matches('s').strip_prefix("NaN");
    unsigned == "Infinity" || payload.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
}
