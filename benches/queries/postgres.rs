//! The same questions as Dify 1.10 asks them of its tables. Keywords are spelled as the rows spell them (`\uXXXX`).

use difylog::domain::{AppId, RecordId, TenantId};
use difylog::postgres::{Database, PostgresSettings};
use difylog::query::COUNT_TO;
use uuid::Uuid;

use crate::ours::MONTH;
use crate::{Question, Subject};

/// Dify's database.
pub struct Dify {
    database: Database,
}

/// `WorkflowAppService.get_paginate_workflow_app_logs`; `{}` stands for further conditions.
const LOGS: &str = "FROM workflow_app_logs l JOIN workflow_runs r ON r.id = l.workflow_run_id \
                    WHERE l.tenant_id = $1 AND l.app_id = $2 AND ";

/// Its join with the end users, for a keyword.
const LOGS_HOLDING: &str = "FROM workflow_app_logs l JOIN workflow_runs r ON r.id = l.workflow_run_id \
    LEFT JOIN end_users e ON r.created_by = e.id AND r.created_by_role = 'end_user' \
    WHERE l.tenant_id = $1 AND l.app_id = $2 AND \
    (r.inputs ILIKE $3 OR r.outputs ILIKE $3 OR (r.created_by_role = 'end_user' AND e.session_id ILIKE $3))";

impl Dify {
    pub fn connect(url: &str) -> Self {
        let settings = PostgresSettings { url: url.parse().unwrap(), ..PostgresSettings::default() };
        Self { database: Database::open(&settings).unwrap() }
    }

    /// The largest app, some of its runs, and a word that one of these holds.
    pub async fn subject(&self) -> Subject {
        let client = self.database.client().await.unwrap();
        let largest = "SELECT tenant_id, app_id FROM workflow_runs GROUP BY 1, 2 ORDER BY count(*) DESC LIMIT 1";
        let row = client.query_one(largest, &[]).await.unwrap();
        let (tenant_id, app_id): (Uuid, Uuid) = (row.get(0), row.get(1));
        let sample = "SELECT id, inputs FROM workflow_runs WHERE tenant_id = $1 AND app_id = $2 ORDER BY id LIMIT 100";
        let rows = client.query(sample, &[&tenant_id, &app_id]).await.unwrap();
        let inputs: String = rows[0].get(1);
        let rare = inputs.split(['"', ' ']).find(|word| word.len() == 9 && word.chars().all(|c| c.is_ascii_hexdigit()));
        Subject {
            tenant_id: TenantId::new(tenant_id),
            app_id: AppId::new(app_id),
            runs: rows.iter().map(|row| RecordId::new(row.get(0))).collect(),
            rare: rare.unwrap().to_owned(),
        }
    }

    /// Answers how many there are.
    pub async fn ask(&self, question: &Question, subject: &Subject, time: usize) -> u64 {
        let client = self.database.client().await.unwrap();
        let (tenant, app): (Uuid, Uuid) =
            (subject.tenant_id.to_string().parse().unwrap(), subject.app_id.to_string().parse().unwrap());
        let rows = async |sql: &str, values: &[&(dyn tokio_postgres::types::ToSql + Sync)]| {
            let statement = client.prepare_cached(sql).await.unwrap();
            client.query(&statement, values).await.unwrap()
        };
        let count = |rows: Vec<tokio_postgres::Row>| rows[0].get::<_, i64>(0) as u64;
        match question {
            // The whole rows, as SQLAlchemy selects them: Dify's lists carry graphs and payloads to the API's process.
            Question::Runs => {
                let sql = "SELECT * FROM workflow_runs WHERE tenant_id = $1 AND app_id = $2 \
                           AND triggered_from IN ('app-run') ORDER BY created_at DESC LIMIT 21";
                rows(sql, &[&tenant, &app]).await.len().min(20) as u64
            }
            Question::Nodes => {
                let run: Uuid = subject.runs[time % subject.runs.len()].to_string().parse().unwrap();
                let sql = "SELECT * FROM workflow_node_executions WHERE tenant_id = $1 AND app_id = $2 \
                           AND workflow_id = (SELECT workflow_id FROM workflow_runs WHERE id = $3) \
                           AND triggered_from = 'workflow-run' AND workflow_run_id = $3 ORDER BY index DESC";
                rows(sql, &[&tenant, &app, &run]).await.len() as u64
            }
            Question::Daily => {
                let sql = format!(
                    "SELECT DATE(DATE_TRUNC('day', created_at AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Shanghai')) AS date, \
                     COUNT(id) AS runs FROM workflow_runs WHERE tenant_id = $1 AND app_id = $2 \
                     AND triggered_from = 'app-run' AND created_at >= '{}' AND created_at < '{}' GROUP BY date ORDER BY date",
                    MONTH.0.trim_end_matches('Z'),
                    MONTH.1.trim_end_matches('Z')
                );
                rows(&sql, &[&tenant, &app]).await.iter().map(|row| row.get::<_, i64>(1) as u64).sum()
            }
            Question::Logs => {
                let page = format!("SELECT l.* {LOGS} r.status = 'succeeded' ORDER BY l.created_at DESC LIMIT 20");
                rows(&page, &[&tenant, &app]).await;
                let total = format!("SELECT count(*) {LOGS} r.status = 'succeeded'");
                count(rows(&total, &[&tenant, &app]).await)
            }
            Question::LogsHolding(keyword) => {
                let pattern = pattern(&subject.keyword(keyword));
                let page = format!("SELECT l.* {LOGS_HOLDING} ORDER BY l.created_at DESC LIMIT 20");
                rows(&page, &[&tenant, &app, &pattern]).await;
                let total = format!("SELECT count(*) {LOGS_HOLDING}");
                count(rows(&total, &[&tenant, &app, &pattern]).await)
            }
            // No page of Dify's asks this; the plainest SQL that does. Counted as far as difylog counts.
            Question::RunsHolding(keyword) => {
                let pattern = pattern(&subject.keyword(keyword));
                let holding = "FROM workflow_runs WHERE tenant_id = $1 AND (inputs ILIKE $2 OR outputs ILIKE $2)";
                let page =
                    format!("SELECT id, status, created_at {holding} ORDER BY created_at DESC, id DESC LIMIT 20");
                rows(&page, &[&tenant, &pattern]).await;
                let total = format!("SELECT count(*) FROM (SELECT 1 {holding} LIMIT {COUNT_TO}) AS found");
                count(rows(&total, &[&tenant, &pattern]).await)
            }
        }
    }
}

/// `%keyword%`, with what is not ASCII as the rows spell it; a backslash of LIKE is two.
fn pattern(keyword: &str) -> String {
    let spelled: String = keyword
        .chars()
        .map(|c| if c.is_ascii() { c.to_string() } else { format!("\\\\u{:04x}", u32::from(c)) })
        .collect();
    format!("%{spelled}%")
}
