//! Records by their ids, in real time: read by address in every index that may hold them, as an id does not tell its
//! month. What is read first is small; payloads are read of the newest copies only, as many at a time as their bytes allow.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::query::RunSummary;
use crate::domain::record::RecordKey;
use crate::domain::{Document, Kind, RecordId, SinkFault, TenantId};
use crate::store::elastic::admin::{LENIENT, list};
use crate::store::elastic::hit::Address;
use crate::store::elastic::hosts::not_understood;
use crate::store::elastic::names::{self, Family};
use crate::store::elastic::rows::{AsText, SUMMARY_COLUMNS, SummaryRow};
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

/// The newest copy of a record, as far as it was read.
struct Newest {
    revision: i64,
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
        let newest = self.newest_copies(tenant, kind, ids, &VERSION_COLUMNS).await?;
        let mut documents = Vec::new();
        for portion in portions(newest, |copy| copy.payload_bytes) {
            let addresses: Vec<_> = portion.into_iter().map(|copy| copy.address).collect();
            documents.extend(self.documents(kind, &addresses).await?);
        }
        documents.retain(|document| document.tenant_id() == tenant);
        self.put_graphs_back(&mut documents, &mut Graphs::new()).await?;
        Ok(documents)
    }

    pub(super) async fn run_summaries(&self, tenant: TenantId, ids: &[RecordId]) -> Result<Vec<RunSummary>, SinkFault> {
        let columns = [SUMMARY_COLUMNS.as_slice(), &["tenant_id"]].concat();
        let newest = self.newest_copies(tenant, Kind::WorkflowRun, ids, &columns).await?;
        let summary = |copy: Newest| serde_json::from_str::<SummaryRow>(copy.source.get()).map(Into::into);
        newest.into_iter().map(summary).collect::<Result<_, _>>().map_err(|error| not_understood(&error))
    }

    /// The newest copy of each record that is there.
    async fn newest_copies(
        &self,
        tenant: TenantId,
        kind: Kind,
        ids: &[RecordId],
        columns: &[&str],
    ) -> Result<Vec<Newest>, SinkFault> {
        let expression = self.names.readable(Family::Records(kind), tenant);
        let mut places = list(self.hosts, self.names, &expression, &LENIENT).await?;
        places.retain(|place| place.tenant.is_none_or(|owner| owner == tenant));
        let ids: Vec<_> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let mut newest: HashMap<RecordId, Newest> = HashMap::new();
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
                if owner.0 == tenant && newest.get(&id.0).is_none_or(|known| known.revision < revision) {
                    let copy = Newest { revision, payload_bytes: version.payload_bytes, address, source };
                    newest.insert(id.0, copy);
                }
            }
        }
        Ok(newest.into_values().collect())
    }
}
