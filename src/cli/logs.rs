//! `runs`, `nodes` and `logs`: what is stored, as tables for people and JSON Lines for programs.

use clap::{Args, Subcommand};
use futures::TryStreamExt as _;

use super::Failure;
use super::named::{NameLookup, RowNames};
use super::output::{cut, glimpse, has_ended, say, say_json, table};
use super::scope::instant;
use crate::app;
use crate::config::Loaded;
use crate::domain::query::RunSummary;
use crate::domain::{AppId, Document, Record, RecordId, TenantId, Timestamp};
use crate::query::columns::{self, RecordRow};
use crate::query::{After, AppLogQuery, Creator, RunList};

#[derive(Debug, Subcommand)]
pub(super) enum RunsCommand {
    /// The newest runs of an app
    List(RunListArguments),
    /// One run with its payloads and its graph
    Show(OneArguments),
    /// The runs of all tenants and apps that have not ended, oldest first
    Unended(super::unended::UnendedArguments),
}

#[derive(Debug, Args)]
pub(super) struct RunListArguments {
    /// The tenant (workspace)
    #[arg(long)]
    tenant: TenantId,
    #[arg(long)]
    app: AppId,
    /// Only this status: running, succeeded, failed, stopped, partial-succeeded, paused
    #[arg(long)]
    status: Option<String>,
    /// Only runs triggered from any of these: app-run, debugging, webhook, …
    #[arg(long, value_delimiter = ',')]
    triggered_from: Vec<String>,
    /// Runs after this one, as the list before ended
    #[arg(long, value_name = "RUN")]
    after: Option<RecordId>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// JSON Lines instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct OneArguments {
    id: RecordId,
    /// The tenant (workspace) that it belongs to
    #[arg(long)]
    tenant: TenantId,
    /// The full texts of truncated payloads
    #[arg(long)]
    full: bool,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum NodesCommand {
    /// Every node execution of a run, in the order in which they started
    List(NodeListArguments),
    /// One node execution with its payloads
    Show(OneArguments),
}

#[derive(Debug, Args)]
pub(super) struct NodeListArguments {
    /// The run
    run: RecordId,
    /// The tenant (workspace) that it belongs to
    #[arg(long)]
    tenant: TenantId,
    /// JSON Lines instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct LogsArguments {
    /// The tenant (workspace)
    #[arg(long)]
    tenant: TenantId,
    #[arg(long)]
    app: AppId,
    /// Found in a run's inputs or outputs, in a session id, or the id of a run; its first 30 characters count
    #[arg(long)]
    keyword: Option<String>,
    /// Status of the run
    #[arg(long)]
    status: Option<String>,
    /// Inclusive, such as 2025-12-01 (its first instant) or 2025-12-01T08:30:00Z
    #[arg(long, value_name = "DATE", value_parser = instant)]
    from: Option<Timestamp>,
    /// Inclusive
    #[arg(long, value_name = "DATE", value_parser = instant)]
    to: Option<Timestamp>,
    /// Exact session id of an end user
    #[arg(long)]
    session: Option<String>,
    /// Exact e-mail of an account
    #[arg(long)]
    account: Option<String>,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    page: u32,
    /// How many on a page
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// JSON Lines instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn runs(command: RunsCommand, loaded: &Loaded) -> Result<(), Failure> {
    let service = app::open_named_logs(&loaded.settings)?;
    let lookup = NameLookup::new(&service);
    match command {
        RunsCommand::List(arguments) => {
            let list = RunList {
                app_id: arguments.app,
                triggered_from: arguments.triggered_from.into_iter().map(Into::into).collect(),
                status: arguments.status.map(Into::into),
                after: arguments.after.map_or(After::Start, After::LastId),
                limit: arguments.limit.into(),
            };
            let page = service.tenant(arguments.tenant).run_page(&list).await?;
            show_runs(&page.runs, &lookup.of_tenant(arguments.tenant, [arguments.app]).await, arguments.json);
            if let (true, false, Some(last)) = (page.has_more, arguments.json, page.runs.last()) {
                say!("there are more: --after {}", last.id);
            }
        }
        RunsCommand::Unended(arguments) => super::unended::run(&arguments, loaded).await?,
        RunsCommand::Show(arguments) => {
            let logs = service.tenant(arguments.tenant);
            let found = logs.run(None, arguments.id).await?;
            let found = found.ok_or_else(|| Failure::Other(format!("no run {} of this tenant", arguments.id)))?;
            show(&if arguments.full { logs.full(found).await? } else { found }, &lookup, arguments.json).await?;
        }
    }
    Ok(())
}

pub(super) async fn nodes(command: NodesCommand, loaded: &Loaded) -> Result<(), Failure> {
    let service = app::open_named_logs(&loaded.settings)?;
    let lookup = NameLookup::new(&service);
    match command {
        NodesCommand::List(NodeListArguments { run, tenant, json }) => {
            let mut names: Option<RowNames> = None;
            let nodes = service.tenant(tenant).run_nodes(None, run);
            let mut nodes = std::pin::pin!(nodes);
            let mut shown = table(&["index", "title", "type", "status", "seconds", "created_at", "inputs", "outputs"]);
            while let Some(document) = nodes.try_next().await? {
                if has_ended() {
                    break;
                }
                let Record::Node(node) = &document.record else { continue };
                // The nodes of a run are of one app.
                let names = match &mut names {
                    Some(names) => names,
                    unasked => {
                        let found = lookup.of_tenant(tenant, [node.app_id]).await;
                        if let Some(heading) = found.heading(tenant, node.app_id).filter(|_| !json) {
                            say!("{heading}");
                        }
                        unasked.insert(found)
                    }
                };
                if json {
                    say_json!("{}", names.add_to_line(&line(&document)?, tenant, node.app_id));
                    continue;
                }
                shown.add_row([
                    node.index.to_string(),
                    node.title.to_string(),
                    node.node_type.to_string(),
                    node.status.as_str().to_owned(),
                    format!("{:.3}", node.elapsed_time),
                    node.created_at.to_string(),
                    glimpse(node.inputs.as_ref(), 40),
                    glimpse(node.outputs.as_ref(), 40),
                ]);
            }
            if !json {
                say!("{shown}");
            }
        }
        NodesCommand::Show(arguments) => {
            let logs = service.tenant(arguments.tenant);
            let found = logs.node(arguments.id).await?;
            let found =
                found.ok_or_else(|| Failure::Other(format!("no node execution {} of this tenant", arguments.id)))?;
            show(&if arguments.full { logs.full(found).await? } else { found }, &lookup, arguments.json).await?;
        }
    }
    Ok(())
}

pub(super) async fn logs(arguments: LogsArguments, loaded: &Loaded) -> Result<(), Failure> {
    let service = app::open_named_logs(&loaded.settings)?;
    let lookup = NameLookup::new(&service);
    let query = AppLogQuery {
        app_id: arguments.app,
        keyword: arguments.keyword,
        status: arguments.status.map(Into::into),
        created_at_after: arguments.from,
        created_at_before: arguments.to,
        session_id: arguments.session,
        account: arguments.account,
        page: arguments.page.into(),
        limit: arguments.limit.into(),
    };
    let list = service.tenant(arguments.tenant).app_logs(&query).await?;
    let names = lookup.of_tenant(arguments.tenant, [arguments.app]).await;
    lookup.note(list.creators.are_names_missing());
    if let Some(heading) = names.heading(arguments.tenant, arguments.app).filter(|_| !arguments.json) {
        say!("{heading}");
    }
    let mut shown = table(&["created_at", "run", "status", "seconds", "tokens", "from", "creator"]);
    for row in &list.rows {
        let creator = match list.creators.get(row.log.created_by) {
            Some(Creator::Account(account)) => account.email.as_deref().or(account.name.as_deref()),
            Some(Creator::EndUser(user)) => user.session_id.as_deref(),
            None => None,
        };
        if arguments.json {
            let run = row.run.as_ref().map(RecordRow::of);
            let mut line = serde_json::json!({
                "id": row.log.id.to_string(), "created_at": row.log.created_at.to_string(),
                "created_from": row.log.created_from, "created_by_role": row.log.created_by_role,
                "created_by": row.log.created_by.to_string(), "creator": creator,
                "workflow_run_id": row.log.workflow_run_id.to_string(), "workflow_run": run,
            });
            names.add_to(&mut line, arguments.tenant, arguments.app);
            say_json!("{line}");
            continue;
        }
        let of_run = |text: fn(&RunSummary) -> String| row.run.as_ref().map_or_else(|| "–".into(), text);
        shown.add_row([
            row.log.created_at.to_string(),
            row.log.workflow_run_id.to_string(),
            of_run(|run| run.status.as_str().to_owned()),
            of_run(|run| format!("{:.3}", run.elapsed_time)),
            of_run(|run| run.total_tokens.to_string()),
            row.log.created_from.to_string(),
            creator.map_or_else(|| row.log.created_by.to_string(), str::to_owned),
        ]);
    }
    if !arguments.json {
        say!("{shown}\npage {} of {} logs in all", arguments.page, list.total);
        if list.incomplete {
            say!("there may be more: not every session id and e-mail could be looked up");
        }
    }
    Ok(())
}

/// Returns a document as one line.
pub(super) fn line(document: &Document) -> Result<String, Failure> {
    columns::document(document).map_err(|error| Failure::Other(error.to_string()))
}

async fn show(document: &Document, lookup: &NameLookup, json: bool) -> Result<(), Failure> {
    let mut text = line(document)?;
    let app_id = match &document.record {
        Record::Run(run) => Some(run.app_id),
        Record::Node(node) => Some(node.app_id),
        Record::AppLog(_) | Record::Offload(_) => None,
    };
    if let Some(app_id) = app_id {
        let names = lookup.of_tenant(document.tenant_id(), [app_id]).await;
        text = names.add_to_line(&text, document.tenant_id(), app_id);
    }
    if json {
        say_json!("{text}");
        return Ok(());
    }
    let mut shown = table(&["field", "value"]);
    // A payload nested too deep for a table is for --json.
    let fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&text).map_err(|error| Failure::Other(format!("{error}; use --json")))?;
    for (field, value) in &fields {
        let text = match (field.as_str(), value) {
            ("graph", graph) if !graph.is_null() => measured(graph),
            (_, value) => cut(&value.as_str().map_or_else(|| value.to_string(), str::to_owned), 400),
        };
        shown.add_row([field.as_str(), &text]);
    }
    say!("{shown}");
    Ok(())
}

/// Returns the size of a graph, which is too large to be read in a table.
fn measured(graph: &serde_json::Value) -> String {
    let bytes = graph.to_string().len();
    let size = if bytes < 1000 { format!("{bytes} bytes") } else { format!("{} kB", bytes.div_ceil(1000)) };
    let count = |name: &str| graph.get(name).and_then(serde_json::Value::as_array).map(Vec::len);
    match (count("nodes"), count("edges")) {
        (Some(nodes), Some(edges)) => format!("{nodes} nodes, {edges} edges, {size}; --json prints it"),
        _ => format!("{size}; --json prints it"),
    }
}

/// Runs without payloads.
fn show_runs(runs: &[RunSummary], names: &RowNames, json: bool) {
    let heading = runs.first().and_then(|run| names.heading(run.tenant_id, run.app_id));
    if let Some(heading) = heading.filter(|_| !json) {
        say!("{heading}");
    }
    let mut shown = table(&["created_at", "id", "status", "seconds", "tokens", "steps", "from"]);
    for run in runs {
        if json {
            let mut row = serde_json::json!(RecordRow::of(run));
            names.add_to(&mut row, run.tenant_id, run.app_id);
            say_json!("{row}");
            continue;
        }
        shown.add_row([
            run.created_at.to_string(),
            run.id.to_string(),
            run.status.as_str().to_owned(),
            format!("{:.3}", run.elapsed_time),
            run.total_tokens.to_string(),
            run.total_steps.to_string(),
            run.triggered_from.to_string(),
        ]);
    }
    if !json {
        say!("{shown}");
    }
}
