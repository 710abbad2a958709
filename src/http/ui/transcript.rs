//! What went in and came out of each node of a run, in order, page by page.

use maud::{Markup, html};

use super::access::PageReader;
use super::format::{line, seconds, status};
use super::layout::{Screen, path};
use super::run::node_payloads;
use crate::domain::query::{Direction, SortBy};
use crate::domain::{Record, WorkflowRun};
use crate::http::api::problem::Problem;
use crate::query::{NodeQuery, SearchPage};

/// Nodes of a page. Their payloads may be large: a page of them is bounded by what a tree shows of each.
const PAGE: usize = 25;

pub(super) async fn markup(reader: &PageReader, run: &WorkflowRun, cursor: Option<&str>) -> Result<Markup, Problem> {
    let texts = reader.viewer.look.texts();
    let query = NodeQuery { workflow_run_id: Some(run.id), ..NodeQuery::default() };
    let page = SearchPage {
        sort: SortBy::CreatedAt,
        direction: Direction::Ascending,
        cursor: cursor.map(str::to_owned),
        limit: PAGE,
        count_to: None,
    };
    let hits = reader.logs.search_nodes(&query, &page).await?;
    let mut steps = Vec::new();
    for hit in &hits.hits {
        // One at a time, so that one payload is in memory and not a page of them.
        let Some(document) = reader.logs.node(hit.row.id).await? else { continue };
        let Record::Node(node) = &document.record else { continue };
        steps.push(html! {
            li { article {
                header {
                    h2 { a href={ (path(reader.tenant_id(), Screen::Nodes)) "/" (node.id) } { (line(&node.title, 120)) } }
                    small { (line(&node.node_type, 40)) }
                    (status(texts, node.status.as_str()))
                    span.number { (seconds(node.elapsed_time)) }
                }
                (node_payloads(reader, &document))
            } }
        });
    }
    let here = format!("{}/{}?view=transcript", path(reader.tenant_id(), Screen::Runs), run.id);
    Ok(html! {
        @if steps.is_empty() { p.faint { (texts.no_nodes) } } @else {
            p.faint { (texts.transcript_lead) }
            ol.transcript { @for step in steps { (step) } }
        }
        nav.pager aria-label=(texts.page) {
            @if cursor.is_some() { a.button.quiet href=(here) { (texts.first) } }
            @if let Some(next) = hits.next { a.button rel="next" href={ (here) "&cursor=" (next) } { (texts.next) } }
        }
    })
}
