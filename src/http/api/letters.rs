//! Which dead letters are meant, as a query or a body says it.

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::params::{id, instant, list};
use super::problem::Problem;
use crate::amqp::LetterSelection;
use crate::domain::Kind;
use crate::domain::document::ContentHash;

/// Hashes of one request at most.
const MAX_HASHES: usize = 1000;

/// Which letters. Without any condition: all.
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct LetterConditions {
    #[param(format = Uuid)]
    pub(in crate::http) tenant_id: Option<String>,
    /// workflow_run, node_execution, app_log or offload
    pub(in crate::http) kind: Option<String>,
    /// Exact, as answers spell it
    pub(in crate::http) reason: Option<String>,
    /// Letters of this instant and later, ISO 8601
    pub(in crate::http) since: Option<String>,
    /// Letters before this instant
    pub(in crate::http) until: Option<String>,
    /// true: only what a replay would pass over
    pub(in crate::http) doubtful: Option<bool>,
    /// Hashes of bodies, by commas: only these letters
    pub(in crate::http) sha256: Option<String>,
}

impl LetterConditions {
    pub(in crate::http) fn selection(&self) -> Result<LetterSelection, Problem> {
        let kind = self.kind.as_deref().map(str::parse::<Kind>).transpose();
        let hashes = list(self.sha256.as_deref());
        if hashes.len() > MAX_HASHES {
            return Err(Problem::param("sha256", "expected at most 1000"));
        }
        let hashes = hashes.iter().map(|hash| hash.parse::<ContentHash>()).collect::<Result<Vec<_>, _>>();
        Ok(LetterSelection {
            tenant: id("tenant_id", self.tenant_id.as_deref())?,
            kind: kind
                .map_err(|_| Problem::param("kind", "expected workflow_run, node_execution, app_log or offload"))?,
            reason: self.reason.clone(),
            since: instant("since", self.since.as_deref())?,
            until: instant("until", self.until.as_deref())?,
            doubtful: self.doubtful.unwrap_or_default(),
            hashes: hashes.map_err(|error| Problem::param("sha256", &error.to_string()))?,
        })
    }
}

/// Which letters; without any condition: all.
#[derive(Deserialize, ToSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ChosenLetters {
    #[schema(value_type = Option<uuid::Uuid>)]
    tenant_id: Option<String>,
    /// workflow_run, node_execution, app_log or offload
    kind: Option<String>,
    reason: Option<String>,
    since: Option<String>,
    until: Option<String>,
    /// true: only what a replay would pass over
    doubtful: bool,
    /// Hashes of bodies, at most 1000: only these letters
    #[schema(max_items = 1000)]
    sha256: Vec<String>,
}

impl ChosenLetters {
    pub(super) fn selection(self) -> Result<LetterSelection, Problem> {
        let Self { tenant_id, kind, reason, since, until, doubtful, sha256 } = self;
        let hashes = (!sha256.is_empty()).then(|| sha256.join(","));
        if sha256.iter().any(String::is_empty) {
            return Err(Problem::param("sha256", "expected 64 hexadecimal digits"));
        }
        let conditions =
            LetterConditions { tenant_id, kind, reason, since, until, doubtful: Some(doubtful), sha256: hashes };
        conditions.selection()
    }
}
