CREATE TABLE workflow_runs (
    tenant_id BLOB NOT NULL, id BLOB NOT NULL, app_id BLOB NOT NULL, workflow_id BLOB NOT NULL,
    revision INTEGER NOT NULL, created_at INTEGER NOT NULL, finished_at INTEGER,
    type TEXT NOT NULL, triggered_from TEXT NOT NULL, version TEXT NOT NULL, status TEXT NOT NULL,
    elapsed_time REAL NOT NULL, total_tokens INTEGER NOT NULL, total_steps INTEGER NOT NULL,
    exceptions_count INTEGER NOT NULL, created_by_role TEXT NOT NULL, created_by BLOB NOT NULL,
    graph_hash BLOB, truncated TEXT, error ANY, inputs ANY, outputs ANY
) STRICT;
CREATE UNIQUE INDEX workflow_runs_identity ON workflow_runs (tenant_id, id);
CREATE INDEX workflow_runs_newest ON workflow_runs (tenant_id, app_id, created_at DESC, id DESC);

CREATE TABLE workflow_node_executions (
    tenant_id BLOB NOT NULL, id BLOB NOT NULL, app_id BLOB NOT NULL, workflow_id BLOB NOT NULL,
    revision INTEGER NOT NULL, truncated TEXT, created_at INTEGER NOT NULL, finished_at INTEGER, workflow_run_id BLOB,
    triggered_from TEXT NOT NULL, "index" INTEGER NOT NULL, predecessor_node_id TEXT, node_execution_id TEXT,
    node_id TEXT NOT NULL, node_type TEXT NOT NULL, title TEXT NOT NULL, status TEXT NOT NULL,
    elapsed_time REAL NOT NULL, created_by_role TEXT NOT NULL, created_by BLOB NOT NULL,
    error ANY, inputs ANY, process_data ANY, outputs ANY, execution_metadata ANY
) STRICT;
CREATE UNIQUE INDEX workflow_node_executions_identity ON workflow_node_executions (tenant_id, id);
CREATE INDEX workflow_node_executions_of_run ON workflow_node_executions (tenant_id, workflow_run_id)
    WHERE workflow_run_id IS NOT NULL;

CREATE TABLE workflow_app_logs (
    tenant_id BLOB NOT NULL, id BLOB NOT NULL, app_id BLOB NOT NULL, workflow_id BLOB NOT NULL,
    revision INTEGER NOT NULL, created_at INTEGER NOT NULL, workflow_run_id BLOB NOT NULL,
    created_from TEXT NOT NULL, created_by_role TEXT NOT NULL, created_by BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX workflow_app_logs_identity ON workflow_app_logs (tenant_id, id);
CREATE INDEX workflow_app_logs_newest ON workflow_app_logs (tenant_id, app_id, created_at DESC, id DESC);

CREATE TABLE workflow_offloads (
    tenant_id BLOB NOT NULL, id BLOB NOT NULL, app_id BLOB NOT NULL,
    revision INTEGER NOT NULL, created_at INTEGER NOT NULL, node_execution_id BLOB,
    type TEXT NOT NULL, file_id BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX workflow_offloads_identity ON workflow_offloads (tenant_id, id);
CREATE INDEX workflow_offloads_of_node ON workflow_offloads (tenant_id, node_execution_id)
    WHERE node_execution_id IS NOT NULL;

CREATE TABLE graphs (tenant_id BLOB NOT NULL, hash BLOB NOT NULL, text ANY NOT NULL) STRICT;
CREATE UNIQUE INDEX graphs_identity ON graphs (tenant_id, hash);
