//! Records by their ids, in real time: read by address in every index that may hold them, as an id does not tell its
//! month. Where payloads are wanted of several, what is read first is small; payloads are then read of the newest copies
//! only, as many at a time as their bytes allow.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;

use crate::domain::query::{Content, Lookup};
use crate::domain::record::RecordKey;
use crate::domain::{Document, Precedence, RecordId, Revision, SinkFault, TenantId};
use crate::store::elastic::catalog::{LENIENT, list};
use crate::store::elastic::hit::DocumentAddress;
use crate::store::elastic::hosts::not_understood;
use crate::store::elastic::names::{self, Family, IndexPlace};
use crate::store::elastic::rows::AsText;
use crate::store::elastic::scan::Graphs;
use crate::store::elastic::search::{EngineReader, portions};

/// Addresses of one request: ids times the indices that may hold them.
const ADDRESSES: usize = 5_000;

/// What tells copies apart. A tombstone has none of it.
const VERSION_COLUMNS: [&str; 4] = ["id", "tenant_id", "revision", "payload_bytes"];

#[derive(Deserialize)]
struct Version {
    id: Option<AsText<RecordId>>,
    tenant_id: Option<AsText<TenantId>>,
    revision: Option<i64>,
    #[serde(default)]
    payload_bytes: u64,
}

/// A copy of a record, as far as it was read.
struct Found {
    standing: (Precedence, IndexPlace),
    payload_bytes: u64,
    address: DocumentAddress,
}

impl EngineReader<'_> {
    pub(super) async fn lookup(&self, lookup: &Lookup) -> Result<Vec<Document>, SinkFault> {
        let expression = self.names.readable(Family::Records(lookup.kind), lookup.tenant_id);
        let mut places = list(self.hosts, self.names, &expression, &LENIENT).await?;
        places.retain(|place| place.tenant.is_none_or(|owner| owner == lookup.tenant_id));
        let is_near = |place: &IndexPlace| lookup.near.is_empty() || lookup.near.contains(&place.month);
        let (near, far): (Vec<_>, Vec<_>) = places.into_iter().partition(is_near);
        let mut found = self.lookup_at(&near, lookup, &lookup.ids).await?;
        if !far.is_empty() {
            let is_final = |copy: &&Document| Precedence::new(copy.revision, copy.month()).is_final();
            let settled = found.iter().filter(|_| !lookup.every_copy).filter(is_final);
            let settled: BTreeSet<RecordId> = settled.map(|copy| copy.record.id()).collect();
            let open: Vec<_> = lookup.ids.iter().copied().filter(|id| !settled.contains(id)).collect();
            found.extend(self.lookup_at(&far, lookup, &open).await?);
        }
        if lookup.content == Content::Full {
            self.put_graphs_back(&mut found, &mut Graphs::new()).await?;
        }
        Ok(found)
    }

    async fn lookup_at(
        &self,
        places: &[IndexPlace],
        lookup: &Lookup,
        ids: &[RecordId],
    ) -> Result<Vec<Document>, SinkFault> {
        let mut found = Vec::new();
        if places.is_empty() {
            return Ok(found);
        }
        for ids in ids.chunks((ADDRESSES / places.len()).max(1)) {
            let address = |id: &RecordId| {
                let key = RecordKey { tenant_id: lookup.tenant_id, kind: lookup.kind, id: *id };
                places.iter().map(move |place| self.address(*place, key.tenant_id, names::record_id(*place, key)))
            };
            let addresses: Vec<_> = ids.iter().flat_map(address).collect();
            match (lookup.content, ids) {
                // One record is small enough to be read at once, the copies that it may have elsewhere with it.
                (Content::Light, _) | (_, [_]) => {
                    found.extend(self.documents(lookup.kind, &addresses, lookup.content).await?);
                }
                _ => {
                    let copies = self.versions(&addresses, lookup).await?;
                    for portion in portions(copies, |copy| copy.payload_bytes) {
                        let addresses: Vec<_> = portion.into_iter().map(|copy| copy.address).collect();
                        found.extend(self.documents(lookup.kind, &addresses, lookup.content).await?);
                    }
                }
            }
        }
        found.retain(|document| document.tenant_id() == lookup.tenant_id);
        Ok(found)
    }

    /// Returns the copies whose payloads are to be read: of each record the newest, or all.
    async fn versions(&self, addresses: &[DocumentAddress], lookup: &Lookup) -> Result<Vec<Found>, SinkFault> {
        let mut copies: HashMap<(RecordId, Option<IndexPlace>), Found> = HashMap::new();
        for (address, source) in self.columns(addresses, &VERSION_COLUMNS).await? {
            let version: Version = serde_json::from_str(source.get()).map_err(|error| not_understood(&error))?;
            let (Some(id), Some(owner), Some(revision)) = (version.id, version.tenant_id, version.revision) else {
                continue;
            };
            let Some(place) = self.names.parse(&address.index).filter(|_| owner.0 == lookup.tenant_id) else {
                continue;
            };
            let standing = (Precedence::new(Revision::from_stored(revision), place.month), place);
            let key = (id.0, lookup.every_copy.then_some(place));
            if copies.get(&key).is_none_or(|known| known.standing < standing) {
                copies.insert(key, Found { standing, payload_bytes: version.payload_bytes, address });
            }
        }
        Ok(copies.into_values().collect())
    }
}
