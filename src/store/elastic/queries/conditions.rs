//! A filter as the engines' query. Pure. Everything is in filter context: nothing is scored.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde_json::{Map, Value, json};

use super::super::settings::SearchedTexts;
use super::super::text::{condition, holds};
use super::IDS;
use crate::domain::query::{AppLogFilter, Bounds, Condition, Demand, ListFilter, LogKeyword, RunFilter, TimeRange};
use crate::domain::{Kind, RecordId, TenantId, Timestamp};
use crate::store::StoreError;

/// What is asked of one tenant's records of a kind.
#[derive(Clone)]
pub(super) struct EngineQuestion {
    pub(super) kind: Kind,
    pub(super) tenant: TenantId,
    filters: Vec<Value>,
    /// The keyword's condition, and the columns that it looks at.
    text: Option<(Value, Vec<&'static str>)>,
    /// Older copies of resumed records, by the index that they lie in.
    superseded: BTreeMap<String, Vec<RecordId>>,
    /// The span that its conditions leave: nothing outside of it is asked.
    pub(super) span: TimeRange,
    /// Whether it is about one run.
    pub(super) is_of_run: bool,
}

impl EngineQuestion {
    fn new(kind: Kind, tenant: TenantId) -> Self {
        let filters = vec![term("tenant_id", tenant)];
        let (superseded, span) = (BTreeMap::new(), TimeRange::default());
        Self { kind, tenant, filters, text: None, superseded, span, is_of_run: false }
    }

    pub(super) fn of(list: &ListFilter, search: SearchedTexts) -> Result<Self, StoreError> {
        let mut question = Self::new(list.kind(), list.tenant_id());
        question.demand(&list.conditions());
        question.is_of_run = matches!(list, ListFilter::Nodes(filter) if filter.workflow_run_id.is_some());
        question.text = list.text().map(|text| condition(search, question.kind, text)).transpose()?;
        Ok(question)
    }

    pub(super) fn runs(filter: &RunFilter, search: SearchedTexts) -> Result<Self, StoreError> {
        Self::of(&ListFilter::Runs(filter.clone()), search)
    }

    /// Returns the conditions on the logs themselves; those on their runs are the caller's.
    pub(super) fn logs(filter: &AppLogFilter) -> Self {
        let mut question = Self::new(Kind::AppLog, filter.tenant_id);
        question.demand(&filter.conditions());
        question
    }

    fn demand(&mut self, conditions: &[Condition<'_>]) {
        for condition in conditions {
            match &condition.demand {
                Demand::Instants(range) => self.created(*range),
                _ => self.add(demanded(condition)),
            }
        }
    }

    pub(super) fn add(&mut self, filter: Value) {
        self.filters.push(filter);
    }

    /// Returns the same question, with one condition more.
    pub(super) fn and(&self, filter: Value) -> Self {
        let mut question = self.clone();
        question.add(filter);
        question
    }

    /// Returns whether a record of its kind can have copies in several months: its start can change.
    pub(super) const fn can_move(&self) -> bool {
        matches!(self.kind, Kind::WorkflowRun | Kind::NodeExecution)
    }

    /// Returns whether it looks for a keyword.
    pub(super) const fn has_text(&self) -> bool {
        self.text.is_some()
    }

    pub(super) fn leave_out(&mut self, index: String, id: RecordId) {
        self.superseded.entry(index).or_default().push(id);
    }

    pub(super) fn created(&mut self, created: TimeRange) {
        self.span.from = self.span.from.max(created.from);
        self.span.until = match (self.span.until, created.until) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.add(demanded(&Condition { column: "created_at", demand: Demand::Instants(created) }));
    }

    pub(super) fn query(&self) -> Value {
        let copies = |(index, ids): (&String, &Vec<RecordId>)| -> Vec<Value> {
            let one = |ids: &[RecordId]| json!({ "bool": { "filter": [term("_index", index), terms("id", ids)] } });
            ids.chunks(IDS).map(one).collect()
        };
        let superseded: Vec<Value> = self.superseded.iter().flat_map(copies).collect();
        let filters: Vec<_> = self.filters.iter().chain(self.text.as_ref().map(|(text, _)| text)).collect();
        json!({ "bool": { "filter": filters, "must_not": superseded } })
    }

    /// Returns the records among which the keyword is looked for, of which a searched text was cut; `None` without a
    /// keyword.
    pub(super) fn cut_texts(&self) -> Option<Self> {
        let (_, columns) = self.text.as_ref()?;
        Some(Self { text: None, ..self.and(terms("truncated.field", columns)) })
    }
}

/// Returns what finds the documents whose column holds what is demanded.
pub(in crate::store::elastic) fn demanded(condition: &Condition<'_>) -> Value {
    let column = condition.column;
    match &condition.demand {
        Demand::Ids(ids) => terms(column, ids),
        Demand::Texts(texts) => terms(column, texts),
        Demand::Integers(bounds) => {
            range(column, [("gte", bounds.min.map(Value::from)), ("lte", bounds.max.map(Value::from))])
        }
        Demand::Seconds(bounds) => seconds(column, *bounds),
        Demand::Instants(span) => {
            let text = |at: Timestamp| Value::from(at.to_string());
            range(column, [("gte", span.from.map(text)), ("lt", span.until.map(text))])
        }
    }
}

fn range(column: &str, ends: [(&str, Option<Value>); 2]) -> Value {
    let ends: Map<_, _> = ends.into_iter().filter_map(|(end, value)| Some((end.to_owned(), value?))).collect();
    if ends.is_empty() { json!({ "match_all": {} }) } else { json!({ "range": { column: ends } }) }
}

/// JSON has no NaN and no infinity: the one is within no bounds, the other is no bound, or leaves nothing.
fn seconds(column: &str, bounds: Bounds<f64>) -> Value {
    let nothing = |bound: f64, nothing: f64| bound.is_nan() || bound.total_cmp(&nothing).is_eq();
    if bounds.min.is_some_and(|min| nothing(min, f64::INFINITY))
        || bounds.max.is_some_and(|max| nothing(max, f64::NEG_INFINITY))
    {
        return json!({ "match_none": {} });
    }
    let finite = |bound: Option<f64>| bound.filter(|bound| bound.is_finite()).map(Value::from);
    range(column, [("gte", finite(bounds.min)), ("lte", finite(bounds.max))])
}

/// Returns what finds an app log whatever its run is.
pub(super) fn log_itself(keyword: &LogKeyword) -> Value {
    let of_end_user =
        |condition: Value| json!({ "bool": { "filter": [term("created_by_role", "end_user"), condition] } });
    let mut conditions: Vec<_> = keyword.run_id.map(|run| term("workflow_run_id", run)).into_iter().collect();
    conditions.push(of_end_user(holds("creator.text", &keyword.keyword)));
    if !keyword.end_users.is_empty() {
        conditions.push(of_end_user(terms("created_by", &keyword.end_users)));
    }
    either(&conditions)
}

pub(super) fn term(field: &str, value: impl Display) -> Value {
    json!({ "term": { field: value.to_string() } })
}

/// One of several values; of one, the plainer condition, which an engine answers faster.
pub(super) fn terms(field: &str, values: &[impl Display]) -> Value {
    if let [value] = values {
        return term(field, value);
    }
    let values: Vec<_> = values.iter().map(ToString::to_string).collect();
    json!({ "terms": { field: values } })
}

/// Any of several conditions; of none, nothing.
pub(super) fn either(conditions: &[Value]) -> Value {
    if conditions.is_empty() {
        return json!({ "match_none": {} });
    }
    json!({ "bool": { "should": conditions, "minimum_should_match": 1 } })
}
