//! One value of a row as it came, before its column's type is demanded of it.

use uuid::Uuid;

use super::PayloadForm;
use crate::codec::python_json::string::push_quoted;
use crate::codec::python_json::{Scalar, Scanner, Syntax, TypedLeaves};
use crate::domain::JsonText;

#[derive(Debug, Default)]
pub(in crate::codec) enum Cell<'a> {
    #[default]
    Absent,
    Scalar(Scalar<'a>),
    /// A payload; `None` if it is null or empty text.
    Payload(Option<JsonText>),
    // From a table, whose columns have types.
    Uuid(Uuid),
    Integer(i64),
    Float(f64),
    /// Microseconds since the epoch.
    Instant(i64),
}

impl<'a> Cell<'a> {
    /// Reads a payload as clean JSON, whatever form it has.
    pub(super) fn read_payload(scanner: &mut Scanner<'a>, form: PayloadForm) -> Result<Self, Syntax> {
        match (scanner.peek(), form) {
            (Some(b'{'), _) => scanner.copy().map(Some).map(Self::Payload),
            (Some(b'"'), PayloadForm::ValueOrText) => {
                let text = scanner.string()?;
                Ok(Self::Payload(payload_of_text(&text, &mut scanner.cleaned)))
            }
            (Some(b'n' | b'N' | b'I'), _) => {
                scanner.scalar()?;
                Ok(Self::Payload(None))
            }
            (_, PayloadForm::ValueOrText) => Ok(Self::Payload(not_null(scanner.copy()?))),
            (_, PayloadForm::Object) => scanner.scalar().map(Self::Scalar),
        }
    }
}

/// Returns the payload that a text column holds. Text that is no JSON even by Python's rules is kept as a JSON string.
pub(in crate::codec) fn payload_of_text(text: &str, cleaned: &mut crate::codec::Cleaned) -> Option<JsonText> {
    if text.is_empty() {
        return None;
    }
    if let Ok((json, changes)) = Scanner::new(text, TypedLeaves::Keep).document() {
        *cleaned += changes;
        return not_null(json);
    }
    cleaned.not_json += 1;
    let mut quoted = String::with_capacity(text.len() + 2);
    push_quoted(&mut quoted, text);
    Some(JsonText::from_clean(quoted))
}

/// Returns a cleaned `NaN` is null as well, and null is no payload.
fn not_null(json: JsonText) -> Option<JsonText> {
    (json.as_str() != "null").then_some(json)
}
