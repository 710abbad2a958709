//! Records that move to a later month, and months that go. Each case that counts or drops has months of its own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use difylog::domain::query::{Page, RunFilter, RunQuery, TextField, TextFilter, TimeRange};
use difylog::domain::{Month, NodeExecution, Record, RecordId, Timestamp};
use tokio::sync::Notify;

use crate::contract::lists::walk;
use crate::contract::subject::Subject;
use crate::support::nodes::nodes_of_run;
use crate::support::records::{self, app, app_log, at, id, later, node, offload, paused_and_resumed, run, tenant};

pub async fn a_run_resumed_in_the_next_month_shows_once(subject: &Subject) {
    let (tenant, app) = (tenant(), app());
    let paused = run(tenant, app, at("2026-10-31T22:00:00"));
    let neighbours = [-1, 0, 1].map(|micros| run(tenant, app, later(paused.created_at, micros)));
    let snapshots = paused_and_resumed(&paused, at("2026-11-01T02:00:00"));
    // The snapshots of both months are written, the newer month first.
    subject.store(snapshots.last().cloned()).await;
    subject.store(snapshots.iter().take(2).cloned()).await;
    subject.store(neighbours.iter().cloned().map(|run| Record::Run(Box::new(run)))).await;
    subject.refresh().await;
    let newest = snapshots.last().unwrap();
    assert_eq!(subject.read(newest.key()).await, Some(records::whole(newest.clone())));
    for limit in [1, 2, 3, 10] {
        let walked = walk(subject, tenant, app, limit).await;
        assert_eq!(walked.len(), 4, "pages of {limit}");
        assert_eq!(walked[0].id, paused.id);
        assert_eq!(walked[0].created_at, newest.created_at());
        assert!(walked[1..].iter().all(|other| other.id != paused.id), "pages of {limit}");
    }
}

pub async fn a_node_restarted_in_the_next_month_shows_once(subject: &Subject) {
    let (tenant, app, run_id) = (tenant(), app(), id());
    let before = node(tenant, app, run_id, 2, at("2026-10-31T22:00:00"));
    let after = NodeExecution { created_at: at("2026-11-01T02:00:00"), index: 1, ..before.clone() };
    let [before, after] = [before, after].map(|node| Record::Node(Box::new(node)));
    subject.store([after.clone()]).await;
    subject.store([before]).await;
    subject.refresh().await;
    let expected = records::whole(after);
    assert_eq!(subject.read(expected.key()).await.as_ref(), Some(&expected));
    assert_eq!(nodes_of_run(&*subject.store, tenant, run_id).await, Ok(vec![expected]));
}

pub async fn dropping_a_month_drops_only_it(subject: &Subject) {
    let (tenant, app) = (tenant(), app());
    let dropped = at("2016-03-31T23:59:59.999999");
    let kept = [at("2016-02-29T23:59:59.999999"), at("2016-04-01T00:00:00")];
    let record = |start: Timestamp| Record::Run(Box::new(run(tenant, app, start)));
    let (gone, stays) = (record(dropped), kept.map(record));
    subject.store([gone.clone()]).await;
    subject.store(stays.clone()).await;
    subject.refresh().await;
    let month: Month = "2016-03".parse().unwrap();
    assert!(subject.store.drop_month(month).await.unwrap() > 0);
    subject.refresh().await;
    assert_eq!(subject.read(gone.key()).await, None);
    for record in &stays {
        assert_eq!(subject.read(record.key()).await, Some(records::whole(record.clone())));
    }
    assert_eq!(walk(subject, tenant, app, 10).await.len(), 2);
    assert!(subject.store.counts().await.unwrap().iter().all(|count| count.month != month || count.documents == 0));
    assert_eq!(subject.store.drop_month(month).await, Ok(0), "a second call finds nothing");
    // The month can come back.
    subject.round_trip(gone).await;
}

/// A retention run is no reason for a reader to get an error, nor for a gap in what it reads.
pub async fn reading_goes_on_while_months_come_and_go(subject: &Subject) {
    const MONTHS: usize = 8;
    const READERS: usize = 6;
    let (tenant, app) = (tenant(), app());
    let stays =
        ["2013-06-01T00:00:00", "2013-07-01T00:00:00"].map(|start| Record::Run(Box::new(run(tenant, app, at(start)))));
    subject.store(stays.clone()).await;
    subject.refresh().await;
    let is_over = AtomicBool::new(false);
    // Reads that each reader has ended, and a word at each end.
    let (reads, read_again) = ([const { AtomicUsize::new(0) }; READERS], Notify::new());
    let come_and_go = async {
        for number in 0..MONTHS {
            let start = at(&format!("2009-{:02}-01T00:00:00", 1 + number));
            // Another tenant's: in a shared month index, the readers' expression matches it.
            subject.store([Record::Run(Box::new(run(records::tenant(), app, start)))]).await;
            subject.store([Record::Run(Box::new(run(tenant, records::app(), start)))]).await;
            // Everybody has looked around since it came, and is in the middle of the next read when it goes.
            let before = reads.each_ref().map(|reads| reads.load(Ordering::Acquire));
            while reads.iter().zip(before).any(|(reads, before)| reads.load(Ordering::Acquire) < before + 2) {
                read_again.notified().await;
            }
            subject.store.drop_month(start.month()).await.unwrap();
        }
        is_over.store(true, Ordering::Release);
    };
    // By a time that months are left out for, and by a word that every shard is asked for, with what it may have closed.
    let created = TimeRange { from: Some(at("2013-01-01T00:00:00")), until: None };
    let text = TextFilter { keyword: "Hello".to_owned(), fields: vec![TextField::Inputs, TextField::Outputs] };
    let all = RunQuery { app_id: Some(app), ..RunQuery::default() };
    let filters =
        [RunQuery { created, ..all.clone() }, RunQuery { text: Some(text), ..all }].map(|query| query.within(tenant));
    let read = async |(filter, reads): (&RunFilter, &AtomicUsize)| {
        while !is_over.load(Ordering::Acquire) {
            let found = subject.store.search_runs(filter, &Page::newest(10), Some(100)).await.unwrap();
            assert_eq!(found.rows.iter().map(|run| run.id).collect::<Vec<_>>(), [stays[1].id(), stays[0].id()]);
            assert_eq!(found.total.value, 2);
            reads.fetch_add(1, Ordering::Release);
            read_again.notify_one();
        }
    };
    let readers = futures::future::join_all(filters.iter().cycle().zip(&reads).map(read));
    tokio::join!(come_and_go, readers);
}

pub async fn sizes_are_per_month(subject: &Subject) {
    let (tenant, app, start) = (tenant(), app(), at("2014-04-04T04:04:04"));
    subject.store([Record::Run(Box::new(run(tenant, app, start)))]).await;
    subject.refresh().await;
    let sizes = subject.store.sizes().await.unwrap();
    assert!(sizes.is_sorted_by_key(|size| size.month), "oldest month first");
    let mine: Vec<_> = sizes.iter().filter(|size| size.month == start.month()).collect();
    assert!(mine.iter().any(|size| size.kind.is_none_or(|kind| kind == "workflow_run")), "{mine:?}");
    assert!(mine.iter().all(|size| size.bytes > 0 && size.shards > 0), "{mine:?}");
}

pub async fn counts_are_per_month_and_kind(subject: &Subject) {
    let (tenant, app, start) = (tenant(), app(), at("2015-05-05T05:05:05"));
    let count = async |kind: &str| {
        let counts = subject.store.counts().await.unwrap();
        assert!(counts.is_sorted_by_key(|count| count.month), "oldest month first");
        let found = counts.into_iter().find(|count| count.month == start.month() && count.kind == kind);
        found.map_or(0, |count| count.documents)
    };
    let kinds = [("workflow_run", 1), ("node_execution", 2), ("app_log", 1), ("offload", 1), ("graph", 1)];
    let mut before = Vec::new();
    for (kind, _) in kinds {
        before.push(count(kind).await);
    }
    let run_id: RecordId = id();
    subject
        .store([
            Record::Run(Box::new(run(tenant, app, start))),
            Record::Node(Box::new(node(tenant, app, run_id, 1, start))),
            Record::Node(Box::new(node(tenant, app, run_id, 2, start))),
            Record::AppLog(Box::new(app_log(tenant, app, run_id, start))),
            Record::Offload(Box::new(offload(tenant, app, None, start))),
        ])
        .await;
    subject.refresh().await;
    for ((kind, more), before) in kinds.into_iter().zip(before) {
        assert_eq!(count(kind).await - before, more, "{kind}");
    }
}
