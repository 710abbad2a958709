//! `migrate --changed` and `--from-report`: rows copied over their documents.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::migrate::MigrateArguments;
use super::output::{say, say_json, table};
use super::signals::{PUT_BACK, abandoned, stopped};
use crate::app::{AppError, MigrationRun};
use crate::backfill::recopy::{Recopy, RecopyOutcome};
use crate::backfill::report::{MAX_NAMED, Tolerated, ValidationReport};
use crate::backfill::validate::{Validation, ValidationRequest};
use crate::domain::query::TimeRange;
use crate::domain::{Kind, TenantId};
use crate::telemetry::system_clock;

/// Rows that could not be copied and are shown to a person.
const SHOWN: usize = 20;

/// Where the rows are named.
pub(super) enum RecopySource {
    /// A comparison is made now, over this span.
    Changed { tenants: Vec<TenantId>, created: TimeRange, kinds: Vec<Kind> },
    /// A report that a validation wrote.
    Report(PathBuf),
}

/// Copies, and returns what to print, and why the command fails all the same. `abandon` ends it, once what was erased is
/// written back.
pub(super) async fn run(
    arguments: &MigrateArguments,
    run: &MigrationRun,
    source: RecopySource,
    abandon: CancellationToken,
) -> Result<(String, Option<Failure>), Failure> {
    let outcome = tokio::select! {
        outcome = copy(arguments, run, source) => outcome?,
        () = abandoned(&abandon, PUT_BACK) => return Err(Failure::Other(
            "ended at once; rows that were erased and not yet copied are copied by the same command".into(),
        )),
    };
    Ok((if arguments.json { value(&outcome).to_string() } else { shown(&outcome) }, failure(&outcome)))
}

fn failure(outcome: &RecopyOutcome) -> Option<Failure> {
    let RecopyOutcome { unnamed, complete, .. } = outcome;
    if !complete {
        Some(stopped())
    } else if *unnamed > 0 {
        Some(Failure::Other(format!(
            "{unnamed} more rows differ than the comparison could name: run `difylog validate` and this command again, over \
             one tenant or a shorter span (--tenant-id, --from, --to) if the number stays"
        )))
    } else if outcome.failed() > 0 {
        Some(Failure::Other(format!("{} rows are not in the store as PostgreSQL has them", outcome.failed())))
    } else {
        None
    }
}

/// Prints the outcome; fails if there is a reason.
pub(super) fn end(text: &str, failure: Option<Failure>, is_json: bool) -> Result<(), Failure> {
    if is_json {
        say_json!("{text}");
    } else {
        say!("{text}");
    }
    failure.map_or(Ok(()), Err)
}

async fn copy(
    arguments: &MigrateArguments,
    run: &MigrationRun,
    source: RecopySource,
) -> Result<RecopyOutcome, Failure> {
    let (side, store) = run.side().ok_or_else(|| Failure::Other("a dry run copies nothing".into()))?;
    let recopy = Recopy {
        migration: &run.migration,
        store: side,
        eraser: store,
        sink: store,
        lift_tombstones: arguments.lifts_tombstones(),
    };
    let copied = match source {
        RecopySource::Report(path) => recopy.run(&report(&path, run)?).await,
        RecopySource::Changed { tenants, created, kinds } => {
            let validation = Validation {
                database: run.migration.database(),
                store: side,
                limits: run.limits(),
                clock: system_clock(),
                seed: 0,
                named: MAX_NAMED,
                progress: &|_, _| {},
            };
            let store_name = run.places.1.clone();
            let request = ValidationRequest {
                tenants,
                kinds,
                created,
                sample: None,
                tolerated: vec![Tolerated::Extra],
                store_name,
            };
            recopy.changed(&validation, &request).await
        }
    };
    Ok(copied.map_err(AppError::from)?)
}

/// Returns a report, if it is of this database and this store.
fn report(path: &Path, run: &MigrationRun) -> Result<ValidationReport, Failure> {
    let refused = |reason: String| Failure::Other(format!("report {}: {reason}", path.display()));
    let text = std::fs::read_to_string(path)
        .map_err(|error| refused(format!("{error}; `difylog validate --report FILE` writes one")))?;
    let report = ValidationReport::read(&text).map_err(|error| refused(error.to_string()))?;
    report.is_of(&run.places.0, &run.places.1).map_err(|error| refused(error.to_string()))?;
    Ok(report)
}

fn value(outcome: &RecopyOutcome) -> Value {
    let kinds: serde_json::Map<String, Value> = outcome
        .kinds
        .iter()
        .map(|(kind, found)| {
            let counts = json!({
                "copied": found.copied,
                "held": found.held,
                "gone": found.gone,
                "erased": found.erased,
                "left": found.left,
            });
            (kind.to_string(), counts)
        })
        .collect();
    let named: Vec<Value> = outcome
        .named
        .iter()
        .map(|(kind, id, reason)| json!({"kind": kind.as_str(), "id": id.to_string(), "reason": reason}))
        .collect();
    json!({"complete": outcome.complete, "kinds": kinds, "not_copied": named, "not_named": outcome.unnamed})
}

fn shown(outcome: &RecopyOutcome) -> String {
    let mut rows = table(&["kind", "copied again", "held already", "not in PostgreSQL", "erased", "not copied"]);
    for (kind, found) in &outcome.kinds {
        let counts = [found.copied, found.held, found.gone, found.erased, found.left].map(|count| count.to_string());
        rows.add_row(std::iter::once(kind.to_string()).chain(counts));
    }
    let mut parts = vec![rows.to_string()];
    for (kind, id, reason) in outcome.named.iter().take(SHOWN) {
        parts.push(format!("  {kind} {id}: {reason}"));
    }
    let is_known_to_be_all = outcome.complete && outcome.unnamed == 0;
    if outcome.kinds.is_empty() && is_known_to_be_all {
        parts.push("no row that was asked for differs from its document".into());
    }
    parts.join("\n")
}
