//! Names as they were carried into the store, for what Dify's PostgreSQL does not say: where it is away or gone, and for apps and
//! accounts that Dify has deleted.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use quick_cache::sync::Cache;
use tokio::time::Instant;
use tracing::debug;

use super::directory::{Account, Answered, App, Directory, DirectoryError, EndUser, KnownNames, Matches, Workspace};
use crate::domain::{AppId, RecordId, TenantId};
use crate::store::StateReader;
use crate::store::kept_names::KeptNames;

/// Tenants whose names are remembered.
const REMEMBERED: usize = 1000;
/// Entries that are read at once.
const AT_ONCE: usize = 16;
/// How long they may be out of date.
const FRESH: Duration = Duration::from_secs(60);

/// See the module.
pub struct KeptDirectory {
    dify: Arc<dyn Directory>,
    state: Arc<dyn StateReader>,
    remembered: Cache<TenantId, (Instant, Arc<KeptNames>)>,
}

impl KeptDirectory {
    #[must_use]
    pub fn new(dify: Arc<dyn Directory>, state: Arc<dyn StateReader>) -> Self {
        Self { dify, state, remembered: Cache::new(REMEMBERED) }
    }

    /// Returns what is kept of a tenant. A state that cannot be read has no names: the question itself says what is wrong.
    async fn kept(&self, tenant_id: TenantId) -> Arc<KeptNames> {
        if let Some((at, kept)) = self.remembered.get(&tenant_id)
            && at.elapsed() < FRESH
        {
            return kept;
        }
        let kept = match self.state.state(&KeptNames::key(tenant_id)).await {
            Ok(entry) => entry.and_then(|entry| serde_json::from_value(entry.value).ok()).unwrap_or_default(),
            Err(error) => {
                debug!(%error, "names that were kept cannot be read");
                return Arc::default();
            }
        };
        let kept = Arc::new(kept);
        self.remembered.insert(tenant_id, (Instant::now(), Arc::clone(&kept)));
        kept
    }

    /// Adds what is kept of the ids that were not found. The look-up is complete once nothing is left to ask.
    async fn completed<K: Copy + Eq + Hash, T>(
        &self,
        tenant_id: TenantId,
        ids: &[K],
        known: KnownNames<T>,
        id_of: impl Fn(&T) -> K,
        kept: impl Fn(&KeptNames, K) -> Option<T>,
    ) -> KnownNames<T> {
        let KnownNames { mut found, mut complete } = known;
        let have: HashSet<K> = found.iter().map(id_of).collect();
        let missing: Vec<K> = ids.iter().copied().filter(|id| !have.contains(id)).collect();
        if !missing.is_empty() {
            let names = self.kept(tenant_id).await;
            let added: Vec<T> = missing.iter().filter_map(|id| kept(&names, *id)).collect();
            complete |= added.len() == missing.len();
            found.extend(added);
        }
        KnownNames { found, complete }
    }
}

#[async_trait]
impl Directory for KeptDirectory {
    fn knows_names(&self) -> bool {
        true
    }

    fn knows_everybody(&self) -> bool {
        self.dify.knows_everybody()
    }

    async fn accounts(&self, tenant_id: TenantId, ids: &[RecordId]) -> KnownNames<Account> {
        let kept = |names: &KeptNames, id: RecordId| {
            let account = names.accounts.get(&id.uuid())?;
            Some(Account { id, name: Some(account.name.clone()), email: Some(account.email.clone()) })
        };
        let known = self.dify.accounts(tenant_id, ids).await;
        self.completed(tenant_id, ids, known, |account| account.id, kept).await
    }

    /// App logs carry session ids along: end users are not kept.
    async fn end_users(&self, tenant_id: TenantId, ids: &[RecordId]) -> KnownNames<EndUser> {
        self.dify.end_users(tenant_id, ids).await
    }

    async fn apps(&self, tenant_id: TenantId, ids: &[AppId]) -> KnownNames<App> {
        let kept = |names: &KeptNames, id: AppId| {
            let app = names.apps.get(&id.uuid())?;
            Some(App { id, name: app.name.clone(), mode: app.mode.clone(), icon: app.icon.clone() })
        };
        let known = self.dify.apps(tenant_id, ids).await;
        self.completed(tenant_id, ids, known, |app| app.id, kept).await
    }

    async fn workspaces(&self, ids: &[TenantId]) -> KnownNames<Workspace> {
        let KnownNames { mut found, mut complete } = self.dify.workspaces(ids).await;
        let have: HashSet<TenantId> = found.iter().map(|workspace| workspace.id).collect();
        let missing: Vec<TenantId> = ids.iter().copied().filter(|id| !have.contains(id)).collect();
        let kept: Vec<_> = stream::iter(missing.clone())
            .map(|id| async move { (id, self.kept(id).await) })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let workspace =
            |(id, names): &(TenantId, Arc<KeptNames>)| Some(Workspace { id: *id, name: names.workspace.clone()? });
        let added: Vec<Workspace> = kept.iter().filter_map(workspace).collect();
        complete |= added.len() == missing.len();
        found.extend(added);
        KnownNames { found, complete }
    }

    async fn end_users_of_session(
        &self,
        tenant_id: TenantId,
        session_id: &str,
    ) -> Result<Vec<RecordId>, DirectoryError> {
        self.dify.end_users_of_session(tenant_id, session_id).await
    }

    async fn end_users_matching(&self, tenant_id: TenantId, keyword: &str) -> Result<Matches, DirectoryError> {
        self.dify.end_users_matching(tenant_id, keyword).await
    }

    async fn account_of_email(&self, tenant_id: TenantId, email: &str) -> Result<Option<RecordId>, DirectoryError> {
        self.dify.account_of_email(tenant_id, email).await
    }

    async fn messages_of_conversation(
        &self,
        tenant_id: TenantId,
        conversation_id: RecordId,
        limit: usize,
    ) -> Result<Vec<Answered>, DirectoryError> {
        self.dify.messages_of_conversation(tenant_id, conversation_id, limit).await
    }

    async fn message_of_run(
        &self,
        tenant_id: TenantId,
        app_id: AppId,
        run_id: RecordId,
    ) -> Result<Option<Answered>, DirectoryError> {
        self.dify.message_of_run(tenant_id, app_id, run_id).await
    }

    async fn message(&self, tenant_id: TenantId, id: RecordId) -> Result<Option<Answered>, DirectoryError> {
        self.dify.message(tenant_id, id).await
    }
}
