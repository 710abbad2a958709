//! The canvas of a run as SVG, each node in the state that it ended in.

use std::collections::HashMap;

use maud::{Markup, html};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::access::PageReader;
use super::format::{class, clipped};
use super::i18n::PageTexts;
use super::layout::{Screen, path};
use crate::domain::query::NodeSummary;
use crate::domain::{RecordId, WorkflowRun, printable};

/// Nodes drawn at most.
const MOST: usize = 1000;
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 64.0;
/// Coordinates beyond it are nonsense.
const FAR: f64 = 1e6;

#[derive(Deserialize)]
struct Canvas<'a> {
    #[serde(borrow, default)]
    nodes: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    edges: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Point {
    x: f64,
    y: f64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeData {
    title: Option<String>,
    r#type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CanvasNode {
    id: String,
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    position: Option<Point>,
    #[serde(default)]
    parent_id: Option<String>,
    #[serde(default)]
    width: Option<f64>,
    #[serde(default)]
    height: Option<f64>,
    #[serde(default)]
    data: NodeData,
}

#[derive(Deserialize)]
struct Edge {
    source: String,
    target: String,
}

/// A node with its place.
struct Placed {
    id: String,
    title: String,
    kind: String,
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    holds_others: bool,
}

/// Returns what the text of a canvas holds that can be drawn. A part that is not as expected is left out.
fn read(text: &str) -> (Vec<Placed>, Vec<Edge>) {
    let canvas = serde_json::from_str::<Canvas<'_>>(text).unwrap_or(Canvas { nodes: Vec::new(), edges: Vec::new() });
    let nodes: Vec<CanvasNode> = canvas
        .nodes
        .iter()
        .take(MOST)
        .filter_map(|node| serde_json::from_str::<CanvasNode>(node.get()).ok())
        .filter(|node| node.r#type.as_deref() != Some("custom-note"))
        .collect();
    let edges = canvas.edges.iter().take(MOST * 4).filter_map(|edge| serde_json::from_str(edge.get()).ok()).collect();
    let within: HashMap<&str, (f64, f64)> =
        nodes.iter().filter_map(|node| Some((node.id.as_str(), place_of(node)?))).collect();
    let holders: Vec<&str> = nodes.iter().filter_map(|node| node.parent_id.as_deref()).collect();
    let sized = |size: Option<f64>, usual: f64| size.filter(|size| (8.0..FAR).contains(size)).unwrap_or(usual);
    let placed = nodes.iter().enumerate().map(|(place, node)| {
        // Without a place, nodes stand in a row.
        let (x, y) = place_of(node).unwrap_or((place as f64 * (WIDTH + 60.0), 0.0));
        let (left, top) = node.parent_id.as_deref().and_then(|id| within.get(id)).copied().unwrap_or_default();
        Placed {
            id: node.id.clone(),
            title: node.data.title.clone().unwrap_or_default(),
            kind: node.data.r#type.clone().unwrap_or_default(),
            x: x + left,
            y: y + top,
            width: sized(node.width, WIDTH),
            height: sized(node.height, HEIGHT),
            holds_others: holders.contains(&node.id.as_str()),
        }
    });
    let mut placed: Vec<_> = placed.collect();
    // What holds others is drawn below them.
    placed.sort_by_key(|node| !node.holds_others);
    (placed, edges)
}

fn place_of(node: &CanvasNode) -> Option<(f64, f64)> {
    let point = node.position.as_ref()?;
    (point.x.abs() < FAR && point.y.abs() < FAR).then_some((point.x, point.y))
}

/// Returns the worst state of the executions of each node of the graph, the newest of them, and how many there were.
fn states(nodes: &[NodeSummary]) -> HashMap<&str, (&str, RecordId, usize)> {
    let rank = |status: &str| match class(status) {
        "bad" => 4,
        "warn" => 3,
        "live" | "wait" => 2,
        _ => 1,
    };
    let mut worst = HashMap::<&str, (&str, RecordId, usize)>::new();
    for node in nodes.iter().filter(|node| node.status.as_str() != "retry") {
        let status = node.status.as_str();
        let entry = worst.entry(&node.node_id).or_insert((status, node.id, 0));
        entry.2 += 1;
        if rank(status) >= rank(entry.0) {
            (entry.0, entry.1) = (status, node.id);
        }
    }
    worst
}

pub(super) fn markup(reader: &PageReader, run: &WorkflowRun, nodes: &[NodeSummary]) -> Markup {
    let texts = reader.viewer.look.texts();
    let (placed, edges) = read(run.graph.as_ref().map_or("", |graph| graph.as_str()));
    if placed.is_empty() {
        return html! { p.faint { (texts.no_graph) } };
    }
    let states = states(nodes);
    let low = |of: fn(&Placed) -> f64| placed.iter().map(of).fold(f64::INFINITY, f64::min);
    let high = |of: fn(&Placed) -> f64| placed.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
    let (left, top) = (low(|node| node.x) - 20.0, low(|node| node.y) - 20.0);
    let (width, height) =
        (high(|node| node.x + node.width) + 20.0 - left, high(|node| node.y + node.height) + 20.0 - top);
    let ends: HashMap<&str, &Placed> = placed.iter().map(|node| (node.id.as_str(), node)).collect();
    html! {
        p.faint { (texts.graph_lead) }
        div.canvas tabindex="0" role="group" aria-label=(texts.graph) {
            svg viewBox={ (left) " " (top) " " (width) " " (height) } width=(width) height=(height) {
                @for node in placed.iter().filter(|node| node.holds_others) { (one(reader, texts, node, &states)) }
                @for edge in &edges { @if let (Some(from), Some(to)) = (ends.get(edge.source.as_str()), ends.get(edge.target.as_str())) {
                    path.edge.taken[states.contains_key(edge.source.as_str()) && states.contains_key(edge.target.as_str())] d=(curve(from, to)) {}
                } }
                @for node in placed.iter().filter(|node| !node.holds_others) { (one(reader, texts, node, &states)) }
            }
        }
    }
}

fn curve(from: &Placed, to: &Placed) -> String {
    let (x, y) = (from.x + from.width, from.y + from.height.min(HEIGHT) / 2.0);
    let (u, v) = (to.x, to.y + to.height.min(HEIGHT) / 2.0);
    let bend = ((u - x) / 2.0).abs().clamp(20.0, 120.0);
    format!("M{x:.0} {y:.0}C{:.0} {y:.0} {:.0} {v:.0} {u:.0} {v:.0}", x + bend, u - bend)
}

fn one(
    reader: &PageReader,
    texts: &PageTexts,
    node: &Placed,
    states: &HashMap<&str, (&str, RecordId, usize)>,
) -> Markup {
    let state = states.get(node.id.as_str());
    let word = state.map_or(texts.not_started.into(), |(status, ..)| texts.status(status));
    let title = printable(&clipped(&node.title, 26)).into_owned();
    let kind = printable(&clipped(&node.kind, 26)).into_owned();
    let times = state.map_or(0, |(.., times)| *times);
    let more = if times > 1 { format!(" ×{times}") } else { String::new() };
    let shape = html! {
        title { (title) " – " (word) (more) }
        rect x=(node.x) y=(node.y) width=(node.width) height=(node.height) rx="10" {}
        text.name x=(node.x + 14.0) y=(node.y + 26.0) { (title) }
        text.kind x=(node.x + 14.0) y=(node.y + 46.0) { (kind) " · " (word) (more) }
    };
    let class = state.map_or("pale", |(status, ..)| class(status));
    html! {
        g.node.(class).holder[node.holds_others] {
            @match state {
                Some((_, id, _)) => a href={ (path(reader.tenant_id(), Screen::Nodes)) "/" (id) } { (shape) },
                None => (shape),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canvas_is_read_as_far_as_it_makes_sense() {
        let text = r#"{"nodes": [
            {"id": "a", "position": {"x": 10, "y": 20}, "data": {"title": "Start", "type": "start"}},
            {"id": "loop", "position": {"x": 300, "y": 0}, "width": 600, "height": 200, "data": {"title": "Loop", "type": "loop"}},
            {"id": "b", "parentId": "loop", "position": {"x": 5, "y": 6}, "data": {"title": "<b>"}},
            {"id": "far", "position": {"x": 1e300, "y": 0}},
            {"no": "id"}, 7, null
        ], "edges": [{"source": "a", "target": "loop"}, {"source": 1}]}"#;
        let (nodes, edges) = read(text);
        assert_eq!(nodes.iter().map(|node| node.id.as_str()).collect::<Vec<_>>(), ["loop", "a", "b", "far"]);
        let inside = &nodes[2];
        assert_eq!((inside.x, inside.y), (305.0, 6.0));
        assert!(nodes.iter().all(|node| node.x.abs() < FAR));
        assert_eq!(edges.len(), 1);
        for text in ["", "null", "[]", "{\"nodes\": {}}", "{\"nodes\": []}"] {
            assert!(read(text).0.is_empty(), "{text}");
        }
    }
}
