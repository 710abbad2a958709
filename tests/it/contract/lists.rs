//! Lists: complete, ordered, each record once.

use difylog::domain::query::{Page, RunQuery, RunSummary};
use difylog::domain::{AppId, Record, RecordId, TenantId, WorkflowRun};

use crate::contract::subject::Subject;
use crate::support::nodes::nodes_of_run;
use crate::support::records::{self, app, at, ended, id, later, node, run, tenant};

/// Walks all pages of an app.
pub async fn walk(subject: &Subject, tenant_id: TenantId, app_id: AppId, limit: usize) -> Vec<RunSummary> {
    let filter = RunQuery { app_id: Some(app_id), ..RunQuery::default() }.within(tenant_id);
    let mut walked: Vec<RunSummary> = Vec::new();
    loop {
        let after = walked.last().map(RunSummary::position);
        let page = subject.store.runs(&filter, &Page { after, ..Page::newest(limit) }).await.unwrap();
        assert!(page.len() <= limit);
        if page.is_empty() {
            return walked;
        }
        walked.extend(page);
    }
}

pub async fn nodes_of_a_run_are_complete_and_ordered(subject: &Subject) {
    let (tenant, app, run_id, start) = (tenant(), app(), id(), at("2026-11-30T23:59:59.999000"));
    // The run goes on past midnight into the next month; three nodes share each instant.
    let mut nodes: Vec<_> =
        (0..1_200).map(|number| node(tenant, app, run_id, number, later(start, number / 3 * 10))).collect();
    let other = node(tenant, app, id(), 1, start);
    subject.store(nodes.iter().cloned().chain([other]).map(|node| Record::Node(Box::new(node)))).await;
    subject.refresh().await;
    nodes.sort_by_key(|node| (node.created_at, node.id));
    let expected: Vec<_> = nodes.into_iter().map(|node| records::whole(Record::Node(Box::new(node)))).collect();
    let found = nodes_of_run(&*subject.store, tenant, run_id).await.unwrap();
    assert_eq!(found.len(), expected.len());
    assert!(found == expected, "the nodes come in another order or with other content");
}

pub async fn walking_pages_meets_every_run_once(subject: &Subject) {
    let (tenant, app) = (tenant(), app());
    let mut runs: Vec<WorkflowRun> = Vec::new();
    for day in ["2026-09-30T23:59:59.999999", "2026-10-01T00:00:00", "2026-11-05T06:07:08.123456"] {
        // Six runs share each instant.
        runs.extend((0..36).map(|number| run(tenant, app, later(at(day), number / 6))));
    }
    subject.store(runs.iter().cloned().map(|run| Record::Run(Box::new(run)))).await;
    subject.refresh().await;
    runs.sort_by_key(|run| std::cmp::Reverse((run.created_at, run.id)));
    let expected: Vec<RecordId> = runs.iter().map(|run| run.id).collect();
    for limit in [1, 5, 8, 107, 108, 500] {
        let walked: Vec<RecordId> = walk(subject, tenant, app, limit).await.iter().map(|run| run.id).collect();
        assert_eq!(walked, expected, "pages of {limit}");
    }
}

pub async fn pages_are_of_one_app_and_tenant(subject: &Subject) {
    let (tenant_a, tenant_b, app_a, app_b, start) = (tenant(), tenant(), app(), app(), at("2026-11-05T06:07:08"));
    let places = [(tenant_a, app_a), (tenant_a, app_b), (tenant_b, app_a)];
    let runs = places.map(|(tenant, app)| run(tenant, app, start));
    subject.store(runs.iter().cloned().map(|run| Record::Run(Box::new(run)))).await;
    subject.refresh().await;
    for ((tenant, app), run) in places.into_iter().zip(runs) {
        let found: Vec<_> = walk(subject, tenant, app, 10).await.iter().map(|found| found.id).collect();
        assert_eq!(found, [run.id]);
    }
    assert_eq!(walk(subject, tenant_b, app_b, 10).await, []);
}

pub async fn pages_carry_every_light_column(subject: &Subject) {
    let mut run = ended(run(tenant(), app(), at("2026-11-05T06:07:08.000001")), 61_000_000);
    run.exceptions_count = 3;
    run.total_steps = 11;
    let record = Record::Run(Box::new(run.clone()));
    let revision = records::whole(record.clone()).revision;
    subject.store([record]).await;
    subject.refresh().await;
    let (tenant_id, app_id) = (run.tenant_id, run.app_id);
    let run = WorkflowRun { graph: None, inputs: None, outputs: None, error: None, ..run };
    assert_eq!(walk(subject, tenant_id, app_id, 10).await, [RunSummary { run, revision }]);
}
