//! Filters as conditions on the rows of a month.

use rusqlite::types::Value;

use crate::domain::query::{AppLogFilter, NodeFilter, RunFilter, TextField, TextFilter, TimeRange};
use crate::domain::{Kind, TenantId};
use crate::store::Subject;
use crate::store::sqlite::conditions::{self, Conditions, blob};

/// Rows of one kind that a filter demands, in every month.
pub struct Rows {
    pub kind: Kind,
    pub tenant_id: TenantId,
    pub created: TimeRange,
    pub conditions: Conditions,
}

impl Rows {
    pub fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Runs(filter) => Self::of_runs(filter),
            Subject::Nodes(filter) => Self::of_nodes(filter),
        }
    }

    pub fn of_runs(filter: &RunFilter) -> Self {
        let mut conditions = of_tenant(filter.tenant_id, filter.app_id.is_some());
        conditions.any_of("app_id", filter.app_id.iter().map(|app| blob(app.as_bytes())));
        conditions.any_of("workflow_id", filter.workflow_id.iter().map(|id| blob(id.as_bytes())));
        conditions.created(filter.created);
        conditions.any_of("type", conditions::texts(&filter.types));
        conditions.any_of("status", conditions::texts(&filter.statuses));
        conditions.any_of("triggered_from", conditions::texts(&filter.triggered_from));
        conditions.any_of("created_by", filter.created_by.iter().map(|id| blob(id.as_bytes())));
        conditions.at_least("elapsed_time", filter.elapsed_time.min.map(Value::Real));
        conditions.at_most("elapsed_time", filter.elapsed_time.max.map(Value::Real));
        conditions.at_least("total_tokens", filter.total_tokens.min.map(Value::Integer));
        conditions.at_most("total_tokens", filter.total_tokens.max.map(Value::Integer));
        // Last: a payload is read only of what fits otherwise.
        let is_column = |field| !matches!(field, TextField::Title | TextField::ProcessData);
        add_text(&mut conditions, filter.text.as_ref(), is_column);
        Self { kind: Kind::WorkflowRun, tenant_id: filter.tenant_id, created: filter.created, conditions }
    }

    pub fn of_nodes(filter: &NodeFilter) -> Self {
        let is_of_node = filter.workflow_id.is_some() && filter.node_id.is_some();
        let mut conditions = of_tenant(filter.tenant_id, filter.workflow_run_id.is_some() || is_of_node);
        conditions.any_of("app_id", filter.app_id.iter().map(|app| blob(app.as_bytes())));
        conditions.any_of("workflow_id", filter.workflow_id.iter().map(|id| blob(id.as_bytes())));
        conditions.any_of("workflow_run_id", filter.workflow_run_id.iter().map(|id| blob(id.as_bytes())));
        conditions.any_of("node_id", filter.node_id.iter().map(|id| Value::Text(id.to_string())));
        conditions.created(filter.created);
        conditions.any_of("node_type", conditions::texts(&filter.node_types));
        conditions.any_of("status", conditions::texts(&filter.statuses));
        conditions.any_of("triggered_from", conditions::texts(&filter.triggered_from));
        conditions.any_of("created_by", filter.created_by.iter().map(|id| blob(id.as_bytes())));
        conditions.at_least("elapsed_time", filter.elapsed_time.min.map(Value::Real));
        conditions.at_most("elapsed_time", filter.elapsed_time.max.map(Value::Real));
        add_text(&mut conditions, filter.text.as_ref(), |_| true);
        Self { kind: Kind::NodeExecution, tenant_id: filter.tenant_id, created: filter.created, conditions }
    }

    /// What a log must be by itself, whatever its run is.
    pub fn of_app_logs(filter: &AppLogFilter) -> Self {
        let mut conditions = of_tenant(filter.tenant_id, true);
        conditions.any_of("app_id", std::iter::once(blob(filter.app_id.as_bytes())));
        conditions.created(filter.created);
        let role = filter.created_by_role.iter().map(|role| Value::Text(role.to_string()));
        conditions.any_of("created_by_role", role);
        conditions.any_of("created_by", filter.created_by.iter().map(|id| blob(id.as_bytes())));
        Self { kind: Kind::AppLog, tenant_id: filter.tenant_id, created: filter.created, conditions }
    }
}

/// Rows of a tenant. Where no index narrows them further, that of the tenant would lead to all rows of it; the plus
/// keeps the statement from it, so that the index by time (which knows the tenant as well) gives the order and the span.
fn of_tenant(tenant_id: TenantId, is_narrowed: bool) -> Conditions {
    let mut conditions = Conditions::default();
    let text = if is_narrowed { "tenant_id = ?" } else { "+tenant_id = ?" };
    conditions.add(text, [blob(tenant_id.as_bytes())]);
    conditions
}

/// A field that the kind does not have holds nothing.
fn add_text(conditions: &mut Conditions, filter: Option<&TextFilter>, is_column: impl Fn(TextField) -> bool) {
    let Some(filter) = filter else { return };
    let fields: Vec<_> = filter.fields.iter().copied().filter(|&field| is_column(field)).map(holds).collect();
    let keywords = fields.iter().map(|_| Value::Text(filter.keyword.clone()));
    let any = if fields.is_empty() { String::from("FALSE") } else { format!("({})", fields.join(" OR ")) };
    conditions.add(any, keywords);
}

const fn holds(field: TextField) -> &'static str {
    match field {
        TextField::Inputs => "json_contains(inputs, ?)",
        TextField::Outputs => "json_contains(outputs, ?)",
        TextField::ProcessData => "json_contains(process_data, ?)",
        TextField::Error => "text_contains(error, ?)",
        TextField::Title => "text_contains(title, ?)",
    }
}
