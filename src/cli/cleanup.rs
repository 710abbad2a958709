//! `cleanup-pg`: rows that a report vouches for go from PostgreSQL.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::output::{say, say_json, shown_lines, table};
use super::scope::{instant, spinner};
use super::signals::{stopped, until_signals};
use crate::app::{self, AppError, Stores, Use};
use crate::backfill::cleanup::{Cleanup, CleanupOutcome, CleanupPlan, Stay};
use crate::backfill::report::{ReportRequirement, ValidationReport};
use crate::config::Loaded;
use crate::domain::query::TimeRange;
use crate::domain::{TenantId, Timestamp};
use crate::postgres::table_of;
use crate::telemetry::system_clock;

/// Rows that stay and are shown to a person.
const SHOWN: usize = 20;

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct CleanupArguments {
    /// Report of `difylog validate` over these rows
    #[arg(long, value_name = "FILE")]
    report: PathBuf,
    /// Only runs created before this day or instant (UTC)
    #[arg(long, value_name = "DATE", value_parser = instant)]
    before: Timestamp,
    /// Only rows of this tenant; can be given several times. Without it: of every tenant of the report
    #[arg(long = "tenant-id", value_name = "UUID")]
    tenants: Vec<TenantId>,
    /// Delete. Without it, everything is done but the deletion
    #[arg(long)]
    execute: bool,
    /// Runs per transaction
    #[arg(long, value_name = "RUNS", default_value = "100")]
    batch_size: NonZeroUsize,
    /// Rows a second at most
    #[arg(long, value_name = "ROWS")]
    rate: Option<NonZeroU32>,
    /// Accept a report with faults: what is at fault stays, with the run that it belongs to
    #[arg(long)]
    pass_over_faults: bool,
    /// Delete rows whose values the store has in a changed form only (NaN as null, text that is no JSON), too: a restore
    /// brings the changed form
    #[arg(long)]
    allow_changed: bool,
    /// Delete runs and node executions, too, that rows of these tables refer to; `all` stands for every table
    #[arg(long, value_delimiter = ',', value_name = "TABLE,…")]
    include_referenced_by: Vec<String>,
    /// Delete runs that messages refer to, too: the same as --include-referenced-by messages
    #[arg(long)]
    include_chat_runs: bool,
    /// Delete runs and node executions that have not ended and began so many days ago, too, as far as the store has them
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    unended_older_than: Option<u32>,
    /// How old the report may be
    #[arg(long, value_name = "HOURS", default_value = "24")]
    max_age: NonZeroU64,
    /// How long a transaction waits for a row that another session holds
    #[arg(long, value_name = "MILLISECONDS", default_value = "2000")]
    lock_timeout: NonZeroU32,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
A run goes with its node executions, their offload rows and its app logs, or not at all. Every row is locked and compared
with its document again in the transaction that deletes it. These stay: runs that have not ended, runs of which Dify keeps
a pause, runs that rows of other tables refer to (the messages of chat flows, workflow_trigger_logs, workflow_archive_logs
and whatever else has a workflow_run_id), those whose node executions are referred to (workflow_draft_variables and whatever
else has a node_execution_id), whatever is not proved to be in the store, upload_files rows and the files they
stand for. Each is counted, in the dry run as well. Rows whose run is gone already (single-step executions, app logs of deleted runs) go too.

It can be stopped and started again at any time. `difylog restore-pg` brings the rows back.

Exit code 1 means that rows stayed because the store does not have them, or has them otherwise.";

pub(super) async fn run(arguments: CleanupArguments, loaded: &Loaded) -> Result<(), Failure> {
    let lifecycle = app::open_lifecycle(&loaded.settings, Use::Change).await?;
    let demand = ReportRequirement {
        database: lifecycle.database.server(),
        store: &lifecycle.store_name,
        before: arguments.before,
        tenants: &arguments.tenants,
        now: system_clock()(),
        max_age: Duration::from_secs(arguments.max_age.get().saturating_mul(3600)),
        pass_over_faults: arguments.pass_over_faults,
    };
    let report = accepted(&arguments.report, &demand)?;
    let tenants = if arguments.tenants.is_empty() {
        report.scope.tenants.iter().map(|tenant| tenant.0).collect()
    } else {
        arguments.tenants.clone()
    };
    let plan = CleanupPlan {
        tenants,
        created: TimeRange { from: report.scope.created().from, until: Some(arguments.before) },
        batch: arguments.batch_size.get(),
        rate: arguments.rate,
        lock_timeout_ms: arguments.lock_timeout.get(),
        allow_changed: arguments.allow_changed,
        ignored_references: arguments.ignored_references(),
        unended_before: arguments.unended_older_than.map(|days| demand.now.days_before(days)),
        execute: arguments.execute,
    };
    let bar = spinner();
    let verb = if arguments.execute { "deleted" } else { "would be deleted" };
    let progress = |outcome: &CleanupOutcome| bar.set_message(format!("{} rows {verb}", outcome.rows()));
    let stop = CancellationToken::new();
    let is_stopped = stop.clone();
    let cleanup = Cleanup {
        database: &lifecycle.database,
        store: lifecycle.side(),
        plan: &plan,
        progress: &progress,
        stop: &|| is_stopped.is_cancelled(),
    };
    let work = Box::pin(async {
        // A dry run relies on nothing, and nothing on it.
        let done = if arguments.execute {
            let Stores { store, .. } = app::open_stores(&loaded.settings)?;
            app::removal_lease(&loaded.settings, &store).holding(cleanup.run()).await
        } else {
            cleanup.run().await
        };
        Ok(done.map_err(AppError::from)?)
    });
    let outcome = until_signals(stop, work).await?;
    bar.finish_and_clear();
    if arguments.json {
        say_json!("{}", value(&arguments, &outcome));
    } else {
        say!("{}", shown(&arguments, &outcome));
    }
    if !outcome.complete {
        return Err(stopped());
    }
    let unproved = [Stay::Missing, Stay::Different, Stay::Changed, Stay::Unreadable];
    let count: u64 = unproved.iter().filter_map(|stay| outcome.stayed.get(stay)).sum();
    if count == 0 {
        return Ok(());
    }
    Err(Failure::Other(format!(
        "{count} runs or rows stay: they are not proved to be in the store; run `difylog validate`, then `difylog migrate \
         --from-report REPORT` copies what differs"
    )))
}

impl CleanupArguments {
    fn ignored_references(&self) -> Vec<String> {
        let chat = self.include_chat_runs.then(|| "messages".to_owned());
        self.include_referenced_by.iter().cloned().chain(chat).collect()
    }
}

fn accepted(path: &Path, demand: &ReportRequirement<'_>) -> Result<ValidationReport, Failure> {
    let refused = |reason: String| Failure::Other(format!("report {}: {reason}", path.display()));
    let text = std::fs::read_to_string(path)
        .map_err(|error| refused(format!("{error}; `difylog validate --report FILE` writes one")))?;
    let report = ValidationReport::read(&text).map_err(|error| refused(error.to_string()))?;
    report.vouches_for(demand).map_err(|error| refused(error.to_string()))?;
    Ok(report)
}

fn value(arguments: &CleanupArguments, outcome: &CleanupOutcome) -> Value {
    let freed: serde_json::Map<String, Value> = outcome
        .freed
        .iter()
        .map(|(kind, freed)| (kind.to_string(), json!({"rows": freed.rows, "bytes": freed.bytes})))
        .collect();
    let stayed: serde_json::Map<String, Value> =
        outcome.stayed.iter().map(|(stay, count)| (stay.reason().to_owned(), (*count).into())).collect();
    let kept: Vec<Value> = outcome
        .kept
        .iter()
        .map(|kept| {
            json!({
                "reason": kept.stay.reason(),
                "kind": kept.kind.as_str(),
                "id": kept.id.to_string(),
                "run_or_row": kept.family.to_string(),
            })
        })
        .collect();
    json!({
        "executed": arguments.execute,
        "complete": outcome.complete,
        "freed": freed,
        "stayed": stayed,
        "kept": kept,
        "files_left": outcome.files_left,
        "referenced": outcome.referenced,
        "unended": outcome.unended.values().collect::<Vec<_>>(),
        "spelled_otherwise": outcome.spelled,
        "changed": outcome.changed,
        "plans": outcome.plans,
    })
}

fn shown(arguments: &CleanupArguments, outcome: &CleanupOutcome) -> String {
    let deleted = if arguments.execute { "deleted" } else { "would be deleted" };
    let mut rows = table(&["table", deleted, "bytes of texts"]);
    for (kind, freed) in &outcome.freed {
        rows.add_row([table_of(*kind).to_owned(), freed.rows.to_string(), freed.bytes.to_string()]);
    }
    let mut parts = vec![shown_lines(&outcome.plans), rows.to_string()];
    for (stay, count) in &outcome.stayed {
        parts.push(format!("{count} runs, or rows without one, stay: {}", stay.reason()));
    }
    for (table, count) in &outcome.referenced {
        parts.push(format!("  {count} of them are referred to by {table}"));
    }
    for unended in outcome.unended.values() {
        parts.push(format!("{unended}: they stay; --unended-older-than DAYS lets go of those older than that"));
    }
    if outcome.changed > 0 {
        parts.push(format!("{} rows {deleted} whose values the store has in a changed form only", outcome.changed));
    }
    if outcome.spelled > 0 {
        parts.push(format!(
            "{} rows {deleted} would come back spelled otherwise (white space, escapes, NULL for {{}}), equal in value",
            outcome.spelled
        ));
    }
    let unproved = outcome.kept.iter().filter(|kept| !matches!(kept.stay, Stay::Paused | Stay::Held));
    for kept in unproved.take(SHOWN) {
        parts.push(format!("  {} {}: {}; stays with {}", kept.kind, kept.id, kept.stay.reason(), kept.family));
    }
    if outcome.files_left > 0 {
        parts.push(format!(
            "{} files of offloaded payloads, and their rows in upload_files, stay where they are",
            outcome.files_left
        ));
    }
    if arguments.execute && outcome.rows() > 0 {
        let tables: Vec<&str> =
            outcome.freed.iter().filter(|(_, freed)| freed.rows > 0).map(|(kind, _)| table_of(*kind)).collect();
        parts.push(format!(
            "PostgreSQL reuses the space after: VACUUM (ANALYZE) {};\nTo give it back to the disk: VACUUM FULL (locks the \
             table while it runs) or pg_repack",
            tables.join(", ")
        ));
    } else if !arguments.execute {
        parts.push("dry run: nothing was deleted; --execute deletes".into());
    }
    parts.join("\n")
}
