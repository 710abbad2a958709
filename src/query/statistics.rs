//! Daily statistics, exact.

use chrono::{LocalResult, NaiveDateTime, TimeDelta, TimeZone as _};
use chrono_tz::Tz;

use super::{QueryError, RunQuery, TenantLogs};
use crate::domain::query::{Day, TimeRange};
use crate::domain::{AppId, Timestamp};

/// What the days are counted over: runs of every status.
#[derive(Debug, Clone, PartialEq)]
pub struct DailyQuery {
    pub app_id: AppId,
    /// Any of these; empty: any at all. Dify's own pages ask for `app-run`.
    pub triggered_from: Vec<Box<str>>,
    pub created: TimeRange,
    /// Where a day begins.
    pub zone: Tz,
}

/// Returns the instant of a local `YYYY-MM-DD HH:MM`, as Dify's statistics read it: a time that the end of summer time
/// repeats is the later one (standard time), a time that its beginning skips is an hour later. `None` if the text is no
/// such time.
#[must_use]
pub fn local_instant(text: &str, zone: Tz) -> Option<Timestamp> {
    let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").ok()?;
    let instant = match zone.from_local_datetime(&naive) {
        LocalResult::Single(instant) | LocalResult::Ambiguous(_, instant) => instant,
        LocalResult::None => zone.from_local_datetime(&naive.checked_add_signed(TimeDelta::hours(1))?).earliest()?,
    };
    Some(Timestamp::nearest(instant.timestamp_micros()))
}

/// Runs per user of a day, to two decimals, half to even, computed in integers.
#[must_use]
pub fn interactions(day: &Day) -> f64 {
    let (runs, users) = (u128::from(day.runs) * 100, u128::from(day.users));
    if users == 0 {
        return 0.0;
    }
    let (whole, rest) = (runs / users, runs % users);
    let is_up = match (rest * 2).cmp(&users) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => whole % 2 == 1,
        std::cmp::Ordering::Greater => true,
    };
    (whole + u128::from(is_up)) as f64 / 100.0
}

impl TenantLogs {
    /// Runs, users and tokens per local day, oldest first; days without runs are absent.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn daily(&self, query: &DailyQuery) -> Result<Vec<Day>, QueryError> {
        let runs = RunQuery {
            app_id: Some(query.app_id),
            triggered_from: query.triggered_from.clone(),
            created: query.created,
            ..RunQuery::default()
        };
        Ok(self.reader.daily(&runs, query.zone).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_times_around_the_changes_of_the_clock() {
        let zone = Tz::Europe__Berlin;
        for (local, utc) in [
            ("2025-07-01 12:00", "2025-07-01T10:00:00Z"),
            ("2025-10-26 02:30", "2025-10-26T01:30:00Z"),
            ("2025-03-30 02:30", "2025-03-30T01:30:00Z"),
        ] {
            assert_eq!(local_instant(local, zone), utc.parse().ok(), "{local}");
        }
        for text in ["", "2025-07-01", "2025-07-01T12:00", "2025-13-01 00:00"] {
            assert_eq!(local_instant(text, zone), None, "{text}");
        }
        assert_eq!(local_instant("1900-01-01 00:00", zone), Some(Timestamp::MIN));
        assert_eq!(local_instant("9999-01-01 00:00", zone), Some(Timestamp::MAX));
    }

    #[test]
    fn half_goes_to_even() {
        for (runs, users, expected) in [
            (9, 7, 1.29),
            (1, 8, 0.12),
            (3, 8, 0.38),
            (5, 8, 0.62),
            (7, 8, 0.88),
            (2, 3, 0.67),
            (1, 1, 1.0),
            (0, 0, 0.0),
        ] {
            let day = Day { date: chrono::NaiveDate::default(), runs, users, tokens: 0 };
            assert_eq!(interactions(&day).to_string(), f64::to_string(&expected), "{runs}/{users}");
        }
    }
}
