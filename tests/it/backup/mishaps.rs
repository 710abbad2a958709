//! What must not be lost when backups are not alone.

use std::sync::Arc;

use difylog::backup::VerifyOutcome;
use difylog::domain::Record;
use difylog::store::{Erasure, Remains};

use crate::backup::cases::{SEPTEMBER, equal, family, outcomes, write_truncated};
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
