//! Many records of a store at once: one by one, an engine takes most of a suite's time.

use std::collections::{BTreeMap, HashMap};

use difylog::domain::record::RecordKey;
use difylog::domain::{Document, Kind, RecordId, TenantId};
use difylog::store::LogReader;

/// Records of one question: with their payloads, some megabytes.
const TOGETHER: usize = 100;

/// Returns the documents that a store has under these keys, whole; graphs put back, full texts left out.
pub async fn documents<R: LogReader + ?Sized>(
    store: &R,
    keys: impl IntoIterator<Item = RecordKey>,
) -> HashMap<RecordKey, Document> {
    let mut ids: BTreeMap<(TenantId, Kind), Vec<RecordId>> = BTreeMap::new();
    for key in keys {
        ids.entry((key.tenant_id, key.kind)).or_default().push(key.id);
    }
    let mut found = HashMap::new();
    for ((tenant_id, kind), ids) in ids {
        for ids in ids.chunks(TOGETHER) {
            let documents = store.records(tenant_id, kind, ids).await.unwrap();
            found.extend(documents.into_iter().map(|document| (document.key(), document)));
        }
    }
    found
}
