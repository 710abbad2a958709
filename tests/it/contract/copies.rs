//! Records that ended with copies in two months, of equal revisions: a run that was paused and resumed in the next month,
//! and whose row keeps its first start. Every question counts and shows one of them, whatever came first.

use chrono_tz::Tz;
use difylog::domain::query::ListFilter as Rows;
use difylog::domain::query::{
    AppLogFilter, Content, Direction, Facet, NodeQuery, Page, RunFilter, RunQuery, Scan, TextField, TextFilter,
    TimeRange,
};
use difylog::domain::record::RecordKey;
use difylog::domain::{Kind, NodeExecution, NodeStatus, Record, RunStatus, WorkflowRun};
use difylog::store::{Erasure, Remains};

use crate::contract::subject::Subject;
use crate::support::records::{self, app, app_log, at, later, node, run, tenant};

const PAUSED: &str = "2026-10-31T22:00:00";
const RESUMED: &str = "2026-11-01T02:00:00";

/// Every order of three.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

async fn put(subject: &Subject, record: Record) {
    // Which of them is superseded on arrival depends on the order.
    subject.apply(&records::actions(record)).await;
}

fn spans() -> [(TimeRange, u64); 4] {
    let november = Some(at("2026-11-01T00:00:00"));
    let span = |from, until| TimeRange { from, until };
    [
        (span(None, None), 3),
        (span(None, november), 1),
        (span(november, None), 2),
        (span(Some(at("2026-10-01T00:00:00")), Some(at("2026-12-01T00:00:00"))), 3),
    ]
}

pub async fn a_run_that_ended_in_two_months_is_one_in_every_answer(subject: &Subject) {
    // One tenant and an app for each order: a tenant's indices cost an engine more than the questions.
    let tenant = tenant();
    for order in ORDERS {
        let app = app();
        let snapshots = records::paused_and_resumed(&run(tenant, app, at(PAUSED)), at(RESUMED));
        let Record::Run(live) = &snapshots[3] else { panic!() };
        let row = WorkflowRun { created_at: at(PAUSED), ..(**live).clone() };
        let copies = [snapshots[1].clone(), snapshots[3].clone(), Record::Run(Box::new(row))];
        let log = app_log(tenant, app, live.id, at(RESUMED));
        for index in order {
            put(subject, copies[index].clone()).await;
        }
        for start in [at("2026-10-15T00:00:00"), at("2026-11-15T00:00:00")] {
            put(subject, Record::Run(Box::new(records::ended(run(tenant, app, start), 9_000_000)))).await;
        }
        put(subject, Record::AppLog(Box::new(log.clone()))).await;
        subject.refresh().await;
        by_id(subject, &snapshots[3]).await;
        for (created, expected) in spans() {
            let filter = RunQuery { app_id: Some(app), created, ..RunQuery::default() }.within(tenant);
            runs_are(subject, &filter, expected, live).await;
            walks_are(subject, Kind::WorkflowRun, &filter, expected).await;
            let text = TextFilter { keyword: "Hello".to_owned(), fields: vec![TextField::Inputs] };
            runs_are(subject, &RunQuery { text: Some(text), ..filter.conditions }.within(tenant), expected, live).await;
        }
        let succeeded = AppLogFilter { run_status: Some("succeeded".into()), ..AppLogFilter::all(tenant, app) };
        let page = subject.store.app_logs(&succeeded, 0, 10).await.unwrap();
        assert_eq!((page.total, page.rows.len()), (1, 1), "{order:?}");
        assert_eq!(page.rows[0].run.as_ref().map(|run| run.created_at), Some(at(RESUMED)), "{order:?}");
        erased(subject, snapshots[3].key()).await;
    }
}

async fn runs_are(subject: &Subject, filter: &RunFilter, expected: u64, live: &WorkflowRun) {
    let november = filter.created.until != Some(at("2026-11-01T00:00:00"));
    for direction in [Direction::Ascending, Direction::Descending] {
        for limit in [1, 2, 10] {
            let mut page = Page { direction, limit, ..Page::newest(limit) };
            let mut found = Vec::new();
            loop {
                let rows = subject.store.runs(filter, &page).await.unwrap();
                page.after = rows.last().map(difylog::domain::query::RunSummary::position);
                let is_last = rows.len() < limit;
                found.extend(rows);
                if is_last {
                    break;
                }
            }
            assert_eq!(found.len() as u64, expected, "{filter:?}");
            let of_live: Vec<_> = found.iter().filter(|row| row.id == live.id).map(|row| row.created_at).collect();
            assert_eq!(of_live, if november { vec![live.created_at] } else { vec![] }, "{filter:?}");
        }
    }
    let found = subject.store.search_runs(filter, &Page::newest(1), Some(100)).await.unwrap();
    assert_eq!(found.total.value, expected, "{filter:?}");
    let rows = Rows::Runs(filter.clone());
    assert_eq!(
        subject.store.documents(&rows, &Page::newest(10), Content::Full).await.unwrap().documents.len() as u64,
        expected
    );
    counts_are(subject, &rows, expected).await;
    let days = subject.store.daily(filter, Tz::UTC).await.unwrap();
    assert_eq!(days.iter().map(|day| day.runs).sum::<u64>(), expected, "{filter:?}");
}

async fn counts_are(subject: &Subject, rows: &Rows, expected: u64) {
    let counts = subject.store.facet(rows, Facet::Status, 10).await.unwrap();
    assert_eq!(counts.iter().map(|count| count.count).sum::<u64>(), expected, "{rows:?} {counts:?}");
    let spans = subject.store.histogram(rows, 3_600).await.unwrap();
    assert_eq!(spans.iter().map(|span| span.count).sum::<u64>(), expected, "{rows:?} {spans:?}");
}

async fn walks_are(subject: &Subject, kind: Kind, filter: &RunFilter, expected: u64) {
    let (tenants, app_id) = (vec![filter.tenant_id], filter.app_id);
    let scan = Scan { tenants, app_id, created: filter.created, ..Scan::all(kind, 100) };
    assert_eq!(subject.store.scan(&scan).await.unwrap().len() as u64, expected, "{scan:?}");
    assert_eq!(subject.store.scan_count(&scan).await, Ok(expected), "{scan:?}");
}

async fn by_id(subject: &Subject, live: &Record) {
    let whole = records::whole(live.clone());
    let key = live.key();
    assert_eq!(subject.read(key).await, Some(whole.clone()));
    assert_eq!(subject.store.records(key.tenant_id, key.kind, &[key.id]).await, Ok(vec![whole]));
    if key.kind == Kind::WorkflowRun {
        let summaries = subject.store.run_summaries(key.tenant_id, &[key.id]).await.unwrap();
        assert_eq!(summaries.iter().map(|run| run.created_at).collect::<Vec<_>>(), [live.created_at()]);
    }
    let ids = [key.id, records::id()];
    let places = subject.store.copies(key.tenant_id, key.kind, &ids).await.unwrap();
    assert_eq!(places.iter().map(|copy| copy.record.created_at()).collect::<Vec<_>>(), [at(RESUMED), at(PAUSED)]);
    assert!(places.iter().all(|copy| copy.record.id() == key.id));
}

async fn erased(subject: &Subject, key: RecordKey) {
    let erasure = Erasure { key, revision: None };
    assert_eq!(subject.store.erase(&[erasure], Remains::Tombstone(at(RESUMED))).await, Ok(vec![true]));
    assert_eq!(subject.read(key).await, None);
    assert_eq!(subject.store.copies(key.tenant_id, key.kind, &[key.id]).await, Ok(vec![]));
}

/// A row keeps a node's first index, so that its revision is greater than that of the live message.
pub async fn a_node_that_ended_in_two_months_is_one_in_every_answer(subject: &Subject) {
    let tenant = tenant();
    for order in ORDERS {
        let (app, run_id) = (app(), records::id());
        let before = node(tenant, app, run_id, 2, at(PAUSED));
        let before = NodeExecution { status: NodeStatus::Paused, ..before };
        let end = Some(later(at(RESUMED), 5_000_000));
        let ended = NodeExecution { status: NodeStatus::Succeeded, finished_at: end, ..before.clone() };
        let live = NodeExecution { created_at: at(RESUMED), index: 1, ..ended.clone() };
        let copies = [before, live.clone(), ended].map(|node| Record::Node(Box::new(node)));
        for index in order {
            put(subject, copies[index].clone()).await;
        }
        subject.refresh().await;
        by_id(subject, &copies[1]).await;
        for created in spans().map(|(created, _)| created) {
            let expected = u64::from(created.contains(live.created_at));
            let filter = NodeQuery { workflow_run_id: Some(run_id), created, ..NodeQuery::default() }.within(tenant);
            let found = subject.store.search_nodes(&filter, &Page::newest(10), Some(100)).await.unwrap();
            assert_eq!((found.rows.len() as u64, found.total.value), (expected, expected), "{order:?} {filter:?}");
            counts_are(subject, &Rows::Nodes(filter), expected).await;
            let scan = RunQuery { app_id: Some(app), created, ..RunQuery::default() }.within(tenant);
            walks_are(subject, Kind::NodeExecution, &scan, expected).await;
        }
        erased(subject, copies[1].key()).await;
    }
}

/// Long runs end after their month without ever having been paused: they are no copies, and stay.
pub async fn a_run_across_the_end_of_its_month_stays_where_it_began(subject: &Subject) {
    let (tenant, app) = (tenant(), app());
    let long = records::ended(run(tenant, app, at(PAUSED)), 7_200_000_001);
    assert!(long.status == RunStatus::Succeeded);
    put(subject, Record::Run(Box::new(long))).await;
    put(subject, Record::Run(Box::new(records::ended(run(tenant, app, at(RESUMED)), 1_000_000)))).await;
    subject.refresh().await;
    let all = RunFilter::all(tenant);
    assert_eq!(subject.store.search_runs(&all, &Page::newest(10), Some(100)).await.unwrap().total.value, 2);
    counts_are(subject, &Rows::Runs(all), 2).await;
}
