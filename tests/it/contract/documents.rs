//! Lists with their payloads: the same rows in the same order, whole, in stretches of bounded bytes.

use difylog::domain::query::ListFilter as Rows;
use difylog::domain::query::{
    Content, Direction, DocumentPage, NodeSummary, Page, Position, RunFilter, RunSummary, SortBy,
};
use difylog::domain::{Document, JsonText, Record, RecordId, WorkflowRun};
use difylog::store::STRETCH_BYTES;

use crate::contract::queries::{fill, questions};
use crate::contract::subject::Subject;
use crate::support::model::Model;
use crate::support::records::{self, app, at, later, run, tenant};

/// What the model says of a stretch.
fn expected(model: &Model, rows: &Rows, page: &Page) -> DocumentPage {
    let (tenant_id, places): (_, Vec<(RecordId, Position)>) = match rows {
        Rows::Runs(filter) => {
            let place = |run: &RunSummary| (run.id, run.position());
            (filter.tenant_id, model.runs(filter, page).iter().map(place).collect())
        }
        Rows::Nodes(filter) => {
            let place = |node: &NodeSummary| (node.id, node.position());
            (filter.tenant_id, model.nodes(filter, page).iter().map(place).collect())
        }
    };
    let is_run = matches!(rows, Rows::Runs(_));
    let whole = |id: &RecordId| {
        let mut mine = model.records().iter().filter(|record| record.tenant_id() == tenant_id && record.id() == *id);
        records::whole(mine.find(|record| matches!(record, Record::Run(_)) == is_run).unwrap().clone())
    };
    let next = places.last().filter(|_| places.len() == page.limit).map(|(_, position)| *position);
    DocumentPage { documents: places.iter().map(|(id, _)| whole(id)).collect(), next }
}

pub async fn stretches_of_documents_are_as_the_model_says(subject: &Subject) {
    let mut world = subject.world(8);
    let records = world.runs(100).into_iter().chain(world.nodes(100)).collect();
    let model = fill(subject, records).await;
    let mut found = 0;
    for number in 0..questions() {
        let (runs, nodes, mut page) = (world.run_filter(), world.node_filter(), world.page());
        let rows = if number % 2 == 0 { Rows::Runs(runs) } else { Rows::Nodes(nodes) };
        for _ in 0..3 {
            let mut expected = expected(&model, &rows, &page);
            let whole = subject.store.documents(&rows, &page, Content::Full).await.unwrap();
            assert_eq!(whole, expected, "{rows:?} {page:?}");
            for content in [Content::Payloads, Content::Only(&["process_data", "error"]), Content::Light] {
                for document in &mut expected.documents {
                    records::leave_out(document, content);
                }
                let found = subject.store.documents(&rows, &page, content).await.unwrap();
                assert_eq!(found, expected, "{rows:?} {page:?} {content:?}");
            }
            found += expected.documents.len();
            let Some(next) = expected.next else { break };
            page.after = Some(next);
        }
    }
    assert!(found > questions(), "the questions find next to nothing");
}

pub async fn a_stretch_of_large_documents_is_short(subject: &Subject) {
    let large = JsonText::from_clean(format!("{{\"q\": \"{}\"}}", "large ".repeat(STRETCH_BYTES / 18)));
    stretches_are_short(subject, |run, _| run.inputs = Some(large.clone())).await;
}

/// Runs share the graph of their workflow's version, and each has it in its document.
pub async fn a_stretch_of_large_graphs_is_short(subject: &Subject) {
    let large = |number| {
        JsonText::from_clean(format!("{{\"of\": {number}, \"nodes\": \"{}\"}}", "large ".repeat(STRETCH_BYTES / 18)))
    };
    let shared = large(0);
    stretches_are_short(subject, |run, number| {
        run.graph = Some(if number % 3 == 1 { large(number) } else { shared.clone() });
    })
    .await;
}

async fn stretches_are_short(subject: &Subject, fill: impl Fn(&mut WorkflowRun, i64)) {
    const RUNS: i64 = 7;
    let (tenant_id, app_id, start) = (tenant(), app(), at("2026-09-30T23:59:58"));
    let runs = (0..RUNS).map(|number| {
        let mut run = run(tenant_id, app_id, later(start, number * 1_000_000));
        fill(&mut run, number);
        Record::Run(Box::new(run))
    });
    let runs: Vec<_> = runs.collect();
    // One by one: all at once are more than a request may hold.
    for run in &runs {
        subject.store([run.clone()]).await;
    }
    subject.refresh().await;
    let rows = Rows::Runs(RunFilter::all(tenant_id));
    let mut page = Page { sort: SortBy::CreatedAt, direction: Direction::Ascending, after: None, limit: 100 };
    let mut walked: Vec<Document> = Vec::new();
    loop {
        let found = subject.store.documents(&rows, &page, Content::Full).await.unwrap();
        let bytes: usize = found.documents.iter().map(Document::whole_footprint).sum();
        assert!(!found.documents.is_empty() && bytes < 3 * STRETCH_BYTES, "{} of {bytes}", found.documents.len());
        walked.extend(found.documents);
        match found.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert!(page.after.is_some(), "all came at once");
    let expected: Vec<_> = runs.into_iter().map(records::whole).collect();
    assert!(walked == expected, "{:?}", walked.iter().map(|document| document.record.id()).collect::<Vec<_>>());
}
