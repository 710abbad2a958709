//! Records for tests: small builders, legal sequences of snapshots, and the documents and actions made of them.

use std::sync::Arc;

use difylog::domain::document::ContentHash;
use difylog::domain::query::Content;
use difylog::domain::schema::{Given, Role, columns};
use difylog::domain::{
    AppId, AppLog, BulkAction, Document, Graph, JsonText, NodeExecution, NodeStatus, Offload, Record, RecordId,
    Revision, RunStatus, TenantId, Timestamp, WorkflowRun,
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A tenant that no other test has.
pub fn tenant() -> TenantId {
    TenantId::new(Uuid::new_v4())
}

pub fn app() -> AppId {
    AppId::new(Uuid::new_v4())
}

pub fn id() -> RecordId {
    RecordId::new(Uuid::new_v4())
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn later(instant: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(instant.micros() + micros).unwrap()
}

#[allow(clippy::unnecessary_wraps, reason = "the columns are optional")]
pub fn json(text: &str) -> Option<JsonText> {
    Some(JsonText::from_clean(text))
}

/// A run that has just started.
pub fn run(tenant_id: TenantId, app_id: AppId, created_at: Timestamp) -> WorkflowRun {
    WorkflowRun {
        id: id(),
        tenant_id,
        app_id,
        workflow_id: id(),
        r#type: "workflow".into(),
        triggered_from: "app-run".into(),
        version: "2025-12-01 09:30:11.123456".into(),
        graph: json(r#"{"nodes": [], "edges": [], "viewport": {"x": 0, "y": 0, "zoom": 0.7}}"#),
        inputs: json(r#"{"sys.query": "hello", "n": 1e-09}"#),
        status: RunStatus::Running,
        created_by_role: "end_user".into(),
        created_by: id(),
        created_at,
        ..WorkflowRun::default()
    }
}

/// A node that has just started.
pub fn node(tenant_id: TenantId, app_id: AppId, run_id: RecordId, index: i64, created_at: Timestamp) -> NodeExecution {
    let id = id();
    NodeExecution {
        id,
        tenant_id,
        app_id,
        workflow_id: RecordId::new(Uuid::new_v4()),
        triggered_from: "workflow-run".into(),
        workflow_run_id: Some(run_id),
        index,
        node_execution_id: Some(id.to_string().into()),
        node_id: "1733478262179".into(),
        node_type: "llm".into(),
        title: "LLM".into(),
        status: NodeStatus::Running,
        created_at,
        created_by_role: "account".into(),
        created_by: RecordId::new(Uuid::new_v4()),
        ..NodeExecution::default()
    }
}

pub fn app_log(tenant_id: TenantId, app_id: AppId, run_id: RecordId, created_at: Timestamp) -> AppLog {
    AppLog {
        id: id(),
        tenant_id,
        app_id,
        workflow_id: id(),
        workflow_run_id: run_id,
        created_from: "service-api".into(),
        created_by_role: "end_user".into(),
        created_by: id(),
        created_at,
        ..AppLog::default()
    }
}

pub fn offload(tenant_id: TenantId, app_id: AppId, node_id: Option<RecordId>, created_at: Timestamp) -> Offload {
    Offload {
        id: id(),
        tenant_id,
        app_id,
        node_execution_id: node_id,
        r#type: "outputs".into(),
        file_id: id(),
        created_at,
    }
}

/// A run that ended `micros` after its start.
pub fn ended(mut run: WorkflowRun, micros: i64) -> WorkflowRun {
    run.status = RunStatus::Succeeded;
    run.outputs = json(r#"{"answer": "done"}"#);
    run.finished_at = Some(later(run.created_at, micros));
    run.elapsed_time = 1.5;
    run.total_tokens = 42;
    run
}

/// Snapshots of a run that ended, all of the same times: first as newer versions of Dify commit its row, last as the
/// message has it.
pub fn filled_in(running: &WorkflowRun) -> Vec<Record> {
    let whole = ended(running.clone(), 900_000);
    let bare = WorkflowRun { graph: None, inputs: None, outputs: None, ..whole.clone() };
    let with_graph = WorkflowRun { graph: whole.graph.clone(), ..bare.clone() };
    let with_inputs = WorkflowRun { inputs: whole.inputs.clone(), ..with_graph.clone() };
    [bare, with_graph, with_inputs, whole].map(|run| Record::Run(Box::new(run))).into()
}

/// The same of a node execution.
pub fn node_filled_in(running: &NodeExecution) -> Vec<Record> {
    let mut snapshots = retried(running, NodeStatus::Succeeded);
    let Some(Record::Node(ended)) = snapshots.pop() else { panic!() };
    let whole = NodeExecution { inputs: json("[0]"), process_data: json(r#"{"p": [1]}"#), ..*ended };
    let bare = NodeExecution { inputs: None, process_data: None, outputs: None, ..whole.clone() };
    let with_outputs = NodeExecution { outputs: whole.outputs.clone(), ..bare.clone() };
    let with_process_data = NodeExecution { process_data: whole.process_data.clone(), ..with_outputs.clone() };
    snapshots.extend([bare, with_outputs, with_process_data, whole].map(|node| Record::Node(Box::new(node))));
    snapshots
}

/// Snapshots of a run that is paused and later resumed, oldest first.
pub fn paused_and_resumed(running: &WorkflowRun, resumed_at: Timestamp) -> Vec<Record> {
    let paused = WorkflowRun { status: RunStatus::Paused, total_steps: 2, ..running.clone() };
    let resumed = WorkflowRun { created_at: resumed_at, total_steps: 2, ..running.clone() };
    let ended = ended(resumed.clone(), 4_000_000);
    [running.clone(), paused, resumed, ended].map(|run| Record::Run(Box::new(run))).into()
}

/// Snapshots of a node that is restarted twice (a later index each time) and then ends, oldest first.
pub fn retried(running: &NodeExecution, status: NodeStatus) -> Vec<Record> {
    let again = |steps| NodeExecution { index: running.index + steps, ..running.clone() };
    let ended = NodeExecution {
        status,
        outputs: json(r#"{"text": "你好 🦀"}"#),
        finished_at: Some(later(running.created_at, 2_500_000)),
        elapsed_time: 2.5,
        ..again(3)
    };
    [running.clone(), again(1), again(3), ended].map(|node| Record::Node(Box::new(node))).into()
}

/// A record as written: a run's graph taken out, and the graph to write before it.
pub fn split(mut record: Record) -> (Document, Option<Graph>) {
    let (tenant_id, month) = (record.tenant_id(), record.month());
    // The graph is part of what the revision says.
    let revision = Revision::of(&record);
    let text = if let Record::Run(run) = &mut record { run.graph.take() } else { None };
    let graph = text.map(|text| Graph { tenant_id, month, hash: sha256(text.as_str()), text });
    let hash = graph.as_ref().map(|graph| graph.hash);
    (Document { record, revision, graph: hash, truncated: Vec::new(), origin: None, extra: None }, graph)
}

/// A record as it must be read back.
pub fn whole(record: Record) -> Document {
    let (document, _) = split(record.clone());
    Document { record, ..document }
}

/// Takes from a document what is not wanted of it.
pub fn leave_out(document: &mut Document, content: Content) {
    for column in columns(document.kind()).iter().filter(|column| column.role != Role::Summary) {
        assert!(content.has(column.name) || column.set(&mut document.record, Given::Null));
    }
    if !content.has("extra") {
        document.extra = None;
    }
}

/// The actions that store a record: its graph first.
pub fn actions(record: Record) -> Vec<BulkAction> {
    let (document, graph) = split(record);
    let graph = graph.map(|graph| BulkAction::Graph(Arc::new(graph)));
    graph.into_iter().chain([BulkAction::Document(Arc::new(document))]).collect()
}

pub fn sha256(text: &str) -> ContentHash {
    ContentHash::new(Sha256::digest(text.as_bytes()).into())
}
