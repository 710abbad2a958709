//! What a backup consists of. The manifest is written last: a backup without one does not exist.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::BackupError;
use crate::backfill::canonical::Sum;
use crate::backfill::report::ReportText;
use crate::domain::document::ContentHash;
use crate::domain::{Kind, Month, Timestamp};
use crate::store::copies::{BackupId, CopyName, Mark, VaultId};
use crate::store::payload::PayloadStore;

/// The folder of the manifests, beside the payloads.
const FOLDER: &str = "backups";

/// The note that names the vault, beside the manifests; no backup can have this name.
const VAULT: &str = "vault";

/// The version of the format that this program writes.
const FORMAT: u32 = 1;

/// Which store the copies are of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "store", rename_all = "lowercase", deny_unknown_fields)]
pub enum BackupSource {
    Sqlite,
    Elastic { prefix: String },
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub id: ReportText<BackupId>,
    /// The version of difylog that made it.
    pub difylog: String,
    pub source: BackupSource,
    pub began: ReportText<Timestamp>,
    pub ended: ReportText<Timestamp>,
    /// Oldest first.
    pub months: Vec<MonthCopy>,
    /// difylog's own state as it was before the first month was copied: checkpoints are never ahead of the documents.
    pub state: BTreeMap<String, Value>,
}

/// A month of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonthCopy {
    pub month: ReportText<Month>,
    /// The backup that made the copy: this one, or an earlier one after which nothing was written.
    pub copied_by: ReportText<BackupId>,
    /// Where the month stood before it was copied.
    pub mark: Option<String>,
    /// What the copy holds, read from the copy.
    pub contents: Contents,
}

/// What a month holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    pub kinds: BTreeMap<ReportText<Kind>, KindContents>,
    /// Full texts of truncated payloads that documents refer to.
    pub payloads: u64,
    /// Those that the payload store did not have.
    pub absent_payloads: u64,
}

/// What a month holds of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindContents {
    pub documents: u64,
    /// Sum of the hashes of the documents, their graphs put back.
    pub hash: ReportText<ContentHash>,
}

impl KindContents {
    pub(super) fn new(documents: u64, sum: Sum) -> Self {
        Self { documents, hash: ReportText(sum.to_hash()) }
    }
}

impl Contents {
    /// Documents of all kinds.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.kinds.values().map(|kind| kind.documents).sum()
    }
}

impl MonthCopy {
    #[must_use]
    pub fn name(&self) -> CopyName {
        CopyName { month: self.month.0, backup: self.copied_by.0.clone() }
    }

    /// Returns whether nothing was written into the month since the copy.
    pub(super) fn is_current(&self, mark: Option<&Mark>) -> bool {
        self.mark.is_some() && self.mark.as_ref() == mark.map(|mark| &mark.0)
    }
}

impl Manifest {
    pub(super) fn new(id: BackupId, source: BackupSource, began: Timestamp) -> Self {
        Self {
            format: FORMAT,
            id: ReportText(id),
            difylog: env!("CARGO_PKG_VERSION").to_owned(),
            source,
            began: ReportText(began),
            ended: ReportText(began),
            months: Vec::new(),
            state: BTreeMap::new(),
        }
    }

    /// Documents of all months and kinds.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.months.iter().map(|month| month.contents.documents()).sum()
    }
}

/// The manifests of a vault.
pub struct Manifests<'v>(pub &'v PayloadStore);

impl Manifests<'_> {
    /// Returns all backups, oldest first.
    ///
    /// # Errors
    /// [`BackupError`] if the vault cannot be read or a manifest not be understood.
    pub async fn all(&self) -> Result<Vec<Manifest>, BackupError> {
        let mut manifests = Vec::new();
        for name in self.0.notes(FOLDER).await? {
            if let Ok(id) = name.parse() {
                manifests.extend(self.find(&id).await?);
            }
        }
        Ok(manifests)
    }

    /// One backup.
    ///
    /// # Errors
    /// As [`Self::all`], and [`BackupError::Unknown`].
    pub async fn get(&self, id: &BackupId) -> Result<Manifest, BackupError> {
        self.find(id).await?.ok_or_else(|| BackupError::Unknown(id.clone()))
    }

    async fn find(&self, id: &BackupId) -> Result<Option<Manifest>, BackupError> {
        let Some(text) = self.0.note(FOLDER, &id.to_string()).await? else { return Ok(None) };
        let unreadable = |problem: String| BackupError::Manifest { id: id.clone(), problem };
        let format = serde_json::from_slice::<Value>(&text).ok().and_then(|value| value.get("format")?.as_u64());
        if format.is_some_and(|format| format > FORMAT.into()) {
            return Err(unreadable("it is of a newer difylog: upgrade this one".to_owned()));
        }
        serde_json::from_slice(&text).map(Some).map_err(|error| unreadable(error.to_string()))
    }

    /// Returns the vault's own name, and gives it one where it has none.
    ///
    /// # Errors
    /// [`BackupError`] if the vault cannot be read or written, or the name not be understood.
    pub async fn vault(&self) -> Result<VaultId, BackupError> {
        if let Some(known) = self.known_vault().await? {
            return Ok(known);
        }
        let name = json!({ "vault": Uuid::new_v4().to_string() });
        self.0.put_note(FOLDER, VAULT, name.to_string()).await?;
        // Another process may have named it at the same moment: the name that stays counts.
        self.known_vault().await?.ok_or(BackupError::Vault)
    }

    async fn known_vault(&self) -> Result<Option<VaultId>, BackupError> {
        let Some(text) = self.0.note(FOLDER, VAULT).await? else { return Ok(None) };
        let named = serde_json::from_slice::<Value>(&text).ok();
        let name = named.as_ref().and_then(|named| named.get("vault")?.as_str());
        name.map(|name| Some(VaultId(name.to_owned()))).ok_or(BackupError::Vault)
    }

    pub(super) async fn put(&self, manifest: &Manifest) -> Result<(), BackupError> {
        let id = &manifest.id.0;
        let text = serde_json::to_string_pretty(manifest)
            .map_err(|error| BackupError::Manifest { id: id.clone(), problem: error.to_string() })?;
        Ok(self.0.put_note(FOLDER, &id.to_string(), text).await?)
    }

    pub(super) async fn delete(&self, id: &BackupId) -> Result<(), BackupError> {
        Ok(self.0.delete_note(FOLDER, &id.to_string()).await?)
    }
}
