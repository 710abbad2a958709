//! `status`: everything on one screen.

use std::fmt::Display;

use clap::Args;
use serde_json::Value;

use super::Failure;
use super::output::{say, say_json, shown_lines, table};
use crate::app::{self, Lag, Status, StatusPart};
use crate::backfill::state::MigrationStatus;
use crate::config::Loaded;
use crate::domain::{printable, printable_lines};

#[derive(Debug, Args)]
#[command(
    after_help = "A part that cannot be reached says why, the others are shown all the same; the exit code is 4 then."
)]
pub(super) struct StatusArguments {
    /// JSON instead of tables
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &StatusArguments, loaded: &Loaded) -> Result<(), Failure> {
    let status = app::status(&loaded.settings).await?;
    if arguments.json {
        say_json!("{}", status.to_json());
    } else {
        show(&status);
    }
    if status.is_whole() { Ok(()) } else { Err(Failure::Unreachable) }
}

fn show(status: &Status) {
    say!("difylog {}", env!("CARGO_PKG_VERSION"));
    section("store", &status.store, |lines| shown_lines(lines));
    section("full texts", &status.payloads, |found| printable(found).into_owned());
    section("months", &status.months, |months| {
        let mut shown = table(&["month", "kind", "documents", "MB", "shards"]);
        for ((month, kind), found) in months {
            let megabytes = found.bytes.map(|bytes| format!("{:.1}", bytes as f64 / 1e6));
            let number = |number: Option<u64>| number.map(|number| number.to_string());
            let cells = [number(found.documents), megabytes, number(found.shards)];
            let cells = cells.map(Option::unwrap_or_default);
            shown.add_row([month.to_string(), (*kind).to_owned()].into_iter().chain(cells));
        }
        shown.to_string()
    });
    section("migrations", &status.migrations, |found| migrations(found));
    section("last validation", &status.validation, |found| remembered(found.as_ref()));
    section("last retention by a worker", &status.retention, |found| remembered(found.as_ref()));
    section("PostgreSQL", &status.database, |version| {
        version.as_deref().map_or("none: no setting names one".into(), |version| printable(version).into_owned())
    });
    section("broker", &status.broker, |broker| {
        let blocked = broker.blocked.as_ref().map(|reason| format!("; it blocks publishers: {}", printable(reason)));
        format!(
            "{}, virtual host {}{}",
            printable(&broker.address),
            printable(&broker.virtual_host),
            blocked.unwrap_or_default()
        )
    });
    section("queues", &status.queues, |depths| {
        let mut shown = table(&["queue", "messages waiting", "consumers"]);
        for depth in depths {
            shown.add_row([depth.queue.clone(), depth.ready.to_string(), depth.consumers.to_string()]);
        }
        shown.to_string()
    });
    section("lag", &status.lag, lag);
}

fn lag(lag: &Lag) -> String {
    let newest = lag
        .newest
        .map_or_else(|| "the store is empty".to_owned(), |newest| format!("the newest record is of {newest}"));
    match (lag.waiting, lag.seconds) {
        (0, _) => format!("none: no message waits; {newest}"),
        (waiting, Some(seconds)) => format!("some {seconds} s: {waiting} messages wait; {newest}"),
        (waiting, None) => format!("unknown: {waiting} messages wait; {newest}"),
    }
}

fn section<T, D: Display>(title: &str, part: &StatusPart<T>, show: impl FnOnce(&T) -> D) {
    match part {
        Ok(found) => say!("\n{title}\n{}", show(found)),
        Err(error) => say!("\n{title}\nFAILED: {}", printable_lines(error)),
    }
}

fn migrations(found: &[MigrationStatus]) -> String {
    if found.is_empty() {
        return "none".to_owned();
    }
    let mut shown = table(&["migration", "database", "kind", "state", "rows", "copied", "rejected", "missing objects"]);
    for migration in found {
        let running = migration.held.is_some();
        for (kind, checkpoint) in &migration.kinds {
            let state = match (checkpoint.done, running) {
                (true, _) => "done",
                (false, true) => "running",
                (false, false) => "stopped",
            };
            let tally = &checkpoint.tally;
            let numbers = [tally.read, tally.copied, tally.rejected, tally.missing_objects].map(|n| n.to_string());
            let names = [migration.id.to_string(), migration.entry.scope.server.clone(), kind.clone(), state.into()];
            shown.add_row(names.into_iter().chain(numbers));
        }
    }
    shown.to_string()
}

/// Returns an outcome as it was written: one line per member.
fn remembered(found: Option<&Value>) -> String {
    match found {
        None => "none".to_owned(),
        Some(Value::Object(members)) => members
            .iter()
            .map(|(name, value)| printable(&format!("{name}: {}", plain(value))).into_owned())
            .collect::<Vec<_>>()
            .join("\n"),
        Some(other) => printable(&other.to_string()).into_owned(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
