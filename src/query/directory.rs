//! The port to what ids are called: creators, apps, workspaces. Log rows carry ids only; names live in Dify's PostgreSQL.

use std::collections::HashMap;

use async_trait::async_trait;

use super::{QueryError, RunQuery};
use crate::domain::query::{AppLogRow, Page};
use crate::domain::{AppId, RecordId, TenantId};

/// The directory could not be asked; the same call may succeed later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DirectoryError(pub String);

/// A row of `accounts`, as answers show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: RecordId,
    pub name: Option<Box<str>>,
    pub email: Option<Box<str>>,
}

/// A row of `end_users`, as answers show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndUser {
    pub id: RecordId,
    pub r#type: Option<Box<str>>,
    pub session_id: Option<Box<str>>,
}

/// A row of `apps`, as answers show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    pub id: AppId,
    pub name: Box<str>,
    /// `workflow`, `advanced-chat`, …
    pub mode: Box<str>,
    /// A character or its name; `None` where the icon is a picture.
    pub icon: Option<Box<str>>,
}

/// A row of `tenants`, as answers show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    pub id: TenantId,
    pub name: Box<str>,
}

/// A message of a chat that a run answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    pub message_id: RecordId,
    pub conversation_id: RecordId,
    pub run_id: RecordId,
    pub app_id: AppId,
}

/// End users that a keyword finds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matches {
    pub ids: Vec<RecordId>,
    /// `false`: there are more than the directory answers.
    pub complete: bool,
}

/// What a look-up of names found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownNames<T> {
    pub found: Vec<T>,
    /// `false`: the directory could not be asked about the others.
    pub complete: bool,
}

/// Who made a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creator {
    Account(Account),
    EndUser(EndUser),
}

/// Who knows names. Reads only.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Returns whether it knows any names at all.
    fn knows_names(&self) -> bool;

    /// Returns whether whoever it does not find is nobody, and whether it knows sessions and conversations.
    fn knows_everybody(&self) -> bool {
        self.knows_names()
    }

    /// Returns accounts that are members of a tenant by their ids, in no order, others left out. A directory that cannot
    /// be asked says so quickly: names are not worth a wait.
    async fn accounts(&self, tenant_id: TenantId, ids: &[RecordId]) -> KnownNames<Account>;

    /// Returns end users of a tenant by their ids; otherwise as [`Self::accounts`].
    async fn end_users(&self, tenant_id: TenantId, ids: &[RecordId]) -> KnownNames<EndUser>;

    /// Returns apps of a tenant by their ids; otherwise as [`Self::accounts`].
    async fn apps(&self, tenant_id: TenantId, ids: &[AppId]) -> KnownNames<App>;

    /// Returns workspaces by their ids; otherwise as [`Self::accounts`].
    async fn workspaces(&self, ids: &[TenantId]) -> KnownNames<Workspace>;

    /// Returns the end users of a tenant with exactly this session id.
    ///
    /// # Errors
    /// [`DirectoryError`] if the directory cannot be asked. So for the methods below.
    async fn end_users_of_session(
        &self,
        tenant_id: TenantId,
        session_id: &str,
    ) -> Result<Vec<RecordId>, DirectoryError>;

    /// Returns the end users of a tenant whose session id holds `keyword`, without regard to case.
    async fn end_users_matching(&self, tenant_id: TenantId, keyword: &str) -> Result<Matches, DirectoryError>;

    /// Returns the account with exactly this e-mail, if it is a member of the tenant.
    async fn account_of_email(&self, tenant_id: TenantId, email: &str) -> Result<Option<RecordId>, DirectoryError>;

    /// Returns the messages of a conversation of a tenant that runs answered, oldest first, at most `limit`.
    async fn messages_of_conversation(
        &self,
        tenant_id: TenantId,
        conversation_id: RecordId,
        limit: usize,
    ) -> Result<Vec<Answered>, DirectoryError>;

    /// Returns the message that a run of an app of a tenant answered.
    async fn message_of_run(
        &self,
        tenant_id: TenantId,
        app_id: AppId,
        run_id: RecordId,
    ) -> Result<Option<Answered>, DirectoryError>;

    /// Returns a message of a tenant by its id, if a run answered it.
    async fn message(&self, tenant_id: TenantId, id: RecordId) -> Result<Option<Answered>, DirectoryError>;
}

/// Knows nobody: answers show ids.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDirectory;

#[async_trait]
impl Directory for NoDirectory {
    fn knows_names(&self) -> bool {
        false
    }

    async fn accounts(&self, _: TenantId, _: &[RecordId]) -> KnownNames<Account> {
        KnownNames { found: Vec::new(), complete: true }
    }

    async fn end_users(&self, _: TenantId, _: &[RecordId]) -> KnownNames<EndUser> {
        KnownNames { found: Vec::new(), complete: true }
    }

    async fn apps(&self, _: TenantId, _: &[AppId]) -> KnownNames<App> {
        KnownNames { found: Vec::new(), complete: true }
    }

    async fn workspaces(&self, _: &[TenantId]) -> KnownNames<Workspace> {
        KnownNames { found: Vec::new(), complete: true }
    }

    async fn end_users_of_session(&self, _: TenantId, _: &str) -> Result<Vec<RecordId>, DirectoryError> {
        Ok(Vec::new())
    }

    async fn end_users_matching(&self, _: TenantId, _: &str) -> Result<Matches, DirectoryError> {
        Ok(Matches { ids: Vec::new(), complete: true })
    }

    async fn account_of_email(&self, _: TenantId, _: &str) -> Result<Option<RecordId>, DirectoryError> {
        Ok(None)
    }

    async fn messages_of_conversation(
        &self,
        _: TenantId,
        _: RecordId,
        _: usize,
    ) -> Result<Vec<Answered>, DirectoryError> {
        Ok(Vec::new())
    }

    async fn message_of_run(&self, _: TenantId, _: AppId, _: RecordId) -> Result<Option<Answered>, DirectoryError> {
        Ok(None)
    }

    async fn message(&self, _: TenantId, _: RecordId) -> Result<Option<Answered>, DirectoryError> {
        Ok(None)
    }
}

/// The creators of the rows of one answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Creators {
    known: HashMap<RecordId, Creator>,
    /// The directory could not be asked: creators without a name may have one.
    names_missing: bool,
}

impl Creators {
    /// Returns who made a record; `None` if nobody knows them any more, as Dify answers then.
    #[must_use]
    pub fn get(&self, id: RecordId) -> Option<&Creator> {
        self.known.get(&id)
    }

    /// Returns whether names are missing because the directory could not be asked.
    #[must_use]
    pub const fn are_names_missing(&self) -> bool {
        self.names_missing
    }

    /// What app logs carry along of their creators fills what the directory does not know.
    pub(super) fn fill_from(&mut self, rows: &[AppLogRow]) {
        for AppLogRow { log, .. } in rows {
            let (id, carried) = (log.created_by, log.creator.clone());
            match (self.known.get_mut(&id), &*log.created_by_role) {
                (Some(Creator::Account(account)), _) if account.email.is_none() => account.email = carried,
                (Some(Creator::EndUser(user)), _) if user.session_id.is_none() => user.session_id = carried,
                (None, "account") if carried.is_some() => {
                    self.known.insert(id, Creator::Account(Account { id, name: None, email: carried }));
                }
                (None, "end_user") if carried.is_some() => {
                    self.known.insert(id, Creator::EndUser(EndUser { id, r#type: None, session_id: carried }));
                }
                _ => {}
            }
        }
    }
}

impl super::TenantLogs {
    /// Returns who an account or end user is, as [`Self::creators`] does. Where only some apps can be seen, nobody who made no
    /// run of these.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn person(&self, id: RecordId) -> Result<Creators, QueryError> {
        let made = RunQuery { created_by: Some(id), ..RunQuery::default() };
        if self.apps().apps().is_some() && self.reader.runs(&made, &Page::newest(1)).await?.is_empty() {
            return Ok(Creators::default());
        }
        Ok(self.creators([("account", id), ("end_user", id)]).await)
    }

    /// Returns the creators of records, given role and id of each: two look-ups for any number. Where the directory cannot
    /// be asked, they have ids and no names, and [`Creators::are_names_missing`] says so.
    pub async fn creators<'a>(&self, of: impl IntoIterator<Item = (&'a str, RecordId)>) -> Creators {
        let (mut accounts, mut end_users) = (Vec::new(), Vec::new());
        for (role, id) in of {
            match role {
                "account" => accounts.push(id),
                "end_user" => end_users.push(id),
                _ => {}
            }
        }
        for ids in [&mut accounts, &mut end_users] {
            ids.sort_unstable();
            ids.dedup();
        }
        let directory = self.reader.directory();
        let (mut known, mut names_missing) = (HashMap::new(), false);
        if directory.knows_names() && !accounts.is_empty() {
            let KnownNames { found, complete } = directory.accounts(self.tenant_id(), &accounts).await;
            known.extend(found.into_iter().map(|account| (account.id, Creator::Account(account))));
            names_missing |= !complete;
        }
        if directory.knows_names() && !end_users.is_empty() {
            let KnownNames { found, complete } = directory.end_users(self.tenant_id(), &end_users).await;
            known.extend(found.into_iter().map(|user| (user.id, Creator::EndUser(user))));
            names_missing |= !complete;
        }
        if !directory.knows_everybody() || names_missing {
            for id in accounts {
                known.entry(id).or_insert(Creator::Account(Account { id, name: None, email: None }));
            }
            for id in end_users {
                known.entry(id).or_insert(Creator::EndUser(EndUser { id, r#type: None, session_id: None }));
            }
        }
        Creators { known, names_missing }
    }
}
