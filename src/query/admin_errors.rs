//! What fails over all tenants, grouped as a tenant's errors are. The newest failed runs of all tenants are read by stretches of
//! time, the latest stretch first, so that the cost depends on the runs that are read and not on the number of tenants.

use std::collections::BTreeMap;

use super::errors::{ERRORS, Fingerprint, error_of};
use super::{AdminLogs, ErrorGroup, QueryError};
use crate::domain::query::{Scan, TimeRange};
use crate::domain::{AppId, Document, Kind, Record, RecordId, TenantId, Timestamp, WorkflowRun};

/// Failed runs that are looked at, and bytes of what is read of them.
const MOST_RUNS: usize = 2000;
const MOST_BYTES: usize = 64 << 20;
/// Time after which no further stretch is begun.
const MOST_MICROS: i64 = 10_000_000;
/// Failed runs of one stretch, unless one instant has more.
const STRETCH: usize = 200;
/// Length of the first stretch.
const HOUR: i64 = 3_600_000_000;

/// What a tenant has of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantErrors {
    pub runs: u64,
    pub newest: (Timestamp, RecordId),
    /// Runs per app.
    pub apps: BTreeMap<AppId, u64>,
}

/// Failed runs of several tenants whose errors say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminErrorGroup {
    pub group: ErrorGroup,
    /// Never empty.
    pub tenants: BTreeMap<TenantId, TenantErrors>,
}

impl AdminErrorGroup {
    fn count(&mut self, run: &WorkflowRun, found: &Fingerprint) {
        self.group.count(run, found);
        let newest = (run.created_at, run.id);
        let none = || TenantErrors { runs: 0, newest, apps: BTreeMap::new() };
        let tenant = self.tenants.entry(run.tenant_id).or_insert_with(none);
        tenant.runs += 1;
        tenant.newest = tenant.newest.max(newest);
        *tenant.apps.entry(run.app_id).or_default() += 1;
    }

    /// Returns the tenants, most runs first, ties by id.
    #[must_use]
    pub fn by_runs(&self) -> Vec<(TenantId, &TenantErrors)> {
        let mut tenants: Vec<_> = self.tenants.iter().map(|(id, found)| (*id, found)).collect();
        tenants.sort_by_key(|(id, found)| (std::cmp::Reverse(found.runs), *id));
        tenants
    }
}

/// Groups of a span over all tenants, most runs first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdminErrors {
    pub groups: Vec<AdminErrorGroup>,
    /// Failed runs that were looked at, the newest.
    pub looked_at: usize,
    /// Failed runs of the span.
    pub failed: u64,
    /// Some were not looked at: each run from this instant on was, and few before it. `None`: all were looked at.
    pub cut_at: Option<Timestamp>,
}

/// A look under way.
#[derive(Default)]
struct Look {
    groups: BTreeMap<String, AdminErrorGroup>,
    looked_at: usize,
    bytes: usize,
}

impl Look {
    fn add(&mut self, document: Document) {
        let Record::Run(run) = document.record else { return };
        self.looked_at += 1;
        let found = Fingerprint::of(error_of(&run));
        let none = || AdminErrorGroup { group: ErrorGroup::of(&run, &found), tenants: BTreeMap::new() };
        self.groups.entry(found.text.clone()).or_insert_with(none).count(&run, &found);
    }

    /// Returns whether another stretch could exceed the bounds.
    const fn is_full(&self) -> bool {
        self.looked_at + STRETCH > MOST_RUNS || self.bytes > MOST_BYTES
    }

    fn ended(self, failed: u64, cut_at: Option<Timestamp>) -> AdminErrors {
        let mut groups: Vec<_> = self.groups.into_values().collect();
        groups.sort_by_key(|found| std::cmp::Reverse((found.group.times.len(), found.group.newest)));
        let failed = failed.max(self.looked_at as u64);
        AdminErrors { groups, looked_at: self.looked_at, failed, cut_at }
    }
}

/// Returns the question for the failed runs of a span, of all tenants.
fn failed(created: TimeRange) -> Scan {
    let all = Scan::all(Kind::WorkflowRun, STRETCH);
    Scan { created, statuses: vec!["failed".into()], content: ERRORS, ..all }
}

/// Returns the instant a microsecond later, or the last there is.
fn after(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.micros().saturating_add(1)).unwrap_or(Timestamp::MAX)
}

impl AdminLogs {
    /// Returns the failed runs of a span over all tenants by what their errors have in common: the newest 2,000, or 64 MB of
    /// them, or as many as ten seconds allow. Memory grows with these bounds only.
    ///
    /// # Errors
    /// A store that cannot be read, or that has no inventory.
    pub async fn error_groups(&self, created: TimeRange) -> Result<AdminErrors, QueryError> {
        let logs = &self.service().0.logs;
        let all = logs.scan_count(&failed(created)).await?;
        let latest_end = self.service().now().micros().saturating_add(MOST_MICROS);
        let first = created.from.unwrap_or(Timestamp::MIN);
        let (mut look, mut width, mut until) = (Look::default(), HOUR, created.until);
        loop {
            // What lies between two failed runs is passed over at once.
            let newest = logs.scan_end(&failed(TimeRange { from: created.from, until })).await?;
            let Some(end) = newest.map(|newest| after(newest.created_at)) else { return Ok(look.ended(all, None)) };
            if look.is_full() || self.service().now().micros() > latest_end {
                return Ok(look.ended(all, Some(end)));
            }
            let stretch = self.stretch(first, end, &mut width).await?;
            if !self.read_failed(stretch, &mut look).await? {
                return Ok(look.ended(all, Some(end)));
            }
            until = stretch.from;
            if until.is_none_or(|from| from <= first) {
                return Ok(look.ended(all, None));
            }
        }
    }

    /// Returns the span before `end` that has at most [`STRETCH`] failed runs, or a single instant. `width` is its length, and
    /// then what the next one begins with.
    async fn stretch(&self, first: Timestamp, end: Timestamp, width: &mut i64) -> Result<TimeRange, QueryError> {
        loop {
            let from = Timestamp::from_micros(end.micros().saturating_sub(*width).max(first.micros())).unwrap_or(first);
            let span = TimeRange { from: Some(from), until: Some(end) };
            let count = self.service().0.logs.scan_count(&failed(span)).await?;
            let room = STRETCH as u64;
            if count <= room || *width <= 1 {
                if count < room / 2 {
                    *width = width.saturating_mul(2);
                }
                return Ok(span);
            }
            let share = i128::from(*width) * i128::from(room) / i128::from(count);
            *width = i64::try_from(share).unwrap_or(1).clamp(1, (*width / 2).max(1));
        }
    }

    /// Reads a stretch. Returns whether it was read to its end.
    async fn read_failed(&self, stretch: TimeRange, look: &mut Look) -> Result<bool, QueryError> {
        let mut scan = failed(stretch);
        loop {
            let found = self.service().0.logs.scan(&scan).await?;
            let Some(last) = found.last() else { return Ok(true) };
            scan.after = Some(last.cursor());
            for document in found {
                look.bytes += document.whole_footprint();
                look.add(self.shown(document));
            }
            if look.is_full() {
                return Ok(self.service().0.logs.scan_count(&scan).await? == 0);
            }
        }
    }
}
