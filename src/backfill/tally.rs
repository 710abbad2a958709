//! What was done with rows: counts that add up, kept with the checkpoints and shown while it runs.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec::Cleaned;

/// Counts of one kind's rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Rows read: those copied and those rejected.
    pub read: u64,
    /// Rows that are in the store, in this revision or a newer one; in a dry run, that would be.
    pub copied: u64,
    pub rejected: u64,
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
    waiting: AtomicU64,
}

/// What a chunk does with its time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Activity {
    /// PostgreSQL has not sent the next row yet.
    Reading,
    /// Decoding, truncating, hashing, fetching full texts.
    Preparing,
    /// The store has not taken enough yet.
    Waiting,
}

impl Spent {
    pub(super) fn add(&self, activity: Activity, took: Duration) {
        let counter = match activity {
            Activity::Reading => &self.reading,
            Activity::Preparing => &self.preparing,
            Activity::Waiting => &self.waiting,
        };
        counter.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Seconds spent reading, preparing and waiting for the store.
    #[must_use]
    pub fn seconds(&self) -> [f64; 3] {
        [&self.reading, &self.preparing, &self.waiting].map(|micros| micros.load(Ordering::Relaxed) as f64 / 1e6)
    }
}

/// What somebody who watches sees of one kind.
#[derive(Debug, Default)]
pub struct Progress {
    /// Rows that are settled, those of chunks not yet kept included.
    pub done: AtomicU64,
    /// Rows there are, about.
    pub total: AtomicU64,
    pub rejected: AtomicU64,
}
