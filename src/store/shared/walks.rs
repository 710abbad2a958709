//! Walks over documents: of each record the copy that counts.

use std::collections::{BTreeMap, HashMap};

use crate::domain::query::{Content, Lookup, Scan};
use crate::domain::record::RecordKey;
use crate::domain::{Document, Kind, Precedence, RecordId, TenantId};
use crate::store::{LogReader, StoreError};

/// See [`LogReader::scan`].
pub async fn scan<R: LogReader + ?Sized>(reader: &R, scan: &Scan) -> Result<Vec<Document>, StoreError> {
    let mut scan = scan.clone();
    loop {
        let copies = reader.walk(&scan).await?;
        let Some(last) = copies.last().filter(|_| !scan.superseded_too) else { return Ok(copies) };
        scan.after = Some(last.cursor());
        let newest = without_superseded(reader, scan.kind, copies).await?;
        // A step may hold older copies only: the walk goes on behind it.
        if !newest.is_empty() {
            return Ok(newest);
        }
    }
}

/// Leaves out what another month has a newer copy of. Only what is not final is looked up. A newer snapshot in the same
/// month is the same document, written since the walk met it: to leave that out would be a gap.
async fn without_superseded<R: LogReader + ?Sized>(
    reader: &R,
    kind: Kind,
    mut copies: Vec<Document>,
) -> Result<Vec<Document>, StoreError> {
    let mut changing: BTreeMap<TenantId, Vec<RecordId>> = BTreeMap::new();
    for copy in copies.iter().filter(|copy| !copy.precedence().is_final()) {
        changing.entry(copy.tenant_id()).or_default().push(copy.record.id());
    }
    let mut newest: HashMap<RecordKey, Precedence> = HashMap::new();
    for (tenant_id, ids) in changing {
        for copy in reader.lookup(&Lookup::new(tenant_id, kind, &ids, Content::Light)).await? {
            let known = newest.entry(copy.key()).or_insert_with(|| copy.precedence());
            *known = copy.precedence().max(*known);
        }
    }
    copies.retain(|copy| {
        let own = copy.precedence();
        newest.get(&copy.key()).is_none_or(|newest| newest.month() == own.month() || *newest <= own)
    });
    Ok(copies)
}
