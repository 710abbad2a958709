//! Everything that one app of a tenant has: records of every kind, and what a directory knows of it.

use async_trait::async_trait;
use difylog::domain::{
    AppId, AppLog, NodeExecution, NodeStatus, Offload, Record, RecordId, RunStatus, TenantId, WorkflowRun,
};
use difylog::query::{Account, Answered, App, Directory, DirectoryError, EndUser, KnownNames, Matches, Workspace};

use crate::support::records::{self, at, json, later};

/// See the module. Every text holds the app's word.
#[derive(Clone)]
pub struct AppRecords {
    pub word: &'static str,
    pub app_id: AppId,
    pub run: WorkflowRun,
    /// Succeeded, a minute later.
    pub other_run: WorkflowRun,
    pub node: NodeExecution,
    pub log: AppLog,
    pub offload: Offload,
    pub conversation_id: RecordId,
    pub message_id: RecordId,
}

impl AppRecords {
    pub fn new(tenant_id: TenantId, word: &'static str) -> Self {
        let (app_id, began) = (records::app(), at("2025-12-20T11:00:00Z"));
        let payload = |what: &str| json(&format!(r#"{{"{what}": "{word} {what}"}}"#));
        let mut run = records::ended(records::run(tenant_id, app_id, began), 900_000);
        run.status = RunStatus::Failed;
        (run.inputs, run.outputs) = (payload("input"), payload("output"));
        run.error = Some(format!("{word} fails").into());
        let mut other_run = records::ended(records::run(tenant_id, app_id, later(began, 60_000_000)), 900_000);
        (other_run.inputs, other_run.outputs) = (payload("question"), payload("answer"));
        (other_run.created_by, other_run.workflow_id) = (run.created_by, run.workflow_id);
        let mut node = records::node(tenant_id, app_id, run.id, 1, began);
        node.status = NodeStatus::Failed;
        node.title = format!("{word} title").into();
        (node.inputs, node.outputs, node.process_data) = (payload("in"), payload("out"), payload("between"));
        node.error = Some(format!("{word} node fails").into());
        let mut log = records::app_log(tenant_id, app_id, run.id, began);
        log.created_by = run.created_by;
        log.creator = Some(format!("{word}-session").into());
        let offload = records::offload(tenant_id, app_id, Some(node.id), began);
        let (conversation_id, message_id) = (records::id(), records::id());
        Self { word, app_id, run, other_run, node, log, offload, conversation_id, message_id }
    }

    pub fn records(&self) -> Vec<Record> {
        vec![
            Record::Run(Box::new(self.run.clone())),
            Record::Run(Box::new(self.other_run.clone())),
            Record::Node(Box::new(self.node.clone())),
            Record::AppLog(Box::new(self.log.clone())),
            Record::Offload(Box::new(self.offload.clone())),
        ]
    }

    /// The ids of its records, and the words of their texts.
    pub fn secrets(&self) -> Vec<String> {
        let ids = [
            self.run.id,
            self.other_run.id,
            self.node.id,
            self.log.id,
            self.offload.id,
            self.conversation_id,
            self.message_id,
            self.run.created_by,
            self.run.workflow_id,
            self.node.created_by,
        ];
        let ids = ids.iter().map(ToString::to_string);
        ids.chain([self.app_id.to_string(), self.word.to_owned()]).collect()
    }

    fn answered(&self) -> Answered {
        let Self { message_id, conversation_id, app_id, .. } = *self;
        Answered { message_id, conversation_id, run_id: self.run.id, app_id }
    }
}

/// A directory that knows these apps.
pub struct AppsDirectory(pub Vec<AppRecords>);

fn known<T>(found: impl Iterator<Item = T>) -> KnownNames<T> {
    KnownNames { found: found.collect(), complete: true }
}

#[async_trait]
impl Directory for AppsDirectory {
    fn knows_names(&self) -> bool {
        true
    }

    async fn accounts(&self, _: TenantId, ids: &[RecordId]) -> KnownNames<Account> {
        let of_app = |app: &AppRecords| Account {
            id: app.node.created_by,
            name: Some(format!("{} account", app.word).into()),
            email: Some(format!("{}@example.org", app.word).into()),
        };
        known(self.0.iter().map(of_app).filter(|account| ids.contains(&account.id)))
    }

    async fn end_users(&self, _: TenantId, ids: &[RecordId]) -> KnownNames<EndUser> {
        let of_app = |app: &AppRecords| EndUser {
            id: app.run.created_by,
            r#type: Some("browser".into()),
            session_id: Some(format!("{}-session", app.word).into()),
        };
        known(self.0.iter().map(of_app).filter(|user| ids.contains(&user.id)))
    }

    async fn apps(&self, _: TenantId, ids: &[AppId]) -> KnownNames<App> {
        let of_app = |app: &AppRecords| App {
            id: app.app_id,
            name: format!("{} app", app.word).into(),
            mode: "workflow".into(),
            icon: None,
        };
        known(self.0.iter().map(of_app).filter(|app| ids.contains(&app.id)))
    }

    async fn workspaces(&self, ids: &[TenantId]) -> KnownNames<Workspace> {
        known(ids.iter().map(|id| Workspace { id: *id, name: "the workspace".into() }))
    }

    async fn end_users_of_session(&self, _: TenantId, session_id: &str) -> Result<Vec<RecordId>, DirectoryError> {
        let of_session = |app: &&AppRecords| session_id == format!("{}-session", app.word);
        Ok(self.0.iter().filter(of_session).map(|app| app.run.created_by).collect())
    }

    async fn end_users_matching(&self, _: TenantId, keyword: &str) -> Result<Matches, DirectoryError> {
        let matching = self.0.iter().filter(|app| format!("{}-session", app.word).contains(keyword));
        Ok(Matches { ids: matching.map(|app| app.run.created_by).collect(), complete: true })
    }

    async fn account_of_email(&self, _: TenantId, _: &str) -> Result<Option<RecordId>, DirectoryError> {
        Ok(None)
    }

    async fn messages_of_conversation(
        &self,
        _: TenantId,
        conversation_id: RecordId,
        _: usize,
    ) -> Result<Vec<Answered>, DirectoryError> {
        let of_conversation = |app: &&AppRecords| app.conversation_id == conversation_id;
        Ok(self.0.iter().filter(of_conversation).map(AppRecords::answered).collect())
    }

    async fn message_of_run(
        &self,
        _: TenantId,
        app_id: AppId,
        run_id: RecordId,
    ) -> Result<Option<Answered>, DirectoryError> {
        Ok(self.0.iter().find(|app| app.app_id == app_id && app.run.id == run_id).map(AppRecords::answered))
    }

    async fn message(&self, _: TenantId, id: RecordId) -> Result<Option<Answered>, DirectoryError> {
        Ok(self.0.iter().find(|app| app.message_id == id).map(AppRecords::answered))
    }
}
