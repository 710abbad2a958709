//! Names of apps and workspaces beside their ids, in tables and in JSON, where Dify's PostgreSQL is configured.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::output::complain;
use crate::domain::{AppId, TenantId};
use crate::query::{CrossTenantNames, LogService};

/// Looks names up, and says once on standard error that they are missing.
pub(super) struct NameLookup {
    service: LogService,
    is_said: AtomicBool,
}

/// What the apps and workspaces of some rows are called.
pub(super) struct RowNames(CrossTenantNames);

impl NameLookup {
    pub fn new(service: &LogService) -> Self {
        Self { service: service.clone(), is_said: AtomicBool::new(false) }
    }

    /// Returns the names of tenants and their apps; of what is unknown, none.
    pub async fn of(&self, wanted: Vec<(TenantId, Vec<AppId>)>) -> RowNames {
        let names = self.service.names_across(wanted).await;
        self.note(names.are_missing());
        RowNames(names)
    }

    /// As [`Self::of`], of one tenant.
    pub async fn of_tenant(&self, tenant_id: TenantId, apps: impl IntoIterator<Item = AppId>) -> RowNames {
        self.of(vec![(tenant_id, apps.into_iter().collect())]).await
    }

    /// Says that names are missing, unless that was said.
    pub fn note(&self, are_missing: bool) {
        if are_missing && !self.is_said.swap(true, Ordering::Relaxed) {
            complain!("names are missing: Dify's PostgreSQL does not answer; `difylog check` says why");
        }
    }
}

impl RowNames {
    pub fn app(&self, tenant_id: TenantId, app_id: AppId) -> Option<&str> {
        self.0.apps(tenant_id)?.get(&app_id).map(|app| &*app.name)
    }

    pub fn tenant(&self, tenant_id: TenantId) -> Option<&str> {
        self.0.workspace(tenant_id)
    }

    /// Returns a cell of a table: the name where it is known, else the id.
    pub fn app_cell(&self, tenant_id: TenantId, app_id: AppId) -> String {
        self.app(tenant_id, app_id).map_or_else(|| app_id.to_string(), ToOwned::to_owned)
    }

    /// Returns a line above a table of one app; `None` where no name is known.
    pub fn heading(&self, tenant_id: TenantId, app_id: AppId) -> Option<String> {
        let name = |word: &str, name: Option<&str>, id: String| match name {
            Some(name) => format!("{word} {} ({id})", crate::domain::printable(name)),
            None => format!("{word} {id}"),
        };
        let (app, tenant) = (self.app(tenant_id, app_id), self.tenant(tenant_id));
        (app.is_some() || tenant.is_some()).then(|| {
            let app = name("app", app, app_id.to_string());
            format!("{app}, {}", name("workspace", tenant, tenant_id.to_string()))
        })
    }

    /// Returns the two fields of a JSON row; null: not known.
    fn fields(&self, tenant_id: TenantId, app_id: AppId) -> [(&'static str, Value); 2] {
        [("app_name", json!(self.app(tenant_id, app_id))), ("tenant_name", json!(self.tenant(tenant_id)))]
    }

    /// Adds both names to a JSON row.
    pub fn add_to(&self, row: &mut Value, tenant_id: TenantId, app_id: AppId) {
        if let Some(row) = row.as_object_mut() {
            row.extend(self.fields(tenant_id, app_id).map(|(name, value)| (name.to_owned(), value)));
        }
    }

    /// Adds both names to a JSON object that is a text already, whose payloads stay as they are.
    pub fn add_to_line(&self, line: &str, tenant_id: TenantId, app_id: AppId) -> String {
        let [(app, app_name), (tenant, tenant_name)] = self.fields(tenant_id, app_id);
        match line.strip_suffix('}') {
            Some(open) => format!("{open},\"{app}\":{app_name},\"{tenant}\":{tenant_name}}}"),
            None => line.to_owned(),
        }
    }
}
