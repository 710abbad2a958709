//! Records of which the store holds more than one copy: of a run that went on in a later month, or of a tenancy that was
//! changed. Every answer counts them once, so they are no fault; a report names them, because their months hold more
//! documents than records.

use std::collections::{BTreeMap, BTreeSet};

use super::{PAGE, Tally, Validation, ValidationRequest, cursor, light};
use crate::backfill::LifeError;
use crate::backfill::report::RecordFault;
use crate::domain::query::Scan;
use crate::domain::{Document, Kind, RecordId, TenantId};

impl Validation<'_> {
    /// Names them. Costs two counts of each kind, and a walk over the documents of a kind up to the last that has a copy.
    pub(super) async fn several(&self, request: &ValidationRequest, tally: &mut Tally) -> Result<(), LifeError> {
        for kind in request.kinds.iter().copied() {
            let newest =
                light(Scan { tenants: request.tenants.clone(), created: request.created, ..Scan::all(kind, PAGE) });
            let mut scan = Scan { superseded_too: true, ..newest.clone() };
            let records = self.store.reader.scan_count(&newest).await?;
            let mut unnamed = self.store.reader.scan_count(&scan).await?.saturating_sub(records);
            while unnamed > 0 {
                let page = self.store.reader.scan(&scan).await?;
                let Some(last) = page.last() else { break };
                scan.after = Some(cursor(&last.record));
                let mut met: BTreeMap<TenantId, BTreeSet<RecordId>> = BTreeMap::new();
                for document in &page {
                    met.entry(document.tenant_id()).or_default().insert(document.record.id());
                }
                for (tenant_id, ids) in met {
                    let ids: Vec<_> = ids.into_iter().collect();
                    let copies = self.store.reader.copies(tenant_id, kind, &ids).await?;
                    for copies in copies.chunk_by(|one, next| one.record.id() == next.record.id()) {
                        let is_met = |copy: &Document| {
                            page.iter().any(|met| {
                                met.key() == copy.key() && met.record.created_at() == copy.record.created_at()
                            })
                        };
                        unnamed = unnamed.saturating_sub(name(request, (kind, tenant_id), copies, is_met, tally));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Names a record when the walk meets the first of its copies. Returns how many copies within the walk do not count.
fn name(
    request: &ValidationRequest,
    (kind, tenant_id): (Kind, TenantId),
    copies: &[Document],
    is_met: impl Fn(&Document) -> bool,
    tally: &mut Tally,
) -> u64 {
    let within = |copy: &&Document| request.created.contains(copy.record.created_at());
    let first = copies.iter().filter(within).min_by_key(|copy| copy.record.created_at());
    let Some(first) = first.filter(|first| copies.len() > 1 && is_met(first)) else { return 0 };
    let months = copies.iter().map(|copy| copy.month().to_string()).collect();
    tally.fault(kind, Some(tenant_id), first.record.id(), RecordFault::Copies { months });
    copies.iter().skip(1).filter(within).count() as u64
}
