//! Pages of documents, bounded by their bytes.

use std::collections::{BTreeSet, HashMap};

use crate::domain::Document;
use crate::domain::query::{Content, DocumentPage, ListFilter, Lookup, Page, Summary};
use crate::store::{LogReader, STRETCH_BYTES, StoreError};

/// See [`LogReader::documents`].
pub async fn page<R: LogReader + ?Sized>(
    reader: &R,
    list: &ListFilter,
    page: &Page,
    content: Content,
) -> Result<DocumentPage, StoreError> {
    let rows = reader.page(list, page, None).await?.rows;
    let mut next = rows.last().filter(|_| rows.len() == page.limit).map(Summary::position);
    let (mut documents, mut bytes, mut end) = (Vec::new(), 0, None);
    let (mut rest, mut batch) = (rows.as_slice(), 1);
    while !rest.is_empty() {
        if bytes >= STRETCH_BYTES {
            next = end;
            break;
        }
        let (asked, others) = rest.split_at(batch.min(rest.len()));
        rest = others;
        end = asked.last().map(Summary::position);
        let ids: Vec<_> = asked.iter().map(Summary::id).collect();
        let near: BTreeSet<_> = asked.iter().map(|row| row.position().cursor.created_at.month()).collect();
        let lookup = Lookup { near, ..Lookup::new(list.tenant_id(), list.kind(), &ids, content) };
        let found = reader.newest(&lookup).await?;
        bytes += found.iter().map(Document::whole_footprint).sum::<usize>();
        let mut found: HashMap<_, _> = found.into_iter().map(|document| (document.record.id(), document)).collect();
        documents.extend(ids.iter().filter_map(|id| found.remove(id)));
        // As many as fit, if they are like those before.
        let fitting = STRETCH_BYTES.saturating_sub(bytes) / (bytes / documents.len().max(1)).max(1);
        batch = fitting.clamp(1, batch * 2);
    }
    Ok(DocumentPage { documents, next })
}
