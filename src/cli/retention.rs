//! `retention`: what is past its days, and its removal.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::output::{say, say_json, table};
use super::scope::spinner;
use super::signals::{stopped, until_signals};
use crate::app;
use crate::config::Loaded;
use crate::domain::Kind;
use crate::retention::{Retention, RetentionError, RetentionPlan, RetentionStep, StepReport, Swept, SweptMonth};
use crate::store::payload::Removed;

#[derive(Debug, Subcommand)]
pub(super) enum RetentionCommand {
    /// Show what would be removed now; removes nothing
    Plan(PlanArguments),
    /// Remove it: whole months are dropped, the rest is erased at retention.rate
    Apply(ApplyArguments),
    /// Find full texts in the payload store that no record names; says what it would remove until it is told --execute
    Sweep(SweepArguments),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Records that are deleted or past their days take their full texts along. What is left belongs to \
late events that were refused, or to a removal that was interrupted. Texts younger than retention.sweep_min_age_hours stay. \
A sweep that was ended goes on where it was."
)]
pub(super) struct SweepArguments {
    /// Remove them
    #[arg(long)]
    execute: bool,
    /// JSON Lines instead of text
    #[arg(long)]
    json: bool,
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
        // A sweep changes nothing but the payload store: it goes on beside a worker.
        RetentionCommand::Plan(_) | RetentionCommand::Sweep(_) => app::open_stores(&loaded.settings)?,
        RetentionCommand::Apply(_) => app::open_removal(&loaded.settings).await?,
    };
    let retention = app::retention(&loaded.settings, &stores);
    let outcome = match command {
        RetentionCommand::Plan(PlanArguments { json }) => retention.plan().await.map(|plan| print_plan(&plan, json)),
        RetentionCommand::Apply(ApplyArguments { max_share, json }) => {
            let plan = retention.plan().await?;
            retention.apply(&plan, max_share).await.map(|reports| print_reports(&reports, json))
        }
        RetentionCommand::Sweep(arguments) => {
            let swept = sweep(&retention, &arguments).await;
            stores.store.close().await;
            return swept;
        }
    };
    stores.store.close().await;
    Ok(outcome?)
}

async fn sweep(retention: &Retention, arguments: &SweepArguments) -> Result<(), Failure> {
    let SweepArguments { execute, json } = *arguments;
    let bar = spinner();
    let each = |found: &SweptMonth| {
        let at = format!("{} of tenant {}", found.month, found.tenant_id);
        bar.set_message(at.clone());
        if json {
            say_json!("{}", swept_line(found, execute));
        } else if found.removed.objects > 0 {
            bar.suspend(|| say!("{at}: {}", amount(execute, found.removed)));
        }
    };
    let stop = CancellationToken::new();
    let is_stopped = stop.clone();
    let work = async { Ok(retention.sweep(execute, &each, &|| is_stopped.is_cancelled()).await?) };
    let Swept { months, removed, complete } = until_signals(stop, work).await?;
    bar.finish_and_clear();
    if json {
        let Removed { objects, bytes } = removed;
        let total = json!({ "months": months, "full_texts": objects, "bytes": bytes, "complete": complete });
        say_json!("{total}");
    } else {
        say!("{} in {months} months of tenants", amount(execute, removed));
        if !execute {
            say!("dry run: nothing was removed; --execute removes");
        }
    }
    if complete { Ok(()) } else { Err(stopped()) }
}

fn amount(execute: bool, Removed { objects, bytes }: Removed) -> String {
    let verb = if execute { "removed" } else { "would remove" };
    format!("{verb} {objects} full texts that no record names, {bytes} bytes")
}

fn swept_line(found: &SweptMonth, execute: bool) -> Value {
    let Removed { objects, bytes } = found.removed;
    json!({
        "tenant_id": found.tenant_id.to_string(), "month": found.month.to_string(), "executed": execute,
        "full_texts": objects, "bytes": bytes,
    })
}

fn print_plan(plan: &RetentionPlan, json: bool) {
    if json {
        for step in &plan.steps {
            say_json!("{}", line(step, "records", &step.records));
        }
        return;
    }
    let mut shown = table(&HEADER);
    for step in &plan.steps {
        shown.add_row(row(step, &step.records));
    }
    say!("{shown}");
    say!("{} of {} records, {:.1} %", plan.total(), plan.stored, plan.share() * 100.0);
}

fn print_reports(reports: &[StepReport], json: bool) {
    if json {
        for report in reports {
            say_json!("{}", line(&report.step, "removed", &report.removed));
        }
        return;
    }
    let mut shown = table(&HEADER);
    for report in reports {
        shown.add_row(row(&report.step, &report.removed));
    }
    say!("{shown}");
    let removed: u64 = reports.iter().flat_map(|report| report.removed.values()).sum();
    say!("{removed} records removed");
}

const HEADER: [&str; 6] = ["month", "removes", "runs", "nodes", "app logs", "offloads"];

type Counts = std::collections::BTreeMap<Kind, u64>;

fn row(step: &RetentionStep, records: &Counts) -> [String; 6] {
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

fn line(step: &RetentionStep, name: &str, records: &Counts) -> Value {
    let records: serde_json::Map<String, Value> =
        records.iter().map(|(kind, count)| (kind.to_string(), (*count).into())).collect();
    json!({
        "month": step.month.to_string(),
        "tenant_id": step.tenant().map(|tenant| tenant.to_string()),
        "what": step.what.to_string(),
        name: records,
    })
}
