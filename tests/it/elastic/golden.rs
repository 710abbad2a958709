//! The exact bytes of bulk requests, one file per kind and tenancy: a change of what the engines are sent is a change
//! of a file in `golden/`. `DIFYLOG_WRITE_GOLDEN=1` writes the files anew.

use std::path::PathBuf;
use std::sync::Arc;

use difylog::domain::document::PayloadField;
use difylog::domain::{
    AppId, BulkAction, Document, NodeStatus, Record, RecordId, RunStatus, TenantId, Truncation, WorkflowRun,
};
use difylog::store::BulkSink as _;
use difylog::store::elastic::{ElasticSettings, ElasticStore, Tenancy};
use uuid::Uuid;

use crate::elastic::BULK;
use crate::elastic::settings;
use crate::support::records::{self, at, json};
use crate::support::scripted_engine::ScriptedEngine;

/// Ids that are the same in every run.
const fn uuid(last: u8) -> Uuid {
    Uuid::from_u128(0x669d_d85a_0949_4cda_99c9_4984_b192_ae00 + last as u128)
}

const TENANT: TenantId = TenantId::new(uuid(1));
const APP: AppId = AppId::new(uuid(2));

const fn id(last: u8) -> RecordId {
    RecordId::new(uuid(last))
}

fn run() -> WorkflowRun {
    let started = records::run(TENANT, APP, at("2026-11-23T15:28:34.729072Z"));
    WorkflowRun {
        id: id(3),
        workflow_id: id(4),
        inputs: json("{\"b\": 1e-09, \"a\": 12345678901234567890123, \"text\": \"\\\"语\\\" \\n 🦀\"}"),
        status: RunStatus::Failed,
        error: Some("tab\tand \"quotes\"".into()),
        created_by: id(5),
        ..records::ended(started, 1_500_000)
    }
}

fn record(kind: &str) -> Record {
    let created_at = at("2026-11-23T15:28:34.729072Z");
    match kind {
        "run" => Record::Run(Box::new(run())),
        "node" => {
            let mut node = records::node(TENANT, APP, id(3), 2, created_at);
            node.id = id(6);
            node.node_execution_id = Some("free text".into());
            node.workflow_id = id(4);
            node.created_by = id(5);
            node.status = NodeStatus::Other("frozen".into());
            node.process_data = json("null");
            Record::Node(Box::new(node))
        }
        "app_log" => {
            let mut log = records::app_log(TENANT, APP, id(3), created_at);
            (log.id, log.workflow_id, log.created_by) = (id(7), id(4), id(5));
            Record::AppLog(Box::new(log))
        }
        _ => {
            let mut offload = records::offload(TENANT, APP, Some(id(6)), created_at);
            (offload.id, offload.file_id) = (id(8), id(9));
            Record::Offload(Box::new(offload))
        }
    }
}

/// A run has its graph before it, and marks of truncation.
fn actions(kind: &str) -> Vec<BulkAction> {
    let mut actions = records::actions(record(kind));
    if let (Some(BulkAction::Document(document)), "run") = (actions.last_mut(), kind) {
        let mark = Truncation { field: PayloadField::Outputs, original_bytes: 5 << 20, sha256: records::sha256("x") };
        *document = Arc::new(Document { truncated: vec![mark], ..(**document).clone() });
    }
    actions
}

async fn request(kind: &str, tenancy: Tenancy) -> String {
    let engine = ScriptedEngine::start().await;
    let store = ElasticStore::new(ElasticSettings { tenancy, ..settings(&engine) }).unwrap();
    store.apply(&actions(kind)).await.unwrap();
    String::from_utf8(engine.requests(BULK).pop().unwrap().body).unwrap()
}

#[tokio::test]
async fn requests_are_the_bytes_agreed() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/elastic/golden");
    for kind in ["run", "node", "app_log", "offload"] {
        for (name, tenancy) in [("dedicated", Tenancy::Dedicated), ("shared", Tenancy::Shared)] {
            let file = folder.join(format!("{kind}_{name}.ndjson"));
            let request = request(kind, tenancy).await;
            if std::env::var_os("DIFYLOG_WRITE_GOLDEN").is_some() {
                std::fs::write(&file, &request).unwrap();
            }
            assert_eq!(request, std::fs::read_to_string(&file).unwrap(), "{}", file.display());
        }
    }
}
