//! A look at a body that shows its shape but not what users wrote.

use serde_json::Value;

use crate::domain::verdict::bounded;

/// Longest text printed, in characters.
const MAX_SHOWN: usize = 4_000;
/// Larger bodies are not parsed for a look.
const MAX_PARSED: usize = 4 << 20;

/// Fields that name things and are safe to show.
const SHOWN: &[&str] = &[
    "v",
    "kind",
    "status",
    "type",
    "triggered_from",
    "created_from",
    "created_by_role",
    "creator_user_role",
    "version",
    "workflow_version",
    "workflow_type",
    "node_type",
    "index",
    "__type__",
    "__value__",
    "started_at",
    "created_at",
    "finished_at",
    "id_",
];

/// Returns the body with every text but ids, times and states replaced by its length; what is no JSON with its letters and
/// digits hidden. At most 4,000 characters.
pub fn masked(body: &[u8]) -> String {
    let parsed = (body.len() <= MAX_PARSED).then(|| serde_json::from_slice::<Value>(body).ok()).flatten();
    let text = match parsed {
        Some(mut value) => {
            mask(&mut value, false);
            serde_json::to_string_pretty(&value).unwrap_or_default()
        }
        None => scrambled(body),
    };
    let mut shown: String = text.chars().take(MAX_SHOWN).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push_str("\n…");
    }
    shown
}

/// Headers and properties that name things: difylog's own, the broker's, and those of Celery's that hold no arguments.
const SHOWN_HEADERS: &[&str] = &[
    "content_type",
    "content_encoding",
    "correlation_id",
    "message_id",
    "type",
    "task",
    "id",
    "root_id",
    "parent_id",
    "lang",
    "retries",
    "compression",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-last-death-exchange",
    "x-last-death-queue",
    "x-last-death-reason",
    "x-delivery-count",
];

/// Returns the value of a header or property for people, at most about 512 bytes: as it is where it names something, else
/// its length, because producers may put what users wrote there.
#[must_use]
pub fn masked_header(name: &str, value: &str) -> String {
    if name.starts_with("x-difylog-") || SHOWN_HEADERS.contains(&name) {
        return bounded(value.to_owned());
    }
    format!("‹{} characters›", value.chars().count())
}

fn mask(value: &mut Value, shown: bool) {
    match value {
        Value::String(text) if !shown => *text = format!("‹{} characters›", text.chars().count()),
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, false)),
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                mask(member, SHOWN.contains(&name.as_str()) || name.ends_with("_id") || name == "id");
            }
        }
        _ => {}
    }
}

/// Returns what is no JSON: letters and digits hidden, punctuation kept, so that the fault can be seen.
fn scrambled(body: &[u8]) -> String {
    let start = body.get(..body.len().min(MAX_SHOWN)).unwrap_or_default();
    String::from_utf8_lossy(start)
        .chars()
        .map(|c| match c {
            c if c.is_numeric() => '9',
            c if c.is_alphabetic() => 'x',
            c if c.is_control() && c != '\n' => '·',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{masked, masked_header};

    #[test]
    fn keeps_the_shape_and_hides_the_texts() {
        let shown = masked(br#"{"v":1,"kind":"app_log","record":{"tenant_id":"abc","title":"secret plan","n":3}}"#);
        assert!(shown.contains("app_log") && shown.contains("abc") && shown.contains("11 characters"));
        assert!(!shown.contains("secret"));
    }

    #[test]
    fn headers_that_may_hold_arguments_are_hidden() {
        assert_eq!(masked_header("x-difylog-reason", "invalid-id"), "invalid-id");
        assert_eq!(masked_header("argsrepr", "('secret',)"), "‹11 characters›");
        assert!(masked_header("id", &"x".repeat(9_000)).len() < 600);
    }

    #[test]
    fn hides_what_is_no_json() {
        assert_eq!(masked(b"{\"a\": secret42,,"), "{\"x\": xxxxxx99,,");
    }
}
