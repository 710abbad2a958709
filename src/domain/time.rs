//! Instants with microseconds, and the UTC month that decides where a record lives.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, SecondsFormat, Utc};

/// An instant in UTC: microseconds since 1970-01-01T00:00:00Z.
///
/// Always within [`Timestamp::MIN`]..=[`Timestamp::MAX`], the range of the engines' `date_nanos`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(i64);

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Why a text or number is no [`Timestamp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTimestamp {
    /// Not ISO 8601 as Python and PostgreSQL write it.
    #[error("not an ISO 8601 date and time")]
    Malformed,
    /// A real instant, but one that no store can hold as `date_nanos`.
    #[error("outside 1970-01-01 to 2262-04-11")]
    OutOfRange,
}

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const MIN: Self = Self(0);
    /// 2262-04-11T00:00:00Z, the last whole day that 64-bit nanoseconds hold.
    pub const MAX: Self = Self(9_223_286_400_000_000);

    /// Returns the instant of a record that is nearest to so many microseconds since 1970.
    #[must_use]
    pub fn nearest(micros: i64) -> Self {
        Self(micros.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Returns what a text means as the bound of a span: one outside of what records can have is the nearest of theirs, so that
    /// `9999-12-31` is no bound above, and nothing is later.
    ///
    /// # Errors
    /// [`InvalidTimestamp::Malformed`].
    pub fn bound(text: &str) -> Result<Self, InvalidTimestamp> {
        micros_of(text).map(Self::nearest)
    }

    /// From microseconds since the epoch.
    ///
    /// # Errors
    /// [`InvalidTimestamp::OutOfRange`] outside `MIN..=MAX`.
    pub fn from_micros(micros: i64) -> Result<Self, InvalidTimestamp> {
        let timestamp = Self(micros);
        if (Self::MIN..=Self::MAX).contains(&timestamp) { Ok(timestamp) } else { Err(InvalidTimestamp::OutOfRange) }
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Returns the UTC month: a record's place.
    #[must_use]
    pub fn month(self) -> Month {
        let date = self.utc();
        Month { year: date.year(), month: date.month() }
    }

    /// Returns the instant so many days of 24 hours earlier; [`Timestamp::MIN`] if that is before it.
    #[must_use]
    pub fn days_before(self, days: u32) -> Self {
        Self(self.0.saturating_sub(i64::from(days).saturating_mul(MICROS_PER_DAY)).max(Self::MIN.0))
    }

    /// Returns the first instant of its UTC day.
    #[must_use]
    pub const fn start_of_day(self) -> Self {
        Self(self.0 - self.0 % MICROS_PER_DAY)
    }

    fn utc(self) -> DateTime<Utc> {
        // The range of the type lies well inside chrono's.
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    /// `2026-11-23T15:28:34.729072Z`: always six digits, so that the text sorts as the instant does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.utc().to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Reads what Python's `isoformat()` and PostgreSQL write: `T` or space, optional fraction, optional offset.
    /// A text without an offset is UTC, as everywhere in Dify. Digits beyond the microsecond are cut off.
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        Self::from_micros(micros_of(text)?)
    }
}

fn micros_of(text: &str) -> Result<i64, InvalidTimestamp> {
    if text.len() > 64 || !text.is_ascii() {
        return Err(InvalidTimestamp::Malformed);
    }
    match parse_fixed(text).or_else(|| parse_naive(text)) {
        Some(naive) => Ok(naive.and_utc().timestamp_micros()),
        None => Ok(parse_with_offset(text).ok_or(InvalidTimestamp::Malformed)?.timestamp_micros()),
    }
}

/// Returns the usual spelling, `2026-11-23T15:28:34.729072` with or without a `Z`, ten times faster than by a format:
/// every message holds two of them. `None` only means that the slow readers must look.
fn parse_fixed(text: &str) -> Option<NaiveDateTime> {
    let (seconds, rest) = text.split_at_checked(19)?;
    let number = |range| seconds.get(range).filter(|digits| is_digits(digits))?.parse::<u32>().ok();
    let [_, _, _, _, b'-', _, _, b'-', _, _, b'T' | b' ', _, _, b':', _, _, b':', _, _] = seconds.as_bytes() else {
        return None;
    };
    let fraction = match rest.strip_suffix('Z').unwrap_or(rest) {
        "" => 0,
        fraction => {
            let digits = fraction.strip_prefix('.').filter(|digits| is_digits(digits))?;
            let kept = digits.get(..6).unwrap_or(digits);
            kept.parse::<u32>().ok()? * 10_u32.pow(6 - u32::try_from(kept.len()).ok()?)
        }
    };
    let date = NaiveDate::from_ymd_opt(i32::try_from(number(0..4)?).ok()?, number(5..7)?, number(8..10)?)?;
    date.and_hms_micro_opt(number(11..13)?, number(14..16)?, number(17..19)?, fraction)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_naive(text: &str) -> Option<NaiveDateTime> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f"))
        .ok()
}

fn parse_with_offset(text: &str) -> Option<DateTime<chrono::FixedOffset>> {
    DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%#z"))
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"))
        .ok()
}

/// A calendar month in UTC; an index or a file holds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Month {
    /// Gregorian year, 1970..=2262.
    year: i32,
    /// 1..=12.
    month: u32,
}

/// A text that is not `YYYY-MM` or `YYYY.MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a month (expected YYYY-MM, years 1970 to 2262)")]
pub struct InvalidMonth;

impl Month {
    /// From year and month number.
    ///
    /// # Errors
    /// [`InvalidMonth`] outside 1970..=2262 and 1..=12.
    pub fn new(year: i32, month: u32) -> Result<Self, InvalidMonth> {
        if (1970..=2262).contains(&year) && (1..=12).contains(&month) {
            Ok(Self { year, month })
        } else {
            Err(InvalidMonth)
        }
    }

    /// Its first instant.
    #[must_use]
    pub fn start(self) -> Timestamp {
        let first = NaiveDate::from_ymd_opt(self.year, self.month, 1).unwrap_or_default();
        Timestamp(first.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros().min(Timestamp::MAX.0))
    }

    /// Returns the first instant after it, as far as [`Timestamp::MAX`] reaches.
    #[must_use]
    pub fn end(self) -> Timestamp {
        let (year, month) = if self.month == 12 { (self.year + 1, 1) } else { (self.year, self.month + 1) };
        Self { year, month }.start()
    }

    /// Returns the month so many later, or earlier where negative, as far as the calendar of records reaches.
    #[must_use]
    pub fn shifted(self, months: i64) -> Self {
        const FIRST: i64 = 1970 * 12;
        const LAST: i64 = 2262 * 12 + 11;
        let number = i64::from(self.year) * 12 + i64::from(self.month) - 1;
        let shifted = number.saturating_add(months).clamp(FIRST, LAST);
        // Within the clamp both parts fit.
        let year = i32::try_from(shifted / 12).unwrap_or(self.year);
        let month = u32::try_from(shifted % 12 + 1).unwrap_or(self.month);
        Self { year, month }
    }

    /// `2026.11`, the spelling of index names.
    #[must_use]
    pub fn dotted(self) -> String {
        format!("{:04}.{:02}", self.year, self.month)
    }
}

impl fmt::Display for Month {
    /// `2026-11`, the spelling of file names, paths and texts for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for Month {
    type Err = InvalidMonth;

    fn from_str(text: &str) -> Result<Self, InvalidMonth> {
        let (year, month) = text.split_once(['-', '.']).ok_or(InvalidMonth)?;
        if year.len() != 4 || month.len() != 2 {
            return Err(InvalidMonth);
        }
        Self::new(year.parse().map_err(|_| InvalidMonth)?, month.parse().map_err(|_| InvalidMonth)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bound_beyond_the_records_is_the_nearest_of_theirs() {
        for (text, bound) in [
            ("1900-01-01 00:00:00", Timestamp::MIN),
            ("0001-01-01T00:00:00Z", Timestamp::MIN),
            ("9999-12-31T23:59:59.999999Z", Timestamp::MAX),
            ("2025-12-01T08:00:00+08:00", "2025-12-01T00:00:00".parse().unwrap()),
        ] {
            assert_eq!(Timestamp::bound(text), Ok(bound), "{text}");
        }
        assert_eq!(Timestamp::bound("soon"), Err(InvalidTimestamp::Malformed));
    }

    #[test]
    fn reads_every_spelling_of_the_writers() {
        let expected = "2026-11-23T15:28:34.729072Z".parse::<Timestamp>().unwrap();
        for spelling in [
            "2026-11-23T15:28:34.729072",
            "2026-11-23 15:28:34.729072",
            "2026-11-23T15:28:34.729072+00:00",
            "2026-11-23T17:28:34.729072+02:00",
            "2026-11-23 15:28:34.729072+00",
            "2026-11-23T15:28:34.729072999",
            "2026-11-23T15:28:34.729072999Z",
            "2026-11-23T23:28:34.729072+0800",
        ] {
            assert_eq!(spelling.parse(), Ok(expected), "{spelling}");
        }
        assert_eq!("2026-11-23T15:28:34.5Z".parse::<Timestamp>().unwrap().to_string(), "2026-11-23T15:28:34.500000Z");
        assert_eq!("2026-11-23T15:28:34".parse::<Timestamp>().unwrap().to_string(), "2026-11-23T15:28:34.000000Z");
    }

    #[test]
    fn refuses_what_is_no_instant_or_out_of_range() {
        for (text, error) in [
            ("", InvalidTimestamp::Malformed),
            ("yesterday", InvalidTimestamp::Malformed),
            ("2026-13-01T00:00:00", InvalidTimestamp::Malformed),
            ("2026-11-23", InvalidTimestamp::Malformed),
            ("2026-02-29T00:00:00", InvalidTimestamp::Malformed),
            ("2026-11-23T15:28:34.", InvalidTimestamp::Malformed),
            ("2026-11-23T15:28:34.+5", InvalidTimestamp::Malformed),
            ("2026-11-23T+5:28:34", InvalidTimestamp::Malformed),
            ("1969-12-31T23:59:59", InvalidTimestamp::OutOfRange),
            ("0001-01-01T00:00:00", InvalidTimestamp::OutOfRange),
            ("9999-12-31T23:59:59.999999", InvalidTimestamp::OutOfRange),
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(error), "{text}");
        }
    }

    #[test]
    fn months_touch() {
        for (month, start, end) in [
            ("1970-01", "1970-01-01T00:00:00Z", "1970-02-01T00:00:00Z"),
            ("2024-02", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2262-04", "2262-04-01T00:00:00Z", "2262-04-11T00:00:00Z"),
        ] {
            let month: Month = month.parse().unwrap();
            assert_eq!((month.start(), month.end()), (start.parse().unwrap(), end.parse().unwrap()));
        }
    }

    #[test]
    fn months_are_shifted_over_years_and_stop_at_the_ends() {
        let month = |text: &str| text.parse::<Month>().unwrap();
        for (from, by, to) in [
            ("2026-11", 0, "2026-11"),
            ("2026-11", 2, "2027-01"),
            ("2026-11", -11, "2025-12"),
            ("2026-01", -1, "2025-12"),
            ("1970-02", -5, "1970-01"),
            ("2262-12", 1, "2262-12"),
            ("2026-11", i64::MIN, "1970-01"),
        ] {
            assert_eq!(month(from).shifted(by), month(to), "{from} {by}");
        }
    }

    #[test]
    fn days_are_counted_back() {
        let at: Timestamp = "2026-03-01T15:28:34.729072Z".parse().unwrap();
        assert_eq!(at.days_before(1).start_of_day(), "2026-02-28T00:00:00Z".parse().unwrap());
        assert_eq!(at.days_before(u32::MAX), Timestamp::MIN);
    }

    proptest! {
        #[test]
        fn an_instant_lies_in_its_month(micros in 0..Timestamp::MAX.micros()) {
            let at = Timestamp::from_micros(micros).unwrap();
            prop_assert!(at.month().start() <= at && at < at.month().end());
        }

        #[test]
        fn text_and_back_keeps_the_microsecond(micros in 0..=Timestamp::MAX.micros()) {
            let timestamp = Timestamp::from_micros(micros).unwrap();
            prop_assert_eq!(timestamp.to_string().parse(), Ok(timestamp));
            prop_assert_eq!(timestamp.month().to_string().parse(), Ok(timestamp.month()));
        }
    }
}
