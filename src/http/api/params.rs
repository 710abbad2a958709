//! The parameters that several endpoints share, and how their texts become conditions.

use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::Problem;
use crate::domain::Timestamp;
use crate::domain::query::{Bounds, Direction, SortBy, TextField, TextFilter, TimeRange};
use crate::query::{COUNT_TO, NodeQuery, RunQuery, SearchPage};

/// Longest keyword, in characters.
const MAX_KEYWORD: usize = 1000;
const DEFAULT_LIMIT: u16 = 20;

/// Conditions on runs.
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct RunConditions {
    /// Text to find, in any language, without regard to case, from one character on. Nothing in it is a pattern.
    #[param(max_length = 1000)]
    pub(in crate::http) q: Option<String>,
    /// Where `q` is looked for, by commas: inputs, outputs, error. Default: inputs,outputs
    #[param(example = "inputs,outputs")]
    pub(in crate::http) r#in: Option<String>,
    #[param(format = Uuid)]
    pub(in crate::http) app_id: Option<String>,
    #[param(format = Uuid)]
    pub(in crate::http) workflow_id: Option<String>,
    /// Id of an account or an end user
    #[param(format = Uuid)]
    pub(in crate::http) created_by: Option<String>,
    /// Any of these, by commas: running, succeeded, failed, stopped, partial-succeeded, paused
    #[param(example = "failed,stopped")]
    pub(in crate::http) status: Option<String>,
    /// Any of these, by commas: app-run, debugging, webhook, …
    pub(in crate::http) triggered_from: Option<String>,
    /// Any of these, by commas: workflow, chat, rag-pipeline
    pub(in crate::http) r#type: Option<String>,
    /// Inclusive, ISO 8601; without an offset: UTC
    #[param(example = "2025-12-01T00:00:00Z")]
    pub(in crate::http) created_at_from: Option<String>,
    /// Exclusive
    pub(in crate::http) created_at_until: Option<String>,
    /// Seconds, inclusive
    pub(in crate::http) min_elapsed_time: Option<f64>,
    pub(in crate::http) max_elapsed_time: Option<f64>,
    pub(in crate::http) min_tokens: Option<i64>,
    pub(in crate::http) max_tokens: Option<i64>,
}

impl RunConditions {
    pub(in crate::http) fn query(self) -> Result<RunQuery, Problem> {
        Ok(RunQuery {
            app_id: id("app_id", self.app_id.as_deref())?,
            workflow_id: id("workflow_id", self.workflow_id.as_deref())?,
            types: list(self.r#type.as_deref()),
            statuses: list(self.status.as_deref()),
            triggered_from: list(self.triggered_from.as_deref()),
            created: span(self.created_at_from.as_deref(), self.created_at_until.as_deref())?,
            created_by: id("created_by", self.created_by.as_deref())?,
            elapsed_time: Bounds { min: self.min_elapsed_time, max: self.max_elapsed_time },
            total_tokens: Bounds { min: self.min_tokens, max: self.max_tokens },
            text: text(self.q, self.r#in.as_deref(), &[TextField::Inputs, TextField::Outputs, TextField::Error])?,
        })
    }
}

/// Conditions on node executions.
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct NodeConditions {
    /// Text to find, in any language, without regard to case, from one character on. Nothing in it is a pattern.
    #[param(max_length = 1000)]
    pub(in crate::http) q: Option<String>,
    /// Where `q` is looked for, by commas: title, error, inputs, outputs, process_data. Default: title,error
    #[param(example = "title,error")]
    pub(in crate::http) r#in: Option<String>,
    #[param(format = Uuid)]
    pub(in crate::http) app_id: Option<String>,
    #[param(format = Uuid)]
    pub(in crate::http) workflow_id: Option<String>,
    #[param(format = Uuid)]
    pub(in crate::http) workflow_run_id: Option<String>,
    /// Id within the graph
    pub(in crate::http) node_id: Option<String>,
    /// Any of these, by commas: llm, code, http-request, …
    pub(in crate::http) node_type: Option<String>,
    #[param(format = Uuid)]
    pub(in crate::http) created_by: Option<String>,
    /// Any of these, by commas: running, succeeded, failed, exception, stopped, paused
    pub(in crate::http) status: Option<String>,
    /// Any of these, by commas: workflow-run, single-step, rag-pipeline-run
    pub(in crate::http) triggered_from: Option<String>,
    /// Inclusive, ISO 8601; without an offset: UTC
    #[param(example = "2025-12-01T00:00:00Z")]
    pub(in crate::http) created_at_from: Option<String>,
    /// Exclusive
    pub(in crate::http) created_at_until: Option<String>,
    /// Seconds, inclusive
    pub(in crate::http) min_elapsed_time: Option<f64>,
    pub(in crate::http) max_elapsed_time: Option<f64>,
}

impl NodeConditions {
    pub(in crate::http) fn query(self) -> Result<NodeQuery, Problem> {
        const FIELDS: [TextField; 5] =
            [TextField::Title, TextField::Error, TextField::Inputs, TextField::Outputs, TextField::ProcessData];
        Ok(NodeQuery {
            app_id: id("app_id", self.app_id.as_deref())?,
            workflow_id: id("workflow_id", self.workflow_id.as_deref())?,
            workflow_run_id: id("workflow_run_id", self.workflow_run_id.as_deref())?,
            node_id: self.node_id.map(Into::into),
            node_types: list(self.node_type.as_deref()),
            statuses: list(self.status.as_deref()),
            triggered_from: list(self.triggered_from.as_deref()),
            created: span(self.created_at_from.as_deref(), self.created_at_until.as_deref())?,
            created_by: id("created_by", self.created_by.as_deref())?,
            elapsed_time: Bounds { min: self.min_elapsed_time, max: self.max_elapsed_time },
            text: text(self.q, self.r#in.as_deref(), &FIELDS)?,
        })
    }
}

/// A page of a search.
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct Paging {
    /// What the page before answered under `next`
    pub(in crate::http) cursor: Option<String>,
    /// 1 to 100
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub(in crate::http) limit: Option<u16>,
    /// created_at or elapsed_time
    pub(in crate::http) sort: Option<String>,
    /// desc or asc
    pub(in crate::http) order: Option<String>,
}

impl Paging {
    pub(in crate::http) fn page(self) -> Result<SearchPage, Problem> {
        let sort = match self.sort.as_deref() {
            None | Some("created_at") => SortBy::CreatedAt,
            Some("elapsed_time") => SortBy::ElapsedTime,
            Some(_) => return Err(Problem::param("sort", "expected created_at or elapsed_time")),
        };
        Ok(SearchPage {
            sort,
            direction: direction(self.order.as_deref())?,
            cursor: self.cursor,
            limit: limit(self.limit)?,
            count_to: Some(COUNT_TO),
        })
    }
}

const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':').remove(b',');

/// Percent-encodes a value of a query.
pub(in crate::http) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

/// Returns the direction of a walk.
pub(in crate::http) fn direction(order: Option<&str>) -> Result<Direction, Problem> {
    match order {
        None | Some("desc") => Ok(Direction::Descending),
        Some("asc") => Ok(Direction::Ascending),
        Some(_) => Err(Problem::param("order", "expected desc or asc")),
    }
}

/// Rows of a page, 1 to 100.
pub(in crate::http) fn limit(limit: Option<u16>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if (1..=100).contains(&limit) { Ok(limit.into()) } else { Err(Problem::param("limit", "expected 1 to 100")) }
}

pub(in crate::http) fn id<T: FromStr>(name: &str, text: Option<&str>) -> Result<Option<T>, Problem> {
    text.map(|text| text.parse().map_err(|_| Problem::param(name, "expected a uuid"))).transpose()
}

/// Returns how many values an answer has at most: what is asked for, or `default`.
///
/// # Errors
/// Fewer than one, or more than 1000.
pub(super) fn most_values(asked: Option<u16>, default: u16) -> Result<usize, Problem> {
    let values = asked.unwrap_or(default);
    let is_bounded = (1..=1000).contains(&values);
    is_bounded.then_some(values.into()).ok_or_else(|| Problem::param("values", "expected 1 to 1000"))
}

/// Returns the values of a text with commas; none of them empty.
pub(in crate::http) fn list(text: Option<&str>) -> Vec<Box<str>> {
    text.into_iter()
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .map(Into::into)
        .collect()
}

pub(in crate::http) fn instant(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    // An unescaped + of an offset arrives as a space.
    let parsed =
        Timestamp::bound(text).or_else(|_| Timestamp::bound(&text.replacen(' ', "+", usize::from(text.contains('T')))));
    parsed.map(Some).map_err(|error| Problem::param(name, &format!("{error}; expected such as 2025-12-01T00:00:00Z")))
}

pub(in crate::http) fn span(from: Option<&str>, until: Option<&str>) -> Result<TimeRange, Problem> {
    Ok(TimeRange { from: instant("created_at_from", from)?, until: instant("created_at_until", until)? })
}

/// The first two of `allowed` are the default.
fn text(q: Option<String>, within: Option<&str>, allowed: &[TextField]) -> Result<Option<TextFilter>, Problem> {
    let name_of = |field: &TextField| field_name(*field);
    let names = || allowed.iter().map(name_of).collect::<Vec<_>>().join(", ");
    let mut fields = Vec::new();
    for name in list(within) {
        let field = allowed.iter().find(|field| name_of(field) == &*name);
        fields.push(*field.ok_or_else(|| Problem::param("in", &format!("expected any of {}, by commas", names())))?);
    }
    let Some(keyword) = q.filter(|keyword| !keyword.is_empty()) else { return Ok(None) };
    if keyword.chars().count() > MAX_KEYWORD {
        return Err(Problem::param("q", "expected at most 1000 characters"));
    }
    if fields.is_empty() {
        fields.extend(allowed.iter().take(2));
    }
    Ok(Some(TextFilter { keyword, fields }))
}

pub(in crate::http) const fn field_name(field: TextField) -> &'static str {
    field.column()
}
