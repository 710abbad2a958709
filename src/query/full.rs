//! Full texts of truncated payloads, from the payload store back into the document.

use super::{QueryError, TenantLogs};
use crate::domain::document::PayloadField;
use crate::domain::{Document, JsonText, Record};
use crate::store::payload::PayloadError;

impl TenantLogs {
    /// Returns the same document with the full text of every truncated payload. One at a time: a payload may have many
    /// megabytes.
    ///
    /// # Errors
    /// [`QueryError::PayloadMissing`], or a payload store that cannot be read.
    pub async fn full(&self, mut document: Document) -> Result<Document, QueryError> {
        for mark in std::mem::take(&mut document.truncated) {
            let text = self.reader.payloads().get(self.tenant_id(), document.month(), mark.sha256).await?;
            let text = text.ok_or(QueryError::PayloadMissing(mark.field.as_str()))?;
            match mark.field {
                PayloadField::Extra => document.extra = Some(text),
                PayloadField::Error => {
                    let damaged = |_| PayloadError::Damaged(format!("{} of {}", mark.sha256, mark.field.as_str()));
                    let plain: Box<str> = serde_json::from_str(text.as_str()).map_err(damaged)?;
                    put_error_back(&mut document.record, plain);
                }
                field => put_back(&mut document.record, field, text),
            }
        }
        Ok(self.shown(document))
    }
}

fn put_back(record: &mut Record, field: PayloadField, text: JsonText) {
    match (record, field) {
        (Record::Run(run), PayloadField::Graph) => run.graph = Some(text),
        (Record::Run(run), PayloadField::Inputs) => run.inputs = Some(text),
        (Record::Run(run), PayloadField::Outputs) => run.outputs = Some(text),
        (Record::Node(node), PayloadField::Inputs) => node.inputs = Some(text),
        (Record::Node(node), PayloadField::ProcessData) => node.process_data = Some(text),
        (Record::Node(node), PayloadField::Outputs) => node.outputs = Some(text),
        (Record::Node(node), PayloadField::ExecutionMetadata) => node.execution_metadata = Some(text),
        // No other field of JSON is ever truncated.
        _ => {}
    }
}

/// An error is a text, kept as a JSON string because every full text is JSON. Masks and readers are given the text.
fn put_error_back(record: &mut Record, error: Box<str>) {
    match record {
        Record::Run(run) => run.error = Some(error),
        Record::Node(node) => node.error = Some(error),
        Record::AppLog(_) | Record::Offload(_) => {}
    }
}
