//! `rollback`: documents that a migration wrote are taken out of the store again.

use clap::Args;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Failure;
use super::output::{say, say_json, table};
use super::scope::spinner;
use super::signals::{PUT_BACK, stopped, until_signals_within};
use crate::app::{self, AppError, Stores, Use};
use crate::backfill::rollback::{Rollback, RollbackOutcome, refuse_running};
use crate::config::Loaded;
use crate::domain::Origin;
use crate::telemetry::system_clock;

/// Documents that stay and are shown to a person.
const SHOWN: usize = 20;

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct RollbackArguments {
    /// The migration, as `difylog migrate` named it
    #[arg(long, value_name = "UUID")]
    migration: Uuid,
    /// Remove. Without it, everything is done but the removal
    #[arg(long)]
    execute: bool,
    /// Remove documents whose rows PostgreSQL does not have any more, too: they are lost for good
    #[arg(long)]
    force_missing: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
What came live, and what a live message has overwritten since, is not the migration's and stays. A document goes only
while PostgreSQL has its row, so nothing is lost. Full texts that no other document names go as well; canvases stay until
their month goes. Once everything is out, the migration is forgotten, and the same command line copies from the first row again.

Exit code 1 means that documents stayed because PostgreSQL does not have their rows: `difylog restore-pg` puts them back.";

pub(super) async fn run(arguments: RollbackArguments, loaded: &Loaded) -> Result<(), Failure> {
    let lifecycle = app::open_lifecycle(&loaded.settings, Use::Change).await?;
    // A dry run removes nothing: it goes on beside a worker.
    let Stores { store, payloads } = if arguments.execute {
        app::open_removal(&loaded.settings).await?
    } else {
        app::open_stores(&loaded.settings)?
    };
    let bar = spinner();
    let progress =
        |outcome: &RollbackOutcome| bar.set_message(format!("{} documents", outcome.removed.values().sum::<u64>()));
    let stop = CancellationToken::new();
    let is_stopped = stop.clone();
    let lease = app::removal_lease(&loaded.settings, &store);
    let store = &*store;
    let rollback = Rollback {
        database: &lifecycle.database,
        reader: store,
        eraser: store,
        sink: store,
        overview: store,
        texts: &payloads,
        origin: Origin::new(arguments.migration),
        force_missing: arguments.force_missing,
        execute: arguments.execute,
        progress: &progress,
        stop: &|| is_stopped.is_cancelled(),
    };
    let lost = stop.clone();
    let outcome = until_signals_within(stop, PUT_BACK, async {
        let done = if arguments.execute {
            rollback.run_alone(&lease, &lost).await
        } else {
            match refuse_running(store, arguments.migration, system_clock()()).await {
                Ok(()) => rollback.run().await,
                Err(error) => Err(error),
            }
        };
        Ok(done.map_err(AppError::from)?)
    })
    .await?;
    bar.finish_and_clear();
    store.close().await;
    if arguments.json {
        say_json!("{}", value(&arguments, &outcome));
    } else {
        say!("{}", shown(&arguments, &outcome));
    }
    if !outcome.complete {
        return Err(stopped());
    }
    if outcome.without_row == 0 {
        return Ok(());
    }
    Err(Failure::Other(format!("{} documents stay: PostgreSQL does not have their rows", outcome.without_row)))
}

fn value(arguments: &RollbackArguments, outcome: &RollbackOutcome) -> Value {
    let removed: serde_json::Map<String, Value> =
        outcome.removed.iter().map(|(kind, count)| (kind.to_string(), (*count).into())).collect();
    let stay: Vec<Value> = outcome
        .named
        .iter()
        .map(|(kind, tenant, id)| json!({"kind": kind.as_str(), "tenant_id": tenant.to_string(), "id": id.to_string()}))
        .collect();
    json!({
        "executed": arguments.execute,
        "complete": outcome.complete,
        "removed": removed,
        "without_row": outcome.without_row,
        "overwritten": outcome.overwritten,
        "stay": stay,
    })
}

fn shown(arguments: &RollbackArguments, outcome: &RollbackOutcome) -> String {
    let removed = if arguments.execute { "removed" } else { "would be removed" };
    let mut rows = table(&["kind", removed]);
    for (kind, count) in &outcome.removed {
        rows.add_row([kind.to_string(), count.to_string()]);
    }
    let mut parts = vec![rows.to_string()];
    for (kind, tenant, id) in outcome.named.iter().take(SHOWN) {
        parts.push(format!("  {kind} {id} of tenant {tenant} stays: PostgreSQL does not have its row"));
    }
    if outcome.overwritten > 0 {
        parts.push(format!("{} documents were overwritten meanwhile and stay", outcome.overwritten));
    }
    if !arguments.execute {
        parts.push("dry run: nothing was removed; --execute removes".into());
    }
    parts.join("\n")
}
