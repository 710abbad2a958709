//! How long runs take: percentiles over a bounded number of the newest ended runs.

use super::{QueryError, RunQuery, TenantLogs};
use crate::domain::RunStatus;
use crate::domain::query::{Page, RunSummary};

/// Ended runs that are looked at, the newest.
const MOST: usize = 10_000;
/// Rows per question.
const STRETCH: usize = 1000;

/// Seconds that ended runs took.
#[derive(Debug, Clone, PartialEq)]
pub struct Durations {
    /// Shortest first.
    sorted: Vec<f64>,
    /// There are older ones.
    pub is_cut: bool,
}

impl Durations {
    /// Returns how many runs were looked at.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.sorted.len()
    }

    /// Returns the nearest-rank percentile, in seconds: the shortest time within which at least so many percent of the runs
    /// ended. `None` without runs.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Option<f64> {
        let rank = (self.sorted.len() * percent.min(100)).div_ceil(100).max(1);
        self.sorted.get(rank - 1).copied()
    }
}

impl TenantLogs {
    /// Returns how long the newest ended runs of a query took; `query.statuses` does not count.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn durations(&self, query: &RunQuery) -> Result<Durations, QueryError> {
        let query = RunQuery { statuses: RunStatus::ENDED.map(Into::into).into(), ..query.clone() };
        let mut page = Page::newest(STRETCH);
        let mut sorted = Vec::new();
        let is_cut = loop {
            let stretch = self.reader.runs(&query, &page).await?;
            page.after = stretch.last().map(RunSummary::position);
            let is_last = stretch.len() < STRETCH;
            sorted.extend(stretch.iter().map(|run| run.elapsed_time).filter(|seconds| seconds.is_finite()));
            if is_last || sorted.len() >= MOST {
                break !is_last;
            }
        };
        sorted.sort_by(f64::total_cmp);
        Ok(Durations { sorted, is_cut })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let durations = |seconds: &[f64]| Durations { sorted: seconds.to_vec(), is_cut: false };
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        let of = durations(&hundred);
        assert_eq!((of.percentile(50), of.percentile(95), of.percentile(100)), (Some(50.0), Some(95.0), Some(100.0)));
        assert_eq!(durations(&[2.0]).percentile(50), Some(2.0));
        assert_eq!(durations(&[1.0, 2.0]).percentile(50), Some(1.0));
        assert_eq!(durations(&[1.0, 2.0]).percentile(95), Some(2.0));
        assert_eq!(durations(&[]).percentile(50), None);
    }
}
