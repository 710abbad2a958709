//! What only Dify's tables know: whose key this is, and which message a run answered. Without `[postgres]`, nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::access::Access;
use super::answer::PassOnReason;
use super::query::with_query;
use crate::domain::{AppId, RecordId, TenantId};
use crate::postgres::apps::{self, MessageRow};
use crate::postgres::{Database, PostgresError};

/// Longest wait for an answer, connecting included.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a database that did not answer is left alone.
const REST: Duration = Duration::from_secs(5);

const ABSENT: PassOnReason = PassOnReason::Dify("no [postgres] is given");

/// Dify's PostgreSQL, if there is one to ask.
pub(super) struct Tables {
    database: Option<Database>,
    /// Where Dify's console gets the icons of plugins from: an address without parameters.
    icons: String,
    rests_until: Mutex<Option<Instant>>,
}

impl Tables {
    pub(super) const fn new(database: Option<Database>, icons: String) -> Self {
        Self { database, icons, rests_until: Mutex::new(None) }
    }

    /// Returns what a key of the service API opens.
    ///
    /// # Errors
    /// [`PassOnReason::Dify`] where Dify should answer: a key that opens nothing, too.
    pub(super) async fn access_of_key(&self, key: &str) -> Result<Access, PassOnReason> {
        let database = self.database.as_ref().ok_or(ABSENT)?;
        let found = self.ask(async { apps::app_of_key(&database.client().await?, key).await }).await?;
        let app = found.ok_or(PassOnReason::Dify("a key that opens no app"))?;
        let (tenant_id, app_id) = (TenantId::new(app.tenant_id), AppId::new(app.id));
        Ok(Access { tenant_id, app_id, mode: app.mode.into(), zone: None })
    }

    /// Returns the messages that runs of a chat app answered; none where no database is given.
    ///
    /// # Errors
    /// [`PassOnReason::Dify`] where Dify should answer.
    pub(super) async fn messages(&self, app_id: AppId, runs: &[Uuid]) -> Result<Vec<MessageRow>, PassOnReason> {
        let Some(database) = self.database.as_ref().filter(|_| !runs.is_empty()) else { return Ok(Vec::new()) };
        self.ask(async { apps::messages_of_runs(&database.client().await?, app_id.uuid(), runs).await }).await
    }

    /// Returns what triggers noted of runs, as Dify's log page shows it; of a run without a note, nothing.
    ///
    /// # Errors
    /// [`PassOnReason::Dify`] where Dify should answer: without a database.
    pub(super) async fn trigger_metadata(
        &self,
        access: &Access,
        runs: &[RecordId],
    ) -> Result<HashMap<RecordId, Value>, PassOnReason> {
        if runs.is_empty() {
            return Ok(HashMap::new());
        }
        let database =
            self.database.as_ref().ok_or(PassOnReason::Dify("details of triggers are in Dify's tables alone"))?;
        let runs: Vec<Uuid> = runs.iter().map(|run| run.uuid()).collect();
        let (tenant, app) = (access.tenant_id.uuid(), access.app_id.uuid());
        let question = async { apps::trigger_metadata(&database.client().await?, tenant, app, &runs).await };
        let mut found = HashMap::new();
        for (run, text) in self.ask(question).await? {
            if let Ok(Value::Object(mut noted)) = serde_json::from_str(&text) {
                if noted.get("type").is_some_and(|kind| kind == "trigger-plugin") {
                    self.add_icons(access.tenant_id, &mut noted);
                }
                found.insert(RecordId::new(run), Value::Object(noted));
            }
        }
        Ok(found)
    }

    /// As Dify does when it shows the note; the console's page asks the addresses with its reader's own session.
    fn add_icons(&self, tenant_id: TenantId, noted: &mut Map<String, Value>) {
        let tenant_id = tenant_id.to_string();
        for (icon, file) in [("icon", "icon_filename"), ("icon_dark", "icon_dark_filename")] {
            let name = noted.get(file).and_then(Value::as_str).filter(|name| !name.is_empty());
            let address = name.map(|name| with_query(&self.icons, [("tenant_id", &*tenant_id), ("filename", name)]));
            noted.insert(icon.to_owned(), address.into());
        }
    }

    async fn ask<T>(&self, question: impl Future<Output = Result<T, PostgresError>>) -> Result<T, PassOnReason> {
        if self.rests_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until) {
            return Err(PassOnReason::Dify("PostgreSQL did not answer a moment ago"));
        }
        match tokio::time::timeout(PATIENCE, question).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => warn!(%error, "Dify's tables cannot be asked; its service API answers"),
            Err(_) => warn!("Dify's tables do not answer in time; its service API answers"),
        }
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + REST);
        Err(PassOnReason::Dify("PostgreSQL does not answer"))
    }
}
