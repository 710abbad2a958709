//! Makes a store out of a backup.

use tracing::info;

use super::manifest::Manifest;
use super::{Backup, BackupError};
use crate::domain::Month;

impl Backup {
    /// Restores months of a backup, all of them if none is named, where the store has none of these: of each its documents,
    /// then the full texts that these name. Documents written meanwhile into other months are not touched.
    ///
    /// # Errors
    /// [`BackupError`]; the months that are complete stay.
    pub async fn restore(&self, manifest: &Manifest, months: &[Month]) -> Result<(), BackupError> {
        if let Some(absent) = months.iter().find(|month| !manifest.months.iter().any(|copy| copy.month.0 == **month)) {
            return Err(BackupError::NoSuchMonth(*absent));
        }
        self.copies.prepare().await?;
        let wanted = manifest.months.iter().filter(|copy| months.is_empty() || months.contains(&copy.month.0));
        let wanted: Vec<_> = wanted.collect();
        let present: Vec<Month> = self.present().await?;
        let mut taken = wanted.iter().map(|copy| copy.month.0).filter(|month| present.contains(month)).peekable();
        if taken.peek().is_some() {
            return Err(BackupError::NotEmpty(taken.map(|month| month.to_string()).collect::<Vec<_>>().join(", ")));
        }
        for copy in wanted {
            self.copies.restore(&copy.name()).await?;
            let payloads = self.copy_texts(copy.month.0).await?;
            info!(month = %copy.month.0, documents = copy.contents.documents(), payloads, "restored");
        }
        self.store.install().await?;
        if months.is_empty() {
            for (key, value) in &manifest.state {
                // What is there is newer.
                self.store.put_state(key, value, None).await?;
            }
        }
        Ok(())
    }

    /// The vault's folder of a month is of all its copies, and the payload store may be another store's as well: what the
    /// restored documents name is copied, and nothing is removed. Behind the documents, so that no sweep meets a text
    /// that is not named yet.
    async fn copy_texts(&self, month: Month) -> Result<u64, BackupError> {
        self.vault.copy_named_to(&self.payloads, &*self.store, month).await
    }

    /// Returns the months that the store has; none if it is not set up yet.
    async fn present(&self) -> Result<Vec<Month>, BackupError> {
        match self.copies.months().await {
            Ok(months) => Ok(months.into_iter().map(|state| state.month).collect()),
            Err(crate::store::StoreError::NotSetUp(_)) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}
