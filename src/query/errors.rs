//! What fails, grouped by a fingerprint of the error text. Computed while it is read, over a bounded number of the newest
//! failed runs; an answer says how many were looked at.

use std::collections::BTreeMap;
use std::pin::pin;

use futures::StreamExt as _;

use super::{QueryError, RunQuery, TenantLogs};
use crate::domain::query::{Content, Direction};
use crate::domain::{AppId, Record, RecordId, Timestamp, WorkflowRun};

/// Failed runs that are looked at, and bytes of what is read of them.
const MOST_RUNS: usize = 1000;
const MOST_BYTES: usize = 64 << 20;
/// What of a run is read.
pub(super) const ERRORS: Content = Content::Only(&["error"]);
/// Characters of an error that tell it from others.
const TELLING: usize = 300;
/// Characters of the newest text that are kept.
const EXAMPLE: usize = 600;
/// Characters of the keyword that finds the runs of a group.
const KEYWORD: usize = 80;

/// Failed runs whose errors say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorGroup {
    /// What of the text is the same whenever it comes again.
    pub fingerprint: String,
    /// The newest text, clipped.
    pub example: String,
    pub newest: (Timestamp, RecordId),
    pub oldest: Timestamp,
    /// Runs per app.
    pub apps: BTreeMap<AppId, u64>,
    /// When each run began.
    pub times: Vec<Timestamp>,
}

impl ErrorGroup {
    /// Returns the group of a run's error, without the run.
    pub(super) fn of(run: &WorkflowRun) -> Self {
        let error = run.error.as_deref().unwrap_or_default();
        Self {
            fingerprint: fingerprint(error),
            example: clipped(error),
            newest: (run.created_at, run.id),
            oldest: run.created_at,
            apps: BTreeMap::new(),
            times: Vec::new(),
        }
    }

    /// Counts a run whose error has this fingerprint.
    pub(super) fn count(&mut self, run: &WorkflowRun) {
        if (run.created_at, run.id) > self.newest {
            self.newest = (run.created_at, run.id);
            self.example = clipped(run.error.as_deref().unwrap_or_default());
        }
        self.oldest = self.oldest.min(run.created_at);
        *self.apps.entry(run.app_id).or_default() += 1;
        self.times.push(run.created_at);
    }

    /// Returns the longest part of the newest text that is the same in the others, at most 80 characters: a search for it in
    /// errors finds the runs of the group. Empty where the text has none.
    #[must_use]
    pub fn keyword(&self) -> String {
        // What is masked is `***`, which no error holds.
        let changes = |c: char| c.is_ascii_digit() || c.is_control() || matches!(c, '"' | '\'' | '`' | '*');
        let longest = self.example.split(changes).map(str::trim).max_by_key(|part| part.chars().count());
        let keyword: String = longest.unwrap_or_default().chars().take(KEYWORD).collect();
        keyword.trim().to_owned()
    }
}

fn clipped(error: &str) -> String {
    error.chars().take(EXAMPLE).collect()
}

/// Groups of a span, most runs first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorGroups {
    pub groups: Vec<ErrorGroup>,
    /// Failed runs that were looked at, the newest.
    pub looked_at: usize,
    /// There are more failed runs.
    pub is_cut: bool,
}

/// Returns what of an error is the same whenever it comes again: numbers, ids and quoted parts are left out, white
/// space and case do not count.
fn fingerprint(error: &str) -> String {
    let mut shown = String::new();
    let mut characters = error.chars().peekable();
    while let Some(character) = characters.next() {
        if shown.len() >= TELLING {
            break;
        }
        if matches!(character, '"' | '\'' | '`' | '“' | '「') {
            let end = match character {
                '“' => '”',
                '「' => '」',
                same => same,
            };
            // An apostrophe within a word quotes nothing.
            let is_quote = character != '\'' || !shown.ends_with(char::is_alphanumeric);
            let rest: String = characters.clone().take(200).take_while(|next| *next != end).collect();
            let length = rest.chars().count();
            if is_quote && characters.clone().nth(length) == Some(end) {
                characters.nth(length);
                shown.push_str("“…”");
                continue;
            }
        }
        if character.is_alphanumeric() {
            let mut word = String::from(character);
            while let Some(next) = characters.next_if(|next| next.is_alphanumeric() || *next == '_') {
                word.push(next);
            }
            let is_id = word.len() >= 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            if word.contains(|c: char| c.is_ascii_digit()) || is_id {
                if !shown.ends_with('#') {
                    shown.push('#');
                }
                // The parts of an id or of a number are one.
                while characters.next_if(|next| matches!(next, '-' | '.' | ':')).is_some() {
                    while characters.next_if(|next| next.is_alphanumeric()).is_some() {}
                }
            } else {
                shown.push_str(&word.to_lowercase());
            }
        } else if character.is_whitespace() {
            if !shown.ends_with(' ') {
                shown.push(' ');
            }
        } else {
            shown.push(character);
        }
    }
    shown.trim().to_owned()
}

impl TenantLogs {
    /// Returns the failed runs of a query by what their errors have in common; `query.statuses` does not count.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn error_groups(&self, query: &RunQuery) -> Result<ErrorGroups, QueryError> {
        let query = RunQuery { statuses: vec!["failed".into()], ..query.clone() };
        let mut walk = pin!(self.walk(&query, Direction::Descending, ERRORS));
        let mut groups = BTreeMap::<String, ErrorGroup>::new();
        let (mut looked_at, mut bytes, mut is_cut) = (0, 0, false);
        while let Some(document) = walk.next().await {
            let document = document?;
            if looked_at == MOST_RUNS || bytes > MOST_BYTES {
                is_cut = true;
                break;
            }
            bytes += document.whole_footprint();
            let Record::Run(run) = document.record else { continue };
            looked_at += 1;
            let group = ErrorGroup::of(&run);
            groups.entry(group.fingerprint.clone()).or_insert(group).count(&run);
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse((group.times.len(), group.newest)));
        Ok(ErrorGroups { groups, looked_at, is_cut })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_say_the_same_have_one_fingerprint() {
        for (one, other) in [
            ("upstream answered 503", "Upstream answered 502"),
            ("no file \"a.txt\" in 12.5 s", "no file \"b.pdf\" in 3 s"),
            ("run b89565b5-f42d-4138-9461-0644ab17b0c9 is gone", "run 669dd85a-0949-4cda-99c9-4984b192aea0 is gone"),
            ("timeout\n at 10:00:01", "timeout at 11:22:33"),
            ("找不到文件 3", "找不到文件 77"),
        ] {
            assert_eq!(fingerprint(one), fingerprint(other));
        }
        for (one, other) in [("can't open", "can't close"), ("upstream answered 503", "upstream hung up"), ("", "x")] {
            assert_ne!(fingerprint(one), fingerprint(other));
        }
        assert!(fingerprint(&"word ".repeat(100_000)).len() <= TELLING + 10);
        assert!(fingerprint(&"'".repeat(100_000)).len() <= TELLING + 10);
    }
}
