//! The shape of every index: mappings, settings, and the composable templates that carry them. Pure; `admin` installs
//! them, and `indices` creates each index with the same shape, so that none ever gets a guessed mapping.
//!
//! `dynamic: false` everywhere: a field that is not listed is stored and never mapped, so a mapping cannot grow with
//! data. Payloads are listed only where their texts are searched (`text`).

use serde_json::{Map, Value, json};

use super::names::{Family, IndexNames};
use super::settings::ElasticSettings;
use super::text;
use crate::domain::Kind;
use crate::domain::schema::{self, Role, Type, newer_columns};

/// Grows with every change of a mapping, and by itself with each column that newer versions of Dify brought. Changes only
/// ever add fields.
pub(super) const VERSION: u64 = 5 + newer_columns() as u64;

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

/// What every document has besides the columns of its record.
const COMMON: [(&str, Field); 4] = [
    ("revision", Field::Number),
    ("origin", Field::Keyword),
    ("erased_at", Field::Instant),
    ("truncated", Field::Marks),
];

/// What documents with payloads have besides.
const OF_PAYLOADS: [(&str, Field); 1] = [("payload_bytes", Field::Number)];

/// Returns the fields of a kind's documents. Payloads are listed only where they are searched, see [`text`].
fn fields(kind: Kind) -> impl Iterator<Item = (&'static str, Field)> {
    let columns = schema::columns(kind).iter().filter_map(|column| match (column.role, column.r#type) {
        (Role::Graph, _) => Some(("graph_hash", Field::Keyword)),
        (Role::Payload, _) => None,
        (Role::Summary, Type::Integer | Type::Count) => Some((column.name, Field::Long)),
        (Role::Summary, Type::Seconds) => Some((column.name, Field::Double)),
        (Role::Summary, Type::Instant) => Some((column.name, Field::Instant)),
        (Role::Summary, Type::Id | Type::Varchar(_) | Type::Text | Type::Json) => Some((column.name, Field::Keyword)),
    });
    let has_payloads = matches!(kind, Kind::WorkflowRun | Kind::NodeExecution);
    columns.chain(COMMON).chain(OF_PAYLOADS.into_iter().filter(move |_| has_payloads))
}

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

/// Returns the mapping of a family's indices, without searched texts, with the mark that `check` looks for. An existing
/// index can be brought to it; an analyzer cannot be added to an open index, and what was written without one is not
/// searched.
pub(super) fn mapping(family: Family) -> Value {
    let properties: Map<String, Value> = match family {
        Family::Records(kind) => fields(kind).map(|(name, field)| (name.to_owned(), field.mapping())).collect(),
        Family::Graphs => [("tenant_id".to_owned(), Field::Keyword.mapping())].into_iter().collect(),
    };
    json!({ "dynamic": false, "_meta": { "difylog": { "version": VERSION } }, "properties": properties })
}

/// Returns the settings of new indices.
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

/// Returns the body that creates one index.
pub(super) fn index(family: Family, settings: &ElasticSettings) -> Value {
    let mut mappings = mapping(family);
    text::add_texts(&mut mappings, family, settings);
    json!({ "settings": index_settings(settings), "mappings": mappings })
}

/// Returns the composable template of a family.
pub(super) fn template(family: Family, names: &IndexNames, settings: &ElasticSettings) -> Value {
    json!({
        "index_patterns": [names.pattern(family)],
        "priority": settings.template_priority,
        "version": VERSION,
        "_meta": { "difylog": { "version": VERSION } },
        "template": index(family, settings),
    })
}
