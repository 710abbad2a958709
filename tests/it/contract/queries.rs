//! Lists and searches: what the plain model says, for generated records and questions.

use difylog::domain::query::ListFilter as Rows;
use difylog::domain::query::{Found, NodeSummary, Page, Position, RunFilter, RunQuery, RunSummary};
use difylog::domain::{Kind, Record, RecordId};

use crate::contract::subject::Subject;
use crate::support::model::{self, Model};
use crate::support::records;

/// Random questions of a case: `DIFYLOG_TEST_QUERIES`, or as many as a suite has time for over every engine.
pub fn questions() -> usize {
    const DEFAULT: usize = 60;
    std::env::var("DIFYLOG_TEST_QUERIES").map_or(DEFAULT, |number| number.parse().unwrap())
}

/// Stores the records of a world and lets the model know them.
pub async fn fill(subject: &Subject, records: Vec<Record>) -> Model {
    let mut model = Model::default();
    for record in &records {
        model.put(record.clone());
    }
    subject.store(records).await;
    subject.refresh().await;
    model
}

pub async fn lists_of_runs_are_as_the_model_says(subject: &Subject) {
    let mut world = subject.world(1);
    let records = world.runs(150);
    let model = fill(subject, records).await;
    let mut found = 0;
    for _ in 0..questions() {
        let (filter, mut page) = (world.run_filter(), world.page());
        // Page after page, as far as some go.
        for _ in 0..3 {
            let expected = model.runs(&filter, &page);
            assert_eq!(subject.store.runs(&filter, &page).await.unwrap(), expected, "{filter:?} {page:?}");
            found += expected.len();
            let Some(last) = expected.last() else { break };
            page.after = Some(last.position());
        }
    }
    assert!(found > questions(), "the questions find next to nothing");
}

pub async fn lists_of_nodes_are_as_the_model_says(subject: &Subject) {
    let mut world = subject.world(2);
    let records = world.runs(20).into_iter().chain(world.nodes(150)).collect();
    let model = fill(subject, records).await;
    let mut found = 0;
    for _ in 0..questions() {
        let (filter, mut page) = (world.node_filter(), world.page());
        for _ in 0..3 {
            let expected = model.nodes(&filter, &page);
            assert_eq!(subject.store.nodes(&filter, &page).await.unwrap(), expected, "{filter:?} {page:?}");
            found += expected.len();
            let Some(last) = expected.last() else { break };
            page.after = Some(last.position());
        }
    }
    assert!(found > questions(), "the questions find next to nothing");
}

pub async fn a_position_need_not_be_a_row(subject: &Subject) {
    let mut world = subject.world(3);
    let records = world.runs(60);
    let model = fill(subject, records).await;
    for _ in 0..questions() {
        let filter = RunFilter::all(world.tenants[0]);
        let cursor = difylog::domain::query::Cursor { created_at: world.instant(), id: records::id() };
        let after = Some(Position { cursor, elapsed_time: 1.0 });
        let page = Page { after, ..world.page() };
        assert_eq!(subject.store.runs(&filter, &page).await.unwrap(), model.runs(&filter, &page), "{page:?}");
    }
}

pub async fn searches_count_up_to_a_bound(subject: &Subject) {
    let mut world = subject.world(4);
    let records = world.runs(100).into_iter().chain(world.nodes(100)).collect();
    let model = fill(subject, records).await;
    for number in 0..questions() {
        let (runs, nodes, page) = (world.run_filter(), world.node_filter(), world.page());
        let count_to = [0, 1, 10, 100, 10_000][number % 5];
        let total = model.count(&Rows::Runs(runs.clone()), count_to);
        let expected = Found::<RunSummary> { rows: model.runs(&runs, &page), total, text_truncated: false };
        assert_eq!(subject.store.search_runs(&runs, &page, Some(count_to)).await.unwrap(), expected, "{runs:?}");
        let total = model.count(&Rows::Nodes(nodes.clone()), count_to);
        let expected = Found::<NodeSummary> { rows: model.nodes(&nodes, &page), total, text_truncated: false };
        assert_eq!(subject.store.search_nodes(&nodes, &page, Some(count_to)).await.unwrap(), expected, "{nodes:?}");
    }
}

pub async fn records_and_summaries_come_by_their_ids(subject: &Subject) {
    let mut world = subject.world(5);
    let records = world.runs(40).into_iter().chain(world.nodes(40)).collect();
    let model = fill(subject, records).await;
    for tenant_id in world.tenants {
        for kind in [Kind::WorkflowRun, Kind::NodeExecution] {
            let mine = model.records().iter().filter(|record| record.tenant_id() == tenant_id && record.kind() == kind);
            let mut expected: Vec<_> = mine.cloned().map(records::whole).collect();
            // Absent ids are left out, repeated ones come once.
            let known: Vec<RecordId> = expected.iter().map(|document| document.record.id()).collect();
            let asked: Vec<_> = known.iter().copied().chain([records::id(), known[0]]).collect();
            let mut found = subject.store.records(tenant_id, kind, &asked).await.unwrap();
            found.sort_by_key(|document| document.record.id());
            expected.sort_by_key(|document| document.record.id());
            assert_eq!(found, expected);
            assert_eq!(subject.store.records(records::tenant(), kind, &asked).await.unwrap(), []);
        }
        let mut expected = model.runs(&RunFilter::all(tenant_id), &Page::newest(1_000));
        let asked: Vec<_> = expected.iter().map(|run| run.id).chain([records::id()]).collect();
        let mut found = subject.store.run_summaries(tenant_id, &asked).await.unwrap();
        found.sort_by_key(|run| run.id);
        expected.sort_by_key(|run| run.id);
        assert_eq!(found, expected);
    }
    assert_eq!(subject.store.records(world.tenants[0], Kind::WorkflowRun, &[]).await.unwrap(), []);
}

pub async fn any_stretch_of_a_text_finds_it(subject: &Subject) {
    use difylog::domain::query::{TextField, TextFilter};
    let mut world = subject.world(6);
    let records = world.runs(30);
    let model = fill(subject, records.clone()).await;
    for record in records.iter().take(40) {
        let Record::Run(run) = record else { panic!("a run") };
        let Some(inputs) = &run.inputs else { continue };
        let text: Vec<char> = model::decoded(inputs.as_str()).chars().collect();
        for length in [1, 2, 3, 7] {
            for start in (0..text.len().saturating_sub(length)).step_by(1 + text.len() / 5) {
                let keyword = text[start..start + length].iter().collect();
                let text = Some(TextFilter { keyword, fields: vec![TextField::Inputs] });
                let filter = RunQuery { text, ..RunQuery::default() }.within(run.tenant_id);
                let page = Page::newest(100);
                assert_eq!(subject.store.runs(&filter, &page).await.unwrap(), model.runs(&filter, &page), "{filter:?}");
            }
        }
    }
}
