//! `migrate --changed` and `--from-report`: rows copied over their documents.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::migrate::MigrateArguments;
use super::output::{say, say_json, table};
use crate::app::{AppError, MigrationRun};
use crate::backfill::recopy::{Recopy, RecopyOutcome};
use crate::backfill::report::{Finding, MAX_NAMED, ValidationReport};
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

/// Copies, and returns what to print and how many rows could not be copied. `abandon` ends it at once.
pub(super) async fn run(
    arguments: &MigrateArguments,
    run: &MigrationRun,
    source: RecopySource,
    abandon: CancellationToken,
) -> Result<(String, u64), Failure> {
    let outcome = tokio::select! {
        outcome = copy(arguments, run, source) => outcome?,
        () = abandon.cancelled() => return Err(Failure::Other(
            "ended at once; rows that were erased and not yet copied are copied by the same command".into(),
        )),
    };
    let failed = outcome.failed();
    Ok((if arguments.json { value(&outcome).to_string() } else { shown(&outcome) }, failed))
}

/// Prints the outcome; fails if rows could not be copied.
pub(super) fn end(text: &str, failed: u64, is_json: bool) -> Result<(), Failure> {
    if is_json {
        say_json!("{text}");
    } else {
        say!("{text}");
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::Other(format!("{failed} rows are not in the store as PostgreSQL has them")))
}

async fn copy(
    arguments: &MigrateArguments,
    run: &MigrationRun,
    source: RecopySource,
) -> Result<RecopyOutcome, Failure> {
    let (store, eraser) = run.side().ok_or_else(|| Failure::Other("a dry run copies nothing".into()))?;
    let recopy = Recopy { migration: &run.migration, store, eraser, lift_tombstones: arguments.lifts_tombstones() };
    let copy =
        async |findings: &[Finding]| recopy.run(findings).await.map_err(|error| Failure::App(AppError::from(error)));
    let (tenants, created, kinds) = match source {
        RecopySource::Report(path) => return copy(&findings(&path, run)?).await,
        RecopySource::Changed { tenants, created, kinds } => (tenants, created, kinds),
    };
    let mut total = RecopyOutcome::default();
    loop {
        let validation = Validation {
            database: run.migration.database(),
            store,
            limits: run.limits(),
            clock: system_clock(),
            seed: 0,
            progress: &|_, _| {},
        };
        let request = ValidationRequest {
            tenants: tenants.clone(),
            kinds: kinds.clone(),
            created,
            sample: None,
            tolerated: Vec::new(),
            store_name: run.places.1.clone(),
        };
        let report = validation.run(request).await.map_err(AppError::from)?;
        let round = copy(&report.findings).await?;
        let is_last = report.findings.len() < MAX_NAMED || round.copied() == 0;
        total.merge(round);
        if is_last {
            return Ok(total);
        }
    }
}

/// Returns what a report names, if it is of this database and this store.
fn findings(path: &Path, run: &MigrationRun) -> Result<Vec<Finding>, Failure> {
    let refused = |reason: String| Failure::Other(format!("report {}: {reason}", path.display()));
    let text = std::fs::read_to_string(path)
        .map_err(|error| refused(format!("{error}; `difylog validate --report FILE` writes one")))?;
    let report = ValidationReport::read(&text).map_err(|error| refused(error.to_string()))?;
    report.is_of(&run.places.0, &run.places.1).map_err(|error| refused(error.to_string()))?;
    Ok(report.findings)
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
    json!({"kinds": kinds, "not_copied": named})
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
    if outcome.kinds.is_empty() {
        parts.push("no row differs from its document".into());
    }
    parts.join("\n")
}
