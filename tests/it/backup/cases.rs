//! What backups promise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use difylog::backup::manifest::{Manifest, Manifests};
use difylog::backup::{BackupError, Differences, VerifyOutcome};
use difylog::domain::document::{PayloadField, Truncation};
use difylog::domain::{BulkAction, Document, JsonText, Kind, Record, TenantId, WorkflowRun};
use difylog::store::copies::{BackupId, CopyName};
use difylog::store::lease::Lease;
use difylog::store::{Erasure, Remains, StateStore, Store};
use serde_json::json;

use crate::backup::place::Place;
use crate::support::records::{
    actions, app, app_log, at, ended, json as text, node, offload, paused_and_resumed, run, sha256, tenant,
};
use crate::support::stored::documents;

pub const SEPTEMBER: &str = "2026-09-10T00:00:00Z";
pub const NOVEMBER: &str = "2026-11-10T12:00:00Z";

fn run_at(tenant_id: TenantId, created_at: &str) -> WorkflowRun {
    ended(run(tenant_id, app(), at(created_at)), 1_000_000)
}

/// A run with everything that belongs to it, all at one instant.
pub fn family(tenant_id: TenantId, created_at: &str) -> Vec<Record> {
    let run = run_at(tenant_id, created_at);
    let node = node(tenant_id, run.app_id, run.id, 1, run.created_at);
    let log = app_log(tenant_id, run.app_id, run.id, run.created_at);
    let offload = offload(tenant_id, run.app_id, Some(node.id), run.created_at);
    vec![
        Record::Run(Box::new(run)),
        Record::Node(Box::new(node)),
        Record::AppLog(Box::new(log)),
        Record::Offload(Box::new(offload)),
    ]
}

/// A node whose outputs were truncated, and their full text.
pub fn truncated(tenant_id: TenantId, created_at: &str) -> (Document, JsonText) {
    let full = JsonText::from_clean(format!(r#"{{"of": "{tenant_id}", "at": "{created_at}"}}"#));
    let (document, _) = crate::support::records::split(family(tenant_id, created_at).remove(1));
    let sha256 = sha256(full.as_str());
    let mark = Truncation { field: PayloadField::Outputs, original_bytes: full.len() as u64, sha256 };
    (Document { truncated: vec![mark], ..document }, full)
}

/// Stores a node whose outputs were truncated, with their full text.
pub async fn write_truncated(place: &Place, tenant_id: TenantId, created_at: &str) -> (Document, JsonText) {
    let (document, full) = truncated(tenant_id, created_at);
    place.payloads.put(tenant_id, document.month(), sha256(full.as_str()), Arc::new(full.clone())).await.unwrap();
    place.store.apply(&[BulkAction::Document(Arc::new(document.clone()))]).await.unwrap();
    place.store.refresh().await.unwrap();
    (document, full)
}

/// Writes runs of a month, one after the other, until told to stop. Answers what was acknowledged.
fn writing(store: Arc<dyn Store>, tenant_id: TenantId, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<Record>> {
    tokio::spawn(async move {
        let mut written = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let record = Record::Run(Box::new(run_at(tenant_id, NOVEMBER)));
            store.apply(&actions(record.clone())).await.unwrap();
            written.push(record);
        }
        written
    })
}

pub fn outcomes(checks: Vec<difylog::backup::MonthCheck>) -> Vec<(String, VerifyOutcome)> {
    checks.into_iter().map(|check| (check.month.to_string(), check.outcome)).collect()
}

pub async fn a_store_destroyed_is_restored_equal_while_writing(place: &Place) {
    let (one, other) = (tenant(), tenant());
    let mut before = [family(one, SEPTEMBER), family(other, SEPTEMBER), family(one, NOVEMBER)].concat();
    // Paused in September, resumed in November: both copies are part of the store.
    before.extend(paused_and_resumed(&run(one, app(), at(SEPTEMBER)), at(NOVEMBER)).into_iter().skip(3));
    place.write(&before).await;
    let paused = &paused_and_resumed(&run(one, app(), at(SEPTEMBER)), at(NOVEMBER))[..2];
    place.write(&paused[..1]).await;
    let (cut, full) = write_truncated(place, other, SEPTEMBER).await;
    place.store.put_state("migration/1", &json!({ "at": 7 }), None).await.unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let writer = writing(Arc::clone(&place.store), one, Arc::clone(&stop));
    let manifest = place.backup().create().await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let during = writer.await.unwrap();
    assert_eq!(manifest.months.len(), 2);
    let september = &manifest.months[0].contents;
    assert_eq!((september.documents(), september.payloads, september.absent_payloads), (10, 1, 0));
    assert_eq!(outcomes(place.backup().verify_copies(&manifest).await.unwrap()), equal());

    // The store itself: equal, or written to since, and nothing lost.
    for check in place.backup().verify(&manifest).await.unwrap() {
        assert!(check.outcome.holds(), "{check:?}");
    }

    let place = place.another().await;
    let place = place.destroy().await;
    place.backup().restore(&manifest, &[]).await.unwrap();
    assert_eq!(outcomes(place.backup().verify(&manifest).await.unwrap()), equal());
    let stored = documents(&*place.store, before.iter().map(Record::key)).await;
    for record in &before {
        assert_eq!(stored.get(&record.key()).map(|document| &document.record), Some(record));
    }
    assert_eq!(place.store.record(cut.key()).await.unwrap(), Some(cut.clone()));
    let restored = place.payloads.get(other, cut.month(), sha256(full.as_str())).await.unwrap();
    assert_eq!(restored, Some(full));
    assert_eq!(place.store.state("migration/1").await.unwrap().unwrap().value, json!({ "at": 7 }));
    let state = place.store.states("lease/").await.unwrap();
    assert!(state.is_empty(), "a lease is nothing to come back: {state:?}");

    // What was written after the backup may come again, and is added; what is there stays.
    place.write(&during).await;
    place.write(&family(one, NOVEMBER)).await;
    let checks = outcomes(place.backup().verify(&manifest).await.unwrap());
    assert_eq!(checks[0], ("2026-09".to_owned(), VerifyOutcome::Equal));
    let VerifyOutcome::Differs(found) = &checks[1].1 else { panic!("{checks:?}") };
    let kept = manifest.months[1].contents.documents();
    let all = place.store.counts().await.unwrap();
    let is_november = |count: &&difylog::domain::query::MonthCount| {
        count.month.to_string() == "2026-11" && count.kind.parse::<Kind>().is_ok()
    };
    let stored: u64 = all.iter().filter(is_november).map(|count| count.documents).sum();
    assert_eq!(*found, Differences { added: stored - kept, ..Differences::default() });
}

/// Of an engine: what carries the month's name is an alias.
pub async fn a_month_behind_an_alias_comes_back(place: &Place) {
    let before = family(tenant(), NOVEMBER);
    place.write(&before).await;
    place.put_behind_aliases("2026.11").await;
    let manifest = place.backup().create().await.unwrap();
    let copied = outcomes(place.backup().verify_copies(&manifest).await.unwrap());
    assert_eq!(copied, [("2026-11".to_owned(), VerifyOutcome::Equal)]);
    let place = place.another().await.destroy().await;
    place.backup().restore(&manifest, &[]).await.unwrap();
    let stored = documents(&*place.store, before.iter().map(Record::key)).await;
    for record in &before {
        assert_eq!(stored.get(&record.key()).map(|document| &document.record), Some(record));
    }
    // And can be written to as before.
    place.write(&family(tenant(), NOVEMBER)).await;
}

pub fn equal() -> Vec<(String, VerifyOutcome)> {
    ["2026-09", "2026-11"].map(|month| (month.to_owned(), VerifyOutcome::Equal)).into()
}

fn copied_by(manifest: &Manifest) -> Vec<&BackupId> {
    manifest.months.iter().map(|copy| &copy.copied_by.0).collect()
}

pub async fn a_month_is_copied_once(place: &Place) {
    let tenant = tenant();
    place.write(&[family(tenant, SEPTEMBER), family(tenant, NOVEMBER)].concat()).await;
    let first = place.backup().create().await.unwrap();
    let second = place.backup().create().await.unwrap();
    assert_eq!(copied_by(&second), [&first.id.0, &first.id.0]);
    place.write(&family(tenant, NOVEMBER)).await;
    let third = place.backup().create().await.unwrap();
    assert_eq!(copied_by(&third), [&first.id.0, &third.id.0]);
    assert_eq!(third.months[1].contents.documents(), 8);
    assert_eq!(place.copies().copies().await.unwrap().len(), 3);
    let listed: Vec<_> = Manifests(&place.vault()).all().await.unwrap().into_iter().map(|found| found.id).collect();
    assert_eq!(listed, [first.id, second.id, third.id.clone()]);

    let another = place.another().await;
    another.backup().restore(&third, &[]).await.unwrap();
    assert_eq!(outcomes(another.backup().verify(&third).await.unwrap()), equal());
}

pub async fn nothing_is_written_over(place: &Place) {
    let tenant = tenant();
    place.write(&[family(tenant, SEPTEMBER), family(tenant, NOVEMBER)].concat()).await;
    let manifest = place.backup().create().await.unwrap();
    let late = family(tenant, NOVEMBER);
    place.write(&late).await;
    let refused = place.backup().restore(&manifest, &[]).await.unwrap_err();
    assert!(matches!(&refused, BackupError::NotEmpty(months) if months == "2026-09, 2026-11"), "{refused}");
    let august = "2026-08".parse().unwrap();
    let refused = place.backup().restore(&manifest, &[august]).await.unwrap_err();
    assert!(matches!(refused, BackupError::NoSuchMonth(month) if month == august), "{refused}");

    // A month that was dropped by mistake comes back; the others stay as they are.
    let september = manifest.months[0].month.0;
    assert!(place.store.drop_month(september).await.unwrap() > 0);
    place.store.close().await;
    let place = place.another().await;
    place.write(&late).await;
    place.store.close().await;
    let place = place.reopened();
    place.backup().restore(&manifest, &[september]).await.unwrap();
    assert!(place.store.record(late[0].key()).await.unwrap().is_some());
    let checks = place.backup().verify(&manifest).await.unwrap();
    assert_eq!(checks[0].outcome, VerifyOutcome::Equal);
    assert!(!checks[1].outcome.holds());
}

pub async fn a_backup_that_was_killed_is_none(place: &Place) {
    place.write(&family(tenant(), SEPTEMBER)).await;
    // As far as a process came that died while it read its copy back.
    let name: CopyName = "2026-09-20260910t000000z".parse().unwrap();
    let copies = place.copies();
    copies.prepare().await.unwrap();
    let vault = Manifests(&place.vault()).vault().await.unwrap();
    assert!(copies.copy(&name, &vault).await.unwrap());
    drop(copies.open(&name).await.unwrap());
    assert!(Manifests(&place.vault()).all().await.unwrap().is_empty());

    let manifest = place.backup().create().await.unwrap();
    assert_eq!(copies.copies().await.unwrap(), [manifest.months[0].name()]);
    let checks = place.backup().verify(&manifest).await.unwrap();
    assert_eq!(outcomes(checks), equal()[..1]);
}

pub async fn loss_and_change_are_named(place: &Place) {
    let tenant_id = tenant();
    let (lost, changed) = (family(tenant_id, SEPTEMBER), run_at(tenant_id, SEPTEMBER));
    place.write(&lost).await;
    place.write(&[Record::Run(Box::new(changed.clone()))]).await;
    let (cut, full) = write_truncated(place, tenant_id, SEPTEMBER).await;
    let manifest = place.backup().create().await.unwrap();

    let erase = [lost[1].key(), Record::Run(Box::new(changed.clone())).key()];
    let erasures = erase.map(|key| Erasure { key, revision: None });
    assert_eq!(place.store.erase(&erasures, Remains::Nothing).await.unwrap(), [true, true]);
    // The same snapshot by its revision, with other contents.
    let mut forged = changed.clone();
    forged.outputs = text(r#"{"answer": "another"}"#);
    place.write(&[Record::Run(Box::new(forged))]).await;
    place.payloads.drop_month(cut.month()).await.unwrap();
    place.store.refresh().await.unwrap();

    let checks = place.backup().verify(&manifest).await.unwrap();
    let VerifyOutcome::Differs(found) = &checks[0].outcome else { panic!("{checks:?}") };
    assert_eq!(found.missing.first, [lost[1].key()]);
    assert_eq!(found.different.first, [Record::Run(Box::new(changed)).key()]);
    assert_eq!((found.newer, found.added, found.absent_payloads), (0, 0, 1));
    assert!(!checks[0].outcome.holds());
    // The backup has it all.
    assert_eq!(outcomes(place.backup().verify_copies(&manifest).await.unwrap()), equal()[..1]);
    let kept = place.vault().get(tenant_id, cut.month(), sha256(full.as_str())).await.unwrap();
    assert_eq!(kept, Some(full));
}

/// Ended in two months, with equal revisions: the row keeps its first start.
pub async fn copies_of_one_run_are_compared_month_by_month(place: &Place) {
    let tenant_id = tenant();
    let snapshots = paused_and_resumed(&run(tenant_id, app(), at(SEPTEMBER)), at(NOVEMBER));
    let Record::Run(resumed) = &snapshots[3] else { panic!() };
    let row = WorkflowRun { created_at: at(SEPTEMBER), ..(**resumed).clone() };
    place.write(&[Record::Run(Box::new(row))]).await;
    place.write(&snapshots[3..]).await;
    let manifest = place.backup().create().await.unwrap();
    assert_eq!(manifest.documents(), 2);
    place.write(&[family(tenant_id, SEPTEMBER), family(tenant_id, NOVEMBER)].concat()).await;
    for check in place.backup().verify(&manifest).await.unwrap() {
        let added = Differences { added: 4, ..Differences::default() };
        assert_eq!(check.outcome, VerifyOutcome::Differs(added), "{}", check.month);
    }
}

pub async fn a_deleted_backup_takes_only_what_no_other_needs(place: &Place) {
    let tenant_id = tenant();
    place.write(&[family(tenant_id, SEPTEMBER), family(tenant_id, NOVEMBER)].concat()).await;
    let (cut, full) = write_truncated(place, tenant_id, SEPTEMBER).await;
    let first = place.backup().create().await.unwrap();
    place.write(&family(tenant_id, NOVEMBER)).await;
    let second = place.backup().create().await.unwrap();

    place.backup().delete(&first.id.0).await.unwrap();
    let gone = place.backup().delete(&first.id.0).await.unwrap_err();
    assert!(matches!(gone, BackupError::Unknown(_)), "{gone}");
    assert_eq!(place.copies().copies().await.unwrap(), [second.months[0].name(), second.months[1].name()]);
    let another = place.another().await;
    another.backup().restore(&second, &[]).await.unwrap();
    assert_eq!(outcomes(another.backup().verify(&second).await.unwrap()), equal());

    place.backup().delete(&second.id.0).await.unwrap();
    assert_eq!(place.copies().copies().await.unwrap(), []);
    assert_eq!(place.vault().get(tenant_id, cut.month(), sha256(full.as_str())).await.unwrap(), None);
}

pub async fn one_process_at_a_time(place: &Place) {
    place.write(&family(tenant(), SEPTEMBER)).await;
    let state: Arc<dyn StateStore> = Arc::clone(&place.store) as _;
    let now = (place.backup().clock)();
    let hold = Lease::acquire(state, "lease/backup", "another host", Duration::from_mins(5), now);
    let lease = hold.await.unwrap().unwrap();
    let refused = place.backup().create().await.unwrap_err();
    assert!(matches!(&refused, BackupError::Busy { holder, .. } if holder == "another host"), "{refused}");
    lease.give_back().await;
    place.backup().create().await.unwrap();
}
