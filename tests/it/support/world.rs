//! Generated records of two tenants that share ids, and generated questions about them. The same seed gives the same
//! values, but for tenants and ids.

use difylog::domain::query::{
    AppLogFilter, AppScope, Bounds, Direction, LogKeyword, NodeFilter, NodeQuery, Page, RunFilter, RunQuery, SortBy,
    TextField, TextFilter, TimeRange,
};
use difylog::domain::{
    AppId, AppLog, JsonText, NodeExecution, NodeStatus, Record, RecordId, RunStatus, TenantId, Timestamp, WorkflowRun,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::support::records::{self, at, later};

/// The last hours of a month and the first of the next, around an hour that New York has twice.
const START: &str = "2026-10-31T14:00:00Z";
const STATUSES: [&str; 5] = ["running", "succeeded", "failed", "stopped", "partial-succeeded"];
const NODE_STATUSES: [&str; 4] = ["running", "succeeded", "failed", "exception"];
const TRIGGERS: [&str; 3] = ["debugging", "app-run", "webhook"];
const TYPES: [&str; 3] = ["workflow", "chat", "rag-pipeline"];
const NODE_TYPES: [&str; 3] = ["llm", "code", "http-request"];
const ROLES: [&str; 2] = ["account", "end_user"];
/// As the codec leaves payloads: characters stand for themselves where JSON lets them.
const JSON: [&str; 8] = [
    r#"{"sys.query": "Hello World", "n": 1e-09}"#,
    r#"{"q": "你好，订单编号 42"}"#,
    r#"{"q": "你好 🦀 ÜBER"}"#,
    r#"{"path": "C:\\temp\\n100%", "quote": "a \"b\" c", "line": "x\ny"}"#,
    r#"{"a_b": ["Straße", "ÉCOLE", "🦀"], "empty": ""}"#,
    "null",
    "[]",
    r#""ord 1""#,
];
const PLAIN: [&str; 5] =
    ["", "Über\\u4f60 100% _", "模型超时：请重试", "connection \"refused\"\nby peer", "HTTP Request 你好"];
const KEYWORDS: [&str; 24] = [
    "hello",
    "O W",
    "你",
    "你好",
    "单编",
    "🦀",
    "über",
    "ÜBER",
    "%",
    "_",
    "\"b\"",
    "\\",
    ":\\t",
    "x\ny",
    "\"q\": \"",
    "école",
    "SYS.QUERY",
    "1",
    "u4f60",
    "refused",
    "超时",
    "nothing has this",
    "100%",
    "d 1",
];

/// A source of records and questions.
pub struct World {
    pub rng: StdRng,
    pub tenants: [TenantId; 2],
    apps: Vec<AppId>,
    workflows: Vec<RecordId>,
    users: Vec<RecordId>,
    runs: Vec<RecordId>,
    /// Whether questions ask for keywords, too.
    pub has_keywords: bool,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            tenants: [records::tenant(), records::tenant()],
            apps: vec![records::app(), records::app()],
            workflows: (0..3).map(|_| records::id()).collect(),
            users: (0..6).map(|_| records::id()).collect(),
            runs: Vec::new(),
            has_keywords: true,
        }
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of.choose(&mut self.rng).unwrap().clone()
    }

    fn one_of(&mut self, field: fn(&Self) -> &[RecordId]) -> RecordId {
        let number = self.rng.random_range(0..field(self).len());
        field(self)[number]
    }

    fn app(&mut self) -> AppId {
        self.apps[self.rng.random_range(0..self.apps.len())]
    }

    /// Which apps a question may see: in one of four questions not every one.
    fn scope(&mut self) -> AppScope {
        let few = self.maybe(|world| [world.app(), world.app(), records::app()]);
        few.and_then(|apps| AppScope::only(apps.into())).unwrap_or_default()
    }

    /// Instants are few, so that many share one; some differ by a microsecond.
    pub fn instant(&mut self) -> Timestamp {
        let quarter_hours: i64 = self.rng.random_range(0..96);
        later(at(START), quarter_hours * 900_000_000 + self.rng.random_range(0..2))
    }

    fn elapsed(&mut self) -> f64 {
        self.pick(&[0.0, 0.25, 1.5, 1.5, 61.0, 3_600.125])
    }

    fn json(&mut self) -> Option<JsonText> {
        let text = self.pick(&JSON);
        match self.rng.random_range(0..6) {
            0 => None,
            // Long enough to be stored compressed.
            1 => records::json(&format!(r#"{{"filler": "{}", "text": {text}}}"#, "z".repeat(300))),
            _ => records::json(text),
        }
    }

    fn plain(&mut self) -> Option<Box<str>> {
        if self.rng.random_bool(0.5) { Some(self.pick(&PLAIN).into()) } else { None }
    }

    /// Runs of both tenants: each id is in both.
    pub fn runs(&mut self, number: usize) -> Vec<Record> {
        let mut all = Vec::new();
        for _ in 0..number {
            let id = records::id();
            self.runs.push(id);
            for tenant_id in self.tenants {
                all.extend(self.run(tenant_id, id));
            }
        }
        all
    }

    /// One snapshot, or those of a run that is resumed in the next month.
    fn run(&mut self, tenant_id: TenantId, id: RecordId) -> Vec<Record> {
        let (app_id, created_at) = (self.app(), self.instant());
        let run = WorkflowRun {
            id,
            workflow_id: self.one_of(|world| &world.workflows),
            r#type: self.pick(&TYPES).into(),
            triggered_from: self.pick(&TRIGGERS).into(),
            status: RunStatus::from(self.pick(&STATUSES)),
            inputs: self.json(),
            outputs: self.json(),
            error: self.plain(),
            elapsed_time: self.elapsed(),
            total_tokens: self.pick(&[0, 1, 42, 3_000_000_000, i64::MAX, (1 << 53) + 1]),
            total_steps: self.rng.random_range(0..9),
            created_by: self.one_of(|world| &world.users),
            created_by_role: self.pick(&ROLES).into(),
            ..records::run(tenant_id, app_id, created_at)
        };
        if self.rng.random_bool(0.1) {
            let running = WorkflowRun { status: RunStatus::Running, finished_at: None, ..run };
            return records::paused_and_resumed(&running, at("2026-11-02T00:00:00Z"));
        }
        let finished_at = (run.status != RunStatus::Running).then(|| later(created_at, 5_000_000));
        vec![Record::Run(Box::new(WorkflowRun { finished_at, ..run }))]
    }

    /// Node executions, most of them of the runs.
    pub fn nodes(&mut self, number: usize) -> Vec<Record> {
        let mut all = Vec::new();
        for index in 0..number {
            let id = records::id();
            for tenant_id in self.tenants {
                all.extend(self.node(tenant_id, id, i64::try_from(index % 7).unwrap()));
            }
        }
        all
    }

    fn node(&mut self, tenant_id: TenantId, id: RecordId, index: i64) -> Vec<Record> {
        let (app_id, created_at, run) = (self.app(), self.instant(), self.one_of(|world| &world.runs));
        let status = NodeStatus::from(self.pick(&NODE_STATUSES));
        let metadata = [None, records::json("{}"), records::json(r#"{"iteration_id": "17\n", "loop_id": 3}"#)];
        let node = NodeExecution {
            id,
            workflow_id: self.one_of(|world| &world.workflows),
            workflow_run_id: self.rng.random_bool(0.9).then_some(run),
            node_id: self.pick(&["17", "18"]).into(),
            node_type: self.pick(&NODE_TYPES).into(),
            title: self.pick(&PLAIN).into(),
            inputs: self.json(),
            process_data: self.json(),
            outputs: self.json(),
            error: self.plain(),
            elapsed_time: self.elapsed(),
            execution_metadata: self.pick(&metadata),
            triggered_from: self.pick(&["workflow-run", "single-step"]).into(),
            created_by: self.one_of(|world| &world.users),
            finished_at: (status != NodeStatus::Running).then(|| later(created_at, 1_000_000)),
            status,
            ..records::node(tenant_id, app_id, run, index, created_at)
        };
        if self.rng.random_bool(0.1) {
            let running = NodeExecution { status: NodeStatus::Running, finished_at: None, ..node.clone() };
            let again = NodeExecution { created_at: at("2026-11-02T00:00:00Z"), finished_at: None, ..running.clone() };
            return [running, again].map(|node| Record::Node(Box::new(node))).into();
        }
        vec![Record::Node(Box::new(node))]
    }

    /// App logs, some of runs that are not there; whole seconds.
    pub fn app_logs(&mut self, number: usize) -> Vec<Record> {
        let mut all = Vec::new();
        for _ in 0..number {
            let id = records::id();
            for tenant_id in self.tenants {
                let (app_id, instant) = (self.app(), self.instant().micros());
                let run = if self.rng.random_bool(0.1) { records::id() } else { self.one_of(|world| &world.runs) };
                let created_at = Timestamp::from_micros(instant / 1_000_000 * 1_000_000).unwrap();
                all.push(Record::AppLog(Box::new(AppLog {
                    id,
                    created_by_role: self.pick(&ROLES).into(),
                    created_by: self.one_of(|world| &world.users),
                    creator: self.plain(),
                    ..records::app_log(tenant_id, app_id, run, created_at)
                })));
            }
        }
        all
    }

    /// A condition, in one of four questions.
    fn maybe<T>(&mut self, condition: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.rng.random_bool(0.25) { Some(condition(self)) } else { None }
    }

    fn some_of(&mut self, of: &[&str]) -> Vec<Box<str>> {
        let number = self.pick(&[0, 0, 0, 0, 1, 2]);
        of.choose_multiple(&mut self.rng, number).map(|&text| text.into()).collect()
    }

    fn created(&mut self) -> TimeRange {
        TimeRange { from: self.maybe(Self::instant), until: self.maybe(Self::instant) }
    }

    fn elapsed_bounds(&mut self) -> Bounds<f64> {
        Bounds { min: self.maybe(Self::elapsed), max: self.maybe(Self::elapsed) }
    }

    pub fn keyword(&mut self) -> String {
        self.pick(&KEYWORDS).to_owned()
    }

    fn text(&mut self, fields: &[TextField]) -> Option<TextFilter> {
        self.maybe(|world| {
            let number = world.rng.random_range(1..=fields.len());
            let fields = fields.choose_multiple(&mut world.rng, number).copied().collect();
            TextFilter { keyword: world.keyword(), fields }
        })
        .filter(|_| self.has_keywords)
    }

    pub fn run_filter(&mut self) -> RunFilter {
        let tenants = self.tenants;
        let (tenant_id, apps) = (self.pick(&tenants), self.scope());
        let filter = RunQuery {
            app_id: self.maybe(Self::app),
            workflow_id: self.maybe(|world| world.one_of(|world| &world.workflows)),
            types: self.some_of(&TYPES),
            statuses: self.some_of(&STATUSES),
            triggered_from: self.some_of(&TRIGGERS),
            created: self.created(),
            created_by: self.maybe(|world| world.one_of(|world| &world.users)),
            elapsed_time: self.elapsed_bounds(),
            total_tokens: Bounds { min: self.maybe(|_| 1), max: self.maybe(|_| 3_000_000_000) },
            text: self.text(&[TextField::Inputs, TextField::Outputs, TextField::Error]),
        }
        .within(tenant_id);
        RunFilter { apps, ..filter }
    }

    pub fn node_filter(&mut self) -> NodeFilter {
        let tenants = self.tenants;
        let (tenant_id, apps) = (self.pick(&tenants), self.scope());
        let fields =
            [TextField::Inputs, TextField::Outputs, TextField::Error, TextField::Title, TextField::ProcessData];
        let filter = NodeQuery {
            app_id: self.maybe(Self::app),
            workflow_id: self.maybe(|world| world.one_of(|world| &world.workflows)),
            workflow_run_id: if self.rng.random_bool(0.1) { Some(self.one_of(|world| &world.runs)) } else { None },
            node_id: self.maybe(|_| "17".into()),
            node_types: self.some_of(&NODE_TYPES),
            statuses: self.some_of(&NODE_STATUSES),
            triggered_from: self.some_of(&["workflow-run", "single-step"]),
            created: self.created(),
            created_by: self.maybe(|world| world.one_of(|world| &world.users)),
            elapsed_time: self.elapsed_bounds(),
            text: self.text(&fields),
        }
        .within(tenant_id);
        NodeFilter { apps, ..filter }
    }

    pub fn log_filter(&mut self) -> AppLogFilter {
        let tenants = self.tenants;
        let keyword = self.maybe(|world| LogKeyword {
            keyword: world.keyword(),
            run_id: world.maybe(|world| world.one_of(|world| &world.runs)),
            end_users: world.maybe(|world| vec![world.one_of(|world| &world.users)]).unwrap_or_default(),
        });
        let keyword = keyword.filter(|_| self.has_keywords);
        AppLogFilter {
            tenant_id: self.pick(&tenants),
            apps: self.scope(),
            app_id: self.app(),
            created: self.created(),
            created_by_role: self.maybe(|world| world.pick(&ROLES).into()),
            created_by: self.maybe(|world| vec![world.one_of(|world| &world.users)]).unwrap_or_default(),
            creator: self.maybe(Self::plain).flatten(),
            run_status: self.maybe(|world| world.pick(&STATUSES).into()),
            keyword,
        }
    }

    pub fn page(&mut self) -> Page {
        Page {
            sort: self.pick(&[SortBy::CreatedAt, SortBy::ElapsedTime]),
            direction: self.pick(&[Direction::Descending, Direction::Ascending]),
            after: None,
            limit: self.pick(&[1, 3, 20, 1_000]),
        }
    }
}
