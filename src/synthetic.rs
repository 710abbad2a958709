//! Made-up traffic with the shape of Dify's: for demonstrations, load tests and benchmarks.
//!
//! The same seed makes the same records. Ids carry no meaning; texts are invented.

mod plan;
mod site;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

pub use self::site::Site;
use crate::domain::{
    AppId, AppLog, JsonText, NodeExecution, NodeStatus, Record, RecordId, RunStatus, TenantId, Timestamp, WorkflowRun,
};

const WORDS: &[&str] = &[
    "order", "invoice", "refund", "delivery", "customer", "answer", "price", "report", "draft", "question", "你好",
    "退款", "发票", "订单", "naïve", "café", "données", "Straße", "配送", "😀",
];

/// What the traffic looks like.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub tenants: u64,
    pub apps_per_tenant: u64,
    /// Bytes of each payload, about.
    pub payload_bytes: usize,
    /// Bytes of a canvas, about; one canvas per app.
    pub graph_bytes: usize,
    pub nodes_per_run: usize,
}

impl Default for Shape {
    /// Native events of about 2.2 KB.
    fn default() -> Self {
        Self { tenants: 3, apps_per_tenant: 2, payload_bytes: 600, graph_bytes: 1_500, nodes_per_run: 4 }
    }
}

/// An endless source of runs.
pub struct Generator {
    rng: StdRng,
    shape: Shape,
    clock: i64,
}

impl Generator {
    /// Returns a source of runs: the first starts at `start`, each later one some milliseconds after.
    #[must_use]
    pub fn new(seed: u64, start: Timestamp, shape: Shape) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), shape, clock: start.micros() }
    }

    /// Returns the snapshots of one run in the order in which Dify publishes them: the run starts, each node starts and
    /// ends, the run ends; then its app log.
    pub fn run(&mut self) -> Vec<Record> {
        let mut run = self.started_run();
        let mut records = vec![Record::Run(Box::new(run.clone()))];
        for index in 1..=self.shape.nodes_per_run {
            let mut node = self.started_node(&run, index);
            records.push(Record::Node(Box::new(node.clone())));
            self.end_node(&mut node);
            run.total_tokens += self.rng.random_range(0..500);
            records.push(Record::Node(Box::new(node)));
        }
        let finished_at = self.pass(2_000);
        run.total_steps = i64::try_from(self.shape.nodes_per_run).unwrap_or(i64::MAX);
        run.elapsed_time = seconds(run.created_at, finished_at);
        run.finished_at = Some(finished_at);
        run.outputs = Some(self.payload());
        (run.status, run.error) = match self.rng.random_range(0..20) {
            0 => (RunStatus::Failed, Some("upstream answered 503".into())),
            1 => (RunStatus::Stopped, Some("Workflow execution aborted".into())),
            _ => (RunStatus::Succeeded, None),
        };
        let log = self.app_log(&run);
        records.push(Record::Run(Box::new(run)));
        records.push(Record::AppLog(Box::new(log)));
        records
    }

    fn started_run(&mut self) -> WorkflowRun {
        let tenant = self.rng.random_range(0..self.shape.tenants.max(1));
        let app = self.rng.random_range(0..self.shape.apps_per_tenant.max(1));
        let created_at = self.pass(5_000);
        WorkflowRun {
            id: self.id(),
            tenant_id: TenantId::new(named("tenant", tenant, 0)),
            app_id: AppId::new(named("app", tenant, app)),
            workflow_id: RecordId::new(named("workflow", tenant, app)),
            r#type: "workflow".into(),
            triggered_from: "app-run".into(),
            version: "2026-01-01 00:00:00.000000".into(),
            graph: Some(graph(tenant, app, self.shape.graph_bytes)),
            inputs: Some(self.payload()),
            status: RunStatus::Running,
            created_by_role: "end_user".into(),
            created_by: RecordId::new(named("user", tenant, self.rng.random_range(0..50))),
            created_at,
            ..WorkflowRun::default()
        }
    }

    fn started_node(&mut self, run: &WorkflowRun, index: usize) -> NodeExecution {
        let id = self.id();
        let (node_type, title) = match index {
            1 => ("start", "Start"),
            2 => ("llm", "LLM 问答"),
            _ => ("code", "Code"),
        };
        NodeExecution {
            id,
            tenant_id: run.tenant_id,
            app_id: run.app_id,
            workflow_id: run.workflow_id,
            triggered_from: "workflow-run".into(),
            workflow_run_id: Some(run.id),
            index: i64::try_from(index).unwrap_or(i64::MAX),
            predecessor_node_id: (index > 1).then(|| format!("node-{}", index - 1).into()),
            node_execution_id: Some(id.to_string().into()),
            node_id: format!("node-{index}").into(),
            node_type: node_type.into(),
            title: title.into(),
            status: NodeStatus::Running,
            created_at: self.pass(500),
            created_by_role: run.created_by_role.clone(),
            created_by: run.created_by,
            ..NodeExecution::default()
        }
    }

    fn end_node(&mut self, node: &mut NodeExecution) {
        let finished_at = self.pass(3_000);
        node.elapsed_time = seconds(node.created_at, finished_at);
        node.finished_at = Some(finished_at);
        node.inputs = Some(self.payload());
        node.process_data = Some(self.payload());
        node.outputs = Some(self.payload());
        node.status = NodeStatus::Succeeded;
        let tokens = self.rng.random_range(0..4_000);
        node.execution_metadata = Some(JsonText::from_clean(format!(
            r#"{{"total_tokens": {tokens}, "total_price": 0.0012, "currency": "USD"}}"#
        )));
    }

    fn app_log(&mut self, run: &WorkflowRun) -> AppLog {
        AppLog {
            id: self.id(),
            tenant_id: run.tenant_id,
            app_id: run.app_id,
            workflow_id: run.workflow_id,
            workflow_run_id: run.id,
            created_from: "web-app".into(),
            created_by_role: run.created_by_role.clone(),
            created_by: run.created_by,
            // Dify lets the database set it: whole seconds.
            created_at: Timestamp::from_micros(run.created_at.micros() / 1_000_000 * 1_000_000)
                .unwrap_or(run.created_at),
            ..AppLog::default()
        }
    }

    /// Lets some of `upper` microseconds pass.
    fn pass(&mut self, upper: i64) -> Timestamp {
        self.clock += self.rng.random_range(upper / 2..=upper).max(1);
        Timestamp::from_micros(self.clock).unwrap_or(Timestamp::MAX)
    }

    fn id(&mut self) -> RecordId {
        RecordId::new(uuid::Builder::from_random_bytes(self.rng.random()).into_uuid())
    }

    fn payload(&mut self) -> JsonText {
        let mut text = String::with_capacity(self.shape.payload_bytes + 64);
        text.push_str(r#"{"query": ""#);
        while text.len() < self.shape.payload_bytes {
            let word = WORDS.get(self.rng.random_range(0..WORDS.len())).copied().unwrap_or_default();
            text.push_str(word);
            text.push(' ');
        }
        text.push_str(r#"", "score": 0.5, "sys.files": []}"#);
        JsonText::from_clean(text)
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    (to.micros() - from.micros()) as f64 / 1e6
}

/// Returns a stable UUID for the thing of that name and number.
fn named(what: &str, number: u64, part: u64) -> Uuid {
    let label = what.bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    uuid::Builder::from_random_bytes(StdRng::seed_from_u64(label ^ (number << 20) ^ (part << 4)).random()).into_uuid()
}

/// Returns the canvas of an app.
fn graph(tenant: u64, app: u64, bytes: usize) -> JsonText {
    let mut text = format!(r#"{{"nodes": [{{"id": "start", "data": {{"title": "Start {tenant}/{app}", "prompt": ""#);
    while text.len() < bytes {
        text.push_str("You are a helpful assistant. 你是一个客服助手。");
    }
    text.push_str(r#""}}], "edges": [], "viewport": {"x": 0, "y": 0, "zoom": 0.8}}"#);
    JsonText::from_clean(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Revision;

    #[test]
    fn the_same_seed_makes_the_same_valid_records_in_ascending_snapshots() {
        let start = "2026-11-01T00:00:00".parse().unwrap();
        let (mut one, mut two) =
            (Generator::new(7, start, Shape::default()), Generator::new(7, start, Shape::default()));
        for _ in 0..20 {
            let records = one.run();
            assert_eq!(records, two.run());
            let (first, last) = (&records[0], &records[records.len() - 2]);
            assert_eq!(first.key(), last.key());
            assert!(Revision::of(first) < Revision::of(last));
            let Record::Run(run) = last else { panic!("the last but one is the ended run") };
            let payload: serde_json::Value = serde_json::from_str(run.inputs.as_ref().unwrap().as_str()).unwrap();
            assert!(payload.is_object());
            serde_json::from_str::<serde_json::Value>(run.graph.as_ref().unwrap().as_str()).unwrap();
        }
    }
}
