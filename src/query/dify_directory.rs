//! The directory that Dify's PostgreSQL is: read-only, batched, and cached within bounds, because the same few people
//! make most of the rows of a page. While PostgreSQL is away, names that were looked up before are shown as they were.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::directory::{Account, App, Directory, DirectoryError, EndUser, Known, Matches, Workspace};
use crate::domain::{AppId, RecordId, TenantId};
use crate::postgres::{Database, PostgresError, names, people};

/// People remembered of each sort.
const REMEMBERED: usize = 10_000;
/// How long a name may be out of date.
const FRESH: Duration = Duration::from_secs(60);
/// End users that one keyword or session id may find.
const MATCHES: i64 = 1000;

/// How long a database that failed is left alone.
const REST: Duration = Duration::from_secs(5);
/// How often its failure is said.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// Longest wait for an answer, unless the settings say another.
const PATIENCE: Duration = Duration::from_secs(2);

/// See the module.
pub struct DifyDirectory {
    database: Database,
    patience: Duration,
    accounts: Cache<(TenantId, RecordId), Option<Account>>,
    end_users: Cache<(TenantId, RecordId), Option<EndUser>>,
    apps: Cache<(TenantId, AppId), Option<App>>,
    workspaces: Cache<TenantId, Option<Workspace>>,
    trouble: Mutex<Trouble>,
}

/// What became of the last questions.
#[derive(Default)]
struct Trouble {
    /// Nothing is asked before this instant.
    rests_until: Option<Instant>,
    said: Option<Instant>,
}

impl DifyDirectory {
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self {
            database,
            patience: PATIENCE,
            accounts: Cache::default(),
            end_users: Cache::default(),
            apps: Cache::default(),
            workspaces: Cache::default(),
            trouble: Mutex::default(),
        }
    }

    /// Sets the longest wait for an answer, connecting included.
    #[must_use]
    pub fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Asks, unless the database failed a moment ago: an answer without names is better than a late one.
    async fn ask<T>(&self, question: impl Future<Output = Result<T, PostgresError>>) -> Result<T, DirectoryError> {
        if !self.may_ask() {
            return Err(DirectoryError(
                "PostgreSQL did not answer a moment ago; it is asked again in a few seconds".into(),
            ));
        }
        let problem = match tokio::time::timeout(self.patience, question).await {
            Ok(Ok(answer)) => {
                self.trouble().rests_until = None;
                return Ok(answer);
            }
            // The database answered: the next question may fare better.
            Ok(Err(error @ PostgresError::Failed(_))) => {
                self.trouble().rests_until = None;
                error.to_string()
            }
            Ok(Err(error)) => self.rest(error.to_string()),
            Err(_) => self.rest(format!("PostgreSQL did not answer within {} ms", self.patience.as_millis())),
        };
        let mut trouble = self.trouble();
        if trouble.said.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
            trouble.said = Some(Instant::now());
            warn!(%problem, "names are missing from answers");
        }
        Err(DirectoryError(problem))
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rest(&self, problem: String) -> String {
        self.trouble().rests_until = Some(Instant::now() + REST);
        problem
    }

    /// One question after a rest tries whether the database is back; the others go without until it is known.
    fn may_ask(&self) -> bool {
        let mut trouble = self.trouble();
        let now = Instant::now();
        match &mut trouble.rests_until {
            Some(until) if *until > now => false,
            Some(until) => {
                *until = now + self.patience;
                true
            }
            None => true,
        }
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

    async fn accounts(&self, tenant_id: TenantId, ids: &[RecordId]) -> Known<Account> {
        let (known, unknown) = self.accounts.split(ids.iter().map(|id| (tenant_id, *id)));
        let ids: Vec<_> = unknown.iter().map(|(_, id)| id.uuid()).collect();
        let question = async { people::accounts(&self.database.client().await?, tenant_id.uuid(), &ids).await };
        let found = if ids.is_empty() { Ok(Vec::new()) } else { self.ask(question).await };
        let accounts = found.map(|rows| {
            let account = |(id, name, email): people::AccountRow| {
                let id = RecordId::new(id);
                ((tenant_id, id), Account { id, name: Some(name.into()), email: Some(email.into()) })
            };
            rows.into_iter().map(account).collect()
        });
        self.accounts.completed(known, unknown, accounts)
    }

    async fn end_users(&self, tenant_id: TenantId, ids: &[RecordId]) -> Known<EndUser> {
        let (known, unknown) = self.end_users.split(ids.iter().map(|id| (tenant_id, *id)));
        let ids: Vec<_> = unknown.iter().map(|(_, id)| id.uuid()).collect();
        let question = async { people::end_users(&self.database.client().await?, tenant_id.uuid(), &ids).await };
        let found = if ids.is_empty() { Ok(Vec::new()) } else { self.ask(question).await };
        let users = found.map(|rows| {
            let user = |(id, r#type, session_id): people::EndUserRow| {
                let id = RecordId::new(id);
                ((tenant_id, id), EndUser { id, r#type: Some(r#type.into()), session_id: Some(session_id.into()) })
            };
            rows.into_iter().map(user).collect()
        });
        self.end_users.completed(known, unknown, users)
    }

    async fn apps(&self, tenant_id: TenantId, ids: &[AppId]) -> Known<App> {
        let (known, unknown) = self.apps.split(ids.iter().map(|id| (tenant_id, *id)));
        let ids: Vec<_> = unknown.iter().map(|(_, id)| id.uuid()).collect();
        let question = async { names::apps(&self.database.client().await?, tenant_id.uuid(), &ids).await };
        let found = if ids.is_empty() { Ok(Vec::new()) } else { self.ask(question).await };
        let apps = found.map(|rows| {
            let app = |(id, name, mode, icon): names::AppNameRow| {
                let id = AppId::new(id);
                ((tenant_id, id), App { id, name: name.into(), mode: mode.into(), icon: icon.map(Into::into) })
            };
            rows.into_iter().map(app).collect()
        });
        self.apps.completed(known, unknown, apps)
    }

    async fn workspaces(&self, ids: &[TenantId]) -> Known<Workspace> {
        let (known, unknown) = self.workspaces.split(ids.iter().copied());
        let ids: Vec<_> = unknown.iter().map(|id| id.uuid()).collect();
        let question = async { names::workspaces(&self.database.client().await?, &ids).await };
        let found = if ids.is_empty() { Ok(Vec::new()) } else { self.ask(question).await };
        let workspaces = found.map(|rows| {
            let workspace = |(id, name): (Uuid, String)| {
                let id = TenantId::new(id);
                (id, Workspace { id, name: name.into() })
            };
            rows.into_iter().map(workspace).collect()
        });
        self.workspaces.completed(known, unknown, workspaces)
    }

    async fn end_users_of_session(
        &self,
        tenant_id: TenantId,
        session_id: &str,
    ) -> Result<Vec<RecordId>, DirectoryError> {
        if is_nobody(session_id) {
            return Ok(Vec::new());
        }
        let ids = self.ask(async {
            let client = self.database.client().await?;
            people::end_users_of_session(&client, tenant_id.uuid(), session_id, MATCHES).await
        });
        Ok(records(ids.await?))
    }

    async fn end_users_matching(&self, tenant_id: TenantId, keyword: &str) -> Result<Matches, DirectoryError> {
        if is_nobody(keyword) {
            return Ok(Matches { ids: Vec::new(), complete: true });
        }
        let ids = self.ask(async {
            let client = self.database.client().await?;
            people::end_users_matching(&client, tenant_id.uuid(), keyword, MATCHES + 1).await
        });
        let mut ids = records(ids.await?);
        let most = usize::try_from(MATCHES).unwrap_or(usize::MAX);
        let complete = ids.len() <= most;
        ids.truncate(most);
        Ok(Matches { ids, complete })
    }

    async fn account_of_email(&self, tenant_id: TenantId, email: &str) -> Result<Option<RecordId>, DirectoryError> {
        if is_nobody(email) {
            return Ok(None);
        }
        let found = self.ask(async {
            let client = self.database.client().await?;
            people::account_of_email(&client, tenant_id.uuid(), email).await
        });
        Ok(found.await?.map(RecordId::new))
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

impl<K: Hash + Eq + Copy, V: Clone> Cache<K, Option<V>> {
    /// What is known, with what was found now; whoever was asked for and not found is remembered as unknown. Where nothing
    /// could be asked, what was remembered counts, however old it is.
    fn completed(&self, known: Vec<Option<V>>, asked: Vec<K>, found: Result<Vec<(K, V)>, DirectoryError>) -> Known<V> {
        let mut all: Vec<V> = known.into_iter().flatten().collect();
        let Ok(found) = found else {
            let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let old: Vec<_> = asked.iter().filter_map(|key| cache.get(key)).map(|(_, value)| value.clone()).collect();
            let complete = old.len() == asked.len();
            all.extend(old.into_iter().flatten());
            return Known { found: all, complete };
        };
        let mut absent: HashSet<K> = asked.into_iter().collect();
        for (key, value) in found {
            absent.remove(&key);
            self.remember(key, Some(value.clone()));
            all.push(value);
        }
        for key in absent {
            self.remember(key, None);
        }
        Known { found: all, complete: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_known_outlives_an_outage() {
        let cache = Cache::default();
        cache.completed(Vec::new(), vec![1, 2], Ok(vec![(1, "one")]));
        tokio::time::advance(10 * FRESH).await;
        let away = || Err(DirectoryError("away".into()));
        let ask = |keys: &[i32]| {
            let (known, unknown) = cache.split(keys.iter().copied());
            cache.completed(known, unknown, away())
        };
        assert_eq!(ask(&[1, 2]), Known { found: vec!["one"], complete: true });
        assert_eq!(ask(&[1, 3]), Known { found: vec!["one"], complete: false });
    }

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
