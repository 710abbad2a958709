//! Makes a backup, and removes one.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use super::manifest::{Manifest, Manifests, MonthCopy};
use super::read::{self, Payloads};
use super::{Backup, BackupError};
use crate::backfill::report::ReportText;
use crate::domain::Month;
use crate::store::StateStore;
use crate::store::copies::{BackupId, CopyName, Mark, MonthState, VaultId};
use crate::store::lease::Lease;

/// Leases, requests to the process that writes, folders of hosts, the place of a sweep and how far a restore is are no state
/// worth keeping.
const OF_THE_MOMENT: [&str; 5] =
    ["lease/", "erasure/", "payloads/folder/", "retention/sweep", super::restore::PROGRESS];
/// So that one process at a time makes or removes backups.
const LEASE: &str = "lease/backup";
/// How long a process that died keeps others from it.
const LEASE_DURATION: Duration = Duration::from_mins(5);

impl Backup {
    /// Copies every month of the store that an earlier backup does not hold as it is now, reads each copy back, and writes
    /// the manifest. Writing goes on meanwhile: each month is as it was at one moment of its own.
    ///
    /// # Errors
    /// [`BackupError`]; then there is no backup, and the next one removes what is left of it.
    pub async fn create(&self) -> Result<Manifest, BackupError> {
        self.copies.prepare().await?;
        self.alone(self.make()).await
    }

    /// Removes a backup, and the copies and payloads that no other one needs.
    ///
    /// # Errors
    /// [`BackupError`]; the backup is gone or not, and the next one removes what is left of it.
    pub async fn delete(&self, id: &BackupId) -> Result<(), BackupError> {
        self.alone(async {
            let manifest = Manifests(&self.vault).get(id).await?;
            // From here on it does not exist; the rest is sweeping.
            Manifests(&self.vault).delete(id).await?;
            let others = Manifests(&self.vault).all().await?;
            self.sweep(&Manifests(&self.vault).vault().await?, &others, &manifest.months).await?;
            let needed: BTreeSet<Month> =
                others.iter().flat_map(|other| &other.months).map(|copy| copy.month.0).collect();
            for copy in manifest.months.iter().filter(|copy| !needed.contains(&copy.month.0)) {
                self.vault.drop_month(copy.month.0).await?;
            }
            Ok(())
        })
        .await
    }

    async fn make(&self) -> Result<Manifest, BackupError> {
        let began = (self.clock)();
        let id = BackupId::at(began);
        let earlier = Manifests(&self.vault).all().await?;
        if earlier.iter().any(|manifest| manifest.id.0 == id) {
            return Err(BackupError::TooSoon(id));
        }
        let mut manifest = Manifest::new(id.clone(), self.source.clone(), began);
        let vault = Manifests(&self.vault).vault().await?;
        let kept = self.sweep(&vault, &earlier, &[]).await?;
        let of_the_moment = |key: &str| OF_THE_MOMENT.iter().any(|prefix| key.starts_with(prefix));
        for entry in self.store.states("").await?.into_iter().filter(|entry| !of_the_moment(&entry.key)) {
            manifest.state.insert(entry.key, entry.value);
        }
        let last = earlier.iter().rev().find(|manifest| manifest.source == self.source);
        for MonthState { month, mark } in self.copies.months().await? {
            let known = last.and_then(|last| last.months.iter().find(|copy| copy.month.0 == month));
            let known = known.filter(|copy| copy.is_current(mark.as_ref()) && kept.contains(&copy.name()));
            let copy = match known {
                Some(copy) => Some(copy.clone()),
                None => self.copy(CopyName { month, backup: id.clone() }, &vault, mark).await?,
            };
            if let Some(copy) = copy {
                let documents = copy.contents.documents();
                info!(%month, documents, copied_by = %copy.copied_by.0, "backup: month");
                manifest.months.push(copy);
            }
        }
        manifest.ended = ReportText((self.clock)());
        Manifests(&self.vault).put(&manifest).await?;
        Ok(manifest)
    }

    /// Copies a month and reads the copy back; `None` if the month has gone meanwhile.
    async fn copy(
        &self,
        name: CopyName,
        vault: &VaultId,
        mark: Option<Mark>,
    ) -> Result<Option<MonthCopy>, BackupError> {
        if !self.copies.copy(&name, vault).await? {
            return Ok(None);
        }
        let payloads = Payloads::Copy { from: &self.payloads, to: &self.vault };
        let copy = self.copies.open(&name).await?;
        let contents = read::contents(&*copy.reader, name.month, &payloads).await;
        let contents = self.close(copy, contents).await?;
        Ok(Some(MonthCopy {
            month: ReportText(name.month),
            copied_by: ReportText(name.backup),
            mark: mark.map(|mark| mark.0),
            contents,
        }))
    }

    /// Removes copies of this vault that no manifest names: of backups that did not come to their end, or were removed.
    /// `gone`: those that only a removed manifest named, whoever made them. What another vault may need stays, and what was
    /// made before copies said for whom: where `backup.dir` is another one now, or is not mounted, this vault's manifests
    /// know nothing of the copies that lie in the repository. Returns the copies that manifests name.
    async fn sweep(
        &self,
        vault: &VaultId,
        manifests: &[Manifest],
        gone: &[MonthCopy],
    ) -> Result<BTreeSet<CopyName>, BackupError> {
        let gone: BTreeSet<CopyName> = gone.iter().map(MonthCopy::name).collect();
        let named: BTreeSet<CopyName> =
            manifests.iter().flat_map(|manifest| &manifest.months).map(MonthCopy::name).collect();
        let (mut kept, mut others) = (BTreeSet::new(), 0);
        for copy in self.copies.copies().await? {
            if named.contains(&copy) {
                kept.insert(copy);
            } else if gone.contains(&copy) || self.copies.is_of(&copy, vault).await? {
                info!(%copy, "backup: a copy that no backup needs is removed");
                self.copies.delete(&copy).await?;
            } else {
                others += 1;
            }
        }
        if others > 0 {
            warn!(
                copies = others,
                "backup: copies that are not known to be of this backup.dir or backup.s3 stay in the repository: see that it \
                 is the right place; delete them by hand if no other place has their manifests"
            );
        }
        Ok(kept)
    }

    /// Does work while no other process does such, and stops it should another take over.
    async fn alone<T>(&self, work: impl Future<Output = Result<T, BackupError>>) -> Result<T, BackupError> {
        let state: std::sync::Arc<dyn StateStore> = self.store.clone();
        let lease = Lease::acquire(state, LEASE, &self.holder, LEASE_DURATION, (self.clock)()).await?;
        let mut lease = lease.map_err(|held| BackupError::Busy { holder: held.holder, until: held.until })?;
        let mut work = std::pin::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = sleep(LEASE_DURATION / 5) => {
                    match lease.renew((self.clock)()).await {
                        Ok(true) => {}
                        Ok(false) => return Err(BackupError::Overtaken),
                        // While the store is away, no other process can take the lease either.
                        Err(error) => warn!(%error, "the lease could not be renewed"),
                    }
                }
            }
        };
        lease.give_back().await;
        done
    }
}
