//! A store in memory that answers every question in the most obvious way: what the read path is tried over, apart from
//! any real store.

#[path = "double_filters.rs"]
mod filters;
#[path = "double_scan.rs"]
mod scan;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono_tz::Tz;
use difylog::domain::document::ContentHash;
use difylog::domain::query::*;
use difylog::domain::record::RecordKey;
use difylog::domain::*;
use difylog::store::{
    BulkSink, Eraser, Erasure, LogQueries, LogReader, LogScan, Remains, StoreError, Subject, TextNames,
};
use filters::{finds_log, holds_node, holds_run};

#[derive(Default)]
pub struct Double {
    documents: Mutex<BTreeMap<RecordKey, Document>>,
    graphs: Mutex<BTreeMap<(TenantId, GraphHash), JsonText>>,
    /// Every question fails while it is set.
    pub down: std::sync::atomic::AtomicBool,
    /// Searches of runs wait while it is locked.
    gate: Arc<tokio::sync::Mutex<()>>,
    /// Told when one waits.
    waiting: tokio::sync::Notify,
}

impl Double {
    /// Lets searches of runs wait until the guard is dropped.
    pub async fn hold(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.gate.clone().lock_owned().await
    }

    /// Waits until a search waits.
    pub async fn held(&self) {
        self.waiting.notified().await;
    }

    fn all(&self) -> Result<Vec<Document>, StoreError> {
        if self.down.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(StoreError::Unavailable("the double is down".into()));
        }
        Ok(self.documents.lock().unwrap().values().cloned().collect())
    }

    fn runs_of(&self, filter: &RunFilter) -> Result<Vec<WorkflowRun>, StoreError> {
        let runs = self.all()?.into_iter().filter_map(|document| match document.record {
            Record::Run(run) => Some(*run),
            _ => None,
        });
        Ok(runs.filter(|run| holds_run(filter, run)).collect())
    }

    fn nodes_of(&self, filter: &NodeFilter) -> Result<Vec<NodeExecution>, StoreError> {
        let nodes = self.all()?.into_iter().filter_map(|document| match document.record {
            Record::Node(node) => Some(*node),
            _ => None,
        });
        Ok(nodes.filter(|node| holds_node(filter, node)).collect())
    }
}

fn stretch<T>(mut rows: Vec<T>, page: &Page, position: impl Fn(&T) -> Position) -> Vec<T> {
    let order = |one: Position, other: Position| {
        let elapsed = match page.sort {
            SortBy::CreatedAt => std::cmp::Ordering::Equal,
            SortBy::ElapsedTime => one.elapsed_time.total_cmp(&other.elapsed_time),
        };
        let ascending = elapsed.then(one.cursor.cmp(&other.cursor));
        if page.direction == Direction::Ascending { ascending } else { ascending.reverse() }
    };
    rows.sort_by(|one, other| order(position(one), position(other)));
    rows.retain(|row| page.after.is_none_or(|after| order(after, position(row)).is_lt()));
    rows.truncate(page.limit);
    rows
}

#[async_trait]
impl BulkSink for Double {
    async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault> {
        let mut graphs = self.graphs.lock().unwrap();
        let mut documents = self.documents.lock().unwrap();
        for action in actions {
            match action {
                BulkAction::Graph(graph) => {
                    graphs.insert((graph.tenant_id, graph.hash), graph.text.clone());
                }
                BulkAction::Document(document) => {
                    documents.insert(document.key(), (**document).clone());
                }
            }
        }
        Ok(vec![Verdict::Stored; actions.len()])
    }

    async fn probe(&self) -> Result<(), SinkFault> {
        Ok(())
    }
}

#[async_trait]
impl LogReader for Double {
    async fn ready(&self) -> Result<(), StoreError> {
        self.all().map(drop)
    }

    async fn record(&self, key: RecordKey) -> Result<Option<Document>, StoreError> {
        Ok(self.records(key.tenant_id, key.kind, &[key.id]).await?.pop())
    }

    async fn records(&self, tenant_id: TenantId, kind: Kind, ids: &[RecordId]) -> Result<Vec<Document>, StoreError> {
        let all = self.all()?;
        let graphs = self.graphs.lock().unwrap();
        let wanted = all.into_iter().filter(|document| {
            document.tenant_id() == tenant_id && document.kind() == kind && ids.contains(&document.record.id())
        });
        Ok(wanted
            .map(|mut document| {
                if let (Record::Run(run), Some(hash)) = (&mut document.record, document.graph) {
                    run.graph = graphs.get(&(tenant_id, hash)).cloned();
                }
                document
            })
            .collect())
    }
}

#[async_trait]
impl LogQueries for Double {
    async fn run_summaries(&self, tenant_id: TenantId, ids: &[RecordId]) -> Result<Vec<RunSummary>, StoreError> {
        let runs = self.runs_of(&RunFilter::all(tenant_id))?.into_iter().filter(|run| ids.contains(&run.id));
        Ok(runs.map(|run| super::model::run_summary(&run)).collect())
    }

    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Vec<RunSummary>, StoreError> {
        let rows = self.runs_of(filter)?.iter().map(super::model::run_summary).collect();
        Ok(stretch(rows, page, RunSummary::position))
    }

    async fn nodes(&self, filter: &NodeFilter, page: &Page) -> Result<Vec<NodeSummary>, StoreError> {
        let rows = self.nodes_of(filter)?.iter().map(super::model::node_summary).collect();
        Ok(stretch(rows, page, NodeSummary::position))
    }

    async fn documents(&self, subject: &Subject, page: &Page) -> Result<DocumentPage, StoreError> {
        let (tenant_id, kind, places): (_, _, Vec<_>) = match subject {
            Subject::Runs(filter) => {
                let rows = self.runs(filter, page).await?;
                (filter.tenant_id, Kind::WorkflowRun, rows.iter().map(RunSummary::position).collect())
            }
            Subject::Nodes(filter) => {
                let rows = self.nodes(filter, page).await?;
                (filter.tenant_id, Kind::NodeExecution, rows.iter().map(NodeSummary::position).collect())
            }
        };
        let ids: Vec<_> = places.iter().map(|place| place.cursor.id).collect();
        let mut documents = self.records(tenant_id, kind, &ids).await?;
        documents.sort_by_key(|document| ids.iter().position(|id| *id == document.record.id()));
        let next = places.last().filter(|_| places.len() == page.limit).copied();
        Ok(DocumentPage { documents, next })
    }

    async fn search_runs(
        &self,
        filter: &RunFilter,
        page: &Page,
        count_to: u64,
    ) -> Result<Found<RunSummary>, StoreError> {
        self.waiting.notify_one();
        drop(self.gate.lock().await);
        let all = self.runs_of(filter)?.len() as u64;
        let total = Total { value: all.min(count_to), exact: all <= count_to };
        Ok(Found { rows: self.runs(filter, page).await?, total, text_truncated: false })
    }

    async fn search_nodes(
        &self,
        filter: &NodeFilter,
        page: &Page,
        count_to: u64,
    ) -> Result<Found<NodeSummary>, StoreError> {
        let all = self.nodes_of(filter)?.len() as u64;
        let total = Total { value: all.min(count_to), exact: all <= count_to };
        Ok(Found { rows: self.nodes(filter, page).await?, total, text_truncated: false })
    }

    async fn app_logs(&self, filter: &AppLogFilter, offset: u64, limit: usize) -> Result<AppLogPage, StoreError> {
        let runs: BTreeMap<_, _> =
            self.runs_of(&RunFilter::all(filter.tenant_id))?.into_iter().map(|run| (run.id, run)).collect();
        let mut logs: Vec<_> = self
            .all()?
            .into_iter()
            .filter_map(|document| match document.record {
                Record::AppLog(log) => Some(*log),
                _ => None,
            })
            .collect();
        logs.retain(|log| finds_log(filter, log, runs.get(&log.workflow_run_id)));
        logs.sort_by_key(|log| std::cmp::Reverse((log.created_at, log.id)));
        let total = logs.len() as u64;
        let rows = logs.into_iter().skip(usize::try_from(offset).unwrap()).take(limit).map(|log| {
            let run = runs.get(&log.workflow_run_id).map(super::model::run_summary);
            AppLogRow { log, run }
        });
        Ok(AppLogPage { rows: rows.collect(), total })
    }

    async fn daily(&self, filter: &RunFilter, zone: Tz) -> Result<Vec<Day>, StoreError> {
        let mut days: BTreeMap<chrono::NaiveDate, (u64, BTreeSet<RecordId>, i128)> = BTreeMap::new();
        for run in self.runs_of(filter)? {
            let instant = chrono::DateTime::from_timestamp_micros(run.created_at.micros()).unwrap();
            let day = days.entry(instant.with_timezone(&zone).date_naive()).or_default();
            day.0 += 1;
            day.1.insert(run.created_by);
            day.2 += i128::from(run.total_tokens);
        }
        let day = |(date, (runs, users, tokens)): (_, (_, BTreeSet<_>, _))| Day {
            date,
            runs,
            users: users.len() as u64,
            tokens,
        };
        Ok(days.into_iter().map(day).collect())
    }

    async fn facet(&self, subject: &Subject, facet: Facet, limit: usize) -> Result<Vec<FacetCount>, StoreError> {
        let values: Vec<String> = match subject {
            Subject::Runs(filter) => self
                .runs_of(filter)?
                .into_iter()
                .map(|run| match facet {
                    Facet::Status => run.status.as_str().to_owned(),
                    Facet::AppId => run.app_id.to_string(),
                    Facet::TriggeredFrom => run.triggered_from.to_string(),
                    Facet::CreatedBy => run.created_by.to_string(),
                    Facet::NodeType => String::new(),
                })
                .collect(),
            Subject::Nodes(filter) => self
                .nodes_of(filter)?
                .into_iter()
                .map(|node| match facet {
                    Facet::Status => node.status.as_str().to_owned(),
                    Facet::AppId => node.app_id.to_string(),
                    Facet::TriggeredFrom => node.triggered_from.to_string(),
                    Facet::CreatedBy => node.created_by.to_string(),
                    Facet::NodeType => node.node_type.to_string(),
                })
                .collect(),
        };
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for value in values {
            *counts.entry(value).or_default() += 1;
        }
        let mut counts: Vec<_> =
            counts.into_iter().map(|(value, count)| FacetCount { value: value.into(), count }).collect();
        counts.sort_by(|one, other| other.count.cmp(&one.count).then(one.value.cmp(&other.value)));
        counts.truncate(limit);
        Ok(counts)
    }

    async fn histogram(&self, subject: &Subject, seconds: u32) -> Result<Vec<HistogramBucket>, StoreError> {
        let instants: Vec<Timestamp> = match subject {
            Subject::Runs(filter) => self.runs_of(filter)?.into_iter().map(|run| run.created_at).collect(),
            Subject::Nodes(filter) => self.nodes_of(filter)?.into_iter().map(|node| node.created_at).collect(),
        };
        let span = i64::from(seconds) * 1_000_000;
        let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
        for at in instants {
            *counts.entry(at.micros() / span * span).or_default() += 1;
        }
        let bucket = |(from, count)| HistogramBucket { from: Timestamp::from_micros(from).unwrap(), count };
        Ok(counts.into_iter().map(bucket).collect())
    }
}
