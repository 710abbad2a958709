//! The port to who the creators are. Log rows carry ids only; names live in Dify's PostgreSQL.

use std::collections::HashMap;

use async_trait::async_trait;

use crate::domain::query::AppLogRow;
use crate::domain::{RecordId, TenantId};

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

/// End users that a keyword finds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matches {
    pub ids: Vec<RecordId>,
    /// `false`: there are more than the directory answers.
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
    /// Whether it knows any names at all.
    fn knows_names(&self) -> bool;

    /// Accounts by their ids, in no order, unknown ones left out.
    ///
    /// # Errors
    /// [`DirectoryError`] if the directory cannot be asked. So for every method here.
    async fn accounts(&self, ids: &[RecordId]) -> Result<Vec<Account>, DirectoryError>;

    /// End users of a tenant by their ids, in no order, unknown ones left out.
    async fn end_users(&self, tenant_id: TenantId, ids: &[RecordId]) -> Result<Vec<EndUser>, DirectoryError>;

    /// The end users of a tenant with exactly this session id.
    async fn end_users_of_session(
        &self,
        tenant_id: TenantId,
        session_id: &str,
    ) -> Result<Vec<RecordId>, DirectoryError>;

    /// The end users of a tenant whose session id holds `keyword`, without regard to case.
    async fn end_users_matching(&self, tenant_id: TenantId, keyword: &str) -> Result<Matches, DirectoryError>;

    /// The account with exactly this e-mail, if it is a member of the tenant.
    async fn account_of_email(&self, tenant_id: TenantId, email: &str) -> Result<Option<RecordId>, DirectoryError>;
}

/// Knows nobody: answers show ids.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDirectory;

#[async_trait]
impl Directory for NoDirectory {
    fn knows_names(&self) -> bool {
        false
    }

    async fn accounts(&self, _: &[RecordId]) -> Result<Vec<Account>, DirectoryError> {
        Ok(Vec::new())
    }

    async fn end_users(&self, _: TenantId, _: &[RecordId]) -> Result<Vec<EndUser>, DirectoryError> {
        Ok(Vec::new())
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
}

/// The creators of the rows of one answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Creators(HashMap<RecordId, Creator>);

impl Creators {
    /// Who made a record; `None` if nobody knows them any more, as Dify answers then.
    #[must_use]
    pub fn get(&self, id: RecordId) -> Option<&Creator> {
        self.0.get(&id)
    }

    /// What app logs carry along of their creators fills what the directory does not know.
    pub(super) fn fill_from(&mut self, rows: &[AppLogRow]) {
        for AppLogRow { log, .. } in rows {
            let (id, carried) = (log.created_by, log.creator.clone());
            match (self.0.get_mut(&id), &*log.created_by_role) {
                (Some(Creator::Account(account)), _) if account.email.is_none() => account.email = carried,
                (Some(Creator::EndUser(user)), _) if user.session_id.is_none() => user.session_id = carried,
                (None, "account") if carried.is_some() => {
                    self.0.insert(id, Creator::Account(Account { id, name: None, email: carried }));
                }
                (None, "end_user") if carried.is_some() => {
                    self.0.insert(id, Creator::EndUser(EndUser { id, r#type: None, session_id: carried }));
                }
                _ => {}
            }
        }
    }
}

impl super::TenantLogs {
    /// The creators of records, given role and id of each: two look-ups for any number.
    ///
    /// # Errors
    /// [`super::QueryError::Directory`].
    pub async fn creators<'a>(
        &self,
        of: impl IntoIterator<Item = (&'a str, RecordId)>,
    ) -> Result<Creators, super::QueryError> {
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
        let directory = &self.ports.directory;
        if !directory.knows_names() {
            let accounts =
                accounts.into_iter().map(|id| (id, Creator::Account(Account { id, name: None, email: None })));
            let unnamed = |id| (id, Creator::EndUser(EndUser { id, r#type: None, session_id: None }));
            return Ok(Creators(accounts.chain(end_users.into_iter().map(unnamed)).collect()));
        }
        let mut found = HashMap::new();
        if !accounts.is_empty() {
            let accounts = directory.accounts(&accounts).await?;
            found.extend(accounts.into_iter().map(|account| (account.id, Creator::Account(account))));
        }
        if !end_users.is_empty() {
            let users = directory.end_users(self.tenant_id, &end_users).await?;
            found.extend(users.into_iter().map(|user| (user.id, Creator::EndUser(user))));
        }
        Ok(Creators(found))
    }
}
