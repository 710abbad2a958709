//! What the handler of a page takes: the logs that its key reaches, and the frame around the answer.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::layout::{PageFrame, Screen};
use super::state::AddressState;
use super::viewer::Look;
use crate::domain::{TenantId, Timestamp, WorkflowRun};
use crate::http::api::auth::Caller;
use crate::http::api::extract::Reading;
use crate::http::api::problem::Problem;
use crate::http::api::{Api, Right};
use crate::query::TenantLogs;

/// Somebody who is signed in.
pub(super) struct Viewer {
    pub look: Look,
    pub caller: Arc<Caller>,
    pub here: String,
    pub now: Timestamp,
}

impl FromRequestParts<Api> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Arc<Caller>>().cloned().ok_or_else(Problem::unauthorized)?;
        let here = parts.uri.path_and_query().map_or_else(|| "/ui/".to_owned(), ToString::to_string);
        Ok(Self { look: Look::of(&parts.headers), caller, here, now: api.service.now() })
    }
}

impl Viewer {
    /// Returns whether the logs of every workspace are for this viewer.
    pub(super) fn may_read_all(&self) -> bool {
        self.caller.is_admin() && self.caller.may(Right::Read)
    }

    pub(super) fn frame(&self, title: &str) -> PageFrame {
        let operates = self.caller.may_operate();
        let plain = PageFrame::plain(self.look, title, &self.here);
        let person = self.caller.person.clone();
        PageFrame { signed_in: true, person, is_admin: self.caller.is_admin(), operates, ..plain }
    }
}

/// Somebody who may read the logs of the path's workspace.
pub(super) struct PageReader {
    pub viewer: Viewer,
    pub logs: TenantLogs,
    /// The name of the workspace, where it is known.
    workspace: Option<Box<str>>,
    dify_link: Option<String>,
}

impl FromRequestParts<Api> for PageReader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let viewer = Viewer::from_request_parts(parts, api).await?;
        let Reading(logs) = Reading::from_request_parts(parts, api).await?;
        let tenant_id = logs.tenant_id();
        let names = api.service.workspace_names([tenant_id]).await;
        let workspace = names.get(&tenant_id).map(|found| found.name.clone());
        Ok(Self { viewer, logs, workspace, dify_link: api.settings.dify_link.clone() })
    }
}

impl PageReader {
    pub(super) fn tenant_id(&self) -> TenantId {
        self.logs.tenant_id()
    }

    /// Returns where a run is in Dify's own pages, if that is configured.
    pub(super) fn in_dify(&self, run: &WorkflowRun) -> Option<String> {
        let link = self.dify_link.as_ref()?.replace("{app_id}", &run.app_id.to_string());
        Some(link.replace("{run_id}", &run.id.to_string()))
    }

    /// Returns the frame of a screen; `state` says which span and app the other screens open with.
    pub(super) fn frame(&self, title: &str, screen: Screen, state: &AddressState) -> PageFrame {
        let mut carried = AddressState::default();
        for name in ["range", "from", "until", "app_id"] {
            carried = carried.with(name, state.get(name));
        }
        let tenant_id = Some(self.tenant_id());
        let workspace = self.workspace.clone();
        PageFrame { tenant_id, workspace, screen: Some(screen), carried, ..self.viewer.frame(title) }
    }
}
