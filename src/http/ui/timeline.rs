//! The node executions of a run over time: bars by start and end, what ran inside an iteration or a loop below it, what
//! failed opened.

use std::collections::HashMap;

use maud::{Markup, html};

use super::format::{class, count, line, mark, seconds};
use super::i18n::PageTexts;
use super::tree::text;
use crate::domain::query::NodeSummary;
use crate::domain::{RecordId, Timestamp};

/// Rows at most; Dify ends a run after 500 steps, but for those within iterations.
pub(super) const MOST: usize = 5000;

/// Levels of iterations within iterations that are drawn as such. Dify has one; events may say anything.
const DEEPEST: usize = 6;

/// Node executions with the span that they are drawn over.
pub(super) struct Timeline<'a> {
    texts: &'static PageTexts,
    nodes: &'a [NodeSummary],
    /// Places of what ran inside a node execution, by its place.
    inside: HashMap<usize, Vec<usize>>,
    top: Vec<usize>,
    /// Error texts of failed ones, as far as they were read.
    errors: &'a HashMap<RecordId, String>,
    begin: i64,
    total: i64,
}

fn end_of(node: &NodeSummary) -> i64 {
    // A cast of a number that is too large, or none, takes the nearest.
    #[allow(clippy::cast_possible_truncation, reason = "microseconds of 292,000 years fit")]
    let by_duration = (node.elapsed_time * 1e6) as i64;
    node.finished_at.map_or(node.created_at.micros().saturating_add(by_duration.max(0)), Timestamp::micros)
}

impl<'a> Timeline<'a> {
    /// Of nodes in the order of their starts; `begin` is the start of the run.
    pub(super) fn new(
        texts: &'static PageTexts,
        nodes: &'a [NodeSummary],
        errors: &'a HashMap<RecordId, String>,
        begin: Timestamp,
    ) -> Self {
        let nodes = nodes.get(..MOST).unwrap_or(nodes);
        let (mut inside, mut top) = (HashMap::<usize, Vec<usize>>::new(), Vec::new());
        // The newest execution of a node of the graph holds what started after it.
        let mut holders = HashMap::<&str, (usize, usize)>::new();
        for (place, node) in nodes.iter().enumerate() {
            let holder = node.loop_id.as_deref().or(node.iteration_id.as_deref());
            let holder = holder.filter(|id| **id != *node.node_id).and_then(|id| holders.get(id)).copied();
            let depth = holder.map_or(0, |(_, depth)| depth + 1);
            match holder {
                Some((holder, _)) => inside.entry(holder).or_default().push(place),
                None => top.push(place),
            }
            if depth < DEEPEST && matches!(&*node.node_type, "iteration" | "loop") {
                holders.insert(&node.node_id, (place, depth));
            }
        }
        let first = nodes.iter().map(|node| node.created_at.micros()).min().unwrap_or(0);
        let begin = begin.micros().min(if nodes.is_empty() { begin.micros() } else { first });
        let end = nodes.iter().map(end_of).max().unwrap_or(begin);
        Self { texts, nodes, inside, top, errors, begin, total: (end - begin).max(1) }
    }

    pub(super) fn markup(&self) -> Markup {
        let texts = self.texts;
        html! {
            @if self.nodes.is_empty() { p.faint { (texts.no_nodes) } } @else {
                div.timeline {
                    p.scale aria-hidden="true" { span { "0" } span { (seconds(self.total as f64 / 2e6)) } span { (seconds(self.total as f64 / 1e6)) } }
                    ol { @for place in &self.top { (self.row(*place)) } }
                }
            }
        }
    }

    fn failed_inside(&self, place: usize) -> bool {
        let failed = |place: &usize| {
            self.nodes.get(*place).is_some_and(|node| class(node.status.as_str()) == "bad")
                || self.failed_inside(*place)
        };
        self.inside.get(&place).is_some_and(|places| places.iter().any(failed))
    }

    fn row(&self, place: usize) -> Markup {
        let Some(node) = self.nodes.get(place) else { return html! {} };
        let children = self.inside.get(&place);
        let state = class(node.status.as_str());
        let error = self.errors.get(&node.id);
        let open = (state == "bad" && error.is_some()) || self.failed_inside(place);
        html! {
            li.(state) { details open[open] {
                summary { (self.summary(node, children.map_or(0, Vec::len))) }
                div.part {
                    @if let Some(error) = error { div.why { (text(error)) } }
                    a.load href={ "../nodes/" (node.id) } { (self.texts.show_payloads) }
                }
                @if let Some(children) = children { ol { @for place in children { (self.row(*place)) } } }
            } }
        }
    }

    fn summary(&self, node: &NodeSummary, inside: usize) -> Markup {
        let texts = self.texts;
        let scaled = |micros: i64| (micros as f64 / self.total as f64 * 1000.0).clamp(0.0, 1000.0);
        let left = scaled(node.created_at.micros() - self.begin);
        let width = (scaled(end_of(node) - self.begin) - left).clamp(2.0, 1000.0);
        let left = left.min(1000.0 - width);
        html! {
            (mark(node.status.as_str()))
            span.name { (line(&node.title, 80)) small { (line(&node.node_type, 40))
                @if inside > 0 { " · " (count(inside as i128)) " " (texts.inside) }
                @if node.status.as_str() == "retry" { " · " (texts.retry) }
            } }
            span.sr { (texts.status(node.status.as_str())) }
            svg.span viewBox="0 0 1000 8" preserveAspectRatio="none" aria-hidden="true" {
                rect x=(format!("{left:.1}")) width=(format!("{width:.1}")) height="8" {}
            }
            span.number { @if node.finished_at.is_none() && class(node.status.as_str()) == "live" { (texts.running_since) } @else { (seconds(node.elapsed_time)) } }
        }
    }
}
