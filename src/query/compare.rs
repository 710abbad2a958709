//! One run beside another one of the same app: what differs in what went in and came out, and node by node.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use super::{QueryError, TenantLogs};
use crate::domain::query::NodeSummary;
use crate::domain::{JsonText, Record, RecordId, WorkflowRun};

/// Differences of one payload, and pairs of node executions, at most.
const MOST_CHANGES: usize = 200;
const MOST_PAIRS: usize = 2000;
/// Larger payloads are compared as one text.
const PARSED: usize = 1 << 20;
/// Characters of a value that are shown.
const SHOWN: usize = 300;

/// A place of a payload that differs. A side without it is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Names and places from the outside in, joined by dots; empty: the payload itself.
    pub path: String,
    /// As JSON, clipped.
    pub left: Option<String>,
    pub right: Option<String>,
}

/// The executions of one node of the graph that stand beside each other.
#[derive(Debug, Clone, PartialEq)]
pub struct NodePair {
    pub left: Option<NodeSummary>,
    pub right: Option<NodeSummary>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    pub left: Box<WorkflowRun>,
    pub right: Box<WorkflowRun>,
    pub inputs: Vec<Change>,
    pub outputs: Vec<Change>,
    /// In the order of the left run; what only the right one has is last.
    pub nodes: Vec<NodePair>,
    /// There is more than is told of.
    pub is_cut: bool,
}

impl TenantLogs {
    /// Returns two runs beside each other; `None` if one of them is not there.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn compare(&self, left: RecordId, right: RecordId) -> Result<Option<Comparison>, QueryError> {
        let run = async |id| match self.run(None, id).await? {
            Some(document) => match document.record {
                Record::Run(run) => Ok::<_, QueryError>(Some(run)),
                _ => Ok(None),
            },
            None => Ok(None),
        };
        let (Some(left), Some(right)) = (run(left).await?, run(right).await?) else { return Ok(None) };
        let (of_left, of_right) =
            (self.node_snapshots(None, left.id).await?, self.node_snapshots(None, right.id).await?);
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        payloads(left.inputs.as_ref(), right.inputs.as_ref(), &mut inputs);
        payloads(left.outputs.as_ref(), right.outputs.as_ref(), &mut outputs);
        let mut nodes = paired(of_left, of_right);
        let is_cut =
            [inputs.len(), outputs.len()].iter().any(|length| *length > MOST_CHANGES) || nodes.len() > MOST_PAIRS;
        inputs.truncate(MOST_CHANGES);
        outputs.truncate(MOST_CHANGES);
        nodes.truncate(MOST_PAIRS);
        Ok(Some(Comparison { left, right, inputs, outputs, nodes, is_cut }))
    }
}

/// The n-th execution of a node on the left stands beside the n-th on the right.
fn paired(left: Vec<NodeSummary>, right: Vec<NodeSummary>) -> Vec<NodePair> {
    let mut waiting = HashMap::<Box<str>, VecDeque<usize>>::new();
    for (place, node) in right.iter().enumerate() {
        waiting.entry(node.node_id.clone()).or_default().push_back(place);
    }
    let mut right: Vec<_> = right.into_iter().map(Some).collect();
    let mut pairs: Vec<_> = left
        .into_iter()
        .map(|node| {
            let place = waiting.get_mut(&node.node_id).and_then(VecDeque::pop_front);
            let beside = place.and_then(|place| right.get_mut(place)).and_then(Option::take);
            NodePair { left: Some(node), right: beside }
        })
        .collect();
    pairs.extend(right.into_iter().flatten().map(|node| NodePair { left: None, right: Some(node) }));
    pairs
}

fn payloads(left: Option<&JsonText>, right: Option<&JsonText>, changes: &mut Vec<Change>) {
    let (left, right) = (left.map(JsonText::as_str), right.map(JsonText::as_str));
    if left == right {
        return;
    }
    let parsed = |text: Option<&str>| text.filter(|text| text.len() <= PARSED).map(serde_json::from_str::<Value>);
    match (parsed(left), parsed(right)) {
        (Some(Ok(left)), Some(Ok(right))) => values("", &left, &right, changes),
        _ => changes.push(Change { path: String::new(), left: left.map(clipped), right: right.map(clipped) }),
    }
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn values(path: &str, left: &Value, right: &Value, changes: &mut Vec<Change>) {
    if left == right || changes.len() > MOST_CHANGES {
        return;
    }
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            for (name, value) in left {
                member(&below(name), Some(value), right.get(name), changes);
            }
            for (name, value) in right.iter().filter(|(name, _)| !left.contains_key(*name)) {
                member(&below(name), None, Some(value), changes);
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            for place in 0..left.len().max(right.len()) {
                member(&below(&place.to_string()), left.get(place), right.get(place), changes);
            }
        }
        _ => differs(path, Some(left), Some(right), changes),
    }
}

fn member(path: &str, left: Option<&Value>, right: Option<&Value>, changes: &mut Vec<Change>) {
    match (left, right) {
        (Some(left), Some(right)) => values(path, left, right, changes),
        _ => differs(path, left, right, changes),
    }
}

fn differs(path: &str, left: Option<&Value>, right: Option<&Value>, changes: &mut Vec<Change>) {
    if changes.len() <= MOST_CHANGES {
        let shown = |value: &Value| clipped(&value.to_string());
        changes.push(Change { path: clipped(path), left: left.map(shown), right: right.map(shown) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(left: &str, right: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let mut found = Vec::new();
        payloads(Some(&JsonText::from_clean(left)), Some(&JsonText::from_clean(right)), &mut found);
        found.into_iter().map(|change| (change.path, change.left, change.right)).collect()
    }

    #[test]
    fn only_what_differs_is_told_by_its_path() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            changes(r#"{"a": 1, "b": [1, 2]}"#, r#"{"b": [1, 2], "a": 1.0}"#),
            [("a".into(), text("1"), text("1.0"))]
        );
        assert_eq!(
            changes(r#"{"a": {"b": [1, {"c": "x"}]}, "only": null}"#, r#"{"a": {"b": [1, {"c": "y"}, 3]}, "new": {}}"#),
            [
                ("a.b.1.c".into(), text("\"x\""), text("\"y\"")),
                ("a.b.2".into(), None, text("3")),
                ("only".into(), text("null"), None),
                ("new".into(), None, text("{}")),
            ]
        );
        assert_eq!(changes("{\"a\": 1}", "no json"), [(String::new(), text("{\"a\": 1}"), text("no json"))]);
        let many = format!("[{}]", vec!["1"; 100_000].join(","));
        assert!(changes(&many, "[]").len() <= MOST_CHANGES + 1);
        let deep = |end: &str| format!("{}{end}{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(changes(&deep("1"), &deep("2")).len(), 1);
    }
}
