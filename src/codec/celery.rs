//! Dify's Celery tasks, message protocol 2, as Dify 1.10 and later publish them.
//!
//! The `task` header decides what the body is; the body is `[args, kwargs, embed]`. Dify calls its tasks with keywords
//! only, so `args` and `embed` are checked to be JSON and otherwise ignored, as are headers that steer Celery's own
//! workers (`retries`, `eta`, `expires`, …). A message without a content type is read as JSON: Celery always sets one,
//! and a body of another kind is then refused for what it is.

mod compression;

use std::sync::LazyLock;

pub(super) use self::compression::{is_compressed, unfolded_bytes};
use super::python_json::utf8::text_of;
use super::python_json::{Scanner, Syntax, TypedLeaves};
use super::row::{ColumnNames, PayloadForm, RowCells, places};
use super::{Cleaned, DecodeLimits, Message};
use crate::domain::schema::Celery;
use crate::domain::{Kind, Record, Refusal, RefusalClass, WorkflowRun};

const RUN_TASK: &str = "tasks.workflow_execution_tasks.save_workflow_execution_task";
const NODE_TASK: &str = "tasks.workflow_node_execution_tasks.save_workflow_node_execution_task";

/// Returns what the messages of a kind call its columns: in `execution_data`, and among the keyword arguments.
fn names_of(kind: Kind) -> [ColumnNames; 2] {
    let (mut data, mut arguments) = (Vec::new(), Vec::new());
    for (column, place) in places(kind) {
        match column.celery {
            Some(Celery::Data(name)) => data.push((name, place)),
            Some(Celery::Argument(name)) => arguments.push((name, place)),
            None => {}
        }
    }
    [
        ColumnNames { prefix: "execution_data.".to_owned(), columns: data },
        ColumnNames { prefix: String::new(), columns: arguments },
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    Run,
    Node,
}

impl Task {
    /// By the full name: another module of Dify has a task with the same function name.
    fn of(message: &Message) -> Result<Self, Refusal> {
        match message.task.as_deref() {
            Some(RUN_TASK) => Ok(Self::Run),
            Some(NODE_TASK) => Ok(Self::Node),
            Some(other) => Err(Refusal::new(RefusalClass::UnknownTask, other)),
            None => Err(Refusal::new(RefusalClass::UnknownTask, "no task header")),
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Run => Kind::WorkflowRun,
            Self::Node => Kind::NodeExecution,
        }
    }

    fn names(self) -> &'static [ColumnNames; 2] {
        static RUN: LazyLock<[ColumnNames; 2]> = LazyLock::new(|| names_of(Kind::WorkflowRun));
        static NODE: LazyLock<[ColumnNames; 2]> = LazyLock::new(|| names_of(Kind::NodeExecution));
        match self {
            Self::Run => &RUN,
            Self::Node => &NODE,
        }
    }
}

pub(super) fn decode(message: &Message, limits: DecodeLimits) -> Result<(Record, Cleaned), Refusal> {
    let task = Task::of(message)?;
    super::check_content_type(message)?;
    let body = compression::body_of(message, limits)?;
    let mut cleaned = Cleaned::default();
    let text = text_of(&body, &mut cleaned);
    let mut scanner = Scanner::new(&text, TypedLeaves::Restore);
    let mut row = read_body(&mut scanner, task)?;
    let mut record = row.take_record(task.kind())?;
    match &mut record {
        Record::Run(run) => {
            run.error = none_if_empty(run.error.take());
            run.elapsed_time = elapsed(run);
        }
        Record::Node(node) => node.error = none_if_empty(node.error.take()),
        Record::AppLog(_) | Record::Offload(_) => {}
    }
    cleaned += scanner.cleaned;
    cleaned += row.cleaned;
    Ok((record, cleaned))
}

/// Reads `[args, kwargs, embed]`.
fn read_body<'a>(scanner: &mut Scanner<'a>, task: Task) -> Result<RowCells<'a>, Refusal> {
    let mut row = RowCells::new(task.names(), PayloadForm::Object);
    let mut execution_data = None;
    let mut elements = 0;
    scanner.array(|scanner, index| {
        elements = index + 1;
        if index == 1 { read_kwargs(scanner, &mut row, task, &mut execution_data) } else { scanner.skip() }
    })?;
    scanner.end()?;
    if elements < 2 {
        return Err(Refusal::new(RefusalClass::UndecodableBody, "expected [args, kwargs, embed]"));
    }
    match execution_data {
        Some(Execution::Object) => Ok(row),
        None | Some(Execution::Null) => Err(Refusal::new(RefusalClass::MissingField, "execution_data")),
        Some(Execution::Other) => Err(Refusal::new(RefusalClass::InvalidField, "execution_data: expected an object")),
    }
}

/// What `execution_data` turned out to be.
enum Execution {
    Object,
    Null,
    Other,
}

fn read_kwargs<'a>(
    scanner: &mut Scanner<'a>,
    row: &mut RowCells<'a>,
    task: Task,
    execution_data: &mut Option<Execution>,
) -> Result<(), Syntax> {
    let [names, arguments] = task.names();
    scanner.object(|scanner, key| {
        if let Some(place) = arguments.place(key) {
            return row.read(scanner, place);
        }
        if key != "execution_data" {
            return scanner.skip();
        }
        row.clear(names);
        *execution_data = Some(match scanner.peek() {
            Some(b'{') => Execution::Object,
            Some(b'n') => Execution::Null,
            _ => Execution::Other,
        });
        if !matches!(execution_data, Some(Execution::Object)) {
            return scanner.skip();
        }
        scanner.object(|scanner, key| match names.place(key) {
            Some(place) => row.read(scanner, place),
            None => scanner.skip(),
        })
    })
}

/// Dify's entity has no elapsed time of its own: it is computed, and means nothing before the run has ended.
fn elapsed(run: &WorkflowRun) -> f64 {
    run.finished_at.map_or(0.0, |finished| {
        let micros = finished.micros() - run.created_at.micros();
        #[expect(clippy::cast_precision_loss, reason = "exact up to 285 years, and so does Python divide")]
        let seconds = micros as f64 / 1e6;
        seconds
    })
}

/// Dify's entities spell "no error" as an empty text.
fn none_if_empty(error: Option<Box<str>>) -> Option<Box<str>> {
    error.filter(|text| !text.is_empty())
}
