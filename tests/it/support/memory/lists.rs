//! The questions: filters over everything, sorted and cut to the page.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono_tz::Tz;
use difylog::domain::query::{
    AppLogFilter, AppLogPage, AppLogRow, Day, Direction, DocumentPage, Facet, FacetCount, Found, HistogramBucket,
    NodeFilter, NodeSummary, Page, Position, RunFilter, RunSummary, SortBy, Total,
};
use difylog::domain::{Kind, NodeExecution, Record, RecordId, Revision, TenantId, Timestamp, WorkflowRun};
use difylog::store::{LogQueries, LogReader as _, STRETCH_BYTES, StoreError, Subject};

use super::MemoryStore;
use super::filters::{finds_log, holds_node, holds_run};
use crate::support::model;

impl MemoryStore {
    fn runs_of(&self, filter: &RunFilter) -> Result<Vec<(WorkflowRun, Revision)>, StoreError> {
        let runs = self.newest_of(|one| one.tenant_id() == filter.tenant_id)?;
        let runs = runs.into_iter().filter_map(|document| match document.record {
            Record::Run(run) => Some((*run, document.revision)),
            _ => None,
        });
        Ok(runs.filter(|(run, _)| holds_run(filter, run)).collect())
    }

    fn nodes_of(&self, filter: &NodeFilter) -> Result<Vec<(NodeExecution, Revision)>, StoreError> {
        let nodes = self.newest_of(|one| one.tenant_id() == filter.tenant_id)?;
        let nodes = nodes.into_iter().filter_map(|document| match document.record {
            Record::Node(node) => Some((*node, document.revision)),
            _ => None,
        });
        Ok(nodes.filter(|(node, _)| holds_node(filter, node)).collect())
    }
}

/// A graph lies apart and counts in the revision, so that the stored one is taken.
fn run_summary((run, revision): (WorkflowRun, Revision)) -> RunSummary {
    RunSummary { revision, ..model::run_summary(&run) }
}

fn node_summary((node, revision): (NodeExecution, Revision)) -> NodeSummary {
    NodeSummary { revision, ..model::node_summary(&node) }
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
impl LogQueries for MemoryStore {
    async fn run_summaries(&self, tenant_id: TenantId, ids: &[RecordId]) -> Result<Vec<RunSummary>, StoreError> {
        let runs = self.runs_of(&RunFilter::all(tenant_id))?.into_iter().filter(|(run, _)| ids.contains(&run.id));
        Ok(runs.map(run_summary).collect())
    }

    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Vec<RunSummary>, StoreError> {
        let rows = self.runs_of(filter)?.into_iter().map(run_summary).collect();
        Ok(stretch(rows, page, RunSummary::position))
    }

    async fn nodes(&self, filter: &NodeFilter, page: &Page) -> Result<Vec<NodeSummary>, StoreError> {
        let rows = self.nodes_of(filter)?.into_iter().map(node_summary).collect();
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
        let mut bytes = 0;
        let fitting = documents.iter().take_while(|document| {
            let has_room = bytes < STRETCH_BYTES;
            bytes += document.footprint();
            has_room
        });
        let fitting = fitting.count();
        documents.truncate(fitting);
        let next = if fitting < places.len() { places.get(fitting - 1) } else { places.last() };
        let next = next.filter(|_| fitting < places.len() || places.len() == page.limit).copied();
        Ok(DocumentPage { documents, next })
    }

    async fn search_runs(
        &self,
        filter: &RunFilter,
        page: &Page,
        count_to: u64,
    ) -> Result<Found<RunSummary>, StoreError> {
        // As a request would: others have their turn.
        tokio::task::yield_now().await;
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
            self.runs_of(&RunFilter::all(filter.tenant_id))?.into_iter().map(|row| (row.0.id, row)).collect();
        let mut logs: Vec<_> = self
            .newest_of(|one| one.tenant_id() == filter.tenant_id && one.kind() == Kind::AppLog)?
            .into_iter()
            .filter_map(|document| match document.record {
                Record::AppLog(log) => Some(*log),
                _ => None,
            })
            .collect();
        logs.retain(|log| finds_log(filter, log, runs.get(&log.workflow_run_id).map(|(run, _)| run)));
        logs.sort_by_key(|log| std::cmp::Reverse((log.created_at, log.id)));
        let total = logs.len() as u64;
        let rows = logs.into_iter().skip(usize::try_from(offset).unwrap()).take(limit).map(|log| {
            let run = runs.get(&log.workflow_run_id).cloned().map(run_summary);
            AppLogRow { log, run }
        });
        Ok(AppLogPage { rows: rows.collect(), total })
    }

    async fn daily(&self, filter: &RunFilter, zone: Tz) -> Result<Vec<Day>, StoreError> {
        let mut days: BTreeMap<chrono::NaiveDate, (u64, BTreeSet<RecordId>, i128)> = BTreeMap::new();
        for (run, _) in self.runs_of(filter)? {
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
                .filter_map(|(run, _)| match facet {
                    Facet::Status => Some(run.status.as_str().to_owned()),
                    Facet::AppId => Some(run.app_id.to_string()),
                    Facet::TriggeredFrom => Some(run.triggered_from.to_string()),
                    Facet::CreatedBy => Some(run.created_by.to_string()),
                    Facet::NodeType => None,
                })
                .collect(),
            Subject::Nodes(filter) => self
                .nodes_of(filter)?
                .into_iter()
                .map(|(node, _)| match facet {
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
            Subject::Runs(filter) => self.runs_of(filter)?.into_iter().map(|(run, _)| run.created_at).collect(),
            Subject::Nodes(filter) => self.nodes_of(filter)?.into_iter().map(|(node, _)| node.created_at).collect(),
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
