//! `retention`: what is past its days, and its removal.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Failure;
use super::output::table;
use crate::app;
use crate::config::Loaded;
use crate::domain::Kind;
use crate::retention::{Plan, RetentionError, Step, StepReport};

#[derive(Debug, Subcommand)]
pub(super) enum RetentionCommand {
    /// Show what would be removed now; removes nothing
    Plan(PlanArguments),
    /// Remove it: whole months are dropped, the rest is erased at retention.rate
    Apply(ApplyArguments),
}

#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    /// JSON Lines instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ApplyArguments {
    /// Largest share of all records that may go this time, 0 to 1, instead of the configured one
    #[arg(long, value_name = "SHARE", value_parser = share)]
    max_share: Option<f64>,
    /// JSON Lines instead of a table
    #[arg(long)]
    json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

impl From<RetentionError> for Failure {
    fn from(error: RetentionError) -> Self {
        match error {
            RetentionError::Store(error) => error.into(),
            other => Self::Other(other.to_string()),
        }
    }
}

pub(super) async fn run(command: RetentionCommand, loaded: &Loaded) -> Result<(), Failure> {
    let stores = match command {
        RetentionCommand::Plan(_) => app::open_stores(&loaded.settings)?,
        RetentionCommand::Apply(_) => app::open_removal(&loaded.settings).await?,
    };
    let retention = app::retention(&loaded.settings, &stores);
    let outcome = match command {
        RetentionCommand::Plan(PlanArguments { json }) => retention.plan().await.map(|plan| print_plan(&plan, json)),
        RetentionCommand::Apply(ApplyArguments { max_share, json }) => {
            let plan = retention.plan().await?;
            retention.apply(&plan, max_share).await.map(|reports| print_reports(&reports, json))
        }
    };
    stores.store.close().await;
    Ok(outcome?)
}

fn print_plan(plan: &Plan, json: bool) {
    if json {
        for step in &plan.steps {
            println!("{}", line(step, "records", &step.records));
        }
        return;
    }
    let mut shown = table(&HEADER);
    for step in &plan.steps {
        shown.add_row(row(step, &step.records));
    }
    println!("{shown}");
    println!("{} of {} records, {:.1} %", plan.total(), plan.stored, plan.share() * 100.0);
}

fn print_reports(reports: &[StepReport], json: bool) {
    if json {
        for report in reports {
            println!("{}", line(&report.step, "removed", &report.removed));
        }
        return;
    }
    let mut shown = table(&HEADER);
    for report in reports {
        shown.add_row(row(&report.step, &report.removed));
    }
    println!("{shown}");
    let removed: u64 = reports.iter().flat_map(|report| report.removed.values()).sum();
    println!("{removed} records removed");
}

const HEADER: [&str; 6] = ["month", "removes", "runs", "nodes", "app logs", "offloads"];

type Counts = std::collections::BTreeMap<Kind, u64>;

fn row(step: &Step, records: &Counts) -> [String; 6] {
    let count = |kind| records.get(&kind).unwrap_or(&0).to_string();
    [
        step.month.to_string(),
        step.what.to_string(),
        count(Kind::WorkflowRun),
        count(Kind::NodeExecution),
        count(Kind::AppLog),
        count(Kind::Offload),
    ]
}

fn line(step: &Step, name: &str, records: &Counts) -> Value {
    let records: serde_json::Map<String, Value> =
        records.iter().map(|(kind, count)| (kind.to_string(), (*count).into())).collect();
    json!({
        "month": step.month.to_string(),
        "tenant_id": step.tenant().map(|tenant| tenant.to_string()),
        "what": step.what.to_string(),
        name: records,
    })
}
