//! The runs of a conversation. Log rows do not say which conversation they belong to; Dify's `messages` do.

use std::collections::HashMap;

use super::directory::Answered;
use super::{QueryError, TenantLogs};
use crate::domain::query::RunSummary;
use crate::domain::{AppId, RecordId};

/// Messages of a conversation at most.
pub const MOST_TURNS: usize = 500;

/// One message and its run, as far as that is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    pub answered: Answered,
    pub run: Option<RunSummary>,
}

impl TenantLogs {
    /// Returns whether conversations can be looked up at all.
    #[must_use]
    pub fn knows_conversations(&self) -> bool {
        self.reader.directory().knows_everybody()
    }

    /// Returns the messages of a conversation of this tenant that runs answered, oldest first, at most [`MOST_TURNS`]; none if
    /// nobody knows the conversation.
    ///
    /// # Errors
    /// A directory or a store that cannot be asked.
    pub async fn conversation(&self, id: RecordId) -> Result<Vec<Turn>, QueryError> {
        let mut answered = self.reader.directory().messages_of_conversation(self.tenant_id(), id, MOST_TURNS).await?;
        answered.retain(|message| self.apps().holds(message.app_id));
        let ids: Vec<_> = answered.iter().map(|message| message.run_id).collect();
        let runs = self.run_summaries(&ids).await?;
        let mut runs: HashMap<_, _> = runs.into_iter().map(|run| (run.id, run)).collect();
        Ok(answered.into_iter().map(|message| Turn { run: runs.remove(&message.run_id), answered: message }).collect())
    }

    /// Returns the message that a run of an app answered.
    ///
    /// # Errors
    /// A directory that cannot be asked.
    pub async fn message_of_run(&self, app_id: AppId, run_id: RecordId) -> Result<Option<Answered>, QueryError> {
        let found = self.reader.directory().message_of_run(self.tenant_id(), app_id, run_id).await?;
        Ok(found.filter(|message| self.apps().holds(message.app_id)))
    }

    /// Returns a message of this tenant by its id, if a run answered it.
    ///
    /// # Errors
    /// A directory that cannot be asked.
    pub async fn message(&self, id: RecordId) -> Result<Option<Answered>, QueryError> {
        let found = self.reader.directory().message(self.tenant_id(), id).await?;
        Ok(found.filter(|message| self.apps().holds(message.app_id)))
    }
}
