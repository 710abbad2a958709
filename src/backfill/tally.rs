//! What was done with rows: counts that add up, kept with the checkpoints and shown while it runs.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec::Cleaned;
use crate::domain::Timestamp;

/// Counts of one kind's rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Rows read: those copied and those rejected.
    pub read: u64,
    /// Rows that are in the store, in this revision or a newer one; in a dry run, that would be.
    pub copied: u64,
    pub rejected: u64,
    /// Rows read that have not ended; what is read again is counted again.
    pub unended: u64,
    /// `created_at` of the oldest of them, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unended_since: Option<String>,
    /// Rejected rows by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Full texts of payloads that are not in Dify's storage.
    pub missing_objects: u64,
    /// Full texts that were found.
    pub full_texts: u64,
    /// Payloads cut to the limits of `truncate`.
    pub truncated: u64,
    /// Values changed to keep a row, by rule.
    pub cleaned: BTreeMap<String, u64>,
    /// Bytes of the rows as they came.
    pub row_bytes: u64,
    /// Bytes of the documents before the store compresses them, graphs not counted.
    pub document_bytes: u64,
}

impl Tally {
    pub(super) fn cleaned(&mut self, cleaned: &Cleaned) {
        for (rule, count) in cleaned.entries().into_iter().filter(|(_, count)| *count > 0) {
            *self.cleaned.entry(rule.to_owned()).or_default() += count;
        }
    }

    /// Counts a row that has not ended. The texts of instants are in the order of the instants.
    pub(super) fn unended(&mut self, created_at: Timestamp) {
        self.unended += 1;
        self.note_oldest(Some(created_at.to_string()));
    }

    fn note_oldest(&mut self, since: Option<String>) {
        self.unended_since = match (self.unended_since.take(), since) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    pub(super) fn reject(&mut self, reason: &str) {
        self.rejected += 1;
        *self.reasons.entry(reason.to_owned()).or_default() += 1;
    }
}

impl AddAssign<&Self> for Tally {
    fn add_assign(&mut self, other: &Self) {
        self.read += other.read;
        self.copied += other.copied;
        self.rejected += other.rejected;
        self.unended += other.unended;
        self.note_oldest(other.unended_since.clone());
        self.missing_objects += other.missing_objects;
        self.full_texts += other.full_texts;
        self.truncated += other.truncated;
        self.row_bytes += other.row_bytes;
        self.document_bytes += other.document_bytes;
        for (own, more) in [(&mut self.reasons, &other.reasons), (&mut self.cleaned, &other.cleaned)] {
            for (name, count) in more {
                *own.entry(name.clone()).or_default() += count;
            }
        }
    }
}

/// Where the time of the chunks goes, summed over them.
#[derive(Debug, Default)]
pub struct Spent {
    reading: AtomicU64,
    preparing: AtomicU64,
    throttled: AtomicU64,
    waiting: AtomicU64,
}

/// What a chunk does with its time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Activity {
    /// PostgreSQL has not sent the next row yet.
    Reading,
    /// Decoding, truncating, hashing, fetching full texts.
    Preparing,
    /// The rate that was asked for lets no row pass yet.
    Throttled,
    /// The store has not taken enough yet.
    Waiting,
}

impl Spent {
    pub(super) fn add(&self, activity: Activity, took: Duration) {
        let counter = match activity {
            Activity::Reading => &self.reading,
            Activity::Preparing => &self.preparing,
            Activity::Throttled => &self.throttled,
            Activity::Waiting => &self.waiting,
        };
        counter.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Seconds spent reading, preparing, waiting for `--rate` and waiting for the store.
    #[must_use]
    pub fn seconds(&self) -> [f64; 4] {
        [&self.reading, &self.preparing, &self.throttled, &self.waiting]
            .map(|micros| micros.load(Ordering::Relaxed) as f64 / 1e6)
    }
}

/// How far one kind is, for a display.
#[derive(Debug, Default)]
pub struct Progress {
    /// Rows that are settled, those of chunks not yet kept included.
    pub done: AtomicU64,
    /// Rows there are, about.
    pub total: AtomicU64,
    pub rejected: AtomicU64,
}
