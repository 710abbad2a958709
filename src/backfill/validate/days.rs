//! Rows and documents, counted and summed per tenant, kind and UTC day. The sums do not depend on the order, so each side
//! walks in the order that is cheap for it.

use std::collections::BTreeMap;

use crate::backfill::canonical::Sum;
use crate::backfill::report::{ReportText, Totals};
use crate::domain::query::TimeRange;
use crate::domain::{Kind, TenantId, Timestamp};

const DAY_MICROS: i64 = 86_400_000_000;

/// Which side a record was met on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Rows,
    Documents,
}

/// A UTC day: days since 1970-01-01.
pub type DayNumber = i64;

/// Returns the UTC day of an instant.
#[must_use]
pub fn day_of(at: Timestamp) -> DayNumber {
    at.micros().div_euclid(DAY_MICROS)
}

/// Returns the span of a day.
#[must_use]
pub fn span_of(day: DayNumber) -> TimeRange {
    let instant = |day: i64| Timestamp::from_micros(day.saturating_mul(DAY_MICROS)).ok();
    TimeRange { from: instant(day), until: instant(day.saturating_add(1)) }
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    rows: u64,
    documents: u64,
    rows_sum: Sum,
    documents_sum: Sum,
}

impl Bucket {
    fn differs(&self) -> bool {
        self.rows != self.documents || self.rows_sum != self.documents_sum
    }
}

/// All buckets: about 150 bytes for each day on which a tenant has records of a kind.
#[derive(Debug, Default)]
pub struct Days(BTreeMap<(Kind, TenantId, DayNumber), Bucket>);

impl Days {
    pub fn add(&mut self, side: Side, kind: Kind, tenant_id: TenantId, created_at: Timestamp, hash: &[u8; 32]) {
        let bucket = self.0.entry((kind, tenant_id, day_of(created_at))).or_default();
        let (count, sum) = match side {
            Side::Rows => (&mut bucket.rows, &mut bucket.rows_sum),
            Side::Documents => (&mut bucket.documents, &mut bucket.documents_sum),
        };
        *count += 1;
        sum.add(hash);
    }

    /// Days of a kind whose sides are not equal, with the tenants concerned, oldest first.
    #[must_use]
    pub fn differing(&self, kind: Kind) -> BTreeMap<DayNumber, Vec<TenantId>> {
        let mut days: BTreeMap<DayNumber, Vec<TenantId>> = BTreeMap::new();
        for ((of, tenant_id, day), bucket) in &self.0 {
            if *of == kind && bucket.differs() {
                days.entry(*day).or_default().push(*tenant_id);
            }
        }
        days
    }

    /// Sums per tenant and kind.
    #[must_use]
    pub fn totals(&self) -> Vec<Totals> {
        let mut totals: BTreeMap<(TenantId, Kind), (Bucket, u64, u64)> = BTreeMap::new();
        for ((kind, tenant_id, _), bucket) in &self.0 {
            let (total, days, differing) = totals.entry((*tenant_id, *kind)).or_default();
            total.rows += bucket.rows;
            total.documents += bucket.documents;
            total.rows_sum.merge(bucket.rows_sum);
            total.documents_sum.merge(bucket.documents_sum);
            *days += 1;
            *differing += u64::from(bucket.differs());
        }
        let lines = totals.into_iter().map(|((tenant_id, kind), (total, days, days_looked_into))| Totals {
            tenant_id: ReportText(tenant_id),
            kind: ReportText(kind),
            rows: total.rows,
            documents: total.documents,
            days,
            days_looked_into,
            rows_hash: ReportText(total.rows_sum.to_hash()),
            documents_hash: ReportText(total.documents_sum.to_hash()),
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn at(day: i64, micros: i64) -> Timestamp {
        Timestamp::from_micros(day * DAY_MICROS + micros).unwrap()
    }

    #[test]
    fn order_does_not_matter_and_a_swap_between_days_shows() {
        let tenant = TenantId::new(Uuid::from_u128(1));
        let mut days = Days::default();
        let kind = Kind::WorkflowRun;
        for (day, hash) in [(1, 1), (1, 2), (2, 3), (3, 0xff)] {
            days.add(Side::Rows, kind, tenant, at(day, 0), &[hash; 32]);
        }
        for (day, hash) in [(3, 0xff), (1, 2), (1, 1), (2, 3)] {
            days.add(Side::Documents, kind, tenant, at(day, 5), &[hash; 32]);
        }
        assert!(days.differing(kind).is_empty());
        days.add(Side::Rows, kind, tenant, at(4, DAY_MICROS - 1), &[9; 32]);
        days.add(Side::Documents, kind, tenant, at(5, 0), &[9; 32]);
        assert_eq!(days.differing(kind).into_keys().collect::<Vec<_>>(), [4, 5]);
        let totals = days.totals();
        assert_eq!((totals[0].rows, totals[0].documents, totals[0].days, totals[0].days_looked_into), (5, 5, 5, 2));
        assert_eq!(totals[0].rows_hash, totals[0].documents_hash);
    }

    #[test]
    fn a_day_ends_where_the_next_begins() {
        let day = span_of(day_of(at(20_000, 17)));
        assert!(day.contains(at(20_000, 0)) && day.contains(at(20_000, DAY_MICROS - 1)));
        assert!(!day.contains(at(20_001, 0)) && !day.contains(at(19_999, DAY_MICROS - 1)));
    }
}
