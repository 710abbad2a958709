//! Filters as conditions on the rows of a month.

use rusqlite::types::Value;

use crate::domain::query::{AppLogFilter, Condition, ListFilter, RunFilter, TextField, TextFilter, TimeRange};
use crate::domain::schema::columns;
use crate::domain::{Kind, TenantId};
use crate::store::sqlite::conditions::{Conditions, blob};
use crate::store::sqlite::fault::SqliteFault;
use crate::store::sqlite::question::OpenMonth;
use crate::store::sqlite::search::{IndexSearch, is_json};

/// Rows of one kind that a filter demands, in every month.
pub struct Rows {
    pub kind: Kind,
    pub tenant_id: TenantId,
    pub created: TimeRange,
    pub conditions: Conditions,
    /// Finds the rows that a keyword may be in, where an index knows.
    search: Option<IndexSearch>,
    /// Looks for the keyword in the texts themselves.
    text: Conditions,
}

impl Rows {
    pub fn of(list: &ListFilter) -> Self {
        let is_narrowed = match list {
            ListFilter::Runs(filter) => {
                filter.app_id.is_some() || filter.apps.apps().is_some_and(|apps| apps.len() == 1)
            }
            ListFilter::Nodes(filter) => {
                filter.workflow_run_id.is_some() || (filter.workflow_id.is_some() && filter.node_id.is_some())
            }
        };
        let conditions = of_tenant(list.tenant_id(), is_narrowed, &list.conditions());
        Self::new(list.kind(), list.tenant_id(), list.created(), conditions).holding(list.text())
    }

    pub fn of_runs(filter: &RunFilter) -> Self {
        Self::of(&ListFilter::Runs(filter.clone()))
    }

    /// Returns what a log must be by itself, whatever its run is.
    pub fn of_app_logs(filter: &AppLogFilter) -> Self {
        let conditions = of_tenant(filter.tenant_id, true, &filter.conditions());
        Self::new(Kind::AppLog, filter.tenant_id, filter.created, conditions)
    }

    /// Returns what rows of a month must be.
    pub fn conditions_in(&self, file: &OpenMonth) -> Result<Conditions, SqliteFault> {
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

    /// Returns what rows of a month must be for a keyword to be in them, as the index knows; `None`: it does not.
    pub fn candidates_in(&self, file: &OpenMonth) -> Result<Option<Conditions>, SqliteFault> {
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
    fn holding(mut self, filter: Option<&TextFilter>) -> Self {
        let Some(filter) = filter else { return self };
        let is_column = |field: &&TextField| columns(self.kind).iter().any(|column| column.name == field.column());
        let fields: Vec<_> = filter.fields.iter().filter(is_column).copied().collect();
        self.search = IndexSearch::new(self.kind, &fields, &filter.keyword);
        let keywords = fields.iter().map(|_| Value::Text(filter.keyword.clone()));
        let holds: Vec<_> = fields.iter().copied().map(holds).collect();
        let any = if holds.is_empty() { String::from("FALSE") } else { format!("({})", holds.join(" OR ")) };
        self.text.add(any, keywords);
        self
    }
}

/// Rows of a tenant. Where no index narrows them further, that of the tenant would lead to all rows of it; the plus
/// keeps the statement from it, so that the index by time (which knows the tenant as well) gives the order and the span.
fn of_tenant(tenant_id: TenantId, is_narrowed: bool, demanded: &[Condition<'_>]) -> Conditions {
    let mut conditions = Conditions::default();
    let text = if is_narrowed { "tenant_id = ?" } else { "+tenant_id = ?" };
    conditions.add(text, [blob(tenant_id.as_bytes())]);
    for Condition { column, demand } in demanded {
        conditions.demand(column, demand);
    }
    conditions
}

fn holds(field: TextField) -> String {
    let function = if is_json(field) { "json_contains" } else { "text_contains" };
    format!("{function}({}, ?)", field.column())
}
