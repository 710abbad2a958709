//! `search`: runs or node executions that hold a text.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Failure;
use super::named::{NameLookup, RowNames};
use super::output::{ListCell, say, say_json, table};
use super::scope::instant;
use crate::app;
use crate::config::Loaded;
use crate::domain::query::{Direction, SortBy, TextField, TextFilter, TimeRange};
use crate::domain::{AppId, TenantId, Timestamp};
use crate::query::columns::RecordRow;
use crate::query::{COUNT_TO, Hits, NodeQuery, RunQuery, SearchPage, Snippet};

#[derive(Debug, Args)]
pub(super) struct SearchArguments {
    /// The text, in any language, without regard to case, from one character on; nothing in it is a pattern
    text: String,
    /// The tenant (workspace)
    #[arg(long)]
    tenant: TenantId,
    #[arg(long)]
    app: Option<AppId>,
    /// Search node executions instead of runs
    #[arg(long)]
    nodes: bool,
    /// Where; default: inputs,outputs of runs, title,error of node executions
    #[arg(long = "in", value_enum, value_delimiter = ',')]
    fields: Vec<Field>,
    /// Only this status
    #[arg(long)]
    status: Option<String>,
    /// Inclusive, such as 2025-12-01 (its first instant) or 2025-12-01T08:30:00Z
    #[arg(long, value_name = "DATE", value_parser = instant)]
    from: Option<Timestamp>,
    /// Exclusive
    #[arg(long, value_name = "DATE", value_parser = instant)]
    to: Option<Timestamp>,
    /// What the search before printed, for what follows
    #[arg(long)]
    cursor: Option<String>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    /// JSON Lines instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Field {
    Inputs,
    Outputs,
    Error,
    Title,
    ProcessData,
}

impl From<Field> for TextField {
    fn from(field: Field) -> Self {
        match field {
            Field::Inputs => Self::Inputs,
            Field::Outputs => Self::Outputs,
            Field::Error => Self::Error,
            Field::Title => Self::Title,
            Field::ProcessData => Self::ProcessData,
        }
    }
}

pub(super) async fn search(arguments: SearchArguments, loaded: &Loaded) -> Result<(), Failure> {
    if arguments.text.is_empty() {
        return Err(Failure::Other("the text to find is empty; `difylog runs list` lists without one".into()));
    }
    let service = app::open_named_logs(&loaded.settings)?;
    let lookup = NameLookup::new(&service);
    let logs = service.tenant(arguments.tenant);
    let mut fields: Vec<TextField> = arguments.fields.iter().copied().map(Into::into).collect();
    if fields.is_empty() {
        fields = if arguments.nodes {
            vec![TextField::Title, TextField::Error]
        } else {
            vec![TextField::Inputs, TextField::Outputs]
        };
    }
    let text = Some(TextFilter { keyword: arguments.text, fields });
    let statuses = arguments.status.into_iter().map(Into::into).collect();
    let created = TimeRange { from: arguments.from, until: arguments.to };
    let app_id = arguments.app;
    let page = SearchPage {
        sort: SortBy::CreatedAt,
        direction: Direction::Descending,
        cursor: arguments.cursor,
        limit: arguments.limit.into(),
        count_to: Some(COUNT_TO),
    };
    if arguments.nodes {
        let query = NodeQuery { app_id, statuses, created, text, ..NodeQuery::default() };
        let found = logs.search_nodes(&query, &page).await?;
        let apps = found.hits.iter().map(|hit| hit.row.app_id);
        let names = lookup.of_tenant(arguments.tenant, apps).await;
        print(&found, arguments.json, |node| {
            let cells = [node.created_at.to_string(), node.id.to_string(), node.status.as_str().to_owned()];
            found_row(&names, arguments.tenant, node.app_id, cells, json!(RecordRow::of(node)))
        });
    } else {
        let query = RunQuery { app_id, statuses, created, text, ..RunQuery::default() };
        let found = logs.search_runs(&query, &page).await?;
        let apps = found.hits.iter().map(|hit| hit.row.app_id);
        let names = lookup.of_tenant(arguments.tenant, apps).await;
        print(&found, arguments.json, |run| {
            let cells = [run.created_at.to_string(), run.id.to_string(), run.status.as_str().to_owned()];
            found_row(&names, arguments.tenant, run.app_id, cells, json!(RecordRow::of(run)))
        });
    }
    Ok(())
}

/// Returns the cells and the JSON of a row, with what its app is called.
fn found_row(
    names: &RowNames,
    tenant_id: TenantId,
    app_id: AppId,
    [created_at, id, status]: [String; 3],
    mut row: Value,
) -> ([String; 4], Value) {
    names.add_to(&mut row, tenant_id, app_id);
    ([created_at, id, names.app_cell(tenant_id, app_id), status], row)
}

fn print<T>(found: &Hits<T>, json: bool, row: impl Fn(&T) -> ([String; 4], Value)) {
    let mut shown = table(&["created_at", "id", "app", "status", "found"]);
    for hit in &found.hits {
        let (cells, columns) = row(&hit.row);
        if json {
            let snippets: Vec<_> = hit.snippets.iter().map(|snippet| &snippet.text).collect();
            say_json!("{}", json!({"row": columns, "snippets": snippets}));
            continue;
        }
        let texts = ListCell::lines(hit.snippets.iter().map(marked));
        shown.add_row(cells.into_iter().map(ListCell::from).chain([texts]));
    }
    if json {
        return;
    }
    let total = if found.total.exact { String::new() } else { "at least ".to_owned() };
    say!("{shown}\n{total}{} found", found.total.value);
    if found.text_truncated {
        say!("some texts are longer than what is searched of them: there may be more");
    }
    if let Some(next) = &found.next {
        say!("there are more: --cursor {next}");
    }
}

/// Returns a snippet with what was found in brackets.
fn marked(snippet: &Snippet) -> String {
    let mut marked = String::new();
    for (place, c) in snippet.text.chars().enumerate() {
        if snippet.highlights.iter().any(|highlight| highlight.start == place) {
            marked.push('[');
        }
        marked.push(if c.is_control() { ' ' } else { c });
        if snippet.highlights.iter().any(|highlight| highlight.end == place + 1) {
            marked.push(']');
        }
    }
    marked
}
