//! Reads what a month holds, from a copy or from the store: counts, hashes, and whether payloads are where they belong.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::BackupError;
use super::manifest::{Contents, KindContents};
use crate::backfill::canonical::{Hasher, Sum};
use crate::backfill::report::ReportText;
use crate::domain::query::{Scan, TimeRange};
use crate::domain::{Document, Extra, Kind, Month};
use crate::store::LogReader;
use crate::store::payload::{Copied, PayloadStore};

/// Documents of one question.
const PAGE: usize = 500;
/// Payloads on their way at once.
const PAYLOADS: usize = 4;

/// Absent payloads of a month that are named in the log; the rest is counted.
const NAMED: u64 = 20;

/// What to do with the payloads that documents refer to.
pub(super) enum Payloads<'p> {
    /// Copy those that are not there yet.
    Copy { from: &'p PayloadStore, to: &'p PayloadStore },
    /// See that they are there.
    Check(&'p PayloadStore),
}

/// Hashes documents, with all that makes two of them differ.
#[derive(Default)]
pub(super) struct DocumentHasher(Hasher);

impl DocumentHasher {
    pub(super) fn hash(&mut self, document: &Document) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.0.hash(&document.record, &Extra::default(), document.graph));
        hash.update(document.revision.value().to_be_bytes());
        for cut in &document.truncated {
            hash.update(cut.field.as_str());
            hash.update(cut.original_bytes.to_be_bytes());
            hash.update(cut.sha256.as_bytes());
        }
        // Most have none, and their hashes are those of earlier versions.
        if let Some(extra) = &document.extra {
            hash.update(extra.as_str());
        }
        hash.finalize().into()
    }
}

/// A walk over all copies of a kind within a month.
pub(super) struct CopyWalk<'s> {
    scans: &'s dyn LogReader,
    scan: Scan,
}

impl<'s> CopyWalk<'s> {
    pub(super) fn new(scans: &'s dyn LogReader, month: Month, kind: Kind) -> Self {
        let created = TimeRange { from: Some(month.start()), until: Some(month.end()) };
        Self { scans, scan: Scan { created, superseded_too: true, ..Scan::all(kind, PAGE) } }
    }

    /// Returns the next documents; none at the end.
    pub(super) async fn next(&mut self) -> Result<Vec<Document>, BackupError> {
        let documents = self.scans.scan(&self.scan).await?;
        if let Some(last) = documents.last() {
            self.scan.after = Some(last.cursor());
        }
        Ok(documents)
    }
}

/// Reads all of a month.
pub(super) async fn contents(
    scans: &dyn LogReader,
    month: Month,
    payloads: &Payloads<'_>,
) -> Result<Contents, BackupError> {
    let mut contents = Contents::default();
    let mut hasher = DocumentHasher::default();
    let mut kinds = BTreeMap::new();
    for kind in Kind::ALL {
        let mut walk = CopyWalk::new(scans, month, kind);
        let (mut documents, mut sum) = (0, Sum::default());
        loop {
            let page = walk.next().await?;
            if page.is_empty() {
                break;
            }
            documents += page.len() as u64;
            for document in &page {
                sum.add(&hasher.hash(document));
            }
            payloads.follow(&page, &mut contents).await?;
        }
        if documents > 0 {
            kinds.insert(ReportText(kind), KindContents::new(documents, sum));
        }
    }
    contents.kinds = kinds;
    Ok(contents)
}

impl Payloads<'_> {
    async fn follow(&self, documents: &[Document], contents: &mut Contents) -> Result<(), BackupError> {
        let references = documents.iter().flat_map(|document| {
            document.truncated.iter().map(|cut| (document.tenant_id(), document.month(), cut.sha256))
        });
        let there = stream::iter(references.collect::<Vec<_>>()).map(async |(tenant_id, month, sha256)| {
            let (store, is_there) = match self {
                Self::Copy { from, to } => (from, from.copy_to(to, tenant_id, month, sha256).await? != Copied::Absent),
                Self::Check(store) => (store, store.has(tenant_id, month, sha256).await?),
            };
            Ok::<_, BackupError>((!is_there).then(|| store.object_name(tenant_id, month, sha256)))
        });
        let mut there = there.buffer_unordered(PAYLOADS);
        while let Some(absent) = there.try_next().await? {
            contents.payloads += 1;
            let Some(object) = absent else { continue };
            contents.absent_payloads += 1;
            if contents.absent_payloads <= NAMED {
                warn!(object, "a document names a full text that is not in the payload store");
            }
        }
        Ok(())
    }
}
