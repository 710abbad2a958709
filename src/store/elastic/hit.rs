//! What searches and multi-gets answer: hits, where their documents lie, and the documents' sources.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::hosts::{EngineAnswer, not_understood};
use super::reason::Words;
use super::rows::AsText;
use crate::domain::query::Cursor;
use crate::domain::{FaultKind, RecordId, SinkFault, TenantId, Timestamp};

/// Where one document lies.
pub(super) struct DocumentAddress {
    pub(super) index: String,
    pub(super) id: String,
    pub(super) routing: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Hit {
    #[serde(rename = "_index")]
    pub(super) index: String,
    #[serde(rename = "_id")]
    pub(super) id: String,
    #[serde(rename = "_routing")]
    pub(super) routing: Option<String>,
    #[serde(rename = "_source")]
    pub(super) source: Option<Box<RawValue>>,
    #[serde(default)]
    fields: Columns,
    #[serde(default)]
    pub(super) sort: Vec<Value>,
}

/// Columns read from columnar storage.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Columns {
    id: Vec<AsText<RecordId>>,
    tenant_id: Vec<AsText<TenantId>>,
    workflow_run_id: Vec<AsText<RecordId>>,
    revision: Vec<i64>,
    payload_bytes: Vec<u64>,
}

impl Hit {
    /// Returns the record and the revision of this copy.
    pub(super) fn version(&self) -> Result<(RecordId, i64), SinkFault> {
        let (id, revision) = (self.fields.id.first(), self.fields.revision.first());
        id.zip(revision).map(|(id, revision)| (id.0, *revision)).ok_or_else(|| {
            SinkFault::new(FaultKind::Malformed, format!("a document of {} lacks id or revision", self.index))
        })
    }

    pub(super) fn tenant(&self) -> Result<TenantId, SinkFault> {
        self.fields.tenant_id.first().map(|tenant| tenant.0).ok_or_else(|| {
            SinkFault::new(FaultKind::Malformed, format!("a document of {} lacks tenant_id", self.index))
        })
    }

    /// Of a hit that is sorted by it first.
    pub(super) fn created_at(&self) -> Result<Timestamp, SinkFault> {
        created_at(&self.sort).ok_or_else(|| {
            SinkFault::new(FaultKind::Malformed, format!("a document of {} lacks created_at", self.index))
        })
    }

    /// Returns the columns of its source that were asked for.
    pub(super) fn columns<T: DeserializeOwned>(&self) -> Result<T, SinkFault> {
        let source = self.source.as_deref().map_or("null", RawValue::get);
        serde_json::from_str(source).map_err(|error| not_understood(&error))
    }

    /// Returns the run that an app log stands for.
    pub(super) fn run(&self) -> Result<RecordId, SinkFault> {
        self.fields.workflow_run_id.first().map(|run| run.0).ok_or_else(|| {
            SinkFault::new(FaultKind::Malformed, format!("a document of {} lacks workflow_run_id", self.index))
        })
    }

    pub(super) fn payload_bytes(&self) -> u64 {
        self.fields.payload_bytes.first().copied().unwrap_or(0)
    }

    pub(super) fn address(self) -> DocumentAddress {
        DocumentAddress { index: self.index, id: self.id, routing: self.routing }
    }
}

fn created_at(sort: &[Value]) -> Option<Timestamp> {
    let nanoseconds = sort.first().and_then(Value::as_i64);
    nanoseconds.and_then(|at| Timestamp::from_micros(at / 1_000).ok())
}

/// Returns the place of a hit that is sorted by it.
pub(super) fn cursor_of(sort: &[Value]) -> Result<Cursor, SinkFault> {
    let id = sort.get(1).and_then(Value::as_str).and_then(|id| id.parse().ok());
    let cursor = created_at(sort).zip(id).map(|(created_at, id)| Cursor { created_at, id });
    cursor.ok_or_else(|| SinkFault::new(FaultKind::Malformed, "a document of a walk lacks created_at or id"))
}

impl DocumentAddress {
    pub(super) fn to_json(&self) -> Value {
        match &self.routing {
            Some(routing) => json!({ "_index": self.index, "_id": self.id, "routing": routing }),
            None => json!({ "_index": self.index, "_id": self.id }),
        }
    }
}

/// Returns the documents of a multi-get that are there.
pub(super) fn sources(answer: &EngineAnswer) -> Result<Vec<Box<RawValue>>, SinkFault> {
    Ok(located(answer)?.into_iter().map(|(_, source)| source).collect())
}

/// Returns the documents of a multi-get that are there, and where they lie.
pub(super) fn located(answer: &EngineAnswer) -> Result<Vec<(DocumentAddress, Box<RawValue>)>, SinkFault> {
    #[derive(Deserialize)]
    struct Found {
        docs: Vec<Doc>,
    }
    #[derive(Deserialize)]
    struct Doc {
        #[serde(rename = "_index")]
        index: String,
        #[serde(rename = "_id")]
        id: String,
        #[serde(rename = "_routing")]
        routing: Option<String>,
        #[serde(rename = "_source")]
        source: Option<Box<RawValue>>,
        error: Option<Box<RawValue>>,
    }
    let found: Found = answer.json()?;
    let mut documents = Vec::new();
    for doc in found.docs {
        let error = doc.error.as_deref().map(Words::of);
        if let Some(words) = error.filter(|words| words.kind != "index_not_found_exception") {
            return Err(SinkFault::new(FaultKind::Overloaded, words.detail()));
        }
        let address = DocumentAddress { index: doc.index, id: doc.id, routing: doc.routing };
        documents.extend(doc.source.map(|source| (address, source)));
    }
    Ok(documents)
}

pub(super) fn hits(answer: &EngineAnswer) -> Result<Vec<Hit>, SinkFault> {
    #[derive(Deserialize)]
    struct Found {
        timed_out: bool,
        #[serde(default)]
        hits: Hits,
    }
    #[derive(Default, Deserialize)]
    struct Hits {
        #[serde(default)]
        hits: Vec<Hit>,
    }
    let found: Found = answer.json()?;
    if found.timed_out {
        return Err(SinkFault::new(FaultKind::Overloaded, "the search timed out"));
    }
    Ok(found.hits.hits)
}
