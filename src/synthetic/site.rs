//! A made-up week of a small site, for people to look at: three apps with canvases, questions and answers in two languages,
//! runs that fail, are retried, go round in loops or have not ended. The same seed and time make the same records.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::plan::{APPS, CanvasNode, ERRORS, PlannedApp};
use crate::domain::{
    AppId, AppLog, JsonText, NodeExecution, NodeStatus, Record, RecordId, RunStatus, TenantId, Timestamp, WorkflowRun,
};

/// The days that the runs are spread over.
const DAYS: i64 = 7;
const DAY: i64 = 86_400_000_000;

/// A source of whole runs, each ended or at its newest state.
pub struct Site {
    rng: StdRng,
    until: i64,
    number: u64,
}

/// What becomes of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Well,
    /// The step that can fail does.
    Fails,
    /// It fails and is tried again.
    Retried,
    /// It fails, and the app goes on.
    Handled,
    Stopped,
    Running,
}

impl Site {
    /// Runs of the week before `until`.
    #[must_use]
    pub fn new(seed: u64, until: Timestamp) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), until: until.micros(), number: 0 }
    }

    /// Returns the tenant that all of it belongs to.
    #[must_use]
    pub fn tenant() -> TenantId {
        TenantId::new(super::named("tenant of the site", 1, 0))
    }

    /// One run with its nodes and its app log.
    pub fn run(&mut self) -> Vec<Record> {
        self.number += 1;
        let place = self.rng.random_range(0..10).min(2 + self.rng.random_range(0..8));
        let app_number = match place {
            0..5 => 0,
            5..8 => 1,
            _ => 2,
        };
        let Some(app) = APPS.get(app_number) else { return Vec::new() };
        let mut run = self.started(app, app_number);
        let fate = self.fate(&run);
        let mut clock = run.created_at.micros();
        let mut nodes = Vec::new();
        for step in app.steps {
            if !self.step(step, fate, &run, &mut clock, &mut nodes) {
                break;
            }
        }
        self.end(&mut run, app, fate, clock, &nodes);
        let log = self.log(&run);
        let mut records: Vec<Record> = nodes.into_iter().map(|node| Record::Node(Box::new(node))).collect();
        records.push(Record::Run(Box::new(run)));
        records.push(Record::AppLog(Box::new(log)));
        records
    }

    fn fate(&mut self, run: &WorkflowRun) -> Fate {
        let age = self.until - run.created_at.micros();
        // One bad afternoon: an upstream was away for three hours.
        let bad = (self.until - 2 * DAY).div_euclid(DAY) * DAY + DAY / 24 * 13;
        let is_bad = (bad..bad + DAY / 8).contains(&run.created_at.micros());
        match self.rng.random_range(0..100) {
            _ if age < 40_000_000 => Fate::Running,
            0..4 => Fate::Fails,
            4..8 => Fate::Retried,
            8..11 => Fate::Handled,
            11..13 => Fate::Stopped,
            13..60 if is_bad => Fate::Fails,
            _ => Fate::Well,
        }
    }

    /// More by day than by night.
    fn start(&mut self) -> Timestamp {
        // The newest are a few seconds old, so that something is running.
        if self.number % 400 == 1 {
            return timestamp(self.until - self.rng.random_range(2_000_000..30_000_000));
        }
        loop {
            let at = self.until - self.rng.random_range(0..DAYS * DAY);
            let hour = at.rem_euclid(DAY) as f64 / DAY as f64;
            let busy = 0.55 - 0.45 * (hour * std::f64::consts::TAU).cos();
            if self.rng.random_bool(busy.clamp(0.05, 1.0)) {
                return timestamp(at);
            }
        }
    }

    fn started(&mut self, app: &PlannedApp, number: usize) -> WorkflowRun {
        let created_at = self.start();
        let question = pick(&mut self.rng, app.questions);
        let inputs = json!({ "query": question, "lang": app.lang, "sys.files": [], "sys.user_id": self.rng.random_range(1..40) });
        WorkflowRun {
            id: self.id(),
            tenant_id: Self::tenant(),
            app_id: AppId::new(super::named("app of the site", number as u64, 0)),
            workflow_id: RecordId::new(super::named("workflow of the site", number as u64, 0)),
            r#type: if number == 0 { "chat" } else { "workflow" }.into(),
            triggered_from: if self.rng.random_range(0..12) == 0 { "debugging" } else { "app-run" }.into(),
            version: app.version.into(),
            graph: Some(app.canvas()),
            inputs: Some(text(&inputs)),
            status: RunStatus::Running,
            created_by_role: "end_user".into(),
            created_by: RecordId::new(super::named("end user of the site", self.rng.random_range(0..24), 0)),
            created_at,
            ..WorkflowRun::default()
        }
    }

    /// Adds the executions of a step; returns whether the run goes on.
    fn step(
        &mut self,
        step: &CanvasNode,
        fate: Fate,
        run: &WorkflowRun,
        clock: &mut i64,
        nodes: &mut Vec<NodeExecution>,
    ) -> bool {
        if fate == Fate::Running && nodes.len() == 2 {
            let mut node = self.node(step, run, *clock, nodes.len(), None);
            (node.status, node.finished_at, node.outputs) = (NodeStatus::Running, None, None);
            node.elapsed_time = 0.0;
            nodes.push(node);
            return false;
        }
        if fate == Fate::Stopped && nodes.len() == 3 {
            return false;
        }
        if step.rounds > 0 {
            return self.rounds(step, run, clock, nodes);
        }
        let fails = step.can_fail && matches!(fate, Fate::Fails | Fate::Retried | Fate::Handled);
        if fails {
            let mut node = self.node(step, run, *clock, nodes.len(), None);
            *clock = node.finished_at.map_or(*clock, Timestamp::micros);
            let error = pick(&mut self.rng, ERRORS).replace("{n}", &self.rng.random_range(1000..99_999).to_string());
            (node.error, node.outputs) = (Some(error.into()), None);
            node.status = match fate {
                Fate::Retried => NodeStatus::Retry,
                Fate::Handled => NodeStatus::Exception,
                _ => NodeStatus::Failed,
            };
            nodes.push(node);
            if fate != Fate::Retried {
                return fate == Fate::Handled;
            }
        }
        let node = self.node(step, run, *clock, nodes.len(), None);
        *clock = node.finished_at.map_or(*clock, Timestamp::micros);
        nodes.push(node);
        true
    }

    /// Returns an iteration: its own execution, and its inner steps once per round.
    fn rounds(
        &mut self,
        step: &CanvasNode,
        run: &WorkflowRun,
        clock: &mut i64,
        nodes: &mut Vec<NodeExecution>,
    ) -> bool {
        let begin = *clock;
        let mut own = self.node(step, run, begin, nodes.len(), None);
        let holder = nodes.len();
        nodes.push(own.clone());
        for round in 0..self.rng.random_range(2..=step.rounds) {
            for inner in step.inside {
                let node = self.node(inner, run, *clock, nodes.len(), Some((step.id, round)));
                *clock = node.finished_at.map_or(*clock, Timestamp::micros);
                nodes.push(node);
            }
        }
        own.finished_at = Some(timestamp(*clock));
        own.elapsed_time = (*clock - begin) as f64 / 1e6;
        if let Some(place) = nodes.get_mut(holder) {
            *place = own;
        }
        true
    }

    fn node(
        &mut self,
        step: &CanvasNode,
        run: &WorkflowRun,
        begin: i64,
        index: usize,
        within: Option<(&str, u32)>,
    ) -> NodeExecution {
        let id = self.id();
        let took = self.rng.random_range(step.millis / 2..=step.millis * 2).max(1) * 1000;
        let tokens = if step.kind == "llm" { self.rng.random_range(180..2400) } else { 0 };
        let (mut metadata, mut process_data) = (json!({}), None);
        if tokens > 0 {
            let (provider, model, currency) = model_of(step.id);
            metadata = json!({ "total_tokens": tokens, "total_price": format!("{:.6}", f64::from(tokens) * 4e-6), "currency": currency });
            let usage = metadata.clone();
            process_data = Some(text(
                &json!({ "model_mode": "chat", "usage": usage, "model_provider": provider, "model_name": model }),
            ));
        }
        if let (Some((holder, round)), Some(members)) = (within, metadata.as_object_mut()) {
            members.insert("iteration_id".into(), holder.into());
            members.insert("iteration_index".into(), round.into());
        }
        let mut outputs = json!({ "text": step.output });
        if let Some(members) = outputs.as_object_mut().filter(|_| tokens > 0) {
            members.insert("usage".into(), json!({ "total_tokens": tokens }));
        }
        NodeExecution {
            id,
            tenant_id: run.tenant_id,
            app_id: run.app_id,
            workflow_id: run.workflow_id,
            triggered_from: "workflow-run".into(),
            workflow_run_id: Some(run.id),
            index: i64::try_from(index + 1).unwrap_or(i64::MAX),
            predecessor_node_id: None,
            node_execution_id: Some(id.to_string().into()),
            node_id: step.id.into(),
            node_type: step.kind.into(),
            title: step.title.into(),
            inputs: run.inputs.clone(),
            process_data,
            outputs: Some(text(&outputs)),
            status: NodeStatus::Succeeded,
            error: None,
            elapsed_time: took as f64 / 1e6,
            execution_metadata: Some(text(&metadata)),
            created_at: timestamp(begin + 3000),
            created_by_role: run.created_by_role.clone(),
            created_by: run.created_by,
            finished_at: Some(timestamp(begin + 3000 + took)),
        }
    }

    fn end(&mut self, run: &mut WorkflowRun, app: &PlannedApp, fate: Fate, clock: i64, nodes: &[NodeExecution]) {
        run.total_steps = i64::try_from(nodes.len()).unwrap_or(i64::MAX);
        let of = |node: &NodeExecution| -> Option<i64> {
            let metadata = serde_json::from_str::<Value>(node.execution_metadata.as_ref()?.as_str()).ok()?;
            metadata.get("total_tokens")?.as_i64()
        };
        run.total_tokens = nodes.iter().filter_map(of).sum();
        let failed = nodes.iter().find(|node| node.status == NodeStatus::Failed);
        let handled = nodes.iter().filter(|node| node.status == NodeStatus::Exception).count();
        run.exceptions_count = i64::try_from(handled).unwrap_or(i64::MAX);
        if fate == Fate::Running {
            return;
        }
        run.finished_at = Some(timestamp(clock + 2000));
        run.elapsed_time = (clock + 2000 - run.created_at.micros()) as f64 / 1e6;
        if let Some(failed) = failed {
            (run.status, run.error) = (RunStatus::Failed, failed.error.clone());
            return;
        }
        if fate == Fate::Stopped {
            (run.status, run.error) = (RunStatus::Stopped, Some("Workflow execution aborted by the user".into()));
            return;
        }
        run.status = if run.exceptions_count > 0 { RunStatus::PartialSucceeded } else { RunStatus::Succeeded };
        run.outputs =
            Some(text(&json!({ "answer": pick(&mut self.rng, app.answers), "sources": ["handbook.pdf", "faq.md"] })));
    }

    fn log(&mut self, run: &WorkflowRun) -> AppLog {
        let session = run.created_by.to_string();
        let session = session.get(..6).unwrap_or_default();
        AppLog {
            id: self.id(),
            tenant_id: run.tenant_id,
            app_id: run.app_id,
            workflow_id: run.workflow_id,
            workflow_run_id: run.id,
            created_from: if self.rng.random_bool(0.6) { "web-app" } else { "service-api" }.into(),
            created_by_role: run.created_by_role.clone(),
            created_by: run.created_by,
            creator: Some(format!("visitor-{session}").into()),
            created_at: timestamp(run.created_at.micros() / 1_000_000 * 1_000_000),
        }
    }

    fn id(&mut self) -> RecordId {
        RecordId::new(uuid::Builder::from_random_bytes(self.rng.random()).into_uuid())
    }
}

fn pick<'a>(rng: &mut StdRng, of: &[&'a str]) -> &'a str {
    of.get(rng.random_range(0..of.len().max(1))).copied().unwrap_or_default()
}

/// Provider, model and currency of a step that calls one.
fn model_of(step: &str) -> (&'static str, &'static str, &'static str) {
    match step {
        "judge" => ("langgenius/tongyi/tongyi", "qwen-plus", "CNY"),
        "draft" => ("langgenius/openai/openai", "gpt-4o", "USD"),
        _ => ("langgenius/openai/openai", "gpt-4o-mini", "USD"),
    }
}

fn text(value: &Value) -> JsonText {
    JsonText::from_clean(value.to_string())
}

fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_holds_every_kind_of_run_and_comes_again() {
        let until = "2026-11-30T12:00:00Z".parse().unwrap();
        let records = |seed| {
            let mut site = Site::new(seed, until);
            (0..400).flat_map(|_| site.run()).collect::<Vec<_>>()
        };
        let week = records(1);
        assert_eq!(week, records(1));
        let runs: Vec<_> =
            week.iter().filter_map(|record| if let Record::Run(run) = record { Some(run) } else { None }).collect();
        assert_eq!(runs.len(), 400);
        for status in ["succeeded", "failed", "partial-succeeded", "stopped", "running"] {
            assert!(runs.iter().any(|run| run.status.as_str() == status), "{status}");
        }
        assert!(runs.iter().all(|run| run.created_at <= until && run.graph.is_some()));
        let inside = |record: &Record| matches!(record, Record::Node(node) if node.execution_metadata.as_ref().is_some_and(|text| text.as_str().contains("iteration_id")));
        assert!(week.iter().any(inside));
    }
}
