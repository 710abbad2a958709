//! Records by their ids: of each, the copy that counts.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::domain::query::{Content, Lookup};
use crate::domain::{Document, Kind, RecordId, TenantId};
use crate::store::{LogReader, StoreError};

/// See [`LogReader::newest`].
pub async fn newest<R: LogReader + ?Sized>(reader: &R, lookup: &Lookup) -> Result<Vec<Document>, StoreError> {
    if lookup.ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut newest: BTreeMap<RecordId, Document> = BTreeMap::new();
    for copy in reader.lookup(lookup).await? {
        let id = copy.record.id();
        if newest.get(&id).is_none_or(|known| known.precedence() < copy.precedence()) {
            newest.insert(id, copy);
        }
    }
    Ok(newest.into_values().collect())
}

/// See [`LogReader::copies`].
pub async fn copies<R: LogReader + ?Sized>(
    reader: &R,
    tenant_id: TenantId,
    kind: Kind,
    ids: &[RecordId],
) -> Result<Vec<Document>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let lookup = Lookup { every_copy: true, ..Lookup::new(tenant_id, kind, ids, Content::Light) };
    let mut copies = reader.lookup(&lookup).await?;
    copies.sort_by_key(|copy| (copy.record.id(), Reverse(copy.precedence())));
    Ok(copies)
}
