//! Tokens and price per model.

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Params, Reading};
use super::params::{NodeConditions, most_values};
use super::problem::{Problem, Problems};
use crate::query::{ModelKey, ModelUsage};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ModelParams {
    /// Models at most, 1 to 1000
    #[param(minimum = 1, maximum = 1000, default = 100)]
    values: Option<u16>,
}

#[derive(Serialize, ToSchema)]
struct ModelView {
    /// null: the calls do not name it; so for the others
    provider: Option<Box<str>>,
    model: Option<Box<str>>,
    /// What the price is in; another currency of the same model is another row
    currency: Option<Box<str>>,
    calls: u64,
    /// An integer as text: it may exceed what a JSON number can hold
    tokens: String,
    /// A decimal number as text, exact to 12 places
    price: String,
    /// Calls that do not say what they cost; they are not in the price
    unpriced_calls: u64,
}

impl From<(ModelKey, ModelUsage)> for ModelView {
    fn from((key, used): (ModelKey, ModelUsage)) -> Self {
        Self {
            provider: key.provider,
            model: key.model,
            currency: key.currency,
            calls: used.calls,
            tokens: used.tokens.to_string(),
            price: used.price.to_string(),
            unpriced_calls: used.unpriced,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ModelViews {
    /// Calls that were looked at: the newest 20,000 of the query, or 256 MB of them, or as many as 3 seconds allow
    looked_at: usize,
    /// Only present if there are older ones: when the oldest one that was looked at began
    #[serde(skip_serializing_if = "Option::is_none")]
    cut_at: Option<String>,
    /// Rows that are left out
    more_models: usize,
    /// Most tokens first
    data: Vec<ModelView>,
}

/// Tokens and price per model and currency, over ended calls of models (node types llm, question-classifier and
/// parameter-extractor), single steps and debugging included; `status` and `node_type` do not count
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/nodes/models", tag = "Search",
    params(("tenant_id" = uuid::Uuid, Path,), NodeConditions, ModelParams),
    responses((status = 200, body = ModelViews), Problems)
)]
pub(in crate::http) async fn models(
    Reading(logs): Reading,
    Params(conditions, params): Params<NodeConditions, ModelParams>,
) -> Result<Json<ModelViews>, Problem> {
    let values = most_values(params.values, 100)?;
    let found = logs.model_usage(&conditions.query()?).await?;
    Ok(Json(ModelViews {
        looked_at: found.looked_at,
        cut_at: found.cut_at.map(|at| at.to_string()),
        more_models: found.models.len().saturating_sub(values),
        data: found.models.into_iter().take(values).map(Into::into).collect(),
    }))
}
