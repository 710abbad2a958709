//! Payloads without what settings name: fields by name or path, and texts by pattern. For readers without the right to reveal,
//! every document is masked on its way out, so that no answer can forget it; keywords are still found in what is masked, so
//! that whoever may search can guess. With `redact`, records are masked before they are stored, and nothing can be guessed.

mod unread;

use std::fmt;

use regex::Regex;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::python_json::{Scanner, TypedLeaves};
use crate::domain::document::PayloadField;
use crate::domain::{Document, Extra, JsonText, Record};

/// What stands in the place of what is masked.
const MASKED: &str = "***";
/// Larger payloads are masked whole: looking into them would take many times their bytes.
const MOST_BYTES: usize = 16 << 20;

/// What lies deeper is masked whole: each level is read once more.
const MOST_DEPTH: usize = 128;

/// What is masked.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskSettings {
    /// A name, which is masked wherever a payload has it; or a path from the payload's own name on, such as
    /// `inputs.card.number`, in which `*` is any one name or place.
    pub fields: Vec<String>,
    /// Regular expressions; what they match in texts is masked.
    pub patterns: Vec<String>,
}

/// See the module.
#[derive(Debug)]
pub struct Mask {
    names: Vec<String>,
    paths: Vec<Vec<String>>,
    patterns: Vec<Regex>,
}

impl Mask {
    /// Returns the mask of settings; `None` if they mask nothing.
    ///
    /// # Errors
    /// The setting that cannot be used, and why.
    pub fn new(settings: &MaskSettings) -> Result<Option<Self>, String> {
        let (mut names, mut paths) = (Vec::new(), Vec::new());
        for field in &settings.fields {
            let parts: Vec<_> = field.split('.').map(str::to_lowercase).collect();
            match parts.as_slice() {
                _ if parts.iter().any(String::is_empty) => {
                    return Err(format!("fields: {field:?}: expected a name, or names joined by dots"));
                }
                [name] => names.push(name.clone()),
                _ => paths.push(parts),
            }
        }
        let compiled = settings.patterns.iter().map(|text| {
            let pattern = Regex::new(text).map_err(|error| format!("patterns: {text:?}: {error}"))?;
            if pattern.is_match("") { Err(format!("patterns: {text:?}: matches the empty text")) } else { Ok(pattern) }
        });
        let patterns = compiled.collect::<Result<Vec<_>, _>>()?;
        let masks_nothing = names.is_empty() && paths.is_empty() && patterns.is_empty();
        Ok((!masks_nothing).then_some(Self { names, paths, patterns }))
    }

    /// Masks the payloads of a document. What a row had beside its columns goes: it may spell a payload once more.
    pub fn apply(&self, document: &mut Document) {
        document.extra = None;
        self.record(&mut document.record);
    }

    /// Masks the payloads of a record, and what its row had beside them.
    pub fn redact(&self, record: &mut Record, extra: &mut Extra) {
        for field in self.record(record) {
            // How the row spelled what is masked now.
            extra.changed.remove(field.as_str());
            extra.spelled.remove(field.as_str());
            extra.verbatim.remove(field.as_str());
        }
        for (column, value) in &mut extra.columns {
            let Some(text) = value else { continue };
            if self.names.iter().any(|name| *name == column.to_lowercase()) {
                *text = MASKED.into();
            } else if let Some(masked) = self.spelled(column, text) {
                *text = masked.into();
            }
        }
    }

    /// Masks the payloads of a record, and returns those that are others now.
    fn record(&self, record: &mut Record) -> Vec<PayloadField> {
        let (payloads, error) = match record {
            Record::Run(run) => {
                let payloads = vec![
                    (PayloadField::Inputs, &mut run.inputs),
                    (PayloadField::Outputs, &mut run.outputs),
                    (PayloadField::Graph, &mut run.graph),
                ];
                (payloads, &mut run.error)
            }
            Record::Node(node) => {
                let payloads = vec![
                    (PayloadField::Inputs, &mut node.inputs),
                    (PayloadField::ProcessData, &mut node.process_data),
                    (PayloadField::Outputs, &mut node.outputs),
                    (PayloadField::ExecutionMetadata, &mut node.execution_metadata),
                ];
                (payloads, &mut node.error)
            }
            Record::AppLog(_) | Record::Offload(_) => return Vec::new(),
        };
        let mut masked = Vec::new();
        for (field, payload) in payloads {
            let text = payload.as_ref().and_then(|payload| self.spelled(field.as_str(), payload.as_str()));
            if let Some(text) = text {
                *payload = Some(JsonText::from_clean(text));
                masked.push(field);
            }
        }
        let mut path = vec![PayloadField::Error.as_str().to_owned()];
        if let Some(text) = error.as_deref().and_then(|text| self.written_out(text, &mut path)) {
            *error = Some(text.into());
            masked.push(PayloadField::Error);
        }
        masked
    }

    /// Returns a text with what is to be masked in it masked, as JSON if it is any; `None` if there is nothing: a payload in which
    /// nothing is masked stays the text that it is.
    pub(super) fn spelled(&self, name: &str, text: &str) -> Option<String> {
        if text.len() > MOST_BYTES {
            return Some(format!("\"{MASKED} ({} bytes)\"", text.len()));
        }
        match serde_json::from_str::<&RawValue>(text) {
            Ok(value) => self.value(value, &mut vec![name.to_lowercase()]),
            Err(_) => self.written_out(text, &mut vec![name.to_lowercase()]),
        }
    }

    /// Returns a text with its matches masked; `None` if nothing matches.
    fn text(&self, text: &str) -> Option<String> {
        let mut masked = None;
        for pattern in &self.patterns {
            let replaced = pattern.replace_all(masked.as_deref().unwrap_or(text), regex::NoExpand(MASKED));
            if let std::borrow::Cow::Owned(replaced) = replaced {
                masked = Some(replaced);
            }
        }
        masked
    }

    /// Returns a text with what is to be masked in it masked; `None` if there is nothing. JSON that it is, such as the body of a
    /// request or the answer of a tool, is looked into as if it stood there itself; for patterns it is a text all the same.
    fn written_out(&self, text: &str, path: &mut Vec<String>) -> Option<String> {
        let inner = self.documents(text, path);
        self.text(inner.as_deref().unwrap_or(text)).or(inner)
    }

    /// Returns a text that begins as JSON with what is to be masked in it masked; `None` if there is nothing. There may be several
    /// documents one after another, and as Python spells them. What cannot be read to its end, because it was cut or is no JSON,
    /// is masked from there on if it seems to name what is masked. Reads the text a few times, whatever is in it.
    fn documents(&self, text: &str, path: &mut Vec<String>) -> Option<String> {
        let begins = text.trim_start_matches(|first: char| first.is_whitespace() || first == '\u{feff}');
        if !begins.starts_with(['{', '[', '"']) {
            return None;
        }
        if let Ok(value) = serde_json::from_str::<&RawValue>(text) {
            return self.value(value, path);
        }
        let mut scanner = Scanner::new(text, TypedLeaves::Keep);
        let (mut shown, mut copied) = (String::new(), 0);
        while scanner.peek().is_some() {
            let start = scanner.at();
            let (masked, end) = match scanner.copy() {
                Ok(document) => (self.document(document.as_str(), path), scanner.at()),
                Err(_) => (self.unread(text.get(start..).unwrap_or_default(), path), text.len()),
            };
            if let Some(masked) = masked {
                shown.push_str(text.get(copied..start).unwrap_or_default());
                shown.push_str(&masked);
                copied = end;
            }
            if end == text.len() {
                break;
            }
        }
        shown.push_str(text.get(copied..).unwrap_or_default());
        (copied > 0).then_some(shown)
    }

    fn document(&self, clean: &str, path: &mut Vec<String>) -> Option<String> {
        let Ok(value) = serde_json::from_str::<&RawValue>(clean) else { return Some(quoted(MASKED)) };
        self.value(value, path)
    }

    /// Masks a text that cannot be read if it seems to name what is masked.
    fn unread(&self, text: &str, path: &[String]) -> Option<String> {
        let below = self.paths.iter().filter(|known| known.len() > path.len() && known.iter().zip(path).all(is_part));
        let next: Vec<_> = below.filter_map(|known| known.get(path.len())).collect();
        if self.names.is_empty() && next.is_empty() {
            return None;
        }
        // Any name, or a place in an array: nothing tells it from others.
        let is_any = next.iter().any(|part| *part == "*" || part.bytes().all(|byte| byte.is_ascii_digit()));
        let is_named = is_any || unread::names_any(text, self.names.iter().chain(next));
        is_named.then(|| MASKED.to_owned())
    }

    /// Returns a value with what is to be masked in it masked; `None` if there is nothing. What is not masked keeps its spelling:
    /// numbers of any length, names that come twice.
    fn value(&self, value: &RawValue, path: &mut Vec<String>) -> Option<String> {
        if path.len() > MOST_DEPTH {
            return Some(quoted(MASKED));
        }
        let text = value.get();
        match text.as_bytes().first() {
            Some(b'{') => {
                let Ok(Members(members)) = serde_json::from_str(text) else { return Some(quoted(MASKED)) };
                let part = |(name, member): (String, _)| {
                    let masked = self.member(name.to_lowercase(), member, path);
                    let masked_name = self.text(&name);
                    let is_masked = masked_name.is_some();
                    let name = masked_name.unwrap_or(name);
                    // With its value as it is, where only the name holds what is masked.
                    (Some(name), member, masked.or_else(|| is_masked.then(|| member.get().to_owned())))
                };
                joined(["{", "}"], members.into_iter().map(part).collect())
            }
            Some(b'[') => {
                let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) else { return Some(quoted(MASKED)) };
                let part = |(place, item): (usize, _)| (None, item, self.member(place.to_string(), item, path));
                joined(["[", "]"], items.into_iter().enumerate().map(part).collect())
            }
            Some(b'"') => {
                let Ok(text) = serde_json::from_str::<String>(text) else { return Some(quoted(MASKED)) };
                self.written_out(&text, path).map(|masked| quoted(&masked))
            }
            // A number may be what a pattern means: of a card, of a telephone.
            Some(b'-' | b'0'..=b'9') => self.text(text).map(|_| quoted(MASKED)),
            _ => None,
        }
    }

    fn member(&self, name: String, member: &RawValue, path: &mut Vec<String>) -> Option<String> {
        path.push(name);
        let is_named = path.last().is_some_and(|name| self.names.contains(name));
        let is_meant = is_named || self.paths.iter().any(|known| fits(known, path));
        let masked = if is_meant { Some(quoted(MASKED)) } else { self.value(member, path) };
        path.pop();
        masked
    }
}

/// What an object or an array holds: the name, if it is a member, the value, and the value as it is masked.
type Part<'v> = (Option<String>, &'v RawValue, Option<String>);

/// Returns an object or an array with what of it is masked; `None` if nothing is.
fn joined([open, close]: [&str; 2], parts: Vec<Part<'_>>) -> Option<String> {
    if parts.iter().all(|(.., masked)| masked.is_none()) {
        return None;
    }
    let spelled = |(name, value, masked): Part<'_>| {
        let value = masked.unwrap_or_else(|| value.get().to_owned());
        match name {
            Some(name) => [&quoted(&name), ":", &value].concat(),
            None => value,
        }
    };
    Some([open, &parts.into_iter().map(spelled).collect::<Vec<_>>().join(","), close].concat())
}

/// The members of an object in their order, the same name twice included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Read)
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn fits(known: &[String], path: &[String]) -> bool {
    known.len() == path.len() && known.iter().zip(path).all(is_part)
}

fn is_part((part, name): (&String, &String)) -> bool {
    part == "*" || part == name
}

#[cfg(test)]
mod tests;
