//! Exports: every record of a query, one JSON text a line, of any number, in constant memory.

use std::future::ready;

use axum::extract::Extension;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures::{Stream, TryStreamExt as _};
use serde::Deserialize;
use utoipa::IntoParams;

use super::csv::Csv;
use super::extract::{Params, Reading};
use super::limits::Permit;
use super::params::{NodeConditions, RunConditions, direction, id, instant};
use super::problem::{Problem, Problems};
use super::stream::{by_lines, ndjson, unwritable};
use crate::domain::query::TimeRange;
use crate::domain::{Document, Kind};
use crate::query::columns::{self, document};
use crate::query::{QueryError, TenantLogs};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ExportParams {
    /// desc: newest first; asc: oldest first
    order: Option<String>,
    /// true: the full texts of truncated payloads
    #[serde(default)]
    full: bool,
    /// ndjson: a JSON text a line; csv: a table with a head, payloads as JSON texts in their cells
    #[param(example = "ndjson")]
    format: Option<String>,
}

/// The form of an export.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Ndjson,
    Csv,
}

fn format(name: Option<&str>) -> Result<Format, Problem> {
    match name {
        None | Some("ndjson") => Ok(Format::Ndjson),
        Some("csv") => Ok(Format::Csv),
        Some(_) => Err(Problem::param("format", "expected ndjson or csv")),
    }
}

/// Returns the answer of a kind in its form.
async fn answer(
    kind: Kind,
    permit: Permit,
    lines: impl Stream<Item = Result<String, QueryError>> + Send + 'static,
    format: Format,
) -> Result<Response, Problem> {
    if format == Format::Ndjson {
        return ndjson(permit, lines).await;
    }
    let csv = Csv::new(columns::names(kind));
    let head = Some(csv.head());
    let rows = lines.map_ok(move |line| csv.line(&line));
    let mut response = by_lines(permit, "text/csv; charset=utf-8", head, rows).await?;
    let name = HeaderValue::from_static("attachment; filename=\"difylog.csv\"");
    response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// Documents as lines, with their full texts if wanted.
fn lines(
    logs: TenantLogs,
    documents: impl Stream<Item = Result<Document, QueryError>> + Send + 'static,
    full: bool,
) -> impl Stream<Item = Result<String, QueryError>> + Send + 'static {
    documents
        .and_then(move |document| {
            let logs = logs.clone();
            async move { if full { logs.full(document).await } else { Ok(document) } }
        })
        .and_then(|found| ready(document(&found).map_err(|error| unwritable(&error))))
}

/// Every run of a query
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/export/runs", tag = "Export",
    params(("tenant_id" = uuid::Uuid, Path,), RunConditions, ExportParams),
    responses((status = 200, content((String = "application/x-ndjson"), (String = "text/csv"))), Problems)
)]
pub(in crate::http) async fn runs(
    Reading(logs): Reading,
    Params(conditions, params): Params<RunConditions, ExportParams>,
    Extension(permit): Extension<Permit>,
) -> Result<Response, Problem> {
    let format = format(params.format.as_deref())?;
    let documents = logs.export(&conditions.query()?, direction(params.order.as_deref())?);
    answer(Kind::WorkflowRun, permit, lines(logs, documents, params.full), format).await
}

/// Every node execution of a query
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/export/nodes", tag = "Export",
    params(("tenant_id" = uuid::Uuid, Path,), NodeConditions, ExportParams),
    responses((status = 200, content((String = "application/x-ndjson"), (String = "text/csv"))), Problems)
)]
pub(in crate::http) async fn nodes(
    Reading(logs): Reading,
    Params(conditions, params): Params<NodeConditions, ExportParams>,
    Extension(permit): Extension<Permit>,
) -> Result<Response, Problem> {
    let format = format(params.format.as_deref())?;
    let documents = logs.export(&conditions.query()?, direction(params.order.as_deref())?);
    answer(Kind::NodeExecution, permit, lines(logs, documents, params.full), format).await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct AppLogExportParams {
    #[param(format = Uuid)]
    app_id: Option<String>,
    /// Inclusive, ISO 8601
    created_at_from: Option<String>,
    /// Exclusive
    created_at_until: Option<String>,
    /// ndjson: a JSON text a line; csv: a table with a head
    #[param(example = "ndjson")]
    format: Option<String>,
}

/// Every app log of the tenant or of an app, oldest first
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/export/app-logs", tag = "Export",
    params(("tenant_id" = uuid::Uuid, Path,), AppLogExportParams),
    responses((status = 200, content((String = "application/x-ndjson"), (String = "text/csv"))), Problems)
)]
pub(in crate::http) async fn app_logs(
    Reading(logs): Reading,
    Params(params, _): Params<AppLogExportParams>,
    Extension(permit): Extension<Permit>,
) -> Result<Response, Problem> {
    let format = format(params.format.as_deref())?;
    let created = TimeRange {
        from: instant("created_at_from", params.created_at_from.as_deref())?,
        until: instant("created_at_until", params.created_at_until.as_deref())?,
    };
    let documents = logs.export_app_logs(id("app_id", params.app_id.as_deref())?, created);
    answer(Kind::AppLog, permit, lines(logs, documents, false), format).await
}
