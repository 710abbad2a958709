//! What the apps and workspaces of an answer are called. Names are an addition: without them answers show ids.

use std::collections::HashMap;

use super::directory::{App, KnownNames, Workspace};
use super::{LogService, TenantLogs};
use crate::domain::{AppId, TenantId};

/// The names of what one answer is about.
#[derive(Debug, Clone)]
pub struct Names<K, V> {
    known: HashMap<K, V>,
    missing: bool,
}

impl<K, V> Default for Names<K, V> {
    fn default() -> Self {
        Self { known: HashMap::new(), missing: false }
    }
}

/// Apps by their ids.
pub type AppNames = Names<AppId, App>;
/// Workspaces by their ids.
pub type WorkspaceNames = Names<TenantId, Workspace>;

impl<K: std::hash::Hash + Eq, V> Names<K, V> {
    fn new(known: KnownNames<V>, key: impl Fn(&V) -> K) -> Self {
        let missing = !known.complete;
        Self { known: known.found.into_iter().map(|one| (key(&one), one)).collect(), missing }
    }

    /// Returns what has this id; `None` if nobody knows it.
    #[must_use]
    pub fn get(&self, id: &K) -> Option<&V> {
        self.known.get(id)
    }

    /// Returns whether names are missing because the directory could not be asked.
    #[must_use]
    pub const fn are_missing(&self) -> bool {
        self.missing
    }
}

/// Tenants of one answer whose apps are looked up: each takes a question of its own.
const MOST_TENANTS: usize = 50;

/// What the tenants of an answer are called, and the apps of each.
#[derive(Debug, Default)]
pub struct CrossTenantNames {
    workspaces: WorkspaceNames,
    apps: HashMap<TenantId, AppNames>,
    missing: bool,
}

impl CrossTenantNames {
    /// Returns the name of a tenant; `None` if nobody knows it.
    #[must_use]
    pub fn workspace(&self, tenant_id: TenantId) -> Option<&str> {
        self.workspaces.get(&tenant_id).map(|found| &*found.name)
    }

    /// Returns what the apps of a tenant are called; `None` where that was not looked up.
    #[must_use]
    pub fn apps(&self, tenant_id: TenantId) -> Option<&AppNames> {
        self.apps.get(&tenant_id)
    }

    /// Whether names are missing because the directory could not be asked.
    #[must_use]
    pub const fn are_missing(&self) -> bool {
        self.missing
    }
}

/// Returns each id once.
fn distinct<T: Ord>(ids: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut ids: Vec<T> = ids.into_iter().collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

impl TenantLogs {
    /// Returns the names of apps of this tenant; one look-up for any number. Those of other tenants, and of apps that cannot be
    /// seen here, stay unknown.
    pub async fn app_names(&self, ids: impl IntoIterator<Item = AppId>) -> AppNames {
        let ids = distinct(ids.into_iter().filter(|id| self.apps().holds(*id)));
        let directory = self.reader.directory();
        if ids.is_empty() || !directory.knows_names() {
            return AppNames::default();
        }
        Names::new(directory.apps(self.tenant_id(), &ids).await, |app| app.id)
    }
}

impl LogService {
    /// Returns the names of workspaces; one look-up for any number. Whoever asks has seen that the caller reaches them.
    pub async fn workspace_names(&self, ids: impl IntoIterator<Item = TenantId>) -> WorkspaceNames {
        let ids = distinct(ids);
        let directory = &self.0.directory;
        if ids.is_empty() || !directory.knows_names() {
            return WorkspaceNames::default();
        }
        Names::new(directory.workspaces(&ids).await, |workspace| workspace.id)
    }

    /// Returns the names of tenants, and of the apps of the first 50 of them, each within its own tenant. The caller has seen
    /// that whoever asks reaches them. Once the directory cannot be asked, no further question waits for it.
    pub async fn names_across(&self, wanted: Vec<(TenantId, Vec<AppId>)>) -> CrossTenantNames {
        let workspaces = self.workspace_names(wanted.iter().map(|(tenant_id, _)| *tenant_id)).await;
        let mut names = CrossTenantNames { missing: workspaces.are_missing(), workspaces, apps: HashMap::new() };
        for (tenant_id, apps) in wanted.into_iter().take(MOST_TENANTS) {
            if names.missing {
                break;
            }
            let found = self.tenant(tenant_id).app_names(apps).await;
            names.missing |= found.are_missing();
            names.apps.insert(tenant_id, found);
        }
        names
    }
}
