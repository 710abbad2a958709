//! `validate`: PostgreSQL and the store compared, first by sums per tenant, kind and day, then row by row where a day
//! differs. What differs is looked at twice before it is called a fault, so that rows on the move are none.
//!
//! It writes nothing, neither in PostgreSQL nor in the store. Memory grows with the number of tenant-days and of named
//! findings, never with the number or the size of rows.

pub mod days;
mod descent;
pub(super) mod portions;
mod several;
mod source;

use std::collections::{BTreeMap, HashSet};

use uuid::Uuid;

use self::days::{Days, Side};
use self::descent::Suspect;
use self::source::SourceDatabase;
use super::canonical::Hasher;
use super::report::{Counts, Finding, RecordFault, ReportText, Tolerated, Unended, ValidationReport, ValidationScope};
use super::{LifeError, StoreSide};
use crate::codec::truncate;
use crate::domain::query::{Content, Cursor, Scan, TimeRange};
use crate::domain::{Extra, Kind, Record, RecordId, TenantId};
use crate::postgres::{Database, RowRecord};
use crate::telemetry::Clock;

/// Documents asked of the store at a time.
const PAGE: usize = 500;

/// What is compared, and how.
#[derive(Debug, Clone)]
pub struct ValidationRequest {
    /// Empty: all tenants.
    pub tenants: Vec<TenantId>,
    pub kinds: Vec<Kind>,
    pub created: TimeRange,
    /// So many rows of each kind, at random; `None`: everything.
    pub sample: Option<u64>,
    pub tolerated: Vec<Tolerated>,
    /// Where the settings find the store, for the report.
    pub store_name: String,
}

/// A comparison under way.
pub struct Validation<'a> {
    pub database: &'a Database,
    pub store: StoreSide<'a>,
    /// The limits by which the documents were truncated.
    pub limits: truncate::Limits,
    pub clock: Clock,
    /// Seed of the sample.
    pub seed: u64,
    /// Most findings of each fault that are named, and most that are looked at again; beyond them it counts.
    pub named: usize,
    /// Told how many rows and documents were read so far.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// What was found so far.
#[derive(Debug, Default)]
struct Tally {
    /// Most of each fault that are named, or looked at again: no fault keeps another from being named.
    quota: usize,
    /// Documents without a row are counted and nothing else: after a cleanup they are as many as the rows that went.
    tolerates_extra: bool,
    counts: Counts,
    findings: Vec<Finding>,
    /// To be looked at again.
    suspects: Vec<Suspect>,
    /// How many of the suspects, and of the findings, there are of each fault, by its name.
    suspected: BTreeMap<&'static str, usize>,
    found: BTreeMap<&'static str, usize>,
    named: HashSet<(Kind, RecordId)>,
    unended: BTreeMap<Kind, Unended>,
}

impl Tally {
    fn fault(&mut self, kind: Kind, tenant_id: Option<TenantId>, id: RecordId, fault: RecordFault) {
        *self.count(&fault) += 1;
        if matches!(fault, RecordFault::Extra) && self.tolerates_extra {
            return;
        }
        if take(self.found.entry(fault.name()).or_default(), self.quota) {
            self.findings.push(Finding {
                kind: ReportText(kind),
                tenant_id: tenant_id.map(ReportText),
                id: ReportText(id),
                fault,
            });
        }
    }

    const fn count(&mut self, fault: &RecordFault) -> &mut u64 {
        match fault {
            RecordFault::Missing => &mut self.counts.missing,
            RecordFault::Extra => &mut self.counts.extra,
            RecordFault::Different { .. } => &mut self.counts.different,
            RecordFault::Changed { .. } => &mut self.counts.changed,
            RecordFault::Unreadable { .. } => &mut self.counts.unreadable,
            RecordFault::Copies { .. } => &mut self.counts.copies,
        }
    }

    /// Counts a row that has not ended.
    fn unended(&mut self, kind: Kind, record: &Record) {
        if !record.has_ended() {
            self.unended.entry(kind).or_insert_with(|| Unended::new(kind)).add(record.created_at());
        }
    }

    /// A row that cannot be a record, once.
    fn unreadable(&mut self, kind: Kind, row: &RowRecord) {
        let Err(refusal) = &row.record else { return };
        let Ok(id) = row.key.parse::<RecordId>() else {
            self.counts.unreadable += 1;
            return;
        };
        if self.named.len() < self.quota && !self.named.insert((kind, id)) {
            return;
        }
        self.fault(kind, None, id, RecordFault::Unreadable { reason: refusal.to_string() });
    }

    /// Something differs: looked at again at the end, as far as it can be named at all.
    fn suspect(&mut self, suspect: Suspect, fault: RecordFault) {
        let is_only_counted = matches!(fault, RecordFault::Extra) && self.tolerates_extra;
        if !is_only_counted && take(self.suspected.entry(fault.name()).or_default(), self.quota) {
            self.suspects.push(suspect);
        } else {
            self.fault(suspect.kind, Some(suspect.tenant_id), suspect.id, fault);
        }
    }
}

/// Takes one of a quota. Returns whether there was one.
const fn take(taken: &mut usize, quota: usize) -> bool {
    let is_left = *taken < quota;
    *taken += is_left as usize;
    is_left
}

impl Validation<'_> {
    /// Compares, and returns the report.
    ///
    /// # Errors
    /// [`LifeError`] if either side cannot be read. Differences are no error.
    pub async fn run(&self, request: ValidationRequest) -> Result<ValidationReport, LifeError> {
        let started_at = (self.clock)();
        // Rows that are written from here on are the business of the next validation.
        let created = TimeRange {
            until: Some(request.created.until.map_or(started_at, |until| until.min(started_at))),
            ..request.created
        };
        let request = ValidationRequest { created, ..request };
        self.store.overview.refresh().await?;
        let source = SourceDatabase::open(self.database, &request).await?;
        let tolerates_extra = request.tolerated.contains(&Tolerated::Extra);
        let mut tally = Tally { quota: self.named, tolerates_extra, ..Tally::default() };
        let mut days = Days::default();
        if let Some(rows) = request.sample {
            self.sample(&source, &request, rows, &mut tally).await?;
        } else {
            self.sum(&source, &request, &mut days, &mut tally).await?;
            self.look_into(&source, &request, &days, &mut tally).await?;
            self.several(&request, &mut tally).await?;
        }
        self.look_again(&source, &mut tally).await?;
        tally.findings.sort_by_key(|finding| (finding.kind, finding.tenant_id, finding.id));
        Ok(ValidationReport {
            format: ValidationReport::FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            database: self.database.server().to_owned(),
            store: request.store_name.clone(),
            started_at: ReportText(started_at),
            finished_at: ReportText((self.clock)()),
            scope: ValidationScope::new(&request.tenants, &request.kinds, created),
            sample: request.sample,
            plans: source.plans,
            totals: days.totals(),
            passed: ValidationReport::verdict(&tally.counts, &request.tolerated),
            tolerated: request.tolerated.clone(),
            counts: tally.counts,
            findings: tally.findings,
            unended: tally.unended.into_values().collect(),
        })
    }

    /// Sums both sides. Rows that the store cannot hold untruncated are compared as they are met: their sums say nothing
    /// of their full texts.
    async fn sum(
        &self,
        source: &SourceDatabase<'_>,
        request: &ValidationRequest,
        days: &mut Days,
        tally: &mut Tally,
    ) -> Result<(), LifeError> {
        let (mut rows, mut documents) = (0, 0);
        let mut hasher = Hasher::default();
        for kind in request.kinds.iter().copied() {
            let mut walk = source.walk(kind, request.created).await?;
            loop {
                let page = walk.next().await?;
                if page.is_empty() {
                    break;
                }
                rows += page.len() as u64;
                let mut large = Vec::new();
                for row in page {
                    let Ok(record) = &row.record else {
                        tally.unreadable(kind, &row);
                        continue;
                    };
                    tally.unended(kind, record);
                    let (tenant_id, created_at) = (record.tenant_id(), record.created_at());
                    let hash = match self.cut(record, &row.extra) {
                        None => hasher.hash(record, &row.extra, None),
                        Some((cut, is_whole)) => {
                            let extra = if is_whole { &row.extra } else { &Extra::default() };
                            let hash = hasher.hash(&cut, extra, None);
                            large.push(row);
                            hash
                        }
                    };
                    days.add(Side::Rows, kind, tenant_id, created_at, &hash);
                }
                self.compare_rows(source, kind, large, request.created, tally).await?;
                (self.progress)(rows, documents);
            }
            let mut scan = Scan { tenants: request.tenants.clone(), created: request.created, ..Scan::all(kind, PAGE) };
            loop {
                let page = self.store.reader.scan(&scan).await?;
                let Some(last) = page.last() else { break };
                scan.after = Some(cursor(&last.record));
                documents += page.len() as u64;
                for document in page {
                    let record = &document.record;
                    // One that lies in the payload store is no part of the sum on either side.
                    let extra = Extra::of_json(document.extra.as_ref()).unwrap_or_default();
                    let hash = hasher.hash(record, &extra, document.graph);
                    days.add(Side::Documents, kind, record.tenant_id(), record.created_at(), &hash);
                }
                (self.progress)(rows, documents);
            }
        }
        Ok(())
    }

    /// Returns the record as the store holds it, if the store cannot hold the row untruncated, and whether it holds
    /// what the row has beside the record.
    fn cut(&self, record: &Record, extra: &Extra) -> Option<(Record, bool)> {
        let is_whole = extra.to_json().is_none_or(|extra| extra.len() <= self.limits.field_bytes);
        if is_whole && truncate::fits(record, &self.limits) {
            return None;
        }
        let mut cut = record.clone();
        // What is cut off is not wanted here.
        drop(truncate::fit(&mut cut, &self.limits));
        Some((cut, is_whole))
    }

    /// Rows of each kind at random points of the primary key.
    async fn sample(
        &self,
        source: &SourceDatabase<'_>,
        request: &ValidationRequest,
        rows: u64,
        tally: &mut Tally,
    ) -> Result<(), LifeError> {
        use rand::{RngCore as _, SeedableRng as _};
        let mut rng = rand::rngs::StdRng::seed_from_u64(self.seed);
        for kind in request.kinds.iter().copied() {
            let mut left = rows;
            while left > 0 {
                let batch = left.min(100);
                let points: Vec<Uuid> =
                    (0..batch).map(|_| Uuid::from_u64_pair(rng.next_u64(), rng.next_u64())).collect();
                let page = source.sample(kind, &points).await?;
                self.compare_rows(source, kind, page, request.created, tally).await?;
                left -= batch;
            }
        }
        Ok(())
    }
}

/// Returns the place of a record in a scan.
pub(super) fn cursor(record: &Record) -> Cursor {
    Cursor { created_at: record.created_at(), id: record.id() }
}

/// Returns a scan that wants no payloads.
fn light(scan: Scan) -> Scan {
    Scan { content: Content::Light, ..scan }
}
