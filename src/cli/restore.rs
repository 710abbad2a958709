//! `restore-pg`: documents written back as rows of PostgreSQL.

use std::num::{NonZeroU32, NonZeroUsize};

use clap::Args;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::output::{say, say_json, table};
use super::scope::{ScopeArguments, spinner};
use super::signals::{stopped, until_signals};
use crate::app::{self, AppError, Use};
use crate::backfill::restore::{Restore, RestoreOutcome, RestorePlan};
use crate::config::Loaded;
use crate::domain::printable;
use crate::postgres::table_of;

/// Rows that could not be written and are shown to a person.
const SHOWN: usize = 20;

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct RestoreArguments {
    #[command(flatten)]
    scope: ScopeArguments,
    /// Write. Without it, only what is absent is counted
    #[arg(long)]
    execute: bool,
    /// Rows per statement
    #[arg(long, value_name = "ROWS", default_value = "500")]
    batch_size: NonZeroUsize,
    /// Rows a second at most
    #[arg(long, value_name = "ROWS")]
    rate: Option<NonZeroU32>,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Rows that are there are never touched: only absent ones are inserted. Rows that were copied from PostgreSQL come back byte
for byte, columns that difylog does not know included; what came by message comes back equal as JSON values. A payload that
difylog truncated comes back in full from the payload store, and a row whose full text is gone is named and left out.

Exit code 1 means that rows could not be written.";

pub(super) async fn run(arguments: RestoreArguments, loaded: &Loaded) -> Result<(), Failure> {
    let lifecycle = app::open_lifecycle(&loaded.settings, Use::Change).await?;
    let plan = RestorePlan {
        tenants: arguments.scope.tenants.clone(),
        kinds: arguments.scope.kinds(),
        created: arguments.scope.created()?,
        batch: arguments.batch_size.get(),
        rate: arguments.rate,
        execute: arguments.execute,
    };
    let bar = spinner();
    let progress = |outcome: &RestoreOutcome| {
        let sum = |of: fn(&crate::backfill::restore::Restored) -> u64| outcome.restored.values().map(of).sum::<u64>();
        bar.set_message(format!("{} documents, {} rows absent", sum(|kind| kind.documents), sum(|kind| kind.inserted)));
    };
    let stop = CancellationToken::new();
    let is_stopped = stop.clone();
    let restore = Restore {
        database: &lifecycle.database,
        store: lifecycle.side(),
        plan: &plan,
        progress: &progress,
        stop: &|| is_stopped.is_cancelled(),
    };
    let outcome = until_signals(stop, async { Ok(restore.run().await.map_err(AppError::from)?) }).await?;
    bar.finish_and_clear();
    if arguments.json {
        say_json!("{}", value(&arguments, &outcome));
    } else {
        say!("{}", shown(&arguments, &outcome));
    }
    if !outcome.complete {
        return Err(stopped());
    }
    let failed: u64 = outcome.restored.values().map(|restored| restored.failed).sum();
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::Other(format!("{failed} rows could not be written")))
}

fn value(arguments: &RestoreArguments, outcome: &RestoreOutcome) -> Value {
    let kinds: serde_json::Map<String, Value> = outcome
        .restored
        .iter()
        .map(|(kind, restored)| {
            let counts = json!({
                "documents": restored.documents,
                "present": restored.present,
                "inserted": restored.inserted,
                "failed": restored.failed,
            });
            (kind.to_string(), counts)
        })
        .collect();
    let failed: Vec<Value> = outcome
        .named
        .iter()
        .map(|failed| {
            json!({
                "kind": failed.kind.as_str(),
                "tenant_id": failed.tenant_id.to_string(),
                "id": failed.id.to_string(),
                "reason": failed.reason,
            })
        })
        .collect();
    json!({
        "executed": arguments.execute,
        "complete": outcome.complete,
        "kinds": kinds,
        "failed": failed,
        "columns_left_out": outcome.left_out,
    })
}

fn shown(arguments: &RestoreArguments, outcome: &RestoreOutcome) -> String {
    let inserted = if arguments.execute { "inserted" } else { "would be inserted" };
    let mut rows = table(&["table", "documents", "present", inserted, "failed"]);
    for (kind, restored) in &outcome.restored {
        let counts = [restored.documents, restored.present, restored.inserted, restored.failed];
        rows.add_row(std::iter::once(table_of(*kind).to_owned()).chain(counts.map(|count| count.to_string())));
    }
    let mut parts = vec![rows.to_string()];
    for failed in outcome.named.iter().take(SHOWN) {
        parts.push(format!(
            "  {} {} of tenant {}: {}",
            failed.kind,
            failed.id,
            failed.tenant_id,
            printable(&failed.reason)
        ));
    }
    for (column, rows) in &outcome.left_out {
        parts.push(format!("{column} is not in this database: {rows} rows come back without it"));
    }
    if !arguments.execute {
        parts.push("dry run: nothing was written; --execute writes".into());
    }
    parts.join("\n")
}
