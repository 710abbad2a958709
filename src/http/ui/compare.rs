//! A run beside another one of its app: what differs.

use maud::{Markup, html};

use super::access::PageReader;
use super::format::{count, line, seconds, short, status, time, took};
use super::i18n::PageTexts;
use super::layout::{Screen, path};
use crate::domain::query::{Direction, SortBy};
use crate::domain::{Timestamp, WorkflowRun};
use crate::http::api::problem::Problem;
use crate::query::{Change, Comparison, NodePair, RunQuery, SearchPage};

/// Earlier runs to choose from.
const EARLIER: usize = 15;

fn href(reader: &PageReader, run: &WorkflowRun, with: impl std::fmt::Display) -> String {
    format!("{}/{}?view=compare&with={with}", path(reader.tenant_id(), Screen::Runs), run.id)
}

/// Returns the earlier runs of the same app, each a link to what differs.
pub(super) async fn choice(reader: &PageReader, run: &WorkflowRun) -> Result<Markup, Problem> {
    let (texts, zone) = (reader.viewer.look.texts(), reader.viewer.look.zone);
    let mut query = RunQuery { app_id: Some(run.app_id), ..RunQuery::default() };
    query.created.until = Timestamp::from_micros(run.created_at.micros() + 1).ok();
    let page = SearchPage {
        sort: SortBy::CreatedAt,
        direction: Direction::Descending,
        cursor: None,
        limit: EARLIER + 1,
        count_to: None,
    };
    let earlier = reader.logs.search_runs(&query, &page).await?.hits;
    let earlier: Vec<_> = earlier.into_iter().map(|hit| hit.row).filter(|row| row.id != run.id).take(EARLIER).collect();
    Ok(html! {
        p.faint { (texts.compare_lead) }
        @if earlier.is_empty() { p { (texts.compare_none) } } @else {
            table.framed {
                thead { tr {
                    th scope="col" { (texts.started) } th scope="col" { (texts.status) }
                    th.number scope="col" { (texts.duration) } th.wide scope="col" { (texts.version) }
                } }
                @for other in &earlier { tbody.linked { tr {
                    td { a.whole href=(href(reader, run, other.id)) { (time(other.created_at, zone)) } }
                    td { (status(texts, other.status.as_str())) }
                    td.number { (took(other.elapsed_time, other.finished_at)) }
                    td.wide { (line(&other.version, 40)) }
                } } }
            }
        }
        form.row method="get" action={ (path(reader.tenant_id(), Screen::Runs)) "/" (run.id) } {
            input type="hidden" name="view" value="compare";
            label for="with" { (texts.compare_id) }
            input #with name="with" required pattern="[0-9a-fA-F-]{32,36}" size="36" autocomplete="off";
            button type="submit" { (texts.compare) }
        }
    })
}

/// Returns what differs; this run is on the left.
pub(super) fn differences(reader: &PageReader, found: &Comparison) -> Markup {
    let texts = reader.viewer.look.texts();
    html! {
        @if found.is_cut { p.note { (texts.compare_cut) } }
        (heads(reader, found))
        section { h2 { (texts.inputs) } (changes(texts, &found.inputs)) }
        section { h2 { (texts.outputs) } (changes(texts, &found.outputs)) }
        section { h2 { (texts.nodes) } (nodes(reader, &found.nodes)) }
    }
}

fn heads(reader: &PageReader, found: &Comparison) -> Markup {
    let (texts, zone) = (reader.viewer.look.texts(), reader.viewer.look.zone);
    let (left, right) = (&found.left, &found.right);
    let runs = path(reader.tenant_id(), Screen::Runs);
    let fact = |word: &str, of: &dyn Fn(&WorkflowRun) -> Markup| {
        let (one, other) = (of(left), of(right));
        let differs = one.0 != other.0;
        html! { tr.differs[differs] { th scope="row" { (word) @if differs { span.sr { " (" (texts.differs) ")" } } } td { (one) } td { (other) } } }
    };
    html! {
        table.framed.beside {
            thead { tr {
                th scope="col" { span.sr { (texts.compare) } }
                th scope="col" { (texts.this_run) " " code { (short(&left.id.to_string())) } }
                th scope="col" { a href={ (runs) "/" (right.id) } { (texts.run) " " code { (short(&right.id.to_string())) } } }
            } }
            tbody {
                (fact(texts.started, &|run| time(run.created_at, zone)))
                (fact(texts.status, &|run| status(texts, run.status.as_str())))
                (fact(texts.version, &|run| line(&run.version, 60)))
                (fact(texts.duration, &|run| html! { (took(run.elapsed_time, run.finished_at)) }))
                (fact(texts.tokens, &|run| html! { (count(run.total_tokens.into())) }))
                (fact(texts.steps, &|run| html! { (count(run.total_steps.into())) }))
                (fact(texts.trigger, &|run| line(&run.triggered_from, 40)))
                (fact(texts.error, &|run| line(run.error.as_deref().unwrap_or_default(), 300)))
            }
        }
    }
}

fn changes(texts: &PageTexts, found: &[Change]) -> Markup {
    let side = |text: &Option<String>| html! { @match text { Some(text) => code { (line(text, 300)) }, None => span.faint { (texts.absent) } } };
    html! {
        @if found.is_empty() { p.faint { (texts.compare_same) } } @else {
            table.framed.beside { tbody { @for change in found { tr.differs {
                th scope="row" { (line(&change.path, 120)) }
                td { (side(&change.left)) }
                td { (side(&change.right)) }
            } } } }
        }
    }
}

fn nodes(reader: &PageReader, pairs: &[NodePair]) -> Markup {
    let texts = reader.viewer.look.texts();
    let nodes = path(reader.tenant_id(), Screen::Nodes);
    let side = |node: &Option<crate::domain::query::NodeSummary>| {
        html! { @match node {
            Some(node) => { a href={ (nodes) "/" (node.id) } { (status(texts, node.status.as_str())) } " " span.faint { (seconds(node.elapsed_time)) } },
            None => span.faint { (texts.not_started) },
        } }
    };
    html! {
        @if pairs.is_empty() { p.faint { (texts.no_nodes) } } @else {
            table.framed.beside { tbody { @for pair in pairs {
                @if let Some(node) = pair.left.as_ref().or(pair.right.as_ref()) {
                    @let state = |node: &Option<crate::domain::query::NodeSummary>| node.as_ref().map(|node| node.status.as_str().to_owned());
                    tr.differs[state(&pair.left) != state(&pair.right)] {
                        th scope="row" { (line(&node.title, 60)) " " small { (line(&node.node_type, 40)) } }
                        td { (side(&pair.left)) }
                        td { (side(&pair.right)) }
                    }
                }
            } } }
        }
    }
}
