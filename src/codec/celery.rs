//! Dify's Celery tasks, message protocol 2, as Dify 1.10 and later publish them.
//!
//! The `task` header decides what the body is; the body is `[args, kwargs, embed]`. Dify calls its tasks with keywords
//! only, so `args` and `embed` are checked to be JSON and otherwise ignored, as are headers that steer Celery's own
//! workers (`retries`, `eta`, `expires`, …). A message without a content type is read as JSON: Celery always sets one,
//! and a body of another kind is then refused for what it is.

mod compression;

pub(super) use self::compression::{is_compressed, unfolded_bytes};
use super::python_json::utf8::text_of;
use super::python_json::{Scanner, Syntax, TypedLeaves};
use super::row::{Column, Names, PayloadForm, Row};
use super::{Cleaned, DecodeLimits, Message};
use crate::domain::{Record, Refusal, RefusalClass, WorkflowRun};

const RUN_TASK: &str = "tasks.workflow_execution_tasks.save_workflow_execution_task";
const NODE_TASK: &str = "tasks.workflow_node_execution_tasks.save_workflow_node_execution_task";

/// The keyword arguments but `execution_data`.
const KWARGS: Names = Names {
    prefix: "",
    columns: &[
        ("tenant_id", Column::TenantId),
        ("app_id", Column::AppId),
        ("triggered_from", Column::TriggeredFrom),
        ("creator_user_id", Column::CreatedBy),
        ("creator_user_role", Column::CreatedByRole),
    ],
};

const RUN: Names = Names {
    prefix: "execution_data.",
    columns: &[
        ("id_", Column::Id),
        ("workflow_id", Column::WorkflowId),
        ("workflow_version", Column::Version),
        ("workflow_type", Column::Type),
        ("graph", Column::Graph),
        ("inputs", Column::Inputs),
        ("outputs", Column::Outputs),
        ("status", Column::Status),
        ("error_message", Column::Error),
        ("total_tokens", Column::TotalTokens),
        ("total_steps", Column::TotalSteps),
        ("exceptions_count", Column::ExceptionsCount),
        ("started_at", Column::CreatedAt),
        ("finished_at", Column::FinishedAt),
    ],
};

const NODE: Names = Names {
    prefix: "execution_data.",
    columns: &[
        ("id", Column::Id),
        ("node_execution_id", Column::NodeExecutionId),
        ("workflow_id", Column::WorkflowId),
        ("workflow_execution_id", Column::WorkflowRunId),
        ("index", Column::Index),
        ("predecessor_node_id", Column::PredecessorNodeId),
        ("node_id", Column::NodeId),
        ("node_type", Column::NodeType),
        ("title", Column::Title),
        ("inputs", Column::Inputs),
        ("process_data", Column::ProcessData),
        ("outputs", Column::Outputs),
        ("status", Column::Status),
        ("error", Column::Error),
        ("elapsed_time", Column::ElapsedTime),
        ("metadata", Column::ExecutionMetadata),
        ("created_at", Column::CreatedAt),
        ("finished_at", Column::FinishedAt),
    ],
};

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

    const fn names(self) -> &'static [&'static Names; 2] {
        match self {
            Self::Run => &[&RUN, &KWARGS],
            Self::Node => &[&NODE, &KWARGS],
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
    let record = match task {
        Task::Run => Record::Run(Box::new(take_run(&mut row)?)),
        Task::Node => {
            let mut node = row.take_node()?;
            node.error = none_if_empty(node.error);
            Record::Node(Box::new(node))
        }
    };
    cleaned += scanner.cleaned;
    cleaned += row.cleaned;
    Ok((record, cleaned))
}

/// Reads `[args, kwargs, embed]`.
fn read_body<'a>(scanner: &mut Scanner<'a>, task: Task) -> Result<Row<'a>, Refusal> {
    let mut row = Row::new(task.names(), PayloadForm::Object);
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
    row: &mut Row<'a>,
    task: Task,
    execution_data: &mut Option<Execution>,
) -> Result<(), Syntax> {
    let [names, _] = task.names();
    scanner.object(|scanner, key| {
        if let Some(column) = KWARGS.column(key) {
            return row.read(scanner, column);
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
        scanner.object(|scanner, key| match names.column(key) {
            Some(column) => row.read(scanner, column),
            None => scanner.skip(),
        })
    })
}

/// Dify's entity has no elapsed time of its own: it is computed, and means nothing before the run has ended.
fn take_run(row: &mut Row<'_>) -> Result<WorkflowRun, Refusal> {
    let mut run = row.take_run()?;
    run.error = none_if_empty(run.error);
    run.elapsed_time = run.finished_at.map_or(0.0, |finished| {
        let micros = finished.micros() - run.created_at.micros();
        #[expect(clippy::cast_precision_loss, reason = "exact up to 285 years, and so does Python divide")]
        let seconds = micros as f64 / 1e6;
        seconds
    });
    Ok(run)
}

/// Dify's entities spell "no error" as an empty text.
fn none_if_empty(error: Option<Box<str>>) -> Option<Box<str>> {
    error.filter(|text| !text.is_empty())
}
