//! Stretches of time in which a zone keeps one offset. Pure.
//!
//! The days of a zone are folded by these, with the rules that this program carries, so that the answer does not depend
//! on which rules, and which names of zones, an engine's Java happens to know.

use chrono::{DateTime, Duration, NaiveDateTime, Offset as _, TimeZone as _};
use chrono_tz::Tz;

use crate::domain::Timestamp;
use crate::domain::query::TimeRange;

/// A stretch and the offset of its local time to UTC, in seconds.
pub(super) struct Stretch {
    pub(super) range: TimeRange,
    pub(super) offset: i32,
}

/// Cuts `from..=to` where the offset of the zone changes. No zone changes twice within a day.
pub(super) fn stretches(zone: Tz, from: Timestamp, to: Timestamp) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let end = seconds(to).saturating_add(1);
    let mut begin = seconds(from);
    let mut known = begin;
    while known < end {
        let offset = offset_at(zone, known);
        let next = known.saturating_add(86_400).min(end);
        if offset_at(zone, next) == offset {
            known = next;
            continue;
        }
        let change = change(zone, known, next);
        stretches.push(stretch(begin, change, offset));
        begin = change;
        known = change;
    }
    if begin < end {
        stretches.push(stretch(begin, end, offset_at(zone, begin)));
    }
    stretches
}

/// Returns the first second of another offset, in `before..=after`.
fn change(zone: Tz, mut before: i64, mut after: i64) -> i64 {
    let offset = offset_at(zone, before);
    while after - before > 1 {
        let middle = i64::midpoint(before, after);
        if offset_at(zone, middle) == offset {
            before = middle;
        } else {
            after = middle;
        }
    }
    after
}

fn stretch(begin: i64, end: i64, offset: i32) -> Stretch {
    let at = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000)).ok();
    Stretch { range: TimeRange { from: at(begin), until: at(end) }, offset }
}

const fn seconds(at: Timestamp) -> i64 {
    at.micros().div_euclid(1_000_000)
}

fn offset_at(zone: Tz, seconds: i64) -> i32 {
    zone.offset_from_utc_datetime(&utc(seconds)).fix().local_minus_utc()
}

fn utc(seconds: i64) -> NaiveDateTime {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default().naive_utc()
}

/// Returns the local date of an instant in seconds.
pub(super) fn date(seconds: i64, offset: i32) -> chrono::NaiveDate {
    (utc(seconds) + Duration::seconds(offset.into())).date()
}

/// Returns an offset as the engines read it: `+05:45`, `-00:44:30`.
pub(super) fn spelled(offset: i32) -> String {
    let (sign, size) = if offset < 0 { ('-', -offset) } else { ('+', offset) };
    let (hours, minutes, seconds) = (size / 3_600, size / 60 % 60, size % 60);
    if seconds == 0 {
        format!("{sign}{hours:02}:{minutes:02}")
    } else {
        format!("{sign}{hours:02}:{minutes:02}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(zone: &str, from: &str, to: &str) -> Vec<(String, String)> {
        let stretches = stretches(zone.parse().unwrap(), from.parse().unwrap(), to.parse().unwrap());
        let text = |stretch: &Stretch| (stretch.range.from.unwrap().to_string(), spelled(stretch.offset));
        stretches.iter().map(text).collect()
    }

    #[test]
    fn a_year_of_berlin_has_three_stretches() {
        let stretch = |from: &str, offset: &str| (from.to_owned(), offset.to_owned());
        assert_eq!(
            cut("Europe/Berlin", "2026-01-01T00:00:00.5", "2026-12-31T00:00:00"),
            [
                stretch("2026-01-01T00:00:00.000000Z", "+01:00"),
                stretch("2026-03-29T01:00:00.000000Z", "+02:00"),
                stretch("2026-10-25T01:00:00.000000Z", "+01:00"),
            ]
        );
    }

    #[test]
    fn offsets_of_minutes_and_seconds_are_spelled_out() {
        assert_eq!(cut("Asia/Kathmandu", "2026-01-01T00:00:00", "2026-12-31T00:00:00")[0].1, "+05:45");
        assert_eq!(cut("Africa/Monrovia", "1971-01-01T00:00:00", "1971-01-02T00:00:00")[0].1, "-00:44:30");
    }

    #[test]
    fn an_instant_alone_is_one_stretch() {
        assert_eq!(cut("UTC", "2026-01-01T00:00:00", "2026-01-01T00:00:00").len(), 1);
    }
}
