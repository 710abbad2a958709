//! The directory that Dify's PostgreSQL is: read-only, batched, and cached within bounds, because the same few people
//! make most of the rows of a page. While PostgreSQL is away, names that were looked up before are shown as they were.

mod cache;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use self::cache::Cache;
use super::directory::{Account, Answered, App, Directory, DirectoryError, EndUser, KnownNames, Matches, Workspace};
use crate::domain::{AppId, RecordId, TenantId};
use crate::postgres::conversations::{self, AnsweredRow};
use crate::postgres::{Database, PostgresError, names, people};

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
    /// A failure is logged. Else the caller says that names are missing.
    is_logged: bool,
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
            is_logged: true,
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

    /// Leaves it to the caller to say that names are missing.
    #[must_use]
    pub fn unlogged(mut self) -> Self {
        self.is_logged = false;
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
        if self.is_logged && trouble.said.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
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

    async fn accounts(&self, tenant_id: TenantId, ids: &[RecordId]) -> KnownNames<Account> {
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

    async fn end_users(&self, tenant_id: TenantId, ids: &[RecordId]) -> KnownNames<EndUser> {
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

    async fn apps(&self, tenant_id: TenantId, ids: &[AppId]) -> KnownNames<App> {
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

    async fn workspaces(&self, ids: &[TenantId]) -> KnownNames<Workspace> {
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

    async fn messages_of_conversation(
        &self,
        tenant_id: TenantId,
        conversation_id: RecordId,
        limit: usize,
    ) -> Result<Vec<Answered>, DirectoryError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = self.ask(async {
            let client = self.database.client().await?;
            conversations::of_conversation(&client, tenant_id.uuid(), conversation_id.uuid(), limit).await
        });
        Ok(found.await?.into_iter().map(answered).collect())
    }

    async fn message_of_run(
        &self,
        tenant_id: TenantId,
        app_id: AppId,
        run_id: RecordId,
    ) -> Result<Option<Answered>, DirectoryError> {
        let found = self.ask(async {
            let client = self.database.client().await?;
            conversations::of_run(&client, tenant_id.uuid(), app_id.uuid(), run_id.uuid()).await
        });
        Ok(found.await?.map(answered))
    }

    async fn message(&self, tenant_id: TenantId, id: RecordId) -> Result<Option<Answered>, DirectoryError> {
        let found = self.ask(async {
            let client = self.database.client().await?;
            conversations::of_message(&client, tenant_id.uuid(), id.uuid()).await
        });
        Ok(found.await?.map(answered))
    }
}

fn answered(row: AnsweredRow) -> Answered {
    let AnsweredRow { message_id, conversation_id, run_id, app_id } = row;
    let id = RecordId::new;
    Answered {
        message_id: id(message_id),
        conversation_id: id(conversation_id),
        run_id: id(run_id),
        app_id: AppId::new(app_id),
    }
}

fn records(ids: Vec<Uuid>) -> Vec<RecordId> {
    ids.into_iter().map(RecordId::new).collect()
}
