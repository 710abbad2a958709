//! Makes a store out of a backup.

use std::time::Duration;

use tracing::info;

use super::manifest::Manifest;
use super::{Backup, BackupError};
use crate::domain::Month;
use crate::store::LogReader;

impl Backup {
    /// Restores months of a backup, all of them if none is named, where the store has none of these. Payloads come first:
    /// no document refers to one that is not there. Documents written meanwhile into other months are not touched.
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
            let payloads = self.vault.copy_month_to(&self.payloads, copy.month.0).await?;
            self.copies.restore(&copy.name()).await?;
            // A sweep of the store may have met them before the documents that name them, where they had been there long.
            self.vault.copy_month_to(&self.payloads, copy.month.0).await?;
            self.remove_unnamed(copy.month.0).await?;
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

    /// The vault's folder of a month is of all its copies: what only another copy's documents name does not come back.
    async fn remove_unnamed(&self, month: Month) -> Result<(), BackupError> {
        let names: &dyn LogReader = &*self.store;
        for tenant_id in self.vault.tenants().await? {
            self.payloads.sweep_month::<BackupError>(names, tenant_id, month, Duration::ZERO, true).await?;
        }
        Ok(())
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
