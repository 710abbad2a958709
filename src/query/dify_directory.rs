//! The directory that Dify's PostgreSQL is: read-only, batched, and cached within bounds, because the same few people
//! make most of the rows of a page.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use uuid::Uuid;

use super::directory::{Account, Directory, DirectoryError, EndUser, Matches};
use crate::domain::{RecordId, TenantId};
use crate::postgres::{Database, PostgresError, people};

/// People remembered of each sort.
const REMEMBERED: usize = 10_000;
/// How long a name may be out of date.
const FRESH: Duration = Duration::from_secs(60);
/// End users that one keyword or session id may find.
const MATCHES: i64 = 1000;

/// See the module.
pub struct DifyDirectory {
    database: Database,
    accounts: Cache<RecordId, Account>,
    end_users: Cache<(TenantId, RecordId), EndUser>,
}

impl DifyDirectory {
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database, accounts: Cache::default(), end_users: Cache::default() }
    }
}

impl From<PostgresError> for DirectoryError {
    fn from(error: PostgresError) -> Self {
        Self(error.to_string())
    }
}

/// PostgreSQL's texts hold no NUL: what has one is nobody.
fn is_nobody(text: &str) -> bool {
    text.contains('\0')
}

#[async_trait]
impl Directory for DifyDirectory {
    fn knows_names(&self) -> bool {
        true
    }

    async fn accounts(&self, ids: &[RecordId]) -> Result<Vec<Account>, DirectoryError> {
        let (mut known, unknown) = self.accounts.split(ids.iter().copied());
        if !unknown.is_empty() {
            let ids: Vec<_> = unknown.iter().map(|id| id.uuid()).collect();
            for (id, name, email) in people::accounts(&self.database.client().await?, &ids).await? {
                let id = RecordId::new(id);
                let account = Account { id, name: Some(name.into()), email: Some(email.into()) };
                self.accounts.remember(id, account.clone());
                known.push(account);
            }
        }
        Ok(known)
    }

    async fn end_users(&self, tenant_id: TenantId, ids: &[RecordId]) -> Result<Vec<EndUser>, DirectoryError> {
        let (mut known, unknown) = self.end_users.split(ids.iter().map(|id| (tenant_id, *id)));
        if !unknown.is_empty() {
            let ids: Vec<_> = unknown.iter().map(|(_, id)| id.uuid()).collect();
            let client = self.database.client().await?;
            for (id, r#type, session_id) in people::end_users(&client, tenant_id.uuid(), &ids).await? {
                let id = RecordId::new(id);
                let user = EndUser { id, r#type: Some(r#type.into()), session_id: Some(session_id.into()) };
                self.end_users.remember((tenant_id, id), user.clone());
                known.push(user);
            }
        }
        Ok(known)
    }

    async fn end_users_of_session(
        &self,
        tenant_id: TenantId,
        session_id: &str,
    ) -> Result<Vec<RecordId>, DirectoryError> {
        if is_nobody(session_id) {
            return Ok(Vec::new());
        }
        let client = self.database.client().await?;
        let ids = people::end_users_of_session(&client, tenant_id.uuid(), session_id, MATCHES).await?;
        Ok(records(ids))
    }

    async fn end_users_matching(&self, tenant_id: TenantId, keyword: &str) -> Result<Matches, DirectoryError> {
        if is_nobody(keyword) {
            return Ok(Matches { ids: Vec::new(), complete: true });
        }
        let client = self.database.client().await?;
        let mut ids = records(people::end_users_matching(&client, tenant_id.uuid(), keyword, MATCHES + 1).await?);
        let most = usize::try_from(MATCHES).unwrap_or(usize::MAX);
        let complete = ids.len() <= most;
        ids.truncate(most);
        Ok(Matches { ids, complete })
    }

    async fn account_of_email(&self, tenant_id: TenantId, email: &str) -> Result<Option<RecordId>, DirectoryError> {
        if is_nobody(email) {
            return Ok(None);
        }
        let client = self.database.client().await?;
        Ok(people::account_of_email(&client, tenant_id.uuid(), email).await?.map(RecordId::new))
    }
}

fn records(ids: Vec<Uuid>) -> Vec<RecordId> {
    ids.into_iter().map(RecordId::new).collect()
}

/// What was looked up lately. When it is full, what is no longer fresh goes; if all is fresh, everything.
struct Cache<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// The values that are remembered, and the keys of the others.
    fn split(&self, keys: impl Iterator<Item = K>) -> (Vec<V>, Vec<K>) {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for key in keys {
            match cache.get(&key).filter(|(since, _)| since.elapsed() < FRESH) {
                Some((_, value)) => known.push(value.clone()),
                None => unknown.push(key),
            }
        }
        (known, unknown)
    }

    fn remember(&self, key: K, value: V) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= REMEMBERED {
            cache.retain(|_, (since, _)| since.elapsed() < FRESH);
        }
        if cache.len() >= REMEMBERED {
            cache.clear();
        }
        cache.insert(key, (Instant::now(), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cache_forgets_by_age_and_never_outgrows_its_bound() {
        let cache = Cache::default();
        cache.remember(1, "one");
        assert_eq!(cache.split([1, 2].into_iter()), (vec!["one"], vec![2]));
        tokio::time::advance(FRESH).await;
        assert_eq!(cache.split([1].into_iter()), (vec![], vec![1]));
        for key in 0..3 * REMEMBERED {
            cache.remember(key, "many");
            assert!(cache.0.lock().unwrap().len() <= REMEMBERED);
        }
    }
}
