//! Filters as conditions on the rows of a month.

use rusqlite::types::Value;

use crate::domain::query::{AppLogFilter, NodeFilter, RunFilter, TextField, TextFilter, TimeRange};
use crate::domain::{Kind, TenantId};
use crate::store::Subject;
use crate::store::sqlite::conditions::{self, Conditions, blob};
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::question::OpenMonth;
use crate::store::sqlite::search::{Search, column, is_json};

/// Rows of one kind that a filter demands, in every month.
pub struct Rows {
    pub kind: Kind,
    pub tenant_id: TenantId,
    pub created: TimeRange,
    pub conditions: Conditions,
    /// Finds the rows that a keyword may be in, where an index knows.
    search: Option<Search>,
    /// Looks for the keyword in the texts themselves.
    text: Conditions,
}

impl Rows {
    pub fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Runs(filter) => Self::of_runs(filter),
            Subject::Nodes(filter) => Self::of_nodes(filter),
        }
    }

    /// What rows of a month must be.
    pub fn conditions_in(&self, file: &OpenMonth) -> Result<Conditions, Fault> {
        let mut conditions = self.conditions.clone();
        if let Some(search) = &self.search
            && let Some((text, values)) = search.condition(file)?
        {
            conditions.add(text, values);
        }
        // Last: a payload is read only of what fits otherwise.
        conditions.append(&self.text);
        Ok(conditions)
    }

    /// What rows of a month must be for a keyword to be in them, as the index knows; `None`: it does not.
    pub fn candidates_in(&self, file: &OpenMonth) -> Result<Option<Conditions>, Fault> {
        let Some(search) = &self.search else { return Ok(None) };
        let Some((text, values)) = search.condition(file)? else { return Ok(None) };
        let mut conditions = self.conditions.clone();
        conditions.add(text, values);
        Ok(Some(conditions))
    }

    fn new(kind: Kind, tenant_id: TenantId, created: TimeRange, conditions: Conditions) -> Self {
        Self { kind, tenant_id, created, conditions, search: None, text: Conditions::default() }
    }

    /// A field that the kind does not have holds nothing.
    fn holding(mut self, filter: Option<&TextFilter>, is_column: impl Fn(TextField) -> bool) -> Self {
        let Some(filter) = filter else { return self };
        let fields: Vec<_> = filter.fields.iter().copied().filter(|&field| is_column(field)).collect();
        self.search = Search::new(self.kind, &fields, &filter.keyword);
        let keywords = fields.iter().map(|_| Value::Text(filter.keyword.clone()));
        let holds: Vec<_> = fields.iter().copied().map(holds).collect();
        let any = if holds.is_empty() { String::from("FALSE") } else { format!("({})", holds.join(" OR ")) };
        self.text.add(any, keywords);
        self
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
        let is_column = |field| !matches!(field, TextField::Title | TextField::ProcessData);
        let rows = Self::new(Kind::WorkflowRun, filter.tenant_id, filter.created, conditions);
        rows.holding(filter.text.as_ref(), is_column)
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
        let rows = Self::new(Kind::NodeExecution, filter.tenant_id, filter.created, conditions);
        rows.holding(filter.text.as_ref(), |_| true)
    }

    /// What a log must be by itself, whatever its run is.
    pub fn of_app_logs(filter: &AppLogFilter) -> Self {
        let mut conditions = of_tenant(filter.tenant_id, true);
        conditions.any_of("app_id", std::iter::once(blob(filter.app_id.as_bytes())));
        conditions.created(filter.created);
        let role = filter.created_by_role.iter().map(|role| Value::Text(role.to_string()));
        conditions.any_of("created_by_role", role);
        conditions.any_of("created_by", filter.created_by.iter().map(|id| blob(id.as_bytes())));
        conditions.any_of("creator", filter.creator.iter().map(|text| Value::Text(text.to_string())));
        Self::new(Kind::AppLog, filter.tenant_id, filter.created, conditions)
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

fn holds(field: TextField) -> String {
    let function = if is_json(field) { "json_contains" } else { "text_contains" };
    format!("{function}({}, ?)", column(field))
}
