//! Walks: complete, ordered, newest revisions only, by every condition. The expectation is a filter over a list.

use difylog::domain::query::{AppScope, Content, Cursor, Scan, TenantCount, TimeRange};
use difylog::domain::record::RecordKey;
use difylog::domain::{AppId, Document, JsonText, Kind, Record, RecordId, TenantId, WorkflowRun};

use crate::contract::subject::Subject;
use crate::support::records::{
    self, app, app_log, at, ended, id, later, node, offload, paused_and_resumed, run, tenant,
};

/// Asks until nothing comes.
async fn walk(subject: &Subject, mut scan: Scan) -> Vec<Document> {
    let mut walked: Vec<Document> = Vec::new();
    loop {
        let stretch = subject.store.scan(&scan).await.unwrap();
        let Some(last) = stretch.last() else { return walked };
        scan.after = Some(Cursor { created_at: last.record.created_at(), id: last.record.id() });
        walked.extend(stretch);
    }
}

fn place(record: &Record) -> (i64, RecordId, TenantId) {
    (record.created_at().micros(), record.id(), record.tenant_id())
}

fn status(record: &Record) -> &str {
    match record {
        Record::Run(run) => run.status.as_str(),
        Record::Node(node) => node.status.as_str(),
        Record::AppLog(_) | Record::Offload(_) => "",
    }
}

/// These apps and no other.
fn scope(apps: &[AppId]) -> AppScope {
    AppScope::only(apps.iter().copied().collect()).unwrap()
}

pub async fn walks_meet_every_document_once_by_every_condition(subject: &Subject) {
    let (one, other) = (tenant(), tenant());
    let apps = [app(), app()];
    // Ties at an instant, the same id in two tenants, both sides of a month's end.
    let start = at("2013-01-31T23:59:59.999997");
    let mut runs = Vec::new();
    for (number, app) in (0..24).zip(apps.into_iter().cycle()) {
        let mut first = run(one, app, later(start, number / 4));
        if number % 3 == 0 {
            first = ended(first, 7);
        }
        let mut twin = first.clone();
        twin.tenant_id = other;
        runs.extend([first, twin].map(|run| Record::Run(Box::new(run))));
    }
    let snapshots = paused_and_resumed(&run(one, apps[0], start), at("2013-03-01T00:00:00"));
    subject.store(runs.iter().chain(&snapshots).cloned()).await;
    subject.refresh().await;
    runs.extend(snapshots.last().cloned());
    runs.sort_by_key(place);

    let all = Scan { tenants: vec![one, other], ..Scan::all(Kind::WorkflowRun, 5) };
    let until = |until| TimeRange { from: Some(later(start, 1)), until: Some(until) };
    let scans = [
        all.clone(),
        Scan { limit: 1, content: Content::Light, ..all.clone() },
        Scan { limit: 9, content: Content::Only(&["outputs"]), ..all.clone() },
        Scan { content: Content::Payloads, ..all.clone() },
        Scan { tenants: vec![other], ..all.clone() },
        Scan { app_id: Some(apps[0]), limit: 1_000, ..all.clone() },
        Scan { apps: scope(&[apps[1], app()]), ..all.clone() },
        Scan { apps: scope(&apps), app_id: Some(apps[0]), ..all.clone() },
        Scan { created: until(later(start, 4)), ..all.clone() },
        Scan { statuses: vec!["succeeded".into()], tenants: vec![one], ..all.clone() },
        Scan { statuses: vec!["running".into(), "paused".into()], app_id: Some(apps[1]), ..all.clone() },
    ];
    let elsewhere = Scan { apps: scope(&[apps[1]]), app_id: Some(apps[0]), ..all.clone() };
    assert_eq!(walk(subject, elsewhere.clone()).await, []);
    assert_eq!(subject.store.scan_count(&elsewhere).await, Ok(0));
    for scan in scans {
        let matches = |run: &&Record| {
            scan.tenants.contains(&run.tenant_id())
                && scan.app_id.is_none_or(|app_id| run.app_id() == app_id)
                && scan.apps.holds(run.app_id())
                && scan.created.contains(run.created_at())
                && (scan.statuses.is_empty() || scan.statuses.iter().any(|wanted| **wanted == *status(run)))
        };
        let expected: Vec<Record> = runs.iter().filter(matches).cloned().collect();
        assert!(!expected.is_empty());
        let walked = walk(subject, scan.clone()).await;
        let ids = |records: &[Record]| records.iter().map(place).collect::<Vec<_>>();
        let found: Vec<Record> = walked.iter().map(|document| document.record.clone()).collect();
        assert_eq!(ids(&found), ids(&expected), "{scan:?}");
        assert_eq!(subject.store.scan_count(&scan).await, Ok(expected.len() as u64), "{scan:?}");
        let mut expected: Vec<_> = expected.into_iter().map(records::whole).collect();
        for document in &mut expected {
            records::leave_out(document, scan.content);
        }
        assert!(walked == expected, "{scan:?}");
    }
}

pub async fn a_walk_over_every_copy_meets_the_superseded_ones(subject: &Subject) {
    let (tenant_id, start) = (tenant(), at("2013-03-30T00:00:00"));
    let snapshots = paused_and_resumed(&run(tenant_id, app(), start), at("2013-04-02T00:00:00"));
    let neighbour = Record::Run(Box::new(ended(run(tenant_id, app(), start), 7)));
    subject.store(snapshots.iter().chain([&neighbour]).cloned()).await;
    subject.refresh().await;
    let scan = Scan { tenants: vec![tenant_id], superseded_too: true, ..Scan::all(Kind::WorkflowRun, 1) };
    let march = |record: &&Record| record.month() == start.month();
    let paused = snapshots.iter().rfind(march).unwrap();
    let mut expected = vec![paused.clone(), neighbour, snapshots.last().unwrap().clone()];
    expected.sort_by_key(place);
    assert_eq!(subject.store.scan_count(&scan).await, Ok(3));
    assert_eq!(walk(subject, scan.clone()).await, expected.into_iter().map(records::whole).collect::<Vec<_>>());
    let light = walk(subject, Scan { content: Content::Light, limit: 10, ..scan }).await;
    assert_eq!(light.len(), 3);
}

pub async fn what_shares_a_cursor_comes_in_one_answer(subject: &Subject) {
    let tenants = [tenant(), tenant(), tenant()];
    let first = app_log(tenants[0], app(), id(), at("2013-05-01T00:00:00"));
    let mut logs = tenants.map(|tenant_id| {
        let mut log = first.clone();
        log.tenant_id = tenant_id;
        Record::AppLog(Box::new(log))
    });
    logs.sort_by_key(place);
    subject.store(logs.clone()).await;
    subject.refresh().await;
    let scan = Scan { tenants: tenants.into(), ..Scan::all(Kind::AppLog, 1) };
    let stretch = subject.store.scan(&scan).await.unwrap();
    assert_eq!(stretch, logs.map(records::whole));
    let mut owners = subject.store.owners(Kind::AppLog, first.id).await.unwrap();
    owners.sort_unstable();
    let mut tenants = tenants.to_vec();
    tenants.sort_unstable();
    assert_eq!(owners, tenants);
    assert_eq!(subject.store.owners(Kind::WorkflowRun, first.id).await, Ok(vec![]));
}

/// Every run carries the graph that it shares with the others: an answer is bounded by what it holds.
pub async fn a_walk_over_large_graphs_comes_in_short_answers(subject: &Subject) {
    const GRAPH: usize = 3 << 20;
    let (tenant_id, app) = (tenant(), app());
    let graph = JsonText::from_clean(format!(r#"{{"nodes": "{}"}}"#, "a".repeat(GRAPH)));
    let runs = (0..14).map(|number| {
        let mut run = run(tenant_id, app, later(at("2013-07-01T00:00:00"), number * 1_000_000));
        run.graph = Some(graph.clone());
        Record::Run(Box::new(run))
    });
    let runs: Vec<_> = runs.collect();
    for run in &runs {
        subject.store([run.clone()]).await;
    }
    subject.refresh().await;
    let mut scan = Scan { tenants: vec![tenant_id], ..Scan::all(Kind::WorkflowRun, 500) };
    let mut walked = Vec::new();
    loop {
        let stretch = subject.store.scan(&scan).await.unwrap();
        let Some(last) = stretch.last() else { break };
        assert!(stretch.len() * GRAPH < 24 << 20, "{} graphs in one answer", stretch.len());
        scan.after = Some(last.cursor());
        walked.extend(stretch);
    }
    assert!(walked == runs.into_iter().map(records::whole).collect::<Vec<_>>());
}

pub async fn children_of_runs_are_found_in_every_month(subject: &Subject) {
    let (tenant_id, app, run_id, start) = (tenant(), app(), id(), at("2013-06-30T23:59:59"));
    let next = at("2013-07-01T00:00:01");
    let nodes = [node(tenant_id, app, run_id, 1, start), node(tenant_id, app, run_id, 2, next)];
    let log = app_log(tenant_id, app, run_id, next);
    let kept = offload(tenant_id, app, Some(nodes[0].id), next);
    let mut expected = vec![
        RecordKey { tenant_id, kind: Kind::AppLog, id: log.id },
        RecordKey { tenant_id, kind: Kind::Offload, id: kept.id },
    ];
    expected.extend(nodes.iter().map(|node| RecordKey { tenant_id, kind: Kind::NodeExecution, id: node.id }));
    let strangers = [node(tenant_id, app, id(), 1, start), node(tenant(), app, run_id, 1, start)];
    let offloads = [kept, offload(tenant_id, app, Some(strangers[0].id), start), offload(tenant_id, app, None, start)];
    let nodes = nodes.into_iter().chain(strangers).map(|node| Record::Node(Box::new(node)));
    let offloads = offloads.map(|offload| Record::Offload(Box::new(offload)));
    subject.store(nodes.chain(offloads).chain([Record::AppLog(Box::new(log))])).await;
    subject.refresh().await;
    let mut found = subject.store.children(tenant_id, &[run_id, run_id, id()]).await.unwrap();
    found.sort_unstable_by_key(|key| (key.kind, key.id));
    expected.sort_unstable_by_key(|key| (key.kind, key.id));
    assert_eq!(found, expected);
    assert_eq!(subject.store.children(tenant_id, &[]).await, Ok(vec![]));
}

pub async fn tenants_are_counted_per_month_and_kind(subject: &Subject) {
    let (tenant_id, app, start) = (tenant(), app(), at("2013-09-09T09:09:09"));
    let month = start.month();
    let runs = [run(tenant_id, app, start), run(tenant_id, app, start)].map(|run| Record::Run(Box::new(run)));
    subject.store(runs).await;
    subject.store([Record::Node(Box::new(node(tenant_id, app, id(), 1, start)))]).await;
    subject.store([Record::Run(Box::new(run(tenant_id, app, at("2013-10-01T00:00:00"))))]).await;
    subject.refresh().await;
    let mut counts = subject.store.tenant_counts(month).await.unwrap();
    counts.retain(|count| count.tenant_id == tenant_id && count.documents > 0);
    counts.sort_unstable_by_key(|count| count.kind);
    let count = |kind, documents| TenantCount { tenant_id, month, kind, documents };
    assert_eq!(counts, [count(Kind::WorkflowRun, 2), count(Kind::NodeExecution, 1)]);
}

pub async fn a_walk_knows_where_it_ends(subject: &Subject) {
    let (tenant_id, app, start) = (tenant(), app(), at("2013-11-30T23:59:59"));
    let scan = Scan { tenants: vec![tenant_id], ..Scan::all(Kind::WorkflowRun, 1) };
    assert_eq!(subject.store.scan_end(&scan).await, Ok(None));
    let mut runs: Vec<_> =
        [start, later(start, 2_000_000), later(start, 2_000_001)].map(|at| run(tenant_id, app, at)).into();
    // Of the same instant, the greater id comes last.
    runs.push(WorkflowRun { id: id(), ..runs[2].clone() });
    runs.sort_by_key(|run| (run.created_at, run.id));
    let places: Vec<_> = runs.iter().map(|run| Cursor { created_at: run.created_at, id: run.id }).collect();
    subject.store(runs.into_iter().map(|run| Record::Run(Box::new(run)))).await;
    subject.store([Record::Node(Box::new(node(tenant_id, app, id(), 1, at("2014-01-01T00:00:00"))))]).await;
    subject.store([Record::Run(Box::new(run(tenant(), app, at("2014-01-01T00:00:00"))))]).await;
    subject.refresh().await;
    assert_eq!(subject.store.scan_end(&scan).await, Ok(Some(places[3])));
    let passed = Scan { after: Some(places[3]), ..scan.clone() };
    assert_eq!(subject.store.scan_end(&passed).await, Ok(Some(places[3])));
    let created = TimeRange { from: None, until: Some(at("2013-12-01T00:00:00")) };
    assert_eq!(subject.store.scan_end(&Scan { created, ..scan }).await, Ok(Some(places[0])));
}
