//! What must not be lost when backups are not alone: another store beside the restored one, another vault in the same
//! repository, another process at the same copy, a restore that was cut off.

use std::sync::Arc;

use async_trait::async_trait;
use difylog::backup::{Backup, BackupError, VerifyOutcome};
use difylog::domain::query::Scan;
use difylog::domain::{Kind, Month, Record};
use difylog::store::copies::{CopyName, MonthCopies, MonthState, OpenedCopy, VaultId};
use difylog::store::{Erasure, LogReader, Remains, StoreError};
use serde_json::json;

use crate::backup::cases::{NOVEMBER, SEPTEMBER, equal, family, outcomes, write_truncated};
use crate::backup::place::Place;
use crate::support::records::{sha256, tenant};

/// A store that is made out of a backup shares the payload store with the one that goes on.
pub async fn a_store_beside_another_takes_no_text_from_it(place: &Place) {
    let tenant_id = tenant();
    let (before, text) = write_truncated(place, tenant_id, SEPTEMBER).await;
    let manifest = place.backup().create().await.unwrap();
    let (since, since_text) = write_truncated(place, tenant_id, "2026-09-11T00:00:00Z").await;

    let another = place.another().await.with_payloads(Arc::clone(&place.payloads));
    another.backup().restore(&manifest, &[]).await.unwrap();
    for (document, text) in [(before, text), (since, since_text)] {
        let found = place.payloads.get(tenant_id, document.month(), sha256(text.as_str())).await.unwrap();
        assert_eq!(found, Some(text), "a text that a document names is gone");
    }
}

/// The vault keeps the texts of all backups of a month together.
pub async fn only_texts_that_are_named_come_back(place: &Place) {
    let tenant_id = tenant();
    let (erased, erased_text) = write_truncated(place, tenant_id, SEPTEMBER).await;
    place.backup().create().await.unwrap();
    let erasure = Erasure { key: erased.key(), revision: None };
    assert_eq!(place.store.erase(&[erasure], Remains::Nothing).await.unwrap(), [true]);
    let (kept, kept_text) = write_truncated(place, tenant_id, "2026-09-11T00:00:00Z").await;
    let manifest = place.backup().create().await.unwrap();

    let another = place.another().await;
    another.backup().restore(&manifest, &[]).await.unwrap();
    assert_eq!(outcomes(another.backup().verify(&manifest).await.unwrap()), equal()[..1]);
    let month = kept.month();
    assert_eq!(another.payloads.get(tenant_id, month, sha256(kept_text.as_str())).await.unwrap(), Some(kept_text));
    assert_eq!(another.payloads.get(tenant_id, month, sha256(erased_text.as_str())).await.unwrap(), None);
}

/// Of an engine: the snapshots lie in the cluster's repository, whichever directory the manifests lie in.
pub async fn another_vault_keeps_what_this_one_does_not_know(place: &Place) {
    place.write(&[family(tenant(), SEPTEMBER), family(tenant(), NOVEMBER)].concat()).await;
    let manifest = place.backup().create().await.unwrap();
    // As after `backup.dir` was set anew, or its disk not mounted.
    let empty = || Backup { vault: place.vault_named("not-mounted"), ..place.backup() };
    empty().create().await.unwrap();
    let second = empty().create().await.unwrap();
    empty().delete(&second.id.0).await.unwrap();

    assert_eq!(outcomes(place.backup().verify_copies(&manifest).await.unwrap()), equal());
    let another = place.another().await;
    another.backup().restore(&manifest, &[]).await.unwrap();
    assert_eq!(outcomes(another.backup().verify(&manifest).await.unwrap()), equal());
}

/// What an operator closed is there, but nobody can read it.
pub async fn a_closed_index_is_told_and_not_left_out(place: &Place) {
    place.write(&[family(tenant(), SEPTEMBER), family(tenant(), NOVEMBER)].concat()).await;
    let index = place.indices("-workflow-*").await.remove(0);
    place.to_index(&index, "_close").await;
    let failed = place.backup().create().await.unwrap_err().to_string();
    assert!(failed.contains("is closed") && failed.contains("_open"), "{failed}");
    place.to_index(&index, "_open").await;
    let manifest = place.backup().create().await.unwrap();
    assert_eq!(manifest.months.len(), 2);
}

/// Everything that a walk over a copy meets.
async fn runs_of(reader: &dyn LogReader) -> usize {
    reader.scan(&Scan::all(Kind::WorkflowRun, 100)).await.unwrap().len()
}

/// `verify` and `create` in two processes.
pub async fn a_copy_is_read_by_two_at_once(place: &Place) {
    place.write(&family(tenant(), SEPTEMBER)).await;
    let manifest = place.backup().create().await.unwrap();
    let name = manifest.months[0].name();
    let (one, other) = (place.copies(), place.copies());
    let (first, second) = (one.open(&name).await.unwrap(), other.open(&name).await.unwrap());
    assert_eq!((runs_of(&*first.reader).await, runs_of(&*second.reader).await), (1, 1));
    other.close(second).await.unwrap();
    assert_eq!(runs_of(&*first.reader).await, 1, "another process took away what is being read");
    one.close(first).await.unwrap();
}

/// Where nothing more is read because it was deleted, that is no end.
pub async fn a_copy_that_goes_while_it_is_read_is_no_short_copy(place: &Place) {
    place.write(&family(tenant(), SEPTEMBER)).await;
    let manifest = place.backup().create().await.unwrap();
    let copies = place.copies();
    let opened = copies.open(&manifest.months[0].name()).await.unwrap();
    let part = opened.parts.first().unwrap().clone();
    place.lose(&part).await;
    let failed = copies.close(opened).await.unwrap_err();
    assert!(failed.to_string().contains(&part), "{failed}");
}

/// Of an engine: a process that died had copies open.
pub async fn an_opened_copy_that_nobody_closed_goes_after_a_day(place: &Place) {
    place.write(&family(tenant(), SEPTEMBER)).await;
    let manifest = place.backup().create().await.unwrap();
    let copies = place.copies();
    drop(copies.open(&manifest.months[0].name()).await.unwrap());
    place.create_index("-copy-20260901t000000z-0123abcd-workflow-runs-2026.09").await;
    let left = place.indices("-copy-*").await;
    assert!(left.len() > 1, "{left:?}");
    place.backup().create().await.unwrap();
    place.backup().verify_copies(&manifest).await.unwrap();
    let young: Vec<_> = left.into_iter().filter(|index| !index.contains("0123abcd")).collect();
    assert_eq!(place.indices("-copy-*").await, young);
}

/// Where a restore stops.
#[derive(Clone, Copy)]
enum Stop {
    Before,
    After,
}

/// Copies of which the restore of one month is cut off.
struct CutOff {
    copies: Box<dyn MonthCopies>,
    month: Month,
    stop: Stop,
}

#[async_trait]
impl MonthCopies for CutOff {
    async fn prepare(&self) -> Result<(), StoreError> {
        self.copies.prepare().await
    }

    async fn months(&self) -> Result<Vec<MonthState>, StoreError> {
        self.copies.months().await
    }

    async fn copy(&self, name: &CopyName, vault: &VaultId) -> Result<bool, StoreError> {
        self.copies.copy(name, vault).await
    }

    async fn is_of(&self, name: &CopyName, vault: &VaultId) -> Result<bool, StoreError> {
        self.copies.is_of(name, vault).await
    }

    async fn copies(&self) -> Result<Vec<CopyName>, StoreError> {
        self.copies.copies().await
    }

    async fn open(&self, name: &CopyName) -> Result<OpenedCopy, StoreError> {
        self.copies.open(name).await
    }

    async fn close(&self, copy: OpenedCopy) -> Result<(), StoreError> {
        self.copies.close(copy).await
    }

    async fn begin_restore(&self) -> Result<(), StoreError> {
        self.copies.begin_restore().await
    }

    async fn resume(&self, name: &CopyName) -> Result<(), StoreError> {
        self.copies.resume(name).await
    }

    async fn restore(&self, name: &CopyName) -> Result<(), StoreError> {
        if name.month == self.month && matches!(self.stop, Stop::Before) {
            return Err(StoreError::Unavailable("cut off".into()));
        }
        self.copies.restore(name).await?;
        if name.month == self.month { Err(StoreError::Unavailable("cut off".into())) } else { Ok(()) }
    }

    async fn delete(&self, name: &CopyName) -> Result<(), StoreError> {
        self.copies.delete(name).await
    }
}

fn cut_off(place: &Place, month: Month, stop: Stop) -> Backup {
    Backup { copies: Box::new(CutOff { copies: place.copies(), month, stop }), ..place.backup() }
}

pub async fn a_restore_that_was_cut_off_goes_on(place: &Place) {
    let tenant_id = tenant();
    place.write(&[family(tenant_id, SEPTEMBER), family(tenant_id, NOVEMBER)].concat()).await;
    let (cut, text) = write_truncated(place, tenant_id, NOVEMBER).await;
    place.store.put_state("migration/1", &json!({ "at": 7 }), None).await.unwrap();
    let manifest = place.backup().create().await.unwrap();
    let [september, november] = [0, 1].map(|index: usize| manifest.months[index].month.0);

    let another = place.another().await;
    for (month, stop) in [(november, Stop::Before), (november, Stop::After)] {
        let refused = cut_off(&another, month, stop).restore(&manifest, &[]).await.unwrap_err();
        assert!(matches!(refused, BackupError::Store(_)), "{refused}");
        assert!(another.store.state("migration/1").await.unwrap().is_none());
    }
    another.backup().restore(&manifest, &[]).await.unwrap();
    assert_eq!(outcomes(another.backup().verify(&manifest).await.unwrap()), equal());
    let found = another.payloads.get(tenant_id, cut.month(), sha256(text.as_str())).await.unwrap();
    assert_eq!(found, Some(text));
    assert_eq!(another.store.state("migration/1").await.unwrap().unwrap().value, json!({ "at": 7 }));
    // It has ended: the months are the store's own now.
    another.store.close().await;
    let another = another.reopened();
    let refused = another.backup().restore(&manifest, &[september]).await.unwrap_err();
    assert!(matches!(&refused, BackupError::NotEmpty(months) if months == "2026-09"), "{refused}");
}

pub async fn another_month_leaves_a_restore_that_was_cut_off_as_it_is(place: &Place) {
    let tenant_id = tenant();
    place.write(&[family(tenant_id, SEPTEMBER), family(tenant_id, NOVEMBER)].concat()).await;
    let (cut, text) = write_truncated(place, tenant_id, SEPTEMBER).await;
    let manifest = place.backup().create().await.unwrap();
    let [september, november] = [0, 1].map(|index: usize| manifest.months[index].month.0);
    let another = place.another().await;
    cut_off(&another, september, Stop::After).restore(&manifest, &[]).await.unwrap_err();
    another.backup().restore(&manifest, &[november]).await.unwrap();
    another.backup().restore(&manifest, &[]).await.unwrap();
    assert_eq!(outcomes(another.backup().verify(&manifest).await.unwrap()), equal());
    let found = another.payloads.get(tenant_id, cut.month(), sha256(text.as_str())).await.unwrap();
    assert_eq!(found, Some(text));
}

/// What was written into a month after its restore was cut off is no restored month.
pub async fn a_month_begun_anew_is_not_taken_for_a_restored_one(place: &Place) {
    let tenant_id = tenant();
    place.write(&family(tenant_id, SEPTEMBER)).await;
    let manifest = place.backup().create().await.unwrap();
    let another = place.another().await;
    cut_off(&another, manifest.months[0].month.0, Stop::Before).restore(&manifest, &[]).await.unwrap_err();
    let late = family(tenant_id, SEPTEMBER);
    another.store.install().await.unwrap();
    another.write(&late).await;
    another.store.close().await;
    let another = another.reopened();
    let refused = another.backup().restore(&manifest, &[]).await.unwrap_err();
    assert!(matches!(&refused, BackupError::NotEmpty(months) if months == "2026-09"), "{refused}");
    assert!(another.store.record(late[0].key()).await.unwrap().is_some());
}

/// Of SQLite: a log whose database was lost is another database's.
pub async fn a_log_left_behind_is_not_read_into_a_restored_month(place: &Place) {
    let before: Vec<Record> = family(tenant(), SEPTEMBER);
    place.write(&before).await;
    let manifest = place.backup().create().await.unwrap();
    place.write(&family(tenant(), SEPTEMBER)).await;
    let [database, log] = ["difylog-2026-09.db", "difylog-2026-09.db-wal"].map(|name| place.store_file(name));
    let kept = std::fs::read(&log).unwrap();
    assert!(!kept.is_empty());
    place.store.close().await;
    std::fs::remove_file(&database).unwrap();
    std::fs::write(&log, kept).unwrap();

    let place = place.same();
    place.backup().restore(&manifest, &[]).await.unwrap();
    let checks = place.backup().verify(&manifest).await.unwrap();
    assert_eq!(checks[0].outcome, VerifyOutcome::Equal);
}
