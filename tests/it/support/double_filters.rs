//! Whether a record meets a filter, in the most obvious way.

use difylog::domain::query::{AppLogFilter, Keyword, NodeFilter, RunFilter, Scan, TextField};
use difylog::domain::{AppLog, JsonText, NodeExecution, Record, WorkflowRun};

pub fn any(values: &[Box<str>], value: &str) -> bool {
    values.is_empty() || values.iter().any(|one| **one == *value)
}

/// The text of a value as a person sees it.
fn decoded(text: &str) -> String {
    text.replace("\\\\", "\u{f8ff}")
        .replace("\\\"", "\"")
        .replace("\\n", "\n")
        .replace("\\t", "\t")
        .replace('\u{f8ff}', "\\")
}

fn contains(text: Option<&str>, keyword: &str) -> bool {
    text.is_some_and(|text| Keyword::new(keyword).is_in_text(text))
}

fn json(text: Option<&JsonText>) -> Option<String> {
    text.map(|text| decoded(text.as_str()))
}

pub fn holds_run(filter: &RunFilter, run: &WorkflowRun) -> bool {
    let field = |field: &TextField, keyword: &str| match field {
        TextField::Inputs => contains(json(run.inputs.as_ref()).as_deref(), keyword),
        TextField::Outputs => contains(json(run.outputs.as_ref()).as_deref(), keyword),
        TextField::Error => contains(run.error.as_deref(), keyword),
        _ => false,
    };
    filter.tenant_id == run.tenant_id
        && filter.app_id.is_none_or(|id| id == run.app_id)
        && filter.workflow_id.is_none_or(|id| id == run.workflow_id)
        && any(&filter.types, &run.r#type)
        && any(&filter.statuses, run.status.as_str())
        && any(&filter.triggered_from, &run.triggered_from)
        && filter.created.contains(run.created_at)
        && filter.created_by.is_none_or(|id| id == run.created_by)
        && filter.elapsed_time.contains(&run.elapsed_time)
        && filter.total_tokens.contains(&run.total_tokens)
        && filter.text.as_ref().is_none_or(|text| text.fields.iter().any(|one| field(one, &text.keyword)))
}

pub fn holds_node(filter: &NodeFilter, node: &NodeExecution) -> bool {
    let field = |field: &TextField, keyword: &str| match field {
        TextField::Inputs => contains(json(node.inputs.as_ref()).as_deref(), keyword),
        TextField::Outputs => contains(json(node.outputs.as_ref()).as_deref(), keyword),
        TextField::ProcessData => contains(json(node.process_data.as_ref()).as_deref(), keyword),
        TextField::Error => contains(node.error.as_deref(), keyword),
        TextField::Title => contains(Some(&node.title), keyword),
    };
    filter.tenant_id == node.tenant_id
        && filter.app_id.is_none_or(|id| id == node.app_id)
        && filter.workflow_id.is_none_or(|id| id == node.workflow_id)
        && filter.workflow_run_id.is_none_or(|id| Some(id) == node.workflow_run_id)
        && filter.node_id.as_ref().is_none_or(|id| *id == node.node_id)
        && any(&filter.node_types, &node.node_type)
        && any(&filter.statuses, node.status.as_str())
        && any(&filter.triggered_from, &node.triggered_from)
        && filter.created.contains(node.created_at)
        && filter.created_by.is_none_or(|id| id == node.created_by)
        && filter.elapsed_time.contains(&node.elapsed_time)
        && filter.text.as_ref().is_none_or(|text| text.fields.iter().any(|one| field(one, &text.keyword)))
}

pub fn holds_record(scan: &Scan, record: &Record) -> bool {
    let (app_id, status) = match record {
        Record::Run(run) => (run.app_id, run.status.as_str()),
        Record::Node(node) => (node.app_id, node.status.as_str()),
        Record::AppLog(log) => (log.app_id, ""),
        Record::Offload(offload) => (offload.app_id, ""),
    };
    record.kind() == scan.kind
        && (scan.tenants.is_empty() || scan.tenants.contains(&record.tenant_id()))
        && scan.app_id.is_none_or(|id| id == app_id)
        && scan.created.contains(record.created_at())
        && any(&scan.statuses, status)
}

pub fn finds_log(filter: &AppLogFilter, log: &AppLog, run: Option<&WorkflowRun>) -> bool {
    let is_user = &*log.created_by_role == "end_user";
    let by_keyword = filter.keyword.as_ref().is_none_or(|keyword| {
        run.is_some_and(|run| {
            contains(json(run.inputs.as_ref()).as_deref(), &keyword.keyword)
                || contains(json(run.outputs.as_ref()).as_deref(), &keyword.keyword)
        }) || (is_user && contains(log.creator.as_deref(), &keyword.keyword))
            || (is_user && keyword.end_users.contains(&log.created_by))
            || keyword.run_id == Some(log.workflow_run_id)
    });
    log.tenant_id == filter.tenant_id
        && log.app_id == filter.app_id
        && filter.created.contains(log.created_at)
        && filter.created_by_role.as_ref().is_none_or(|role| *role == log.created_by_role)
        && (filter.created_by.is_empty() || filter.created_by.contains(&log.created_by))
        && filter.creator.as_ref().is_none_or(|creator| log.creator.as_ref() == Some(creator))
        && filter.run_status.as_ref().is_none_or(|status| run.is_some_and(|run| run.status.as_str() == &**status))
        && by_keyword
}
