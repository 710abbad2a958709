//! Into the days that differ: rows of PostgreSQL are looked up in the store by their ids, documents of the store in
//! PostgreSQL, and what differs is looked at again at the end.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::days::{DayNumber, Days, day_of, span_of};
use super::portions::Portions;
use super::source::SourceDatabase;
use super::{PAGE, Tally, Validation, ValidationRequest, cursor, light};
use crate::backfill::compare::RowComparison;
use crate::backfill::report::RecordFault;
use crate::backfill::{LifeError, documents};
use crate::domain::query::{Scan, TimeRange};
use crate::domain::{Document, Extra, Kind, Record, RecordId, TenantId};
use crate::postgres::RowRecord;

/// A record that differed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suspect {
    pub kind: Kind,
    pub tenant_id: TenantId,
    pub id: RecordId,
}

/// Days to look into, with the tenants concerned.
type Differing = BTreeMap<DayNumber, Vec<TenantId>>;

impl Validation<'_> {
    /// Names what differs in the days that do.
    pub(super) async fn look_into(
        &self,
        source: &SourceDatabase<'_>,
        request: &ValidationRequest,
        days: &Days,
        tally: &mut Tally,
    ) -> Result<(), LifeError> {
        for kind in request.kinds.iter().copied() {
            let differing = days.differing(kind);
            self.rows_of_days(source, request, kind, &differing, tally).await?;
            self.documents_of_days(source, request, kind, &differing, tally).await?;
        }
        Ok(())
    }

    async fn rows_of_days(
        &self,
        source: &SourceDatabase<'_>,
        request: &ValidationRequest,
        kind: Kind,
        differing: &Differing,
        tally: &mut Tally,
    ) -> Result<(), LifeError> {
        let (Some(first), Some(last)) = (differing.keys().next(), differing.keys().next_back()) else { return Ok(()) };
        let spans: Vec<TimeRange> = if source.walks_by_time(kind)? {
            differing.keys().map(|day| span_of(*day)).collect()
        } else {
            vec![TimeRange { from: span_of(*first).from, until: span_of(*last).until }]
        };
        for span in spans {
            let mut walk = source.walk(kind, intersection(span, request.created)).await?;
            loop {
                let mut rows = walk.next().await?;
                if rows.is_empty() {
                    break;
                }
                // Those that the store cannot hold untruncated were compared when they were summed.
                rows.retain(|row| {
                    row.record
                        .as_ref()
                        .is_ok_and(|record| is_within(record, differing) && self.cut(record, &row.extra).is_none())
                });
                self.compare_rows(source, kind, rows, request.created, tally).await?;
            }
        }
        Ok(())
    }

    async fn documents_of_days(
        &self,
        source: &SourceDatabase<'_>,
        request: &ValidationRequest,
        kind: Kind,
        differing: &Differing,
        tally: &mut Tally,
    ) -> Result<(), LifeError> {
        for (day, tenants) in differing {
            let created = intersection(span_of(*day), request.created);
            let mut scan = light(Scan { tenants: tenants.clone(), created, ..Scan::all(kind, PAGE) });
            loop {
                let page = self.store.reader.scan(&scan).await?;
                let Some(last) = page.last() else { break };
                scan.after = Some(cursor(&last.record));
                let ids: Vec<RecordId> = page.iter().map(|document| document.record.id()).collect();
                let present: HashSet<_> = source.present(kind, &ids).await?.into_iter().collect();
                for document in &page {
                    let key = document.key();
                    if !present.contains(&(key.tenant_id, key.id)) {
                        let suspect = Suspect { kind, tenant_id: key.tenant_id, id: key.id };
                        tally.suspect(suspect, RecordFault::Extra);
                    }
                }
            }
        }
        Ok(())
    }

    /// Compares rows with their documents; what differs becomes a suspect.
    pub(super) async fn compare_rows(
        &self,
        source: &SourceDatabase<'_>,
        kind: Kind,
        rows: Vec<RowRecord>,
        created: TimeRange,
        tally: &mut Tally,
    ) -> Result<(), LifeError> {
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            match row.record {
                Ok(record) if created.contains(record.created_at()) => records.push((record, row.extra)),
                Ok(_) => {}
                Err(_) => tally.unreadable(kind, &row),
            }
        }
        let keys = records.iter().map(|(record, _)| (record.tenant_id(), record.id()));
        let documents = documents(self.store, kind, keys).await?;
        for (record, extra) in &records {
            let suspect = Suspect { kind, tenant_id: record.tenant_id(), id: record.id() };
            match self.judge(source, record, extra, documents.get(&(suspect.tenant_id, suspect.id))).await? {
                Judgement::Harmless(standing) => tally.harmless(&standing),
                Judgement::Fault(fault) => tally.suspect(suspect, fault),
            }
        }
        Ok(())
    }

    async fn judge(
        &self,
        source: &SourceDatabase<'_>,
        record: &Record,
        extra: &Extra,
        document: Option<&Document>,
    ) -> Result<Judgement, LifeError> {
        let Some(document) = document else { return Ok(Judgement::Fault(RecordFault::Missing)) };
        let offloaded = async |keys| source.offloaded(record.id(), keys).await;
        let (standing, _) = self.store.standing_beside(record, extra, document, offloaded).await?;
        Ok(match standing {
            RowComparison::Different(columns) => Judgement::Fault(RecordFault::Different { columns }),
            RowComparison::Changed(columns) | RowComparison::Redacted(columns) => {
                Judgement::Fault(RecordFault::Changed { columns })
            }
            harmless => Judgement::Harmless(harmless),
        })
    }

    /// Returns the second look: both sides are read anew by id.
    pub(super) async fn look_again(&self, source: &SourceDatabase<'_>, tally: &mut Tally) -> Result<(), LifeError> {
        let mut suspects = std::mem::take(&mut tally.suspects);
        suspects.sort_unstable();
        suspects.dedup();
        for group in suspects.chunk_by(|one, next| one.kind == next.kind) {
            let mut portions = Portions::of(group);
            while let Some(suspects) = portions.take() {
                let Some(kind) = suspects.first().map(|suspect| suspect.kind) else { break };
                let ids: Vec<RecordId> = suspects.iter().map(|suspect| suspect.id).collect();
                let rows = source.by_ids(kind, &ids).await?;
                portions.weighed(&rows);
                self.look_again_at(source, kind, rows, suspects, tally).await?;
            }
        }
        Ok(())
    }

    async fn look_again_at(
        &self,
        source: &SourceDatabase<'_>,
        kind: Kind,
        rows: Vec<RowRecord>,
        suspects: &[Suspect],
        tally: &mut Tally,
    ) -> Result<(), LifeError> {
        let rows = rows.into_iter().filter_map(|row| Some((row.record.ok()?, row.extra)));
        let rows: HashMap<_, _> = rows.map(|row| ((row.0.tenant_id(), row.0.id()), row)).collect();
        let keys = suspects.iter().map(|suspect| (suspect.tenant_id, suspect.id));
        let documents = documents(self.store, kind, keys).await?;
        for suspect in suspects {
            let key = (suspect.tenant_id, suspect.id);
            let fault = match (rows.get(&key), documents.get(&key)) {
                (Some((record, extra)), document) => match self.judge(source, record, extra, document).await? {
                    Judgement::Fault(fault) => Some(fault),
                    Judgement::Harmless(RowComparison::Same) => None,
                    Judgement::Harmless(standing) => {
                        tally.harmless(&standing);
                        continue;
                    }
                },
                (None, Some(_)) => Some(RecordFault::Extra),
                (None, None) => None,
            };
            match fault {
                Some(fault) => tally.fault(kind, Some(suspect.tenant_id), suspect.id, fault),
                None => tally.counts.settled += 1,
            }
        }
        Ok(())
    }
}

impl Tally {
    fn harmless(&mut self, standing: &RowComparison) {
        match standing {
            RowComparison::Ahead => self.counts.ahead += 1,
            RowComparison::Fuller(_) => self.counts.fuller += 1,
            RowComparison::Poorer(_) => self.counts.poorer += 1,
            RowComparison::Spelled(_) => self.counts.spelled += 1,
            RowComparison::Same
            | RowComparison::Changed(_)
            | RowComparison::Redacted(_)
            | RowComparison::Different(_) => {}
        }
    }
}

/// What a comparison means.
enum Judgement {
    Harmless(RowComparison),
    Fault(RecordFault),
}

fn is_within(record: &Record, differing: &Differing) -> bool {
    differing.get(&day_of(record.created_at())).is_some_and(|tenants| tenants.contains(&record.tenant_id()))
}

fn intersection(one: TimeRange, other: TimeRange) -> TimeRange {
    let until = match (one.until, other.until) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    TimeRange { from: one.from.max(other.from), until }
}
