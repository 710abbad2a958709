//! The columns of each kind, in the order of the schema, and the statements made of them. `encode` binds and `decode`
//! reads in this order.

use std::sync::LazyLock;

use crate::domain::Kind;

/// One table of records.
pub struct Table {
    name: &'static str,
    /// Without `tenant_id` and `id`, which come first.
    columns: &'static [&'static str],
    /// Stores a snapshot unless a newer one is there: changes no row then. The comparison is in the statement, so that
    /// no two writers can ever disagree about it.
    pub upsert: LazyLock<String>,
    /// One record by tenant and id.
    pub by_id: LazyLock<String>,
    /// Its revision by tenant and id.
    pub revision: LazyLock<String>,
}

/// How many columns of a run lists read.
const SUMMARY_COLUMNS: usize = 15;

static RUNS: Table = Table {
    name: "workflow_runs",
    columns: &[
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
        "graph_hash",
        "truncated",
        "error",
        "inputs",
        "outputs",
    ],
    upsert: LazyLock::new(|| RUNS.upsert_sql()),
    by_id: LazyLock::new(|| RUNS.select_sql("id = ?2")),
    revision: LazyLock::new(|| RUNS.revision_sql()),
};

static NODES: Table = Table {
    name: "workflow_node_executions",
    columns: &[
        "app_id",
        "workflow_id",
        "revision",
        "truncated",
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
        "error",
        "inputs",
        "process_data",
        "outputs",
        "execution_metadata",
    ],
    upsert: LazyLock::new(|| NODES.upsert_sql()),
    by_id: LazyLock::new(|| NODES.select_sql("id = ?2")),
    revision: LazyLock::new(|| NODES.revision_sql()),
};

static APP_LOGS: Table = Table {
    name: "workflow_app_logs",
    columns: &[
        "app_id",
        "workflow_id",
        "revision",
        "created_at",
        "workflow_run_id",
        "created_from",
        "created_by_role",
        "created_by",
    ],
    upsert: LazyLock::new(|| APP_LOGS.upsert_sql()),
    by_id: LazyLock::new(|| APP_LOGS.select_sql("id = ?2")),
    revision: LazyLock::new(|| APP_LOGS.revision_sql()),
};

static OFFLOADS: Table = Table {
    name: "workflow_offloads",
    columns: &["app_id", "revision", "created_at", "node_execution_id", "type", "file_id"],
    upsert: LazyLock::new(|| OFFLOADS.upsert_sql()),
    by_id: LazyLock::new(|| OFFLOADS.select_sql("id = ?2")),
    revision: LazyLock::new(|| OFFLOADS.revision_sql()),
};

/// The nodes of a run, by tenant and run.
pub static NODES_OF_RUN: LazyLock<String> = LazyLock::new(|| NODES.select_sql("workflow_run_id = ?2"));

/// Runs of an app that come after a position, newest first: tenant, app, `created_at`, id, limit. The index gives the order.
pub static NEWEST_RUNS: LazyLock<String> = LazyLock::new(|| {
    let columns = quoted(RUNS.columns.iter().take(SUMMARY_COLUMNS).copied());
    format!(
        "SELECT tenant_id, id, {columns} FROM workflow_runs \
         WHERE tenant_id = ?1 AND app_id = ?2 AND (created_at, id) < (?3, ?4) ORDER BY created_at DESC, id DESC LIMIT ?5"
    )
});

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
    fn upsert_sql(&self) -> String {
        let name = self.name;
        let columns = quoted(self.columns.iter().copied());
        let marks = vec!["?"; self.columns.len() + 2].join(", ");
        let updates: Vec<_> =
            self.columns.iter().map(|column| format!("\"{column}\" = excluded.\"{column}\"")).collect();
        format!(
            "INSERT INTO {name} (tenant_id, id, {columns}) VALUES ({marks}) \
             ON CONFLICT (tenant_id, id) DO UPDATE SET {} WHERE excluded.revision >= {name}.revision",
            updates.join(", ")
        )
    }

    fn select_sql(&self, condition: &str) -> String {
        let columns = quoted(self.columns.iter().copied());
        format!("SELECT tenant_id, id, {columns} FROM {} WHERE tenant_id = ?1 AND {condition}", self.name)
    }

    fn revision_sql(&self) -> String {
        format!("SELECT revision FROM {} WHERE tenant_id = ?1 AND id = ?2", self.name)
    }
}

fn quoted(columns: impl Iterator<Item = &'static str>) -> String {
    columns.map(|column| format!("\"{column}\"")).collect::<Vec<_>>().join(", ")
}
