//! Records by their ids, in real time: read by address in every index that may hold them, as an id does not tell its
//! month. What is read first is small; payloads are read of the newest copies only, as many at a time as their bytes allow.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::query::RunSummary;
use crate::domain::record::RecordKey;
use crate::domain::{Document, Kind, Month, Precedence, RecordId, Revision, SinkFault, TenantId, Timestamp};
use crate::store::StoredCopy;
use crate::store::elastic::catalog::{LENIENT, list};
use crate::store::elastic::hit::Address;
use crate::store::elastic::hosts::not_understood;
use crate::store::elastic::names::{self, Family, Place};
use crate::store::elastic::rows::{AsText, RunRow, summary_columns};
use crate::store::elastic::scan::Graphs;
use crate::store::elastic::search::{Reader, portions};

/// Addresses of one request: ids times the indices that may hold them.
const ADDRESSES: usize = 5_000;

/// What is read of every copy.
const VERSION_COLUMNS: [&str; 4] = ["id", "tenant_id", "revision", "payload_bytes"];

/// What tells copies apart. A tombstone has none of it.
#[derive(Deserialize)]
struct Version {
    id: Option<AsText<RecordId>>,
    tenant_id: Option<AsText<TenantId>>,
    revision: Option<i64>,
    #[serde(default)]
    payload_bytes: u64,
}

/// What tells of a copy where it lies.
const COPY_COLUMNS: [&str; 4] = ["id", "tenant_id", "revision", "created_at"];

#[derive(Deserialize)]
struct Start {
    created_at: AsText<Timestamp>,
}

/// A copy of a record, as far as it was read.
struct Found {
    id: RecordId,
    standing: (Precedence, Place),
    payload_bytes: u64,
    address: Address,
    source: Box<RawValue>,
}

impl Reader<'_> {
    pub(in crate::store::elastic) async fn records(
        &self,
        tenant: TenantId,
        kind: Kind,
        ids: &[RecordId],
    ) -> Result<Vec<Document>, SinkFault> {
        let newest = self.newest_copies(tenant, kind, ids, &VERSION_COLUMNS, None).await?;
        let mut documents = Vec::new();
        for portion in portions(newest, |copy| copy.payload_bytes) {
            let addresses: Vec<_> = portion.into_iter().map(|copy| copy.address).collect();
            documents.extend(self.documents(kind, &addresses).await?);
        }
        documents.retain(|document| document.tenant_id() == tenant);
        self.put_graphs_back(&mut documents, &mut Graphs::new()).await?;
        Ok(documents)
    }

    /// `near`: the months that most of them lie in. The others are asked only for what is not final there.
    pub(super) async fn run_summaries(
        &self,
        tenant: TenantId,
        ids: &[RecordId],
        near: Option<&BTreeSet<Month>>,
    ) -> Result<Vec<RunSummary>, SinkFault> {
        let columns = summary_columns(Kind::WorkflowRun);
        let newest = self.newest_copies(tenant, Kind::WorkflowRun, ids, &columns, near).await?;
        let summary = |copy: Found| serde_json::from_str::<RunRow>(copy.source.get()).map(Into::into);
        newest.into_iter().map(summary).collect::<Result<_, _>>().map_err(|error| not_understood(&error))
    }

    pub(in crate::store::elastic) async fn stored_copies(
        &self,
        tenant: TenantId,
        kind: Kind,
        ids: &[RecordId],
    ) -> Result<Vec<StoredCopy>, SinkFault> {
        let mut found = self.all_copies(tenant, kind, ids, &COPY_COLUMNS, None).await?;
        found.sort_unstable_by_key(|copy| (copy.id, Reverse(copy.standing)));
        let stored = |copy: Found| {
            let start: Start = serde_json::from_str(copy.source.get()).map_err(|error| not_understood(&error))?;
            let revision = copy.standing.0.revision();
            Ok(StoredCopy { id: copy.id, created_at: start.created_at.0, revision })
        };
        found.into_iter().map(stored).collect()
    }

    /// The copy of each record that counts.
    async fn newest_copies(
        &self,
        tenant: TenantId,
        kind: Kind,
        ids: &[RecordId],
        columns: &[&str],
        near: Option<&BTreeSet<Month>>,
    ) -> Result<Vec<Found>, SinkFault> {
        let mut newest: HashMap<RecordId, Found> = HashMap::new();
        for copy in self.all_copies(tenant, kind, ids, columns, near).await? {
            if newest.get(&copy.id).is_none_or(|known| known.standing < copy.standing) {
                newest.insert(copy.id, copy);
            }
        }
        Ok(newest.into_values().collect())
    }

    /// Every copy of records that is there; of those with a final one in a month of `near`, perhaps that one only.
    async fn all_copies(
        &self,
        tenant: TenantId,
        kind: Kind,
        ids: &[RecordId],
        columns: &[&str],
        near: Option<&BTreeSet<Month>>,
    ) -> Result<Vec<Found>, SinkFault> {
        let expression = self.names.readable(Family::Records(kind), tenant);
        let mut places = list(self.hosts, self.names, &expression, &LENIENT).await?;
        places.retain(|place| place.tenant.is_none_or(|owner| owner == tenant));
        let (near, far): (Vec<_>, Vec<_>) =
            places.into_iter().partition(|place| near.is_none_or(|near| near.contains(&place.month)));
        let mut ids: BTreeSet<RecordId> = ids.iter().copied().collect();
        let mut copies = self.copies_at(&near, tenant, kind, &ids, columns).await?;
        if !far.is_empty() {
            for copy in copies.iter().filter(|copy| copy.standing.0.is_final()) {
                ids.remove(&copy.id);
            }
            copies.extend(self.copies_at(&far, tenant, kind, &ids, columns).await?);
        }
        Ok(copies)
    }

    async fn copies_at(
        &self,
        places: &[Place],
        tenant: TenantId,
        kind: Kind,
        ids: &BTreeSet<RecordId>,
        columns: &[&str],
    ) -> Result<Vec<Found>, SinkFault> {
        let ids: Vec<_> = ids.iter().copied().collect();
        let mut copies = Vec::new();
        for ids in ids.chunks((ADDRESSES / places.len().max(1)).max(1)) {
            let address = |id| {
                let key = RecordKey { tenant_id: tenant, kind, id };
                places.iter().map(move |place| self.address(*place, tenant, names::record_id(*place, key)))
            };
            let addresses: Vec<_> = ids.iter().copied().flat_map(address).collect();
            for (address, source) in self.columns(&addresses, columns).await? {
                let version: Version = serde_json::from_str(source.get()).map_err(|error| not_understood(&error))?;
                let (Some(id), Some(owner), Some(revision)) = (version.id, version.tenant_id, version.revision) else {
                    continue;
                };
                let Some(place) = self.names.parse(&address.index) else { continue };
                if owner.0 == tenant {
                    let precedence = Precedence::new(Revision::from_stored(revision), place.month);
                    let payload_bytes = version.payload_bytes;
                    let standing = (precedence, place);
                    copies.push(Found { id: id.0, standing, payload_bytes, address, source });
                }
            }
        }
        Ok(copies)
    }
}
