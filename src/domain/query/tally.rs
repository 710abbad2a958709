//! Numbers over many rows, added up from parts: of rows, of months, of indices. Exact.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::NaiveDate;

use super::{Breakdown, BreakdownCounts, Day, FacetCount, HistogramBucket};
use crate::domain::time::InvalidTimestamp;
use crate::domain::{RecordId, Timestamp};

/// Values that are kept at least before any is dropped.
const MANY: usize = 5_000;

/// Statuses that are counted by time.
const MOST_STATUSES: usize = 64;

/// Spans of time with rows that a question may have: one of each second of years would fill the memory.
pub const MOST_SPANS: usize = 10_000;

/// Rows per value.
#[derive(Debug, Default)]
struct ValueCounts(HashMap<Box<str>, u64>);

impl ValueCounts {
    fn add(&mut self, value: &str, rows: u64) {
        match self.0.get_mut(value) {
            Some(count) => *count += rows,
            None => {
                self.0.insert(value.into(), rows);
            }
        }
    }

    /// Forgets what is not among the most frequent. Only where no value is added twice.
    fn keep_most_frequent(&mut self, limit: usize) {
        let kept = std::mem::take(self).most_frequent(limit);
        self.0 = kept.into_iter().map(|count| (count.value, count.count)).collect();
    }

    /// Returns the most frequent values, ties by value.
    fn most_frequent(self, limit: usize) -> Vec<FacetCount> {
        let mut counts: Vec<_> = self.0.into_iter().map(|(value, count)| FacetCount { value, count }).collect();
        counts.sort_unstable_by(|one, other| other.count.cmp(&one.count).then_with(|| one.value.cmp(&other.value)));
        counts.truncate(limit);
        counts
    }
}

/// Rows per span of time. Spans begin at multiples of their length since the epoch.
#[derive(Debug)]
pub struct SpanCounts {
    /// Microseconds.
    length: i64,
    counts: BTreeMap<i64, u64>,
}

impl SpanCounts {
    /// Returns no rows yet. A span of no length would hold nothing: it is one second.
    #[must_use]
    pub fn new(seconds: u32) -> Self {
        Self { length: i64::from(seconds.max(1)) * 1_000_000, counts: BTreeMap::new() }
    }

    /// Returns whether rows were added to the span that an instant, in microseconds, lies in. They are not where that is one more
    /// than [`MOST_SPANS`].
    pub fn add(&mut self, micros: i64, rows: u64) -> bool {
        let span = micros.div_euclid(self.length) * self.length;
        if self.counts.len() >= MOST_SPANS && !self.counts.contains_key(&span) {
            return false;
        }
        *self.counts.entry(span).or_default() += rows;
        true
    }

    /// Returns the spans that have rows, oldest first.
    ///
    /// # Errors
    /// A span that begins at no instant.
    pub fn finish(self) -> Result<Vec<HistogramBucket>, InvalidTimestamp> {
        let bucket = |(micros, count)| Ok(HistogramBucket { from: Timestamp::from_micros(micros)?, count });
        self.counts.into_iter().map(bucket).collect()
    }
}

/// What a [`Breakdown`] asks for.
#[derive(Debug)]
pub struct BreakdownTally {
    limit: usize,
    values: Vec<ValueCounts>,
    seconds: u32,
    spans: BTreeMap<Box<str>, SpanCounts>,
    other_spans: SpanCounts,
    is_cut: bool,
}

impl BreakdownTally {
    /// Returns no rows yet.
    #[must_use]
    pub fn new(breakdown: &Breakdown) -> Self {
        let seconds = breakdown.seconds.unwrap_or_default();
        Self {
            limit: breakdown.values,
            values: breakdown.facets.iter().map(|_| ValueCounts::default()).collect(),
            seconds,
            spans: BTreeMap::new(),
            other_spans: SpanCounts::new(seconds),
            is_cut: false,
        }
    }

    /// Adds rows of a value of the facet that stands at `place` in the question.
    pub fn add_value(&mut self, place: usize, value: &str, rows: u64) {
        if let Some(counts) = self.values.get_mut(place) {
            counts.add(value, rows);
        }
    }

    /// As [`Self::add_value`], where no value comes twice: of many values, those that can no longer be among the most frequent
    /// are dropped on the way.
    pub fn add_whole_value(&mut self, place: usize, value: &str, rows: u64) {
        if let Some(counts) = self.values.get_mut(place) {
            if counts.0.len() >= self.limit.saturating_mul(2).max(MANY) {
                counts.keep_most_frequent(self.limit);
            }
            counts.add(value, rows);
        }
    }

    /// Adds rows of a status and of the span that an instant, in microseconds, lies in.
    pub fn add_span(&mut self, status: &str, micros: i64, rows: u64) {
        // A status is any text: who writes another one into each record must not fill the memory with them.
        if self.spans.len() < MOST_STATUSES && !self.spans.contains_key(status) {
            self.spans.insert(status.into(), SpanCounts::new(self.seconds));
        }
        let spans = self.spans.get_mut(status).unwrap_or(&mut self.other_spans);
        self.is_cut |= !spans.add(micros, rows);
    }

    /// Returns whether there were more than [`MOST_SPANS`] of a status: what else is added says no more of them.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Returns what was counted.
    ///
    /// # Errors
    /// A span that begins at no instant.
    pub fn finish(self) -> Result<BreakdownCounts, InvalidTimestamp> {
        let facets = self.values.into_iter().map(|counts| counts.most_frequent(self.limit)).collect();
        let spans = self.spans.into_iter().map(|(status, spans)| Ok((status, spans.finish()?)));
        let spans = spans.collect::<Result<_, _>>()?;
        Ok(BreakdownCounts { facets, spans, other_spans: self.other_spans.finish()?, is_cut: self.is_cut })
    }
}

#[derive(Debug, Default)]
struct Seen {
    runs: u64,
    users: HashSet<RecordId>,
    tokens: i128,
}

/// Runs, users and tokens per local day.
#[derive(Debug, Default)]
pub struct DayTallies(BTreeMap<NaiveDate, Seen>);

impl DayTallies {
    /// Adds runs of one user.
    pub fn add_runs(&mut self, date: NaiveDate, user: RecordId, runs: u64) {
        let seen = self.0.entry(date).or_default();
        seen.runs += runs;
        seen.users.insert(user);
    }

    pub fn add_tokens(&mut self, date: NaiveDate, tokens: i128) {
        self.0.entry(date).or_default().tokens += tokens;
    }

    /// Returns the days that have runs, oldest first.
    #[must_use]
    pub fn finish(self) -> Vec<Day> {
        let day = |(date, seen): (NaiveDate, Seen)| Day {
            date,
            runs: seen.runs,
            users: seen.users.len() as u64,
            tokens: seen.tokens,
        };
        self.0.into_iter().map(day).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_spans_are_kept_than_the_bound() {
        let mut tally = BreakdownTally::new(&Breakdown { seconds: Some(1), ..Breakdown::default() });
        let most = i64::try_from(MOST_SPANS).unwrap();
        for number in 0..most {
            tally.add_span("failed", number * 1_000_000, 1);
            tally.add_span("failed", number * 1_000_000 + 5, 1);
        }
        assert!(!tally.is_cut());
        tally.add_span("failed", most * 1_000_000, 1);
        assert!(tally.is_cut());
        let counts = tally.finish().unwrap();
        assert_eq!((counts.is_cut, counts.all_spans().count()), (true, MOST_SPANS));
    }

    #[test]
    fn a_status_in_each_row_fills_no_memory_and_every_row_counts() {
        let mut tally = BreakdownTally::new(&Breakdown { seconds: Some(60), ..Breakdown::default() });
        for number in 0..1_000_i64 {
            tally.add_span(&format!("status {number}"), number * 1_000_000, 1);
            tally.add_span("status 0", number * 1_000_000, 1);
        }
        let counts = tally.finish().unwrap();
        assert_eq!(counts.spans.len(), MOST_STATUSES);
        assert_eq!(counts.all_spans().map(|span| span.count).sum::<u64>(), 2_000);
        let first = &counts.spans[0];
        assert_eq!((&*first.0, first.1.iter().map(|span| span.count).sum::<u64>()), ("status 0", 1_001));
    }
}
