//! Compares a store, or the copies themselves, with what a manifest says.

use std::collections::{BTreeMap, HashMap};

use super::manifest::{Manifest, MonthCopy};
use super::read::{self, CopyWalk, DocumentHasher, Payloads};
use super::{Backup, BackupError};
use crate::domain::query::{Content, Lookup};
use crate::domain::record::RecordKey;
use crate::domain::{Document, Kind, Month, RecordId, TenantId};
use crate::store::LogReader;

/// Records that are named, of each month and fault; the rest is counted.
const NAMED: usize = 20;

/// A month, compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthCheck {
    pub month: Month,
    /// Documents of the backup.
    pub documents: u64,
    pub outcome: VerifyOutcome,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyOutcome {
    /// The same documents, and every payload that the backup has.
    Equal,
    /// The store was written to, or lost something.
    Differs(Differences),
    /// The copy is not what the manifest says: it is damaged.
    Damaged,
}

/// How a store differs from a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// The store has a newer snapshot: written since.
    pub newer: u64,
    /// Only the store has them: written since.
    pub added: u64,
    /// Only the backup has them: removed since, or lost.
    pub missing: Named,
    /// The same snapshot with other contents.
    pub different: Named,
    /// Payloads that the backup has and the store does not.
    pub absent_payloads: u64,
    /// The names of the first of their objects.
    pub absent: Vec<String>,
}

/// Records that something is wrong with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    pub count: u64,
    /// The first of them.
    pub first: Vec<RecordKey>,
}

impl Named {
    fn add(&mut self, key: RecordKey) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(key);
        }
    }
}

impl VerifyOutcome {
    /// Returns whether everything in the backup is in the store, as it was or newer.
    #[must_use]
    pub const fn holds(&self) -> bool {
        match self {
            Self::Equal => true,
            Self::Differs(found) => {
                found.missing.count == 0 && found.different.count == 0 && found.absent_payloads == 0
            }
            Self::Damaged => false,
        }
    }
}

impl Backup {
    /// Compares the store with a backup, month by month: counts and hashes, and where these differ, record by record.
    ///
    /// # Errors
    /// [`BackupError`] if something cannot be read.
    pub async fn verify(&self, manifest: &Manifest) -> Result<Vec<MonthCheck>, BackupError> {
        self.copies.prepare().await?;
        self.store.refresh().await?;
        let mut checks = Vec::new();
        for copy in &manifest.months {
            let contents = read::contents(&*self.store, copy.month.0, &Payloads::Check(&self.payloads)).await?;
            let outcome = if contents == copy.contents {
                VerifyOutcome::Equal
            } else {
                self.differences(copy, contents.documents()).await?
            };
            checks.push(MonthCheck { month: copy.month.0, documents: copy.contents.documents(), outcome });
        }
        Ok(checks)
    }

    /// Reads the copies themselves, and sees that they are what the manifest says.
    ///
    /// # Errors
    /// [`BackupError`] if a copy cannot be read.
    pub async fn verify_copies(&self, manifest: &Manifest) -> Result<Vec<MonthCheck>, BackupError> {
        self.copies.prepare().await?;
        let mut checks = Vec::new();
        for copy in &manifest.months {
            let opened = self.copies.open(&copy.name()).await?;
            let contents = read::contents(&*opened.reader, copy.month.0, &Payloads::Check(&self.vault)).await;
            let contents = self.close(opened, contents).await?;
            let outcome = if contents == copy.contents { VerifyOutcome::Equal } else { VerifyOutcome::Damaged };
            checks.push(MonthCheck { month: copy.month.0, documents: copy.contents.documents(), outcome });
        }
        Ok(checks)
    }

    async fn differences(&self, copy: &MonthCopy, stored: u64) -> Result<VerifyOutcome, BackupError> {
        let mut found = self.compared(copy).await?;
        let common = copy.contents.documents().saturating_sub(found.missing.count);
        found.added = stored.saturating_sub(common);
        Ok(VerifyOutcome::Differs(found))
    }

    /// Opens a copy, and looks every document of it up in the store.
    pub(super) async fn compared(&self, copy: &MonthCopy) -> Result<Differences, BackupError> {
        let opened = self.copies.open(&copy.name()).await?;
        let found = self.compare(&*opened.reader, copy.month.0).await;
        self.close(opened, found).await
    }

    /// Looks every document of a copy up in the store.
    async fn compare(&self, copy: &dyn LogReader, month: Month) -> Result<Differences, BackupError> {
        let mut found = Differences::default();
        let mut hasher = DocumentHasher::default();
        for kind in Kind::ALL {
            let mut walk = CopyWalk::new(copy, month, kind);
            loop {
                let page = walk.next().await?;
                if page.is_empty() {
                    break;
                }
                let stored = self.stored(kind, &page).await?;
                for document in &page {
                    let copies = stored.get(&document.key()).map(Vec::as_slice).unwrap_or_default();
                    let is_later = |copy: &Document| copy.revision > document.revision;
                    // A run that was resumed in another month has a copy in each.
                    match copies.iter().find(|copy| copy.month() == document.month()) {
                        None if copies.iter().any(is_later) => found.newer += 1,
                        None => found.missing.add(document.key()),
                        Some(stored) if is_later(stored) => found.newer += 1,
                        Some(stored) if hasher.hash(stored) != hasher.hash(document) => {
                            found.different.add(document.key());
                        }
                        Some(_) => self.absent_payloads(document, &mut found).await?,
                    }
                }
            }
        }
        Ok(found)
    }

    /// Returns every copy that the store has of the documents' records.
    async fn stored(
        &self,
        kind: Kind,
        documents: &[Document],
    ) -> Result<HashMap<RecordKey, Vec<Document>>, BackupError> {
        let mut ids: BTreeMap<TenantId, Vec<RecordId>> = BTreeMap::new();
        for document in documents {
            ids.entry(document.tenant_id()).or_default().push(document.record.id());
        }
        let mut stored: HashMap<RecordKey, Vec<Document>> = HashMap::new();
        for (tenant_id, ids) in ids {
            let lookup = Lookup { every_copy: true, ..Lookup::new(tenant_id, kind, &ids, Content::Full) };
            for document in self.store.lookup(&lookup).await? {
                stored.entry(document.key()).or_default().push(document);
            }
        }
        Ok(stored)
    }

    /// Payloads of a document that the backup has and the store does not.
    async fn absent_payloads(&self, document: &Document, found: &mut Differences) -> Result<(), BackupError> {
        let (tenant_id, month) = (document.tenant_id(), document.month());
        for cut in &document.truncated {
            let lost = !self.payloads.has(tenant_id, month, cut.sha256).await?
                && self.vault.has(tenant_id, month, cut.sha256).await?;
            found.absent_payloads += u64::from(lost);
            if lost && found.absent.len() < NAMED {
                found.absent.push(self.payloads.object_name(tenant_id, month, cut.sha256));
            }
        }
        Ok(())
    }
}
