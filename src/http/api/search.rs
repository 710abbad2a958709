//! Search beyond Dify: any conditions, snippets, facets, a histogram; and single records by id alone.

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::dify::FullParams;
use super::extract::{Ids, Params, Reading};
use super::params::{NodeConditions, Paging, RunConditions, field_name, most_values};
use super::problem::{Problem, Problems};
use super::stream::unwritable;
use crate::domain::query::{Facet, FacetCount, HistogramBucket, NodeSummary, RunSummary};
use crate::domain::{AppId, Document};
use crate::query::columns::{RecordRow, document};
use crate::query::{Hits, SearchHit, TenantLogs};

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct SnippetView {
    field: &'static str,
    /// A stretch of the decoded text
    text: String,
    /// Where the keyword stands in `text`: first character and the one after the last
    highlights: Vec<[usize; 2]>,
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct TotalView {
    value: u64,
    /// false: at least so many
    exact: bool,
}

/// What a search found. A row has the columns of its table, `tenant_id` among them, without payloads.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct FoundRecords {
    total: TotalView,
    /// Some text was longer than what is searched of a field: there may be more
    text_truncated: bool,
    /// For the next page, as `cursor`; null at the end
    next: Option<String>,
    /// Only present, as "unavailable", if names could not be looked up
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<&'static str>,
    data: Vec<FoundRow>,
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct FoundRow {
    /// The columns by their names in Dify's table, with `id` and `tenant_id`; no payloads
    #[schema(value_type = Object)]
    row: Box<serde_json::value::RawValue>,
    /// Of the row's app; null: not known
    app_name: Option<Box<str>>,
    snippets: Vec<SnippetView>,
}

/// Returns the rows that were found, with what their apps are called.
async fn found<T>(
    logs: &TenantLogs,
    hits: Hits<T>,
    app_of: impl Fn(&T) -> AppId,
    row: impl Fn(&T) -> serde_json::Result<Box<serde_json::value::RawValue>>,
) -> FoundRecords {
    let names = logs.app_names(hits.hits.iter().map(|hit| app_of(&hit.row))).await;
    let view = |hit: SearchHit<T>| {
        let snippets = hit.snippets.into_iter().map(|snippet| SnippetView {
            field: field_name(snippet.field),
            text: snippet.text,
            highlights: snippet.highlights.into_iter().map(|place| [place.start, place.end]).collect(),
        });
        let app_name = names.get(&app_of(&hit.row)).map(|app| app.name.clone());
        Some(FoundRow { row: row(&hit.row).ok()?, app_name, snippets: snippets.collect() })
    };
    FoundRecords {
        total: TotalView { value: hits.total.value, exact: hits.total.exact },
        text_truncated: hits.text_truncated,
        next: hits.next,
        names: names.are_missing().then_some("unavailable"),
        data: hits.hits.into_iter().filter_map(view).collect(),
    }
}

/// Search runs
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/runs", tag = "Search",
    params(("tenant_id" = uuid::Uuid, Path,), RunConditions, Paging),
    responses((status = 200, body = FoundRecords), Problems)
)]
pub(in crate::http) async fn runs(
    Reading(logs): Reading,
    Params(conditions, paging): Params<RunConditions, Paging>,
) -> Result<Json<FoundRecords>, Problem> {
    let hits = logs.search_runs(&conditions.query()?, &paging.page()?).await?;
    let row = |run: &RunSummary| serde_json::value::to_raw_value(&RecordRow::of(run));
    Ok(Json(found(&logs, hits, |run| run.app_id, row).await))
}

/// Search node executions
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/nodes", tag = "Search",
    params(("tenant_id" = uuid::Uuid, Path,), NodeConditions, Paging),
    responses((status = 200, body = FoundRecords), Problems)
)]
pub(in crate::http) async fn nodes(
    Reading(logs): Reading,
    Params(conditions, paging): Params<NodeConditions, Paging>,
) -> Result<Json<FoundRecords>, Problem> {
    let hits = logs.search_nodes(&conditions.query()?, &paging.page()?).await?;
    let row = |node: &NodeSummary| serde_json::value::to_raw_value(&RecordRow::of(node));
    Ok(Json(found(&logs, hits, |node| node.app_id, row).await))
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ValueCount {
    value: Box<str>,
    count: u64,
}

impl ValueCount {
    pub(super) fn new(value: &str, count: u64) -> Self {
        Self { value: value.into(), count }
    }
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ValueCountsBody {
    /// Most frequent first
    data: Vec<ValueCount>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct FacetParams {
    /// status, app_id, triggered_from, created_by; for nodes also node_type
    #[param(example = "status")]
    by: String,
    /// Values at most, 1 to 1000
    #[param(minimum = 1, maximum = 1000, default = 20)]
    values: Option<u16>,
}

impl FacetParams {
    fn facet(&self, of_nodes: bool) -> Result<(Facet, usize), Problem> {
        let facet = match self.by.as_str() {
            "status" => Facet::Status,
            "app_id" => Facet::AppId,
            "triggered_from" => Facet::TriggeredFrom,
            "created_by" => Facet::CreatedBy,
            "node_type" if of_nodes => Facet::NodeType,
            _ => {
                return Err(Problem::param(
                    "by",
                    "expected status, app_id, triggered_from, created_by; of nodes also node_type",
                ));
            }
        };
        Ok((facet, most_values(self.values, 20)?))
    }
}

fn counts(found: Vec<FacetCount>) -> Json<ValueCountsBody> {
    Json(ValueCountsBody {
        data: found.into_iter().map(|FacetCount { value, count }| ValueCount { value, count }).collect(),
    })
}

/// Runs per value of a column
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/runs/facets", tag = "Search",
    params(("tenant_id" = uuid::Uuid, Path,), RunConditions, FacetParams),
    responses((status = 200, body = ValueCountsBody), Problems)
)]
pub(in crate::http) async fn run_facets(
    Reading(logs): Reading,
    Params(conditions, params): Params<RunConditions, FacetParams>,
) -> Result<Json<ValueCountsBody>, Problem> {
    let (facet, values) = params.facet(false)?;
    Ok(counts(logs.facet(&conditions.query()?, facet, values).await?))
}

/// Node executions per value of a column
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/nodes/facets", tag = "Search",
    params(("tenant_id" = uuid::Uuid, Path,), NodeConditions, FacetParams),
    responses((status = 200, body = ValueCountsBody), Problems)
)]
pub(in crate::http) async fn node_facets(
    Reading(logs): Reading,
    Params(conditions, params): Params<NodeConditions, FacetParams>,
) -> Result<Json<ValueCountsBody>, Problem> {
    let (facet, values) = params.facet(true)?;
    Ok(counts(logs.facet(&conditions.query()?, facet, values).await?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct SpanParams {
    /// Length of a span in seconds, 1 to 31536000. A histogram with rows in more than 10000 spans is refused
    #[param(minimum = 1, maximum = 31_536_000, default = 86400)]
    seconds: Option<u32>,
}

impl SpanParams {
    pub(super) fn seconds(&self) -> Result<u32, Problem> {
        let seconds = self.seconds.unwrap_or(86_400);
        let is_span = (1..=31_536_000).contains(&seconds);
        is_span.then_some(seconds).ok_or_else(|| Problem::param("seconds", "expected 1 to 31536000"))
    }
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct SpanCount {
    /// First instant of the span
    from: String,
    count: u64,
}

impl From<HistogramBucket> for SpanCount {
    fn from(bucket: HistogramBucket) -> Self {
        Self { from: bucket.from.to_string(), count: bucket.count }
    }
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct SpanCountsBody {
    /// Oldest first; empty spans are absent
    data: Vec<SpanCount>,
}

fn spans(found: Vec<HistogramBucket>) -> Json<SpanCountsBody> {
    Json(SpanCountsBody { data: found.into_iter().map(Into::into).collect() })
}

/// Runs over time
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/runs/histogram", tag = "Search",
    params(("tenant_id" = uuid::Uuid, Path,), RunConditions, SpanParams),
    responses((status = 200, body = SpanCountsBody), Problems)
)]
pub(in crate::http) async fn run_histogram(
    Reading(logs): Reading,
    Params(conditions, params): Params<RunConditions, SpanParams>,
) -> Result<Json<SpanCountsBody>, Problem> {
    Ok(spans(logs.histogram(&conditions.query()?, params.seconds()?).await?))
}

/// Node executions over time
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/nodes/histogram", tag = "Search",
    params(("tenant_id" = uuid::Uuid, Path,), NodeConditions, SpanParams),
    responses((status = 200, body = SpanCountsBody), Problems)
)]
pub(in crate::http) async fn node_histogram(
    Reading(logs): Reading,
    Params(conditions, params): Params<NodeConditions, SpanParams>,
) -> Result<Json<SpanCountsBody>, Problem> {
    Ok(spans(logs.histogram(&conditions.query()?, params.seconds()?).await?))
}

async fn whole(logs: &TenantLogs, found: Option<Document>, full: bool) -> Result<Response, Problem> {
    let found = found.ok_or_else(|| Problem::not_found("no such record"))?;
    let found = if full { logs.full(found).await? } else { found };
    columns(&found)
}

/// Returns a document as JSON with its columns.
pub(in crate::http) fn columns(found: &Document) -> Result<Response, Problem> {
    let text = document(found).map_err(|error| unwritable(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// One run with every column of its table
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/runs/{run_id}", tag = "Records",
    params(("tenant_id" = uuid::Uuid, Path,), ("run_id" = uuid::Uuid, Path,), FullParams),
    responses((status = 200, body = Object), Problems)
)]
pub(in crate::http) async fn run(
    Reading(logs): Reading,
    ids: Ids,
    Params(params, _): Params<FullParams>,
) -> Result<Response, Problem> {
    let found = logs.run(None, ids.get("run_id")?).await?;
    whole(&logs, found, params.full).await
}

/// One node execution with every column of its table
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/nodes/{node_execution_id}", tag = "Records",
    params(("tenant_id" = uuid::Uuid, Path,), ("node_execution_id" = uuid::Uuid, Path,), FullParams),
    responses((status = 200, body = Object), Problems)
)]
pub(in crate::http) async fn node(
    Reading(logs): Reading,
    ids: Ids,
    Params(params, _): Params<FullParams>,
) -> Result<Response, Problem> {
    let found = logs.node(ids.get("node_execution_id")?).await?;
    whole(&logs, found, params.full).await
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Snapshots {
    #[schema(value_type = Vec<Object>)]
    data: Vec<Box<serde_json::value::RawValue>>,
}

/// Every node execution of a run without payloads, by start and index
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/runs/{run_id}/nodes", tag = "Records",
    params(("tenant_id" = uuid::Uuid, Path,), ("run_id" = uuid::Uuid, Path,)),
    responses((status = 200, body = Snapshots), Problems)
)]
pub(in crate::http) async fn run_nodes(Reading(logs): Reading, ids: Ids) -> Result<Json<Snapshots>, Problem> {
    let nodes = logs.node_snapshots(None, ids.get("run_id")?).await?;
    let row = |node| serde_json::value::to_raw_value(&RecordRow::of(node)).ok();
    Ok(Json(Snapshots { data: nodes.iter().filter_map(row).collect() }))
}
