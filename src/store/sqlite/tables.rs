//! The columns of each kind, in the order of the statements, and the statements made of them. `encode` binds and
//! `decode` reads in this order.

use std::sync::LazyLock;

use crate::domain::Kind;
use crate::domain::query::Content;

/// One table of records.
pub struct Table {
    pub name: &'static str,
    /// What lists show. Without `tenant_id` and `id`, which come first.
    summary: &'static [&'static str],
    /// What a document has besides, without payloads.
    light: &'static [&'static str],
    payloads: &'static [&'static str],
    /// Stores a snapshot unless a newer one or a tombstone is there: changes no row then. The comparison is in the
    /// statement, so that no two writers can ever disagree about it.
    pub upsert: LazyLock<String>,
    /// One record by tenant and id.
    pub by_id: LazyLock<String>,
    /// Its revision by tenant and id.
    pub revision: LazyLock<String>,
}

pub static RUNS: Table = Table {
    name: "workflow_runs",
    summary: &[
        "app_id",
        "workflow_id",
        "revision",
        "created_at",
        "finished_at",
        "type",
        "triggered_from",
        "version",
        "status",
        "elapsed_time",
        "total_tokens",
        "total_steps",
        "exceptions_count",
        "created_by_role",
        "created_by",
    ],
    light: &["graph_hash", "truncated", "origin"],
    payloads: &["error", "inputs", "outputs", "extra"],
    upsert: LazyLock::new(|| RUNS.upsert_sql(Kind::WorkflowRun)),
    by_id: LazyLock::new(|| RUNS.by_id_sql()),
    revision: LazyLock::new(|| RUNS.revision_sql()),
};

pub static NODES: Table = Table {
    name: "workflow_node_executions",
    summary: &[
        "app_id",
        "workflow_id",
        "revision",
        "created_at",
        "finished_at",
        "workflow_run_id",
        "triggered_from",
        "index",
        "predecessor_node_id",
        "node_execution_id",
        "node_id",
        "node_type",
        "title",
        "status",
        "elapsed_time",
        "created_by_role",
        "created_by",
        "iteration_id",
        "loop_id",
    ],
    light: &["truncated", "origin"],
    payloads: &["error", "inputs", "process_data", "outputs", "execution_metadata", "extra"],
    upsert: LazyLock::new(|| NODES.upsert_sql(Kind::NodeExecution)),
    by_id: LazyLock::new(|| NODES.by_id_sql()),
    revision: LazyLock::new(|| NODES.revision_sql()),
};

pub static APP_LOGS: Table = Table {
    name: "workflow_app_logs",
    summary: &[
        "app_id",
        "workflow_id",
        "revision",
        "created_at",
        "workflow_run_id",
        "created_from",
        "created_by_role",
        "created_by",
        "creator",
    ],
    light: &["origin"],
    payloads: &["extra"],
    upsert: LazyLock::new(|| APP_LOGS.upsert_sql(Kind::AppLog)),
    by_id: LazyLock::new(|| APP_LOGS.by_id_sql()),
    revision: LazyLock::new(|| APP_LOGS.revision_sql()),
};

pub static OFFLOADS: Table = Table {
    name: "workflow_offloads",
    summary: &["app_id", "revision", "created_at", "node_execution_id", "type", "file_id"],
    light: &["origin"],
    payloads: &["extra"],
    upsert: LazyLock::new(|| OFFLOADS.upsert_sql(Kind::Offload)),
    by_id: LazyLock::new(|| OFFLOADS.by_id_sql()),
    revision: LazyLock::new(|| OFFLOADS.revision_sql()),
};

pub const INSERT_GRAPH: &str = "INSERT OR IGNORE INTO graphs (tenant_id, hash, text) VALUES (?1, ?2, ?3)";
pub const GRAPH: &str = "SELECT text FROM graphs WHERE tenant_id = ?1 AND hash = ?2";

/// Every table, with the name of what it counts.
pub const COUNTED: [(&str, &str); 5] = [
    (Kind::WorkflowRun.as_str(), "workflow_runs"),
    (Kind::NodeExecution.as_str(), "workflow_node_executions"),
    (Kind::AppLog.as_str(), "workflow_app_logs"),
    (Kind::Offload.as_str(), "workflow_offloads"),
    ("graph", "graphs"),
];

/// The table of a kind.
pub const fn of(kind: Kind) -> &'static Table {
    match kind {
        Kind::WorkflowRun => &RUNS,
        Kind::NodeExecution => &NODES,
        Kind::AppLog => &APP_LOGS,
        Kind::Offload => &OFFLOADS,
    }
}

impl Table {
    /// `SELECT … FROM table`: what a document is made of.
    pub fn select(&self, content: Content) -> String {
        let light = self.summary.iter().chain(self.light).map(|column| format!("\"{column}\""));
        let payloads = self.payloads.iter().map(|column| match content {
            Content::Full => format!("\"{column}\""),
            Content::Light => String::from("NULL"),
        });
        let columns: Vec<_> = light.chain(payloads).collect();
        format!("SELECT tenant_id, id, {} FROM {}", columns.join(", "), self.name)
    }

    /// What a list shows, each column with the name or alias of the table before it.
    pub fn summary(&self, alias: &str) -> String {
        let columns = ["tenant_id", "id"].iter().chain(self.summary).map(|column| format!("{alias}.\"{column}\""));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// A document with the mark of a migration takes the place of strictly older revisions only.
    fn upsert_sql(&self, kind: Kind) -> String {
        let name = self.name;
        let columns: Vec<_> = self.summary.iter().chain(self.light).chain(self.payloads).collect();
        let names: Vec<_> = columns.iter().map(|column| format!("\"{column}\"")).collect();
        let marks: Vec<_> = (1..=columns.len() + 2).map(|number| format!("?{number}")).collect();
        let updates: Vec<_> = columns.iter().map(|column| format!("\"{column}\" = excluded.\"{column}\"")).collect();
        format!(
            "INSERT INTO {name} (tenant_id, id, {}) SELECT {} \
             WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE kind = '{kind}' AND tenant_id = ?1 AND id = ?2) \
             ON CONFLICT (tenant_id, id) DO UPDATE SET {} WHERE excluded.revision > {name}.revision \
             OR (excluded.revision = {name}.revision AND excluded.origin IS NULL)",
            names.join(", "),
            marks.join(", "),
            updates.join(", ")
        )
    }

    fn by_id_sql(&self) -> String {
        format!("{} WHERE tenant_id = ?1 AND id = ?2", self.select(Content::Full))
    }

    fn revision_sql(&self) -> String {
        format!("SELECT revision FROM {} WHERE tenant_id = ?1 AND id = ?2", self.name)
    }
}
