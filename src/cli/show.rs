//! `show`: what is stored, as a table or as JSON.

use clap::{Args, Subcommand};

use super::output::{document, glimpse, summary, table};
use super::{Failure, output};
use crate::app::{self, Stores};
use crate::config::Loaded;
use crate::domain::query::NewestRuns;
use crate::domain::record::RecordKey;
use crate::domain::{AppId, Document, Kind, Record, RecordId, TenantId};

#[derive(Debug, Subcommand)]
pub(super) enum ShowCommand {
    /// One run with its payloads and its graph
    Run(RunArguments),
    /// The newest runs of an app
    Runs(RunsArguments),
    /// The nodes of a run, in the order in which they started
    Nodes(RunArguments),
    /// How much is stored, per month and kind
    Counts(CountsArguments),
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// Id of the run
    run: RecordId,
    /// The tenant (workspace) that the run belongs to
    #[arg(long)]
    tenant: TenantId,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RunsArguments {
    #[arg(long)]
    tenant: TenantId,
    #[arg(long)]
    app: AppId,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// JSON Lines instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CountsArguments {
    /// JSON Lines instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: ShowCommand, loaded: &Loaded) -> Result<(), Failure> {
    let Stores { store, .. } = app::open_stores(&loaded.settings)?;
    match command {
        ShowCommand::Run(arguments) => {
            let key = RecordKey { tenant_id: arguments.tenant, kind: Kind::WorkflowRun, id: arguments.run };
            let found = store.record(key).await?;
            let found =
                found.ok_or_else(|| Failure::Other(format!("no run {} of tenant {}", key.id, key.tenant_id)))?;
            show_run(&found, arguments.json);
        }
        ShowCommand::Runs(RunsArguments { tenant, app, limit, json }) => {
            let query = NewestRuns { tenant_id: tenant, app_id: app, limit: usize::from(limit), after: None };
            show_runs(&store.newest_runs(query).await?, json);
        }
        ShowCommand::Nodes(arguments) => {
            show_nodes(&store.nodes_of_run(arguments.tenant, arguments.run).await?, arguments.json);
        }
        ShowCommand::Counts(CountsArguments { json }) => {
            let counts = store.counts().await?;
            let mut shown = table(&["month", "kind", "documents"]);
            for count in &counts {
                if json {
                    let line = serde_json::json!({
                        "month": count.month.to_string(), "kind": count.kind, "documents": count.documents
                    });
                    println!("{line}");
                }
                shown.add_row([count.month.to_string(), count.kind.to_owned(), count.documents.to_string()]);
            }
            if !json {
                println!("{shown}");
            }
        }
    }
    Ok(())
}

fn show_run(found: &Document, json: bool) {
    let value = document(found);
    if json {
        println!("{value}");
        return;
    }
    let Record::Run(run) = &found.record else { return };
    let mut shown = table(&["field", "value"]);
    for (field, value) in value.as_object().into_iter().flatten() {
        let text = match field.as_str() {
            "graph" => glimpse(run.graph.as_ref(), 200),
            "inputs" => glimpse(run.inputs.as_ref(), 400),
            "outputs" => glimpse(run.outputs.as_ref(), 400),
            _ => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        };
        shown.add_row([field.as_str(), &text]);
    }
    println!("{shown}");
}

fn show_runs(runs: &[crate::domain::query::RunSummary], json: bool) {
    if json {
        for run in runs {
            println!("{}", summary(run));
        }
        return;
    }
    let mut shown = table(&["created_at", "id", "status", "seconds", "tokens", "steps", "from"]);
    for run in runs {
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
    println!("{shown}");
}

fn show_nodes(nodes: &[Document], json: bool) {
    if json {
        for node in nodes {
            println!("{}", document(node));
        }
        return;
    }
    let mut shown = output::table(&["index", "title", "type", "status", "seconds", "created_at", "inputs", "outputs"]);
    for found in nodes {
        let Record::Node(node) = &found.record else { continue };
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
    println!("{shown}");
}
