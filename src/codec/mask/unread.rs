//! Names in a text that begins as JSON and is none: it was cut, or is how Python prints a dictionary.

const QUOTES: [char; 2] = ['"', '\''];

/// Returns whether a text has a member of one of these names, which are in lower case: the name in quotes, then a colon. JSON
/// within strings counts, however often it is escaped.
pub(super) fn names_any<'n>(text: &str, mut names: impl Iterator<Item = &'n String>) -> bool {
    let text = plain(text);
    names.any(|name| {
        let name = plain(name);
        text.match_indices(&*name).any(|(at, _)| {
            let (before, after) = text.split_at(at);
            let after = after.strip_prefix(&*name).and_then(|after| after.strip_prefix(QUOTES));
            before.ends_with(QUOTES) && after.is_some_and(|after| after.trim_start().starts_with(':'))
        })
    })
}

/// Returns a text in lower case without its backslashes; characters that are escaped by their numbers are written out.
fn plain(text: &str) -> String {
    let mut units = Vec::with_capacity(text.len());
    let mut parts = text.split('\\');
    units.extend(parts.next().unwrap_or_default().encode_utf16());
    for part in parts {
        let unit = part.strip_prefix('u').and_then(|rest| rest.split_at_checked(4));
        let unit = unit.and_then(|(digits, rest)| Some((u16::from_str_radix(digits, 16).ok()?, rest)));
        let rest = unit.map_or(part, |(_, rest)| rest);
        units.extend(unit.map(|(unit, _)| unit).filter(|unit| *unit != u16::from(b'\\')));
        units.extend(rest.encode_utf16());
    }
    String::from_utf16_lossy(&units).to_lowercase()
}
