//! Pages walked while others write: what was there at the start is met once, nothing is met twice, nothing is another
//! tenant's.

use std::collections::HashSet;
use std::sync::Arc;

use difylog::domain::query::{Cursor, Direction, NodeFilter, NodeSummary, Page, Position, RunQuery, RunSummary, Scan};
use difylog::domain::{AppId, Kind, NodeExecution, NodeStatus, Record, RecordId, TenantId, Timestamp, WorkflowRun};
use difylog::store::Store;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::contract::subject::Subject;
use crate::support::nodes::nodes_of_run;
use crate::support::records::{self, app, at, ended, id, later, node, run, tenant};

/// Records that are there before a walk begins, around the end of a month.
const THERE: usize = 160;
const START: &str = "2026-10-31T23:59:00";
const SECONDS: i64 = 120;
/// Requests of each of two writers.
const REQUESTS: usize = 16;

/// What is there, and who writes while it is walked.
struct Site {
    tenant_id: TenantId,
    app_id: AppId,
    /// Has records of the same ids.
    other: TenantId,
    runs: Vec<WorkflowRun>,
    nodes: Vec<NodeExecution>,
}

fn instant(rng: &mut StdRng) -> Timestamp {
    later(at(START), rng.random_range(0..SECONDS) * 1_000_000)
}

impl Site {
    async fn new(subject: &Subject) -> Self {
        let (tenant_id, app_id, other, mut rng) = (tenant(), app(), tenant(), StdRng::seed_from_u64(7));
        let runs: Vec<_> = (0..THERE).map(|_| run(tenant_id, app_id, instant(&mut rng))).collect();
        let nodes: Vec<_> = runs.iter().map(|run| node(tenant_id, app_id, run.id, 1, instant(&mut rng))).collect();
        let site = Self { tenant_id, app_id, other, runs, nodes };
        let records = site.runs.iter().cloned().map(|run| Record::Run(Box::new(run)));
        subject.store(records.chain(site.nodes.iter().cloned().map(|node| Record::Node(Box::new(node))))).await;
        subject.refresh().await;
        site
    }

    /// A request of a writer: records end, new ones come at any time of the walk, and their like in the other tenant.
    fn request(&self, rng: &mut StdRng) -> Vec<Record> {
        let mut records = Vec::new();
        for _ in 0..8 {
            let (known, of) = (rng.random_range(0..THERE), rng.random_range(0..THERE));
            let run_ended = ended(self.runs[known].clone(), 5_000_000);
            let node_ended = NodeExecution { status: NodeStatus::Failed, ..self.nodes[of].clone() };
            let new_run = run(self.tenant_id, self.app_id, instant(rng));
            let new_node = node(self.tenant_id, self.app_id, new_run.id, 1, instant(rng));
            let runs = [run_ended, new_run].map(|run| Record::Run(Box::new(run)));
            let nodes = [node_ended, new_node].map(|node| Record::Node(Box::new(node)));
            records.extend(runs.into_iter().chain(nodes));
        }
        let twins: Vec<_> = records.iter().cloned().map(|record| self.twin(record)).collect();
        records.extend(twins);
        records
    }

    fn twin(&self, record: Record) -> Record {
        match record {
            Record::Run(mut run) => {
                run.tenant_id = self.other;
                Record::Run(run)
            }
            Record::Node(mut node) => {
                node.tenant_id = self.other;
                Record::Node(node)
            }
            Record::AppLog(_) | Record::Offload(_) => record,
        }
    }

    fn there(&self, kind: Kind) -> HashSet<RecordId> {
        match kind {
            Kind::WorkflowRun => self.runs.iter().map(|run| run.id).collect(),
            _ => self.nodes.iter().map(|node| node.id).collect(),
        }
    }
}

/// Writes a request for each page that is walked, so that writing and walking interleave on any machine.
async fn write(store: Arc<dyn Store>, site: Arc<Site>, pages: Arc<Semaphore>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..REQUESTS {
        pages.acquire().await.unwrap().forget();
        let actions: Vec<_> = site.request(&mut rng).into_iter().flat_map(records::actions).collect();
        store.apply(&actions).await.unwrap();
    }
}

/// Walks in one way, and says what was met, in its order.
async fn walk(subject: &Subject, site: &Site, pages: &Semaphore, kind: Kind, way: Option<Direction>) -> Vec<RecordId> {
    let Some(direction) = way else { return scan(subject, site, pages, kind).await };
    let mut met = Vec::new();
    let mut page = Page { direction, ..Page::newest(9) };
    loop {
        pages.add_permits(1);
        let places: Vec<Position> = if kind == Kind::WorkflowRun {
            let filter = RunQuery { app_id: Some(site.app_id), ..RunQuery::default() }.within(site.tenant_id);
            subject.store.runs(&filter, &page).await.unwrap().iter().map(RunSummary::position).collect()
        } else {
            let filter = NodeFilter::all(site.tenant_id);
            subject.store.nodes(&filter, &page).await.unwrap().iter().map(NodeSummary::position).collect()
        };
        met.extend(places.iter().map(|place| place.cursor.id));
        let Some(last) = places.last() else { return met };
        page.after = Some(*last);
    }
}

async fn scan(subject: &Subject, site: &Site, pages: &Semaphore, kind: Kind) -> Vec<RecordId> {
    let mut met = Vec::new();
    let mut scan = Scan { tenants: vec![site.tenant_id], ..Scan::all(kind, 9) };
    loop {
        pages.add_permits(1);
        let stretch = subject.store.scan(&scan).await.unwrap();
        assert!(stretch.iter().all(|document| document.record.tenant_id() == site.tenant_id));
        met.extend(stretch.iter().map(|document| document.record.id()));
        let Some(last) = stretch.last() else { return met };
        scan.after = Some(Cursor { created_at: last.record.created_at(), id: last.record.id() });
    }
}

pub async fn walks_during_writing_skip_and_repeat_nothing(subject: &Subject) {
    let site = Arc::new(Site::new(subject).await);
    let pages = Arc::new(Semaphore::new(0));
    let writers: Vec<_> = (0..2)
        .map(|seed| tokio::spawn(write(Arc::clone(&subject.store), Arc::clone(&site), Arc::clone(&pages), seed)))
        .collect();
    // Round after round, until all is written.
    let mut done = false;
    while !done {
        done = writers.iter().all(JoinHandle::is_finished);
        for kind in [Kind::WorkflowRun, Kind::NodeExecution] {
            for way in [Some(Direction::Descending), Some(Direction::Ascending), None] {
                let met = walk(subject, &site, &pages, kind, way).await;
                let once: HashSet<_> = met.iter().copied().collect();
                assert_eq!(met.len(), once.len(), "{kind:?} {way:?}: something was met twice");
                let skipped: Vec<_> = site.there(kind).difference(&once).copied().collect();
                assert_eq!(skipped, [], "{kind:?} {way:?}: skipped");
            }
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

pub async fn no_answer_holds_anything_of_another_tenant(subject: &Subject) {
    let site = Site::new(subject).await;
    let mut rng = StdRng::seed_from_u64(3);
    let request = site.request(&mut rng);
    subject.store(request.clone()).await;
    // A tenant that has nothing, and one that has other records under some of the ids of the first.
    let (nobody, mut twin) = (tenant(), run(site.other, site.app_id, at(START)));
    twin.id = site.runs[0].id;
    twin.created_by = id();
    subject.store([Record::Run(Box::new(twin.clone()))]).await;
    subject.refresh().await;
    let ids: Vec<_> = site.runs.iter().map(|run| run.id).collect();
    assert_eq!(subject.store.records(nobody, Kind::WorkflowRun, &ids).await.unwrap(), []);
    assert_eq!(subject.store.run_summaries(nobody, &ids).await.unwrap(), []);
    assert_eq!(nodes_of_run(&*subject.store, nobody, ids[0]).await.unwrap(), []);
    let of_other = subject.store.records(site.other, Kind::WorkflowRun, &ids).await.unwrap();
    assert!(!of_other.is_empty() && of_other.iter().all(|document| document.record.tenant_id() == site.other));
    let filter = RunQuery { created_by: Some(twin.created_by), ..RunQuery::default() }.within(site.other);
    let found = subject.store.runs(&filter, &Page::newest(10)).await.unwrap();
    assert_eq!(found.iter().map(|run| run.id).collect::<Vec<_>>(), [twin.id]);
    let elsewhere = filter.conditions.within(site.tenant_id);
    assert_eq!(subject.store.runs(&elsewhere, &Page::newest(10)).await.unwrap(), []);
}
