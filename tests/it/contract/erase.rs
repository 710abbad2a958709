//! Removing: what is gone is gone from every question, what may not return does not, and nothing else is touched.

use std::sync::Arc;

use difylog::domain::query::Scan;
use difylog::domain::{BulkAction, Document, Kind, Month, Origin, Record, Revision, TenantSet, Verdict};
use difylog::store::{Erasure, Remains};
use uuid::Uuid;

use crate::contract::lists::walk;
use crate::contract::subject::Subject;
use crate::support::records::{self, actions, app, at, ended, paused_and_resumed, run, split, tenant};

fn document(record: &Record) -> BulkAction {
    actions(record.clone()).pop().unwrap()
}

fn migrated(record: &Record, origin: Origin) -> BulkAction {
    let (document, _) = split(record.clone());
    BulkAction::Document(Arc::new(Document { origin: Some(origin), ..document }))
}

async fn erase(subject: &Subject, record: &Record, revision: Option<Revision>, remains: Remains) -> bool {
    let erased = subject.store.erase(&[Erasure { key: record.key(), revision }], remains).await.unwrap();
    subject.refresh().await;
    assert_eq!(erased.len(), 1);
    erased[0]
}

pub async fn a_tombstone_keeps_late_writes_out_of_every_month(subject: &Subject) {
    let (tenant_id, app) = (tenant(), app());
    let snapshots = paused_and_resumed(&run(tenant_id, app, at("2012-01-31T23:00:00")), at("2012-02-01T01:00:00"));
    let neighbour = Record::Run(Box::new(run(tenant_id, app, at("2012-02-01T01:00:00"))));
    subject.store(snapshots.iter().chain([&neighbour]).cloned()).await;
    subject.refresh().await;
    let buried = at("2026-11-25T00:00:00");
    let newest = snapshots.last().unwrap();
    assert!(erase(subject, newest, None, Remains::Tombstone(buried)).await);
    assert!(!erase(subject, newest, None, Remains::Tombstone(buried)).await, "it has gone already");
    for late in &snapshots {
        assert_eq!(subject.apply(&[document(late)]).await, [Verdict::Superseded]);
    }
    subject.refresh().await;
    assert_eq!(subject.read(newest.key()).await, None);
    assert_eq!(walk(subject, tenant_id, app, 10).await.len(), 1);
    let scan = Scan { tenants: vec![tenant_id], ..Scan::all(Kind::WorkflowRun, 10) };
    assert_eq!(subject.store.scan(&scan).await, Ok(vec![records::whole(neighbour)]));
    assert_eq!(subject.store.scan_count(&scan).await, Ok(1));
    assert_eq!(subject.store.owners(Kind::WorkflowRun, newest.id()).await, Ok(vec![]));
    // The other tenant's record of the same id is another record.
    let Record::Run(mut twin) = newest.clone() else { unreachable!() };
    twin.tenant_id = tenant();
    subject.round_trip(Record::Run(twin)).await;
}

/// Purging looks at every tombstone of the store: no other case has such old ones.
pub async fn a_purged_tombstone_lets_the_record_return(subject: &Subject) {
    let record = Record::Run(Box::new(run(tenant(), app(), at("2012-03-01T00:00:00"))));
    subject.store([record.clone()]).await;
    subject.refresh().await;
    let buried = at("2020-01-01T00:00:00");
    let dropped = Record::Run(Box::new(run(tenant(), app(), at("2011-05-01T00:00:00"))));
    assert!(erase(subject, &record, None, Remains::Tombstone(buried)).await);
    subject.store.retire_month(dropped.created_at().month(), &TenantSet::everybody(), buried).await.unwrap();
    subject.store.purge_tombstones(buried).await.unwrap();
    let late = [document(&record), document(&dropped)];
    assert_eq!(subject.apply(&late).await, vec![Verdict::Superseded; 2], "as old as the limit: they stay");
    assert!(subject.store.purge_tombstones(records::later(buried, 1)).await.unwrap() >= 2);
    subject.round_trip(record).await;
    subject.round_trip(dropped).await;
}

pub async fn a_lifted_tombstone_lets_its_record_alone_return(subject: &Subject) {
    let (tenant_id, app) = (tenant(), app());
    let snapshots = paused_and_resumed(&run(tenant_id, app, at("2012-05-31T23:00:00")), at("2012-06-01T01:00:00"));
    let newest = snapshots.last().unwrap();
    let other = Record::Run(Box::new(run(tenant_id, app, at("2012-06-01T02:00:00"))));
    subject.store(snapshots.iter().chain([&other]).cloned()).await;
    subject.refresh().await;
    let buried = at("2026-11-25T00:00:00");
    for record in [newest, &other] {
        assert!(erase(subject, record, None, Remains::Tombstone(buried)).await);
    }
    assert_eq!(subject.store.lift_tombstones(&[newest.key()]).await, Ok(2), "one in each month");
    assert_eq!(subject.store.lift_tombstones(&[newest.key()]).await, Ok(0));
    assert_eq!(subject.apply(&[document(&other)]).await, [Verdict::Superseded]);
    subject.round_trip(newest.clone()).await;
}

pub async fn an_erasure_holds_for_its_revision_only(subject: &Subject) {
    let running = run(tenant(), app(), at("2012-04-01T00:00:00"));
    let [old, new] = [running.clone(), ended(running, 5)].map(|run| Record::Run(Box::new(run)));
    subject.store([old.clone(), new.clone()]).await;
    subject.refresh().await;
    assert!(!erase(subject, &old, Some(Revision::of(&old)), Remains::Nothing).await);
    assert_eq!(subject.read(new.key()).await, Some(records::whole(new.clone())));
    assert!(erase(subject, &new, Some(Revision::of(&new)), Remains::Nothing).await);
    assert_eq!(subject.read(new.key()).await, None);
    // Nothing remains: even the older snapshot can be written.
    subject.round_trip(old).await;
}

pub async fn a_condition_is_about_the_newest_copy(subject: &Subject) {
    let running = run(tenant(), app(), at("2012-05-31T23:00:00"));
    let snapshots = paused_and_resumed(&running, at("2012-06-01T01:00:00"));
    subject.store(snapshots.clone()).await;
    subject.refresh().await;
    let (paused, newest) = (&snapshots[1], snapshots.last().unwrap());
    assert!(!erase(subject, paused, Some(Revision::of(paused)), Remains::Nothing).await);
    assert_eq!(subject.read(newest.key()).await, Some(records::whole(newest.clone())));
    assert!(erase(subject, newest, Some(Revision::of(newest)), Remains::Nothing).await);
    assert_eq!(subject.read(newest.key()).await, None, "the older copy does not take its place");
}

pub async fn a_migration_marks_only_what_it_wrote(subject: &Subject) {
    let (tenant_id, app, origin) = (tenant(), app(), Origin::new(Uuid::new_v4()));
    let running = run(tenant_id, app, at("2012-07-01T00:00:00"));
    let [old, new] = [running.clone(), ended(running, 5)].map(|run| Record::Run(Box::new(run)));
    let marked = Scan { origin: Some(origin), tenants: vec![tenant_id], ..Scan::all(Kind::WorkflowRun, 10) };
    let count = async || {
        subject.refresh().await;
        subject.store.scan_count(&marked).await.unwrap()
    };
    assert_eq!(subject.apply(&[migrated(&old, origin)]).await, [Verdict::Stored]);
    assert_eq!(count().await, 1);
    assert_eq!(subject.read(old.key()).await.unwrap().origin, Some(origin));
    assert_eq!(subject.apply(&[migrated(&old, origin)]).await, [Verdict::Superseded], "strictly older ones only");
    assert_eq!(subject.apply(&[document(&old)]).await, [Verdict::Stored], "a live message takes the mark away");
    assert_eq!(count().await, 0);
    assert_eq!(subject.apply(&[migrated(&old, origin)]).await, [Verdict::Superseded]);
    assert_eq!(subject.apply(&[migrated(&new, origin)]).await, [Verdict::Stored]);
    assert_eq!(count().await, 1);
}

pub async fn a_retired_month_does_not_come_back(subject: &Subject) {
    let (tenant_id, app) = (tenant(), app());
    let record = |start| Record::Run(Box::new(run(tenant_id, app, at(start))));
    let (gone, kept) = (record("2011-03-15T00:00:00"), record("2011-04-01T00:00:00"));
    subject.store([gone.clone(), kept.clone()]).await;
    subject.refresh().await;
    let (month, retired): (Month, _) = ("2011-03".parse().unwrap(), at("2026-11-25T00:00:00"));
    assert!(
        subject
            .store
            .retire_month(month, &TenantSet::everybody(), retired)
            .await
            .unwrap()
            .is_some_and(|dropped| dropped > 0)
    );
    let verdicts = subject.apply(&[document(&gone), document(&kept)]).await;
    assert_eq!(verdicts, [Verdict::Superseded, Verdict::Stored]);
    subject.refresh().await;
    assert_eq!(subject.read(gone.key()).await, None);
    assert!(subject.store.counts().await.unwrap().iter().all(|count| count.month != month || count.documents == 0));
    assert_eq!(
        subject.store.retire_month(month, &TenantSet::everybody(), retired).await,
        Ok(Some(0)),
        "a second call finds nothing"
    );
}

pub async fn graphs_of_a_tenant_go_after_its_runs(subject: &Subject) {
    let (one, other, start) = (tenant(), tenant(), at("2012-09-01T00:00:00"));
    let [first, second] = [one, other].map(|tenant_id| Record::Run(Box::new(run(tenant_id, app(), start))));
    subject.store([first.clone(), second.clone()]).await;
    subject.refresh().await;
    assert!(erase(subject, &first, None, Remains::Nothing).await);
    assert_eq!(subject.store.erase_graphs(one, start.month()).await, Ok(1));
    assert_eq!(subject.store.erase_graphs(one, start.month()).await, Ok(0));
    assert_eq!(subject.store.erase_graphs(one, "2012-10".parse().unwrap()).await, Ok(0));
    subject.refresh().await;
    assert_eq!(subject.read(second.key()).await, Some(records::whole(second)));
    subject.round_trip(first).await;
}

fn whatever(record: &Record) -> Erasure {
    Erasure { key: record.key(), revision: None }
}

fn documents(record: &Record) -> Vec<BulkAction> {
    let actions = records::actions(record.clone()).into_iter();
    actions.filter(|action| matches!(action, BulkAction::Document(_))).collect()
}

pub async fn what_leaves_nothing_can_be_written_again_at_once(subject: &Subject) {
    let record =
        Record::Run(Box::new(records::ended(records::run(tenant(), app(), records::at("2026-03-10T00:00:00Z")), 5)));
    subject.store([record.clone()]).await;
    assert_eq!(subject.store.erase(&[whatever(&record)], Remains::Nothing).await.unwrap(), [true]);
    assert_eq!(subject.read(record.key()).await, None);
    let mut migrated = documents(&record);
    if let Some(BulkAction::Document(document)) = migrated.first_mut() {
        let origin = Some(difylog::domain::Origin::new(uuid::Uuid::new_v4()));
        *document = std::sync::Arc::new(difylog::domain::Document { origin, ..(**document).clone() });
    }
    assert_eq!(subject.apply(&migrated).await, [Verdict::Stored]);
}

pub async fn another_tenants_record_of_the_same_id_stays(subject: &Subject) {
    let mine = records::run(tenant(), app(), records::at("2026-03-10T00:00:00Z"));
    let theirs = difylog::domain::WorkflowRun { tenant_id: tenant(), ..mine.clone() };
    let [mine, theirs] = [mine, theirs].map(|run| Record::Run(Box::new(run)));
    subject.store([mine.clone(), theirs.clone()]).await;
    assert_eq!(
        subject.store.erase(&[whatever(&mine)], Remains::Tombstone(records::at("2026-11-25T00:00:00Z"))).await.unwrap(),
        [true]
    );
    assert_eq!(subject.read(mine.key()).await, None);
    assert!(subject.read(theirs.key()).await.is_some());
}
