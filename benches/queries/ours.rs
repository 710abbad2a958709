//! The questions, asked of a store through the library.

use std::sync::Arc;

use difylog::domain::query::{Bounds, Direction, SortBy, TextField, TextFilter, TimeRange};
use difylog::query::{
    AppLogQuery, COUNT_TO, DailyQuery, LogService, NoDirectory, RunList, RunQuery, SearchPage, ServicePorts,
};
use difylog::store::Store;
use difylog::store::payload::{PayloadSettings, PayloadStore};
use difylog::telemetry::system_clock;
use futures::TryStreamExt as _;

use crate::{Question, Subject};

/// The month whose days are counted.
pub const MONTH: (&str, &str) = ("2025-06-01T00:00:00Z", "2025-07-01T00:00:00Z");

pub struct Ours {
    logs: LogService,
}

impl Ours {
    pub fn new(store: Arc<dyn Store>) -> Self {
        let dir = std::env::temp_dir().join("difylog-bench-payloads");
        let ports = ServicePorts {
            logs: store.clone(),
            eraser: store,
            payloads: Arc::new(PayloadStore::open(&PayloadSettings { dir, s3: None }).unwrap()),
            directory: Arc::new(NoDirectory),
            clock: system_clock(),
        };
        Self { logs: LogService::new(ports) }
    }

    /// Answers how many there are.
    pub async fn ask(&self, question: &Question, subject: &Subject, time: usize) -> u64 {
        let logs = self.logs.tenant(subject.tenant_id);
        match question {
            Question::Runs => {
                let list = RunList {
                    app_id: subject.app_id,
                    triggered_from: vec!["app-run".into()],
                    status: None,
                    after: difylog::query::After::Start,
                    limit: 20,
                };
                logs.run_page(&list).await.unwrap().runs.len() as u64
            }
            Question::Nodes => {
                let run_id = subject.runs[time % subject.runs.len()];
                let nodes: Vec<_> = logs.run_nodes(Some(subject.app_id), run_id).try_collect().await.unwrap();
                nodes.len() as u64
            }
            Question::Daily => {
                let created = TimeRange { from: Some(MONTH.0.parse().unwrap()), until: Some(MONTH.1.parse().unwrap()) };
                let zone = chrono_tz::Asia::Shanghai;
                let triggered_from = vec!["app-run".into()];
                let query = DailyQuery { app_id: subject.app_id, triggered_from, created, zone };
                logs.daily(&query).await.unwrap().iter().map(|day| day.runs).sum()
            }
            Question::Logs => logs.app_logs(&page(subject, None, Some("succeeded"))).await.unwrap().total,
            Question::LogsHolding(keyword) => {
                logs.app_logs(&page(subject, Some(subject.keyword(keyword)), None)).await.unwrap().total
            }
            Question::RunsHolding(keyword) => {
                let fields = vec![TextField::Inputs, TextField::Outputs];
                let query = RunQuery {
                    app_id: None,
                    workflow_id: None,
                    types: Vec::new(),
                    statuses: Vec::new(),
                    triggered_from: Vec::new(),
                    created: TimeRange::default(),
                    created_by: None,
                    elapsed_time: Bounds::default(),
                    total_tokens: Bounds::default(),
                    text: Some(TextFilter { keyword: subject.keyword(keyword), fields }),
                };
                let page = SearchPage {
                    sort: SortBy::CreatedAt,
                    direction: Direction::Descending,
                    cursor: None,
                    limit: 20,
                    count_to: Some(COUNT_TO),
                };
                logs.search_runs(&query, &page).await.unwrap().total.value
            }
        }
    }
}

fn page(subject: &Subject, keyword: Option<String>, status: Option<&str>) -> AppLogQuery {
    AppLogQuery {
        app_id: subject.app_id,
        keyword,
        status: status.map(Into::into),
        created_at_after: None,
        created_at_before: None,
        session_id: None,
        account: None,
        page: 1,
        limit: 20,
    }
}
