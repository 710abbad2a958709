//! Who may read an app is Dify's business: it is asked with the caller's own credentials, and its yes is kept for a
//! moment, under a keyed hash of them.
//!
//! A yes takes three of Dify's answers that fit together: who am I (with my time zone), which workspace is current, and
//! this app. The workspace is asked for before and after the app, so that a caller who changes it in between gets no
//! yes. The tenant comes from there alone, never from a header or a path.

use std::sync::Arc;

use chrono_tz::Tz;
use serde::Deserialize;

use super::memory::{Memory, Name};
use super::upstream::{Credentials, Upstream, UpstreamFault};
use crate::domain::{AppId, TenantId};

/// What Dify says of a caller and an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access {
    pub tenant_id: TenantId,
    pub app_id: AppId,
    /// Dify's mode of the app, such as `workflow`.
    pub mode: Box<str>,
    /// The caller's time zone; `None`: none that is known.
    pub zone: Option<Tz>,
}

#[derive(Deserialize)]
struct Profile {
    timezone: Option<String>,
}

#[derive(Deserialize)]
struct Workspaces {
    workspaces: Vec<Workspace>,
}

#[derive(Deserialize)]
struct Workspace {
    id: String,
    #[serde(default)]
    current: bool,
}

#[derive(Deserialize)]
struct App {
    id: String,
    mode: Box<str>,
}

/// Asks Dify who may read what, and remembers its yes.
pub(super) struct Gatekeeper {
    upstream: Upstream,
    memory: Memory,
}

impl Gatekeeper {
    pub(super) const fn new(upstream: Upstream, memory: Memory) -> Self {
        Self { upstream, memory }
    }

    /// Returns what the caller may read of an app. Asks Dify unless its yes is younger than the trust; a no is never kept.
    ///
    /// # Errors
    /// [`UpstreamFault`] for every answer but three that fit together, a 401, 403 or 404 included.
    pub(super) async fn access(&self, credentials: &Credentials, app_id: AppId) -> Result<Arc<Access>, UpstreamFault> {
        let name = self.name(credentials, app_id);
        if let Some(access) = self.memory.get(&name) {
            return Ok(access);
        }
        // Before the questions: the yes is as old as the first of them.
        let until = self.memory.until();
        let access = Arc::new(self.ask(credentials, app_id).await?);
        self.memory.put(name, until, &access);
        Ok(access)
    }

    async fn ask(&self, credentials: &Credentials, app_id: AppId) -> Result<Access, UpstreamFault> {
        let before = self.workspace(credentials).await?;
        let app_path = format!("/console/api/apps/{app_id}");
        let (profile, app) = tokio::try_join!(
            self.upstream.get("/console/api/account/profile", credentials),
            self.upstream.get(&app_path, credentials),
        )?;
        let (profile, app): (Profile, App) = (profile.json()?, app.json()?);
        if self.workspace(credentials).await? != before || app.id.parse() != Ok(app_id) {
            return Err(UpstreamFault::Unexpected);
        }
        let zone = profile.timezone.and_then(|name| name.parse().ok());
        Ok(Access { tenant_id: before, app_id, mode: app.mode, zone })
    }

    /// Returns the caller's current workspace: exactly one.
    async fn workspace(&self, credentials: &Credentials) -> Result<TenantId, UpstreamFault> {
        let found: Workspaces = self.upstream.get("/console/api/workspaces", credentials).await?.json()?;
        let mut current = found.workspaces.iter().filter(|workspace| workspace.current);
        match (current.next(), current.next()) {
            (Some(workspace), None) => workspace.id.parse().map_err(|_| UpstreamFault::Unexpected),
            _ => Err(UpstreamFault::Unexpected),
        }
    }

    fn name(&self, credentials: &Credentials, app_id: AppId) -> Name {
        let app = app_id.to_string();
        let headers = credentials.parts().flat_map(|(name, value)| [name.as_bytes(), value]);
        self.memory.name(std::iter::once(app.as_bytes()).chain(headers))
    }
}
