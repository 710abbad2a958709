//! Full texts of truncated payloads: they go with the last record that names them, and what is left is found.

use std::fs::File;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use difylog::domain::document::{ContentHash, PayloadField, Truncation};
use difylog::domain::{BulkAction, Document, JsonText, Month, Record, RecordId, TenantId, TenantSet, Verdict};
use difylog::query::{LogService, NoDirectory, ServicePorts};
use difylog::retention::{RetentionError, SweptMonth, What};
use difylog::store::{Erasure, Remains};

use crate::retention::kept::{Kept, NOW};
use crate::support::records::{app, at, ended, node, run, sha256, split, tenant};

pub const HOUR: Duration = Duration::from_hours(1);

/// A full text in the payload store, last written so long ago.
pub async fn put(kept: &Kept, tenant_id: TenantId, month: Month, text: &str, age: Duration) -> ContentHash {
    let hash = sha256(text);
    kept.payloads.put(tenant_id, month, hash, Arc::new(JsonText::from_clean(text))).await.unwrap();
    let path = kept.payload_folder().join(format!("{tenant_id}/{month}/{hash}.json.zst"));
    File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
    hash
}

pub async fn has(kept: &Kept, tenant_id: TenantId, month: Month, hash: ContentHash) -> bool {
    kept.payloads.has(tenant_id, month, hash).await.unwrap()
}

/// A run whose outputs were cut.
pub fn cut_run(tenant_id: TenantId, created_at: &str, hash: ContentHash) -> Document {
    let run = ended(run(tenant_id, app(), at(created_at)), 1_000_000);
    let (document, _) = split(Record::Run(Box::new(run)));
    let mark = Truncation { field: PayloadField::Outputs, original_bytes: 9_000_000, sha256: hash };
    Document { truncated: vec![mark], graph: None, ..document }
}

pub async fn write(kept: &Kept, documents: &[&Document]) -> Vec<Verdict> {
    let actions: Vec<_> =
        documents.iter().map(|document| BulkAction::Document(Arc::new((*document).clone()))).collect();
    let verdicts = kept.store.apply(&actions).await.unwrap();
    kept.store.refresh().await.unwrap();
    verdicts
}

fn logs(kept: &Kept) -> LogService {
    LogService::new(ServicePorts {
        logs: kept.store.clone(),
        eraser: kept.store.clone(),
        payloads: kept.payloads.clone(),
        directory: Arc::new(NoDirectory),
        clock: Arc::new(|| at(NOW)),
    })
}

pub async fn a_deleted_record_takes_its_full_texts_along(kept: &Kept) {
    let (ours, theirs) = (tenant(), tenant());
    let (day, month) = ("2026-11-20T00:00:00Z", at(NOW).month());
    // One was written a moment ago, one long ago.
    let (young, old) =
        (put(kept, ours, month, "young", Duration::ZERO).await, put(kept, ours, month, "old", 50 * HOUR).await);
    let shared = put(kept, ours, month, "shared", Duration::ZERO).await;
    let foreign = put(kept, theirs, month, "young", Duration::ZERO).await;
    let mut first = cut_run(ours, day, young);
    first.truncated.push(Truncation { field: PayloadField::Inputs, original_bytes: 1, sha256: old });
    first.truncated.push(Truncation { field: PayloadField::Error, original_bytes: 1, sha256: shared });
    let second = cut_run(ours, day, shared);
    let third = cut_run(theirs, day, foreign);
    write(kept, &[&first, &second, &third]).await;
    let service = logs(kept);
    let deleted = service.tenant(ours).delete_runs(&[first.record.id()], true).await.unwrap();
    assert_eq!(deleted.runs, 1);
    assert!(!has(kept, ours, month, young).await && !has(kept, ours, month, old).await);
    assert!(has(kept, ours, month, shared).await, "another run names it");
    assert!(has(kept, theirs, month, foreign).await, "another tenant's");
    service.tenant(ours).delete_runs(&[second.record.id()], false).await.unwrap();
    assert!(!has(kept, ours, month, shared).await);
}

pub async fn deleted_nodes_take_their_full_texts_of_every_month_along(kept: &Kept) {
    let ours = tenant();
    // A node that was restarted in the next month has a copy in both.
    let months = ["2026-10-31T23:00:00Z", "2026-11-01T01:00:00Z"];
    let first = node(ours, app(), RecordId::new(uuid::Uuid::new_v4()), 1, at(months[0]));
    let mut hashes = Vec::new();
    for (index, day) in (1..).zip(months) {
        let month = at(day).month();
        let hash = put(kept, ours, month, &format!("text {index}"), Duration::ZERO).await;
        let mut copy = first.clone();
        (copy.created_at, copy.index) = (at(day), index);
        let (document, _) = split(Record::Node(Box::new(copy)));
        let mark = Truncation { field: PayloadField::Inputs, original_bytes: 1, sha256: hash };
        write(kept, &[&Document { truncated: vec![mark], ..document }]).await;
        hashes.push((month, hash));
    }
    assert_eq!(logs(kept).tenant(ours).delete_nodes(&[first.id]).await.unwrap(), 1);
    for (month, hash) in hashes {
        assert!(!has(kept, ours, month, hash).await, "{month}");
    }
}

pub async fn a_part_of_a_month_takes_its_full_texts_along(kept: &Kept) {
    let ours = tenant();
    let month = at(NOW).month();
    let (gone, shared) = (put(kept, ours, month, "gone", HOUR).await, put(kept, ours, month, "shared", HOUR).await);
    let mut old = cut_run(ours, "2026-11-02T00:00:00Z", gone);
    old.truncated.push(Truncation { field: PayloadField::Inputs, original_bytes: 1, sha256: shared });
    let new = cut_run(ours, "2026-11-24T00:00:00Z", shared);
    write(kept, &[&old, &new]).await;
    assert_eq!(kept.remove(&kept.retention(10, &[])).await, 1);
    assert!(!has(kept, ours, month, gone).await);
    assert!(has(kept, ours, month, shared).await);
}

pub async fn a_text_of_a_late_event_goes_with_the_next_removal(kept: &Kept) {
    let (ours, longer) = (tenant(), tenant());
    let month = at("2026-01-10T00:00:00Z").month();
    let hash = sha256("late");
    let late = cut_run(ours, "2026-01-10T00:00:00Z", hash);
    write(kept, &[&late]).await;
    let retention = kept.retention(30, &[(longer, 365)]);
    assert_eq!(kept.remove(&retention).await, 1);
    // Its text is put before the store refuses it.
    put(kept, ours, month, "late", 30 * HOUR).await;
    let kept_longer = put(kept, longer, month, "not past its days", 30 * HOUR).await;
    let young = put(kept, ours, month, "on its way", HOUR).await;
    assert_eq!(write(kept, &[&late]).await, [Verdict::Superseded]);
    let plan = retention.plan().await.unwrap();
    let what: Vec<_> = plan.steps.iter().map(|step| step.what.clone()).collect();
    assert_eq!(what, [What::Texts { tenant: ours, objects: 1 }]);
    let reports = retention.apply(&plan, None).await.unwrap();
    assert_eq!(reports[0].payloads, 1);
    assert!(!has(kept, ours, month, hash).await);
    assert!(has(kept, ours, month, young).await);
    assert!(has(kept, longer, month, kept_longer).await);
}

pub async fn what_an_interrupted_removal_left_is_found(kept: &Kept) {
    let (ours, longer) = (tenant(), tenant());
    let past = at("2026-01-10T00:00:00Z").month();
    let shared_month = at("2026-09-10T00:00:00Z").month();
    let (in_past, in_shared) =
        (put(kept, ours, past, "a", 30 * HOUR).await, put(kept, ours, shared_month, "b", 30 * HOUR).await);
    let stays = put(kept, longer, shared_month, "b", 30 * HOUR).await;
    let records = [
        cut_run(ours, "2026-01-10T00:00:00Z", in_past),
        cut_run(ours, "2026-09-10T00:00:00Z", in_shared),
        cut_run(longer, "2026-09-10T00:00:00Z", stays),
    ];
    write(kept, &records.iter().collect::<Vec<_>>()).await;
    // It ended after the store's part: a month was dropped, a tenant's records of another were erased.
    kept.store.retire_month(past, &TenantSet::everybody(), at(NOW)).await.unwrap();
    let erasure = Erasure { key: records[1].key(), revision: None };
    kept.store.erase(&[erasure], Remains::Tombstone(at(NOW))).await.unwrap();
    kept.store.refresh().await.unwrap();
    kept.remove(&kept.retention(30, &[(longer, 365)])).await;
    assert!(!has(kept, ours, past, in_past).await);
    assert!(!has(kept, ours, shared_month, in_shared).await);
    assert!(has(kept, longer, shared_month, stays).await);
}

pub async fn a_sweep_removes_what_no_record_names_and_nothing_else(kept: &Kept) {
    let (ours, theirs) = (tenant(), tenant());
    let month = at(NOW).month();
    let named = put(kept, ours, month, "named", 50 * HOUR).await;
    let alone = put(kept, ours, month, "alone", 50 * HOUR).await;
    let young = put(kept, ours, month, "young", 23 * HOUR).await;
    let foreign = put(kept, theirs, month, "named", 50 * HOUR).await;
    write(kept, &[&cut_run(ours, "2026-11-20T00:00:00Z", named)]).await;
    let unfinished = kept.payload_folder().join(format!("{ours}/{month}/{named}.json.zst.7-0.part"));
    let file = File::create(unfinished.clone()).unwrap();
    file.set_modified(SystemTime::now() - 50 * HOUR).unwrap();
    let retention = kept.retention(0, &[]);
    let told = Mutex::new(Vec::new());
    let each = |found: &SweptMonth| told.lock().unwrap().push(*found);
    let found = retention.sweep(false, &each, &|| false).await.unwrap();
    assert_eq!((found.removed.objects, found.months, found.complete), (3, 2, true), "{:?}", told.lock().unwrap());
    assert!(has(kept, ours, month, alone).await, "a dry run");
    // Ended after the first tenant, it goes on with the second.
    told.lock().unwrap().clear();
    let begun = retention.sweep(true, &each, &|| !told.lock().unwrap().is_empty()).await.unwrap();
    assert!(!begun.complete && begun.months == 1, "{begun:?}");
    let rest = retention.sweep(true, &each, &|| false).await.unwrap();
    assert_eq!((rest.months, rest.complete), (1, true));
    assert_eq!(begun.removed.objects + rest.removed.objects, 3);
    assert_eq!(
        [named, alone, young].map(|hash| (hash, hash != alone)),
        [
            (named, has(kept, ours, month, named).await),
            (alone, has(kept, ours, month, alone).await),
            (young, has(kept, ours, month, young).await)
        ]
    );
    assert!(!has(kept, theirs, month, foreign).await && !unfinished.exists());
    let again = retention.sweep(true, &each, &|| false).await.unwrap();
    assert_eq!((again.months, again.removed.objects), (2, 0), "from the beginning, as the last one came to its end");
}

pub async fn a_clock_years_ahead_removes_nothing(kept: &Kept) {
    let (ours, longer, forever) = (tenant(), tenant(), tenant());
    let records = [ours, longer, forever].map(|tenant| cut_run(tenant, "2026-11-20T00:00:00Z", sha256("x")));
    write(kept, &records.iter().collect::<Vec<_>>()).await;
    let mut ahead = kept.retention_at("2036-11-25T02:00:00Z", 30, &[(longer, u32::MAX), (forever, 0)]);
    ahead.settings.max_share = 0.3;
    let plan = ahead.plan().await.unwrap();
    assert_eq!((plan.total(), plan.stored), (1, 3), "days beyond all time, and none, keep everything");
    assert!(matches!(ahead.apply(&plan, None).await.unwrap_err(), RetentionError::TooMuch { .. }));
    let everyone = kept.retention_at("2036-11-25T02:00:00Z", 30, &[]);
    let plan = everyone.plan().await.unwrap();
    let mut guarded = everyone;
    guarded.settings.max_share = 0.5;
    assert!(matches!(
        guarded.apply(&plan, None).await.unwrap_err(),
        RetentionError::TooMuch { removed: 3, stored: 3, .. }
    ));
    for document in &records {
        assert!(kept.holds(&document.record).await);
    }
}
