//! Whether a record meets a filter, in the most obvious way.

use difylog::domain::query::{AppLogFilter, Keyword, NodeFilter, RunFilter, Scan, TextField};
use difylog::domain::{AppLog, Document, JsonText, NodeExecution, Record, WorkflowRun};

pub fn any(values: &[Box<str>], value: &str) -> bool {
    values.is_empty() || values.iter().any(|one| **one == *value)
}

fn in_text(text: Option<&str>, keyword: &str) -> bool {
    text.is_some_and(|text| Keyword::new(keyword).is_in_text(text))
}

fn in_json(json: Option<&JsonText>, keyword: &str) -> bool {
    json.is_some_and(|json| Keyword::new(keyword).is_in_json(json.as_str()))
}

pub fn holds_run(filter: &RunFilter, run: &WorkflowRun) -> bool {
    let field = |field: &TextField, keyword: &str| match field {
        TextField::Inputs => in_json(run.inputs.as_ref(), keyword),
        TextField::Outputs => in_json(run.outputs.as_ref(), keyword),
        TextField::Error => in_text(run.error.as_deref(), keyword),
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
        TextField::Inputs => in_json(node.inputs.as_ref(), keyword),
        TextField::Outputs => in_json(node.outputs.as_ref(), keyword),
        TextField::ProcessData => in_json(node.process_data.as_ref(), keyword),
        TextField::Error => in_text(node.error.as_deref(), keyword),
        TextField::Title => in_text(Some(&node.title), keyword),
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

pub fn holds_record(scan: &Scan, document: &Document) -> bool {
    let record = &document.record;
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
        && scan.origin.is_none_or(|origin| document.origin == Some(origin))
        && any(&scan.statuses, status)
}

pub fn finds_log(filter: &AppLogFilter, log: &AppLog, run: Option<&WorkflowRun>) -> bool {
    let is_user = &*log.created_by_role == "end_user";
    let by_keyword = filter.keyword.as_ref().is_none_or(|keyword| {
        run.is_some_and(|run| {
            in_json(run.inputs.as_ref(), &keyword.keyword) || in_json(run.outputs.as_ref(), &keyword.keyword)
        }) || (is_user && in_text(log.creator.as_deref(), &keyword.keyword))
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
