//! The sample database in a store: read from a real PostgreSQL, with Dify's offloaded files as full texts.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use difylog::domain::document::{PayloadField, Truncation};
use difylog::domain::{BulkAction, Document, JsonText, Kind, Record, RecordId, Verdict};
use difylog::postgres::{Catalogue, record_of, select_list, table_of};
use difylog::query::{DifyDirectory, LogService, ServicePorts};
use difylog::store::Store;
use difylog::store::payload::{PayloadSettings, PayloadStore};
use serde_json::Value;

use crate::support::memory::MemoryStore;
use crate::support::postgres::{Postgres, Schema};
use crate::support::records::{sha256, split};

/// The service over one store, and the same over the obvious one, whose answers are what a class demands.
pub struct Loaded {
    pub service: LogService,
    pub obvious: LogService,
    _guard: Box<dyn Any + Send + Sync>,
}

pub fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/golden.json.gz");
    serde_json::from_reader(flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())).unwrap()
}

pub fn cases() -> Vec<Value> {
    golden()["cases"].as_array().unwrap().clone()
}

/// Over the obvious store alone.
pub async fn double() -> Loaded {
    over(Arc::new(MemoryStore::default()), Box::new(())).await
}

/// Loads the sample into a store and into the obvious one.
pub async fn over(store: Arc<dyn Store>, guard: Box<dyn Any + Send + Sync>) -> Loaded {
    let postgres = Postgres::sample(Schema::V12);
    let folder = tempfile::tempdir().unwrap();
    Postgres::unpack_storage(&folder.path().join("storage"));
    let payloads = PayloadSettings { dir: folder.path().join("payloads"), ..PayloadSettings::default() };
    let payloads = Arc::new(PayloadStore::open(&payloads).unwrap());
    let documents = documents(&postgres, &folder.path().join("storage"), &payloads).await;
    let obvious: Arc<dyn Store> = Arc::new(MemoryStore::default());
    for target in [store.clone(), obvious.clone()] {
        for chunk in documents.chunks(500) {
            let verdicts = target.apply(chunk).await.unwrap();
            assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Stored));
        }
    }
    let as_of = golden()["as_of"].as_str().unwrap().parse().unwrap();
    let ports = |store: Arc<dyn Store>| ServicePorts {
        logs: store.clone(),
        eraser: store,
        payloads: payloads.clone(),
        directory: Arc::new(DifyDirectory::new(postgres.database())),
        clock: Arc::new(move || as_of),
    };
    let service = LogService::new(ports(store));
    let obvious = LogService::new(ports(obvious));
    Loaded { service, obvious, _guard: Box::new((postgres, folder, guard)) }
}

/// Every row as what writes it.
async fn documents(postgres: &Postgres, storage: &std::path::Path, payloads: &PayloadStore) -> Vec<BulkAction> {
    let database = postgres.database();
    let client = database.client().await.unwrap();
    let catalogue = Catalogue::read(&client).await.unwrap();
    let full = full_texts(postgres, storage);
    let mut actions = Vec::new();
    for kind in Kind::ALL {
        let statement = format!("SELECT {} FROM {} t", select_list(kind, &catalogue), table_of(kind));
        for row in client.query(&statement, &[]).await.unwrap() {
            let (mut document, graph) = split(record_of(kind, &row).record.unwrap());
            keep_full_texts(&mut document, &full, payloads).await;
            actions.extend(graph.map(|graph| BulkAction::Graph(Arc::new(graph))));
            actions.push(BulkAction::Document(Arc::new(document)));
        }
    }
    actions
}

/// The offloaded texts by node execution and column.
fn full_texts(postgres: &Postgres, storage: &std::path::Path) -> HashMap<RecordId, Vec<(PayloadField, String)>> {
    let rows = postgres.sql(
        "SELECT o.node_execution_id, o.type, f.key FROM workflow_node_execution_offload o \
         JOIN upload_files f ON f.id = o.file_id WHERE o.node_execution_id IS NOT NULL",
    );
    let mut full: HashMap<_, Vec<_>> = HashMap::new();
    for row in rows.lines() {
        let [id, column, key] = row.split('|').collect::<Vec<_>>().try_into().unwrap();
        let text = std::fs::read_to_string(storage.join(key)).unwrap();
        // As the codec stores it: real characters.
        let text = serde_json::from_str::<Value>(&text).unwrap().to_string();
        full.entry(id.parse().unwrap()).or_default().push((PayloadField::from_column(column).unwrap(), text));
    }
    full
}

async fn keep_full_texts(
    document: &mut Document,
    full: &HashMap<RecordId, Vec<(PayloadField, String)>>,
    payloads: &PayloadStore,
) {
    let Record::Node(node) = &document.record else { return };
    for (field, text) in full.get(&node.id).into_iter().flatten() {
        let hash = sha256(text);
        let kept = Arc::new(JsonText::from_clean(text.as_str()));
        payloads.put(document.tenant_id(), document.month(), hash, kept).await.unwrap();
        document.truncated.push(Truncation { field: *field, original_bytes: text.len() as u64, sha256: hash });
    }
}
