//! The shape of every index: mappings, settings, and the composable templates that carry them. Pure; `admin` installs
//! them, and `indices` creates each index with the same shape, so that none ever gets a guessed mapping.
//!
//! `dynamic: false` everywhere: a field that is not listed is stored and never mapped, so a mapping cannot grow with
//! data. Payloads are listed only where their texts are searched (`text`).

use serde_json::{Map, Value, json};

use super::names::{Family, Names};
use super::settings::ElasticSettings;
use super::text;
use crate::domain::Kind;

/// Grows with every change of a mapping. Changes only ever add fields.
pub(super) const VERSION: u64 = 3;

/// Longest keyword that is indexed, in characters: Dify's columns hold 255, and no longer value makes an index refuse
/// its document.
const IGNORE_ABOVE: u64 = 1024;

/// See [`index_settings`].
pub(super) const GC_DELETES: &str = "0s";

/// How a column is indexed.
#[derive(Clone, Copy)]
enum Field {
    Keyword,
    Long,
    Double,
    /// Nanoseconds in the engines, microseconds in Dify; a millisecond field would merge neighbours.
    Instant,
    /// A number that is only read back, from columnar storage.
    Number,
    /// The marks of truncated payloads: which fields they are of, and which full texts they name.
    Marks,
}

const COMMON: [(&str, Field); 5] = [
    ("tenant_id", Field::Keyword),
    ("created_at", Field::Instant),
    ("revision", Field::Number),
    ("origin", Field::Keyword),
    ("erased_at", Field::Instant),
];

const RUN: [(&str, Field); 15] = [
    ("workflow_id", Field::Keyword),
    ("type", Field::Keyword),
    ("triggered_from", Field::Keyword),
    ("version", Field::Keyword),
    ("graph_hash", Field::Keyword),
    ("status", Field::Keyword),
    ("elapsed_time", Field::Double),
    ("total_tokens", Field::Long),
    ("total_steps", Field::Long),
    ("created_by_role", Field::Keyword),
    ("created_by", Field::Keyword),
    ("finished_at", Field::Instant),
    ("exceptions_count", Field::Long),
    ("payload_bytes", Field::Number),
    ("truncated", Field::Marks),
];

const NODE: [(&str, Field); 16] = [
    ("workflow_id", Field::Keyword),
    ("triggered_from", Field::Keyword),
    ("workflow_run_id", Field::Keyword),
    ("index", Field::Long),
    ("predecessor_node_id", Field::Keyword),
    ("node_execution_id", Field::Keyword),
    ("node_id", Field::Keyword),
    ("node_type", Field::Keyword),
    ("title", Field::Keyword),
    ("status", Field::Keyword),
    ("elapsed_time", Field::Double),
    ("created_by_role", Field::Keyword),
    ("created_by", Field::Keyword),
    ("finished_at", Field::Instant),
    ("payload_bytes", Field::Number),
    ("truncated", Field::Marks),
];

const APP_LOG: [(&str, Field); 6] = [
    ("workflow_id", Field::Keyword),
    ("workflow_run_id", Field::Keyword),
    ("created_from", Field::Keyword),
    ("created_by_role", Field::Keyword),
    ("created_by", Field::Keyword),
    ("creator", Field::Keyword),
];

const OFFLOAD: [(&str, Field); 3] =
    [("node_execution_id", Field::Keyword), ("type", Field::Keyword), ("file_id", Field::Keyword)];

impl Field {
    fn mapping(self) -> Value {
        match self {
            Self::Keyword => json!({ "type": "keyword", "ignore_above": IGNORE_ABOVE }),
            Self::Long => json!({ "type": "long" }),
            Self::Double => json!({ "type": "double" }),
            Self::Instant => json!({ "type": "date_nanos" }),
            Self::Number => json!({ "type": "long", "index": false }),
            Self::Marks => {
                json!({ "properties": { "field": Self::Keyword.mapping(), "sha256": Self::Keyword.mapping() } })
            }
        }
    }
}

/// The mapping of a family's indices, without searched texts, with the mark that `check` looks for. An existing index can
/// be brought to it; an analyzer cannot be added to an open index, and what was written without one is not searched.
pub(super) fn mapping(family: Family) -> Value {
    let specific: &[(&str, Field)] = match family {
        Family::Records(Kind::WorkflowRun) => &RUN,
        Family::Records(Kind::NodeExecution) => &NODE,
        Family::Records(Kind::AppLog) => &APP_LOG,
        Family::Records(Kind::Offload) => &OFFLOAD,
        Family::Graphs => &[],
    };
    let ids: &[(&str, Field)] = &[("id", Field::Keyword), ("app_id", Field::Keyword)];
    let fields: Vec<_> = match family {
        Family::Records(_) => ids.iter().chain(&COMMON).chain(specific).collect(),
        Family::Graphs => COMMON.iter().take(1).collect(),
    };
    let properties: Map<String, Value> =
        fields.into_iter().map(|(name, field)| ((*name).to_owned(), field.mapping())).collect();
    json!({ "dynamic": false, "_meta": { "difylog": { "version": VERSION } }, "properties": properties })
}

/// The settings of new indices.
pub(super) fn index_settings(settings: &ElasticSettings) -> Value {
    json!({ "index": {
        "number_of_shards": settings.shards.to_string(),
        "number_of_replicas": settings.replicas.to_string(),
        "refresh_interval": settings.refresh_interval,
        "codec": if settings.best_compression { "best_compression" } else { "default" },
        // How long the engine remembers the version of a deleted document. What must not come back leaves a tombstone
        // of ours; what a rollback removed must be writable again at once.
        "gc_deletes": GC_DELETES,
        "analysis": text::analysis(),
        // The engines' default, said aloud: a confirmed write is on the disk, or an ack would be a lie.
        "translog": { "durability": "request" },
    } })
}

/// The body that creates one index.
pub(super) fn index(family: Family, settings: &ElasticSettings) -> Value {
    let mut mappings = mapping(family);
    text::add_texts(&mut mappings, family, settings);
    json!({ "settings": index_settings(settings), "mappings": mappings })
}

/// The composable template of a family.
pub(super) fn template(family: Family, names: &Names, settings: &ElasticSettings) -> Value {
    json!({
        "index_patterns": [names.pattern(family)],
        "priority": settings.template_priority,
        "version": VERSION,
        "_meta": { "difylog": { "version": VERSION } },
        "template": index(family, settings),
    })
}
