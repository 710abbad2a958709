//! Questions to an engine that need its own ways: exact numbers where it estimates, days of zones, joins that it lacks,
//! and records that lie in two months.

use std::sync::Arc;

use chrono_tz::Tz;
use difylog::domain::query::{
    AppLogFilter, Bounds, Day, Direction, Facet, ListFilter, NodeQuery, Page, RunFilter, RunQuery, RunSummary, SortBy,
    TimeRange,
};
use difylog::domain::{AppId, JsonText, Kind, Record, RecordId, RunStatus, TenantId, WorkflowRun};
use difylog::store::elastic::{ElasticStore, Tenancy};
use difylog::store::{BulkSink as _, LogReader as _, StoreAdmin as _, StoreOverview as _};

use crate::support::namespace::Namespace;
use crate::support::records::{self, app, app_log, at, ended, id, later, node, paused_and_resumed, run, tenant};

async fn store() -> (Arc<ElasticStore>, Namespace) {
    let namespace = Namespace::new();
    let store = ElasticStore::new(namespace.settings(Tenancy::Dedicated)).unwrap();
    store.install().await.unwrap();
    (Arc::new(store), namespace)
}

async fn write(store: &ElasticStore, records: Vec<Record>) {
    for chunk in records.chunks(500) {
        let actions: Vec<_> = chunk.iter().cloned().flat_map(records::actions).collect();
        store.apply(&actions).await.unwrap();
    }
    store.refresh().await.unwrap();
}

fn record(run: &WorkflowRun) -> Record {
    Record::Run(Box::new(run.clone()))
}

fn ids(runs: &[RunSummary]) -> Vec<RecordId> {
    runs.iter().map(|run| run.id).collect()
}

/// Two ended runs of July, and one that was paused in July and resumed in August.
async fn two_months(store: &ElasticStore, tenant_id: TenantId, app_id: AppId) -> (Vec<WorkflowRun>, WorkflowRun) {
    let july = at("2026-07-31T20:00:00.000001");
    let still: Vec<_> = (0..2).map(|nth| ended(run(tenant_id, app_id, later(july, nth)), 1_000_000)).collect();
    let resumed = run(tenant_id, app_id, july);
    let snapshots = paused_and_resumed(&resumed, at("2026-08-02T10:00:00"));
    write(store, still.iter().map(record).chain(snapshots).collect()).await;
    (still, resumed)
}

#[tokio::test]
async fn a_run_in_two_months_counts_once() {
    let (store, _namespace) = store().await;
    let (tenant_id, app_id) = (tenant(), app());
    let (still, resumed) = two_months(&store, tenant_id, app_id).await;
    let all = RunQuery { app_id: Some(app_id), ..RunQuery::default() }.within(tenant_id);
    let found = store.search_runs(&all, &Page::newest(10), Some(100)).await.unwrap();
    assert_eq!(ids(&found.rows), [resumed.id, still[1].id, still[0].id]);
    assert_eq!((found.total.value, found.total.exact), (3, true));
    let paused = RunQuery { statuses: vec!["paused".into()], ..all.conditions.clone() }.within(tenant_id);
    assert_eq!(store.runs(&paused, &Page::newest(10)).await.unwrap(), []);
    let statuses = store.facet(&ListFilter::Runs(all.clone()), Facet::Status, 10).await.unwrap();
    assert_eq!(statuses.iter().map(|facet| (&*facet.value, facet.count)).collect::<Vec<_>>(), [("succeeded", 3)]);
    let spans = store.histogram(&ListFilter::Runs(all.clone()), 86_400).await.unwrap();
    assert_eq!(
        spans.iter().map(|span| (span.from, span.count)).collect::<Vec<_>>(),
        [(at("2026-07-31T00:00:00"), 2), (at("2026-08-02T00:00:00"), 1)]
    );
    let records = store.records(tenant_id, Kind::WorkflowRun, &[resumed.id, still[0].id, id()]).await.unwrap();
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|document| matches!(&document.record, Record::Run(run)
        if run.status == RunStatus::Succeeded && run.graph == resumed.graph)));
    assert_eq!(store.run_summaries(tenant(), &[resumed.id]).await.unwrap(), []);
}

/// All runs of a tenant, page by page.
async fn walked(store: &ElasticStore, tenant_id: TenantId, mut page: Page) -> Vec<RecordId> {
    let mut walked = Vec::new();
    loop {
        let rows = store.runs(&RunFilter::all(tenant_id), &page).await.unwrap();
        page.after = rows.last().map(RunSummary::position);
        walked.extend(ids(&rows));
        assert!(walked.len() < 100, "the same rows again and again");
        if rows.len() < page.limit {
            return walked;
        }
    }
}

/// Walks pages of so many rows in both directions, and asserts that each run comes once and in order.
async fn assert_walked(store: &ElasticStore, tenant_id: TenantId, sort: SortBy, limit: usize, ascending: &[RecordId]) {
    for direction in [Direction::Ascending, Direction::Descending] {
        let mut walked = walked(store, tenant_id, Page { sort, direction, after: None, limit }).await;
        if direction == Direction::Descending {
            walked.reverse();
        }
        assert_eq!(walked, ascending, "{sort:?} {direction:?}, {limit} a page");
    }
}

/// The older copy has the place of the newer one, and may be the last of its page.
#[tokio::test]
async fn a_superseded_copy_at_the_end_of_a_page_hides_no_row() {
    let (store, namespace) = store().await;
    let shared = ElasticStore::new(namespace.settings(Tenancy::Shared)).unwrap();
    // The own index of one is sorted before the shared one, that of the other behind it.
    for tenant_id in ["0069dd85-0949-4cda-99c9-4984b192aea0", "f069dd85-0949-4cda-99c9-4984b192aea0"] {
        let (tenant_id, begin) = (tenant_id.parse().unwrap(), at("2026-07-01T00:00:00"));
        let mut running: Vec<_> = (0..3).map(|nth| run(tenant_id, app(), later(begin, nth))).collect();
        for run in &mut running {
            // As it will be at the end, so that copies share a place in this order, too.
            run.elapsed_time = 1.5;
        }
        write(&shared, running.iter().map(record).collect()).await;
        write(&store, running.iter().map(|run| record(&ended(run.clone(), 1))).collect()).await;
        let ascending: Vec<_> = running.iter().map(|run| run.id).collect();
        for sort in [SortBy::CreatedAt, SortBy::ElapsedTime] {
            for limit in 1..=4 {
                assert_walked(&store, tenant_id, sort, limit, &ascending).await;
            }
        }
    }
}

/// A parser that is nearly right tells a place beside the row: a list by durations repeats it, or leaves others out.
#[tokio::test]
async fn a_duration_of_seventeen_digits_is_read_as_it_was_written() {
    let (store, _namespace) = store().await;
    let tenant_id = tenant();
    let mut runs: Vec<_> = (0..3).map(|_| ended(run(tenant_id, app(), at("2026-07-01T00:00:00")), 1)).collect();
    runs.sort_by_key(|run| run.id);
    for run in &mut runs {
        run.elapsed_time = 13.137_557_970_584_055;
    }
    write(&store, runs.iter().map(record).collect()).await;
    assert_eq!(store.record(record(&runs[0]).key()).await, Ok(Some(records::whole(record(&runs[0])))));
    let ascending: Vec<_> = runs.iter().map(|run| run.id).collect();
    assert_walked(&store, tenant_id, SortBy::ElapsedTime, 1, &ascending).await;
}

#[tokio::test]
async fn ties_are_walked_in_both_directions_and_by_duration() {
    let (store, _namespace) = store().await;
    let (tenant_id, app_id) = (tenant(), app());
    let mut runs: Vec<_> = (0..25).map(|_| ended(run(tenant_id, app_id, at("2026-07-01T00:00:00")), 1)).collect();
    write(&store, runs.iter().map(record).collect()).await;
    runs.sort_by_key(|run| run.id);
    let ascending: Vec<_> = runs.iter().map(|run| run.id).collect();
    for sort in [SortBy::CreatedAt, SortBy::ElapsedTime] {
        assert_walked(&store, tenant_id, sort, 4, &ascending).await;
    }
    let long = RunQuery { elapsed_time: Bounds { min: Some(f64::INFINITY), max: None }, ..RunQuery::default() }
        .within(tenant_id);
    assert_eq!(store.runs(&long, &Page::newest(5)).await.unwrap(), []);
    for (count_to, exact) in [(7, false), (24, false), (25, true), (u64::MAX, true)] {
        let found = store.search_runs(&RunFilter::all(tenant_id), &Page::newest(1), Some(count_to)).await.unwrap();
        assert_eq!((found.total.value, found.total.exact), (count_to.min(25), exact), "counted up to {count_to}");
    }
}

#[tokio::test]
async fn days_follow_the_zone_and_sums_are_exact() {
    let (store, _namespace) = store().await;
    let (tenant_id, app_id) = (tenant(), app());
    // Berlin: the day of 25 October 2026 begins at 22:00 UTC and has 25 hours.
    let instants =
        ["2026-10-24T21:59:59.999999", "2026-10-24T22:00:00", "2026-10-25T22:59:59.999999", "2026-10-25T23:00:00"];
    let users = [id(), id()];
    let mut runs = Vec::new();
    for (nth, instant) in instants.iter().enumerate() {
        let mut run = ended(run(tenant_id, app_id, at(instant)), 1);
        run.created_by = users[nth % 2];
        run.total_tokens = 9_007_199_254_740_993;
        runs.push(run);
    }
    write(&store, runs.iter().map(record).collect()).await;
    let days = store.daily(&RunFilter::all(tenant_id), Tz::Europe__Berlin).await.unwrap();
    let day = |date: &str, runs: u64| Day {
        date: date.parse().unwrap(),
        runs,
        users: runs,
        tokens: i128::from(runs) * 9_007_199_254_740_993,
    };
    assert_eq!(days, [day("2026-10-24", 1), day("2026-10-25", 2), day("2026-10-26", 1)]);
    assert_eq!(store.daily(&RunFilter::all(tenant()), Tz::UTC).await.unwrap(), []);
}

#[tokio::test]
async fn logs_are_joined_with_their_runs() {
    let (store, _namespace) = store().await;
    let (tenant_id, app_id) = (tenant(), app());
    let (still, resumed) = two_months(&store, tenant_id, app_id).await;
    let begin = at("2026-07-31T20:00:00");
    let runs = [still[0].id, still[1].id, resumed.id, id()];
    let logs: Vec<_> = runs.iter().map(|run| app_log(tenant_id, app_id, *run, begin)).collect();
    write(&store, logs.iter().map(|log| Record::AppLog(Box::new(log.clone()))).collect()).await;
    let created = TimeRange { from: Some(begin), until: Some(later(begin, 1)) };
    let filter = AppLogFilter { created, ..AppLogFilter::all(tenant_id, app_id) };
    let mut newest_first = logs.clone();
    newest_first.sort_by_key(|log| std::cmp::Reverse(log.id));
    let page = store.app_logs(&filter, 1, 2).await.unwrap();
    assert_eq!(page.total, 4);
    assert_eq!(page.rows.iter().map(|row| &row.log).collect::<Vec<_>>(), [&newest_first[1], &newest_first[2]]);
    let page = store.app_logs(&filter, 0, 10).await.unwrap();
    assert_eq!(page.rows.iter().filter(|row| row.run.is_none()).count(), 1);
    let of = |status: &str| AppLogFilter { run_status: Some(status.into()), ..filter.clone() };
    assert_eq!(store.app_logs(&of("succeeded"), 0, 2).await.unwrap().total, 3);
    assert_eq!(store.app_logs(&of("paused"), 0, 2).await.unwrap().total, 0);
}

#[tokio::test]
async fn logs_of_more_runs_than_logs_are_walked() {
    const LOGS: usize = 5_200;
    let (store, _namespace) = store().await;
    let (tenant_id, app_id) = (tenant(), app());
    let begin = at("2026-07-01T00:00:00");
    let runs: Vec<_> = (0..LOGS + 50).map(|_| ended(run(tenant_id, app_id, begin), 1)).collect();
    write(&store, runs.iter().map(record).collect()).await;
    // The oldest hundred have no run; a run has three logs.
    let run_of = |nth: usize| match nth {
        0..100 => id(),
        100..103 => runs[100].id,
        _ => runs[nth].id,
    };
    let log = |nth: usize| app_log(tenant_id, app_id, run_of(nth), later(begin, i64::try_from(nth).unwrap()));
    let logs: Vec<_> = (0..LOGS).map(log).collect();
    write(&store, logs.iter().map(|log| Record::AppLog(Box::new(log.clone()))).collect()).await;
    let filter = AppLogFilter { run_status: Some("succeeded".into()), ..AppLogFilter::all(tenant_id, app_id) };
    let newest_first: Vec<_> = logs[100..].iter().rev().map(|log| log.id).collect();
    for (offset, limit) in [(0, 20), (5_090, 20), (5_100, 20)] {
        let page = store.app_logs(&filter, offset as u64, limit).await.unwrap();
        assert_eq!(page.total, 5_100);
        let expected: Vec<_> = newest_first.iter().skip(offset).take(limit).copied().collect();
        assert_eq!(page.rows.iter().map(|row| row.log.id).collect::<Vec<_>>(), expected, "from {offset}");
    }
}

#[tokio::test]
async fn deep_pages_of_logs_go_beyond_the_window() {
    let (store, _namespace) = store().await;
    let (tenant_id, app_id) = (tenant(), app());
    let log = |nth: i64| app_log(tenant_id, app_id, id(), later(at("2026-07-01T00:00:00"), nth / 2));
    let mut logs: Vec<_> = (0..10_050).map(log).collect();
    write(&store, logs.iter().map(|log| Record::AppLog(Box::new(log.clone()))).collect()).await;
    logs.sort_by_key(|log| std::cmp::Reverse((log.created_at, log.id)));
    let filter = AppLogFilter::all(tenant_id, app_id);
    let page = store.app_logs(&filter, 10_030, 100).await.unwrap();
    assert_eq!(page.total, 10_050);
    assert_eq!(
        page.rows.iter().map(|row| row.log.id).collect::<Vec<_>>(),
        logs[10_030..].iter().map(|log| log.id).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn light_nodes_tell_what_they_ran_in() {
    let (store, _namespace) = store().await;
    let (tenant_id, app_id, run_id) = (tenant(), app(), id());
    let mut node = node(tenant_id, app_id, run_id, 1, at("2026-07-01T00:00:00"));
    node.execution_metadata = Some(JsonText::from_clean(r#"{"iteration_id": "i-1", "loop_id": 7}"#));
    write(&store, vec![Record::Node(Box::new(node))]).await;
    let filter = NodeQuery { workflow_run_id: Some(run_id), ..NodeQuery::default() }.within(tenant_id);
    let nodes = store.nodes(&filter, &Page::newest(5)).await.unwrap();
    assert_eq!(nodes.iter().map(|node| node.iteration_id.as_deref()).collect::<Vec<_>>(), [Some("i-1")]);
    assert_eq!(nodes[0].loop_id, None);
}
