//! Making a record fit: its payload fields within their limits, the full texts handed out for the payload store.

use sha2::{Digest, Sha256};

use super::{ELLIPSIS, Limits, MIN_BUDGET, truncate, water_level};
use crate::codec::python_json::string::push_quoted;
use crate::domain::document::{ContentHash, PayloadField};
use crate::domain::{Graph, JsonText, Record, Truncation, WorkflowRun};

/// A payload that was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The mark for the document.
    pub truncation: Truncation,
    /// The full text, which the mark describes. For `error`, which is plain text, the JSON string of it.
    pub full: JsonText,
}

impl AsRef<str> for Cut {
    /// Returns the full text.
    fn as_ref(&self) -> &str {
        self.full.as_str()
    }
}

/// A payload field of a record, to be measured and replaced.
enum Slot<'a> {
    Json(PayloadField, &'a mut JsonText),
    Plain(PayloadField, &'a mut Box<str>),
}

impl Slot<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Json(_, json) => json.len(),
            Self::Plain(_, text) => text.len(),
        }
    }

    fn cut(self, budget: usize) -> Option<Cut> {
        match self {
            Self::Json(field, json) => {
                let cut = truncate(json, budget)?;
                Some(marked(field, std::mem::replace(json, cut)))
            }
            Self::Plain(field, text) => {
                let budget = budget.max(MIN_BUDGET);
                if text.len() <= budget {
                    return None;
                }
                let mut full = String::with_capacity(text.len() + 2);
                push_quoted(&mut full, text);
                let end = text.floor_char_boundary(budget - ELLIPSIS.len());
                let kept = text.get(..end).unwrap_or_default();
                *text = [kept, ELLIPSIS].concat().into();
                Some(marked(field, JsonText::from_clean(full)))
            }
        }
    }
}

impl Cut {
    /// Returns the full text of a payload that Dify has cut.
    #[must_use]
    pub fn of_full_text(field: PayloadField, full: JsonText) -> Self {
        marked(field, full)
    }
}

fn marked(field: PayloadField, full: JsonText) -> Cut {
    let original_bytes = full.len() as u64;
    Cut { truncation: Truncation { field, original_bytes, sha256: hash_of(&full) }, full }
}

fn hash_of(text: &JsonText) -> ContentHash {
    ContentHash::new(Sha256::digest(text.as_str()).into())
}

/// Cuts every payload field over its limit, then the largest ones further until all of them are within the document's;
/// returns what was cut, with its full text.
#[must_use]
pub fn fit(record: &mut Record, limits: &Limits) -> Vec<Cut> {
    let mut cuts = Vec::new();
    if let Record::Run(run) = record
        && let Some(graph) = &mut run.graph
    {
        cuts.extend(Slot::Json(PayloadField::Graph, graph).cut(limits.document_bytes));
    }
    let slots = payload_slots(record);
    let mut lengths: Vec<usize> = slots.iter().map(|slot| slot.len().min(limits.field_bytes)).collect();
    let level = water_level(&mut lengths, limits.document_bytes).unwrap_or(usize::MAX);
    let budget = level.min(limits.field_bytes);
    cuts.extend(slots.into_iter().filter_map(|slot| slot.cut(budget)));
    cuts
}

/// Returns whether [`fit`] would cut nothing; reads lengths only.
#[must_use]
pub fn fits(record: &Record, limits: &Limits) -> bool {
    let json = |text: &Option<JsonText>| text.as_ref().map_or(0, JsonText::len);
    let plain = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
    let (graph, fields) = match record {
        Record::Run(run) => (json(&run.graph), vec![json(&run.inputs), json(&run.outputs), plain(&run.error)]),
        Record::Node(node) => {
            let fields = [&node.inputs, &node.process_data, &node.outputs, &node.execution_metadata];
            (0, fields.into_iter().map(json).chain([plain(&node.error)]).collect())
        }
        Record::AppLog(_) | Record::Offload(_) => return true,
    };
    let longest = fields.iter().copied().max().unwrap_or(0);
    graph <= limits.document_bytes.max(MIN_BUDGET)
        && longest <= limits.field_bytes.max(MIN_BUDGET)
        && fields.iter().sum::<usize>() <= limits.document_bytes
}

/// Returns the payload fields that share the document's limit, as far as they hold something.
fn payload_slots(record: &mut Record) -> Vec<Slot<'_>> {
    let (json, error) = match record {
        Record::Run(run) => {
            let json = [(PayloadField::Inputs, &mut run.inputs), (PayloadField::Outputs, &mut run.outputs)];
            (json.into_iter().collect::<Vec<_>>(), &mut run.error)
        }
        Record::Node(node) => {
            let json = [
                (PayloadField::Inputs, &mut node.inputs),
                (PayloadField::ProcessData, &mut node.process_data),
                (PayloadField::Outputs, &mut node.outputs),
                (PayloadField::ExecutionMetadata, &mut node.execution_metadata),
            ];
            (json.into_iter().collect(), &mut node.error)
        }
        Record::AppLog(_) | Record::Offload(_) => return Vec::new(),
    };
    let json = json.into_iter().filter_map(|(field, text)| Some(Slot::Json(field, text.as_mut()?)));
    json.chain(error.as_mut().map(|text| Slot::Plain(PayloadField::Error, text))).collect()
}

/// Takes the graph out of a run, to be stored once per content.
#[must_use]
pub fn take_graph(run: &mut WorkflowRun) -> Option<Graph> {
    let text = run.graph.take()?;
    Some(Graph { tenant_id: run.tenant_id, month: run.created_at.month(), hash: hash_of(&text), text })
}
