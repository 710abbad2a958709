//! The columns of the small records: app logs and offloads.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AsText, Text, json_text, optional, origin_row, payload};
use crate::domain::{AppId, AppLog, Document, Offload, Origin, Record, RecordId, Revision, TenantId, Timestamp};

#[derive(Serialize, Deserialize)]
pub(in super::super) struct AppLogRow<'a> {
    id: AsText<RecordId>,
    tenant_id: AsText<TenantId>,
    app_id: AsText<AppId>,
    workflow_id: AsText<RecordId>,
    workflow_run_id: AsText<RecordId>,
    created_from: Text<'a>,
    created_by_role: Text<'a>,
    created_by: AsText<RecordId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    creator: Option<Text<'a>>,
    created_at: AsText<Timestamp>,
    revision: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<AsText<Uuid>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<Text<'a>>,
}

impl<'a> AppLogRow<'a> {
    pub(super) fn new(log: &'a AppLog, document: &'a Document) -> Self {
        Self {
            id: AsText(log.id),
            tenant_id: AsText(log.tenant_id),
            app_id: AsText(log.app_id),
            workflow_id: AsText(log.workflow_id),
            workflow_run_id: AsText(log.workflow_run_id),
            created_from: (&*log.created_from).into(),
            created_by_role: (&*log.created_by_role).into(),
            created_by: AsText(log.created_by),
            creator: optional(log.creator.as_deref()),
            created_at: AsText(log.created_at),
            revision: document.revision.value(),
            origin: origin_row(document),
            extra: payload(document.extra.as_ref()),
        }
    }

    pub(super) fn into_document(self) -> Document {
        let (revision, origin) = (self.revision, self.origin);
        let extra = self.extra.clone();
        bare(Record::AppLog(Box::new(self.into_log())), revision, origin, extra)
    }

    pub(in super::super) fn into_log(self) -> AppLog {
        AppLog {
            id: self.id.0,
            tenant_id: self.tenant_id.0,
            app_id: self.app_id.0,
            workflow_id: self.workflow_id.0,
            workflow_run_id: self.workflow_run_id.0,
            created_from: self.created_from.into(),
            created_by_role: self.created_by_role.into(),
            created_by: self.created_by.0,
            created_at: self.created_at.0,
            creator: self.creator.map(Into::into),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct OffloadRow<'a> {
    id: AsText<RecordId>,
    tenant_id: AsText<TenantId>,
    app_id: AsText<AppId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_execution_id: Option<AsText<RecordId>>,
    r#type: Text<'a>,
    file_id: AsText<RecordId>,
    created_at: AsText<Timestamp>,
    revision: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<AsText<Uuid>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<Text<'a>>,
}

impl<'a> OffloadRow<'a> {
    pub(super) fn new(offload: &'a Offload, document: &'a Document) -> Self {
        Self {
            id: AsText(offload.id),
            tenant_id: AsText(offload.tenant_id),
            app_id: AsText(offload.app_id),
            node_execution_id: offload.node_execution_id.map(AsText),
            r#type: (&*offload.r#type).into(),
            file_id: AsText(offload.file_id),
            created_at: AsText(offload.created_at),
            revision: document.revision.value(),
            origin: origin_row(document),
            extra: payload(document.extra.as_ref()),
        }
    }

    pub(super) fn into_document(self) -> Document {
        let offload = Offload {
            id: self.id.0,
            tenant_id: self.tenant_id.0,
            app_id: self.app_id.0,
            node_execution_id: self.node_execution_id.map(|id| id.0),
            r#type: self.r#type.into(),
            file_id: self.file_id.0,
            created_at: self.created_at.0,
        };
        bare(Record::Offload(Box::new(offload)), self.revision, self.origin, self.extra)
    }
}

fn bare(record: Record, revision: i64, origin: Option<AsText<Uuid>>, extra: Option<Text<'_>>) -> Document {
    Document {
        record,
        revision: Revision::from_stored(revision),
        graph: None,
        truncated: Vec::new(),
        origin: origin.map(|origin| Origin::new(origin.0)),
        extra: json_text(extra),
    }
}
