//! Records back to native events: what `publish --generate` sends, and what decoding reads back unchanged.

use std::fmt::{Display, Write};

use crate::codec::python_json::string::push_quoted;
use crate::domain::{AppLog, JsonText, NodeExecution, Offload, Record, WorkflowRun};

/// The native event of a record. Decoding it answers the same record.
#[must_use]
pub fn encode_native(record: &Record) -> Vec<u8> {
    let mut columns = Columns { out: format!(r#"{{"v":1,"kind":"{}","record":"#, record.kind()), separator: '{' };
    match record {
        Record::Run(run) => columns.run(run),
        Record::Node(node) => columns.node(node),
        Record::AppLog(log) => columns.app_log(log),
        Record::Offload(offload) => columns.offload(offload),
    }
    columns.out.push_str("}}");
    columns.out.into_bytes()
}

struct Columns {
    out: String,
    separator: char,
}

impl Columns {
    fn name(&mut self, name: &str) {
        self.out.push(self.separator);
        self.separator = ',';
        push_quoted(&mut self.out, name);
        self.out.push(':');
    }

    /// Identifiers and instants: their text needs no escapes.
    fn quoted(&mut self, name: &str, value: impl Display) {
        self.name(name);
        let _ = write!(self.out, "\"{value}\"");
    }

    fn optional_quoted(&mut self, name: &str, value: Option<impl Display>) {
        match value {
            Some(value) => self.quoted(name, value),
            None => self.null(name),
        }
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        push_quoted(&mut self.out, text);
    }

    fn optional_text(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(name, text),
            None => self.null(name),
        }
    }

    fn integer(&mut self, name: &str, integer: i64) {
        self.name(name);
        let _ = write!(self.out, "{integer}");
    }

    fn seconds(&mut self, name: &str, seconds: f64) {
        if !seconds.is_finite() {
            return self.null(name);
        }
        self.name(name);
        let _ = write!(self.out, "{seconds:?}");
    }

    /// A payload as a value; one that is a string as the text of it, because a string stands for JSON text.
    fn payload(&mut self, name: &str, payload: Option<&JsonText>) {
        match payload.map(JsonText::as_str) {
            Some(text) if text.starts_with('"') => self.text(name, text),
            Some(text) => {
                self.name(name);
                self.out.push_str(text);
            }
            None => self.null(name),
        }
    }

    fn null(&mut self, name: &str) {
        self.name(name);
        self.out.push_str("null");
    }

    fn run(&mut self, run: &WorkflowRun) {
        self.quoted("id", run.id);
        self.quoted("tenant_id", run.tenant_id);
        self.quoted("app_id", run.app_id);
        self.quoted("workflow_id", run.workflow_id);
        self.text("type", &run.r#type);
        self.text("triggered_from", &run.triggered_from);
        self.text("version", &run.version);
        self.payload("graph", run.graph.as_ref());
        self.payload("inputs", run.inputs.as_ref());
        self.text("status", run.status.as_str());
        self.payload("outputs", run.outputs.as_ref());
        self.optional_text("error", run.error.as_deref());
        self.seconds("elapsed_time", run.elapsed_time);
        self.integer("total_tokens", run.total_tokens);
        self.integer("total_steps", run.total_steps);
        self.text("created_by_role", &run.created_by_role);
        self.quoted("created_by", run.created_by);
        self.quoted("created_at", run.created_at);
        self.optional_quoted("finished_at", run.finished_at);
        self.integer("exceptions_count", run.exceptions_count);
    }

    fn node(&mut self, node: &NodeExecution) {
        self.quoted("id", node.id);
        self.quoted("tenant_id", node.tenant_id);
        self.quoted("app_id", node.app_id);
        self.quoted("workflow_id", node.workflow_id);
        self.text("triggered_from", &node.triggered_from);
        self.optional_quoted("workflow_run_id", node.workflow_run_id);
        self.integer("index", node.index);
        self.optional_text("predecessor_node_id", node.predecessor_node_id.as_deref());
        self.optional_text("node_execution_id", node.node_execution_id.as_deref());
        self.text("node_id", &node.node_id);
        self.text("node_type", &node.node_type);
        self.text("title", &node.title);
        self.payload("inputs", node.inputs.as_ref());
        self.payload("process_data", node.process_data.as_ref());
        self.payload("outputs", node.outputs.as_ref());
        self.text("status", node.status.as_str());
        self.optional_text("error", node.error.as_deref());
        self.seconds("elapsed_time", node.elapsed_time);
        self.payload("execution_metadata", node.execution_metadata.as_ref());
        self.quoted("created_at", node.created_at);
        self.text("created_by_role", &node.created_by_role);
        self.quoted("created_by", node.created_by);
        self.optional_quoted("finished_at", node.finished_at);
    }

    fn app_log(&mut self, log: &AppLog) {
        self.quoted("id", log.id);
        self.quoted("tenant_id", log.tenant_id);
        self.quoted("app_id", log.app_id);
        self.quoted("workflow_id", log.workflow_id);
        self.quoted("workflow_run_id", log.workflow_run_id);
        self.text("created_from", &log.created_from);
        self.text("created_by_role", &log.created_by_role);
        self.quoted("created_by", log.created_by);
        self.optional_text("creator", log.creator.as_deref());
        self.quoted("created_at", log.created_at);
    }

    fn offload(&mut self, offload: &Offload) {
        self.quoted("id", offload.id);
        self.quoted("tenant_id", offload.tenant_id);
        self.quoted("app_id", offload.app_id);
        self.optional_quoted("node_execution_id", offload.node_execution_id);
        self.text("type", &offload.r#type);
        self.quoted("file_id", offload.file_id);
        self.quoted("created_at", offload.created_at);
    }
}
