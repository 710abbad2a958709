//! Makes a store out of a backup.

use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::info;

use super::manifest::{Manifest, MonthCopy};
use super::{Backup, BackupError};
use crate::backfill::report::ReportText;
use crate::domain::Month;
use crate::store::{StateVersion, StoreError};

/// The state of a restore that has not ended, one of each backup.
pub(super) const PROGRESS: &str = "restore/";

/// How far a restore is.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Progress {
    /// May be there in part.
    begun: Vec<ReportText<Month>>,
    done: Vec<ReportText<Month>>,
}

impl Progress {
    fn begin(&mut self, month: ReportText<Month>) {
        // It may have been done and removed since.
        self.done.retain(|done| *done != month);
        if !self.begun.contains(&month) {
            self.begun.push(month);
        }
    }

    fn end(&mut self, month: ReportText<Month>) {
        self.begun.retain(|begun| *begun != month);
        self.done.push(month);
    }
}

/// The progress as it is kept in the store that is restored.
struct Kept {
    key: String,
    progress: Progress,
    version: Option<StateVersion>,
}

impl Backup {
    /// Restores months of a backup, all of them if none is named, where the store has none of these: of each its documents,
    /// then the full texts that these name. Documents written meanwhile into other months are not touched. One that was
    /// cut off goes on where it was.
    ///
    /// # Errors
    /// [`BackupError`]; the months that are complete stay, and the same call goes on.
    pub async fn restore(&self, manifest: &Manifest, months: &[Month]) -> Result<(), BackupError> {
        if let Some(absent) = months.iter().find(|month| !manifest.months.iter().any(|copy| copy.month.0 == **month)) {
            return Err(BackupError::NoSuchMonth(*absent));
        }
        self.copies.prepare().await?;
        let mut kept = self.kept(manifest).await?;
        let present: Vec<Month> = self.present().await?;
        let wanted = manifest.months.iter().filter(|copy| months.is_empty() || months.contains(&copy.month.0));
        let (there, absent): (Vec<_>, Vec<_>) = wanted.partition(|copy| present.contains(&copy.month.0));
        let (begun, there): (Vec<_>, Vec<_>) =
            there.into_iter().partition(|copy| kept.progress.begun.contains(&copy.month));
        let mut taken = there.iter().filter(|copy| !kept.progress.done.contains(&copy.month)).peekable();
        if taken.peek().is_some() {
            return Err(not_empty(taken.map(|copy| copy.month.0)));
        }
        self.copies.begin_restore().await?;
        // Another call for other months, cut off, goes on by what is kept of it.
        let is_first = kept.version.is_none();
        for copy in begun {
            self.resume_month(copy).await?;
            self.keep_done(&mut kept, copy.month).await?;
        }
        for copy in absent {
            kept.progress.begin(copy.month);
            self.keep(&mut kept).await?;
            self.copies.restore(&copy.name()).await?;
            self.copy_texts(copy).await?;
            self.keep_done(&mut kept, copy.month).await?;
        }
        self.store.install().await?;
        if months.is_empty() {
            for (key, value) in &manifest.state {
                // What is there is newer.
                self.store.put_state(key, value, None).await?;
            }
        }
        let is_whole = manifest.months.iter().all(|copy| kept.progress.done.contains(&copy.month));
        if let Some(version) = kept.version.filter(|_| is_first || is_whole) {
            self.store.delete_state(&kept.key, version).await?;
        }
        Ok(())
    }

    /// Goes on with the month at which a restore was cut off. What is there may also be a month that was begun anew since,
    /// which nothing can be restored into.
    async fn resume_month(&self, copy: &MonthCopy) -> Result<(), BackupError> {
        self.copies.resume(&copy.name()).await?;
        self.copy_texts(copy).await?;
        self.store.refresh().await?;
        if self.compared(copy).await?.missing.count > 0 {
            return Err(not_empty([copy.month.0]));
        }
        Ok(())
    }

    /// The vault's folder of a month is of all its copies, and the payload store may be another store's as well: what the
    /// restored documents name is copied, and nothing is removed. Behind the documents, so that no sweep meets a text
    /// that is not named yet.
    async fn copy_texts(&self, copy: &MonthCopy) -> Result<(), BackupError> {
        let month = copy.month.0;
        let payloads: u64 = self.vault.copy_named_to::<BackupError>(&self.payloads, &*self.store, month).await?;
        info!(%month, documents = copy.contents.documents(), payloads, "restored");
        Ok(())
    }

    /// Returns how far an earlier call came.
    async fn kept(&self, manifest: &Manifest) -> Result<Kept, BackupError> {
        let key = format!("{PROGRESS}{}", manifest.id.0);
        let found = match self.store.state(&key).await {
            Err(StoreError::NotSetUp(_)) => None,
            found => found?,
        };
        let version = found.as_ref().map(|entry| entry.version);
        let progress = found.and_then(|entry| serde_json::from_value(entry.value).ok()).unwrap_or_default();
        Ok(Kept { key, progress, version })
    }

    async fn keep_done(&self, kept: &mut Kept, month: ReportText<Month>) -> Result<(), BackupError> {
        kept.progress.end(month);
        self.keep(kept).await
    }

    async fn keep(&self, kept: &mut Kept) -> Result<(), BackupError> {
        let written = self.store.put_state(&kept.key, &json!(kept.progress), kept.version).await?;
        kept.version = Some(written.ok_or(BackupError::Overtaken)?);
        Ok(())
    }

    /// Returns the months that the store has; none if it is not set up yet.
    async fn present(&self) -> Result<Vec<Month>, BackupError> {
        match self.copies.months().await {
            Ok(months) => Ok(months.into_iter().map(|state| state.month).collect()),
            Err(StoreError::NotSetUp(_)) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

fn not_empty(months: impl IntoIterator<Item = Month>) -> BackupError {
    let months: Vec<String> = months.into_iter().map(|month| month.to_string()).collect();
    BackupError::NotEmpty(months.join(", "))
}
