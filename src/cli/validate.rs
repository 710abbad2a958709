//! `validate`: PostgreSQL and the store compared, with a report that `cleanup-pg` accepts.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::output::{say, say_json, shown_lines, table};
use super::scope::{ScopeArguments, spinner};
use super::signals::until_signals;
use crate::app::{self, AppError, Use};
use crate::backfill::VALIDATION;
use crate::backfill::report::{Finding, MAX_NAMED, RecordFault, Tolerated, ValidationReport};
use crate::backfill::validate::{Validation, ValidationRequest};
use crate::config::Loaded;
use crate::store::StateStore;
use crate::telemetry::system_clock;

/// Findings that a person is shown; the report has more.
const SHOWN: usize = 20;

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ValidateArguments {
    #[command(flatten)]
    scope: ScopeArguments,
    /// Only so many rows of each table, at random: a quick look, from PostgreSQL to the store only
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    sample: Option<u64>,
    /// Every row on both sides (this is the default)
    #[arg(long, conflicts_with = "sample")]
    full: bool,
    /// Faults to pass over: documents without a row, rows that cannot be records, values that were changed on the way
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FAULT,…")]
    tolerate: Vec<Tolerated>,
    /// File for the report
    #[arg(long, value_name = "FILE", default_value = "difylog-validation.json")]
    report: PathBuf,
    /// Print the report instead of tables
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Compares what the rows and the documents say, not how it is spelled: the order of JSON's keys, escapes, number formats,
NULL, '' and {} do not count. Rows and documents are summed per tenant, table and day; days that differ are looked into,
and whatever differs there is looked at twice, so that rows on the move are no fault. A row that has not ended may be older
than its document. Days without --to end when the command starts.

Values that the store has in a changed form only (NaN, text that is no JSON, lone surrogates) are faults of their own class.
Exit code 1 means faults: each is named in the report (the first 10,000 of each class), with the columns that differ.
`difylog migrate --from-report FILE` copies what differs; `difylog cleanup-pg --report FILE` deletes from PostgreSQL what a fresh report without faults covers.";

pub(super) async fn run(arguments: ValidateArguments, loaded: &Loaded) -> Result<(), Failure> {
    let lifecycle = app::open_lifecycle(&loaded.settings, Use::Walk).await?;
    let request = ValidationRequest {
        tenants: arguments.scope.tenants.clone(),
        kinds: arguments.scope.kinds(),
        created: arguments.scope.created()?,
        sample: arguments.sample,
        tolerated: arguments.tolerate.clone(),
        store_name: lifecycle.store_name.clone(),
    };
    let bar = spinner();
    let progress = |rows: u64, documents: u64| bar.set_message(format!("{rows} rows, {documents} documents compared"));
    let validation = Validation {
        database: &lifecycle.database,
        store: lifecycle.side(),
        limits: lifecycle.policy.truncate,
        clock: system_clock(),
        seed: rand::random(),
        named: MAX_NAMED,
        progress: &progress,
    };
    let comparing = Box::pin(async { Ok(validation.run(request).await.map_err(AppError::from)?) });
    // Nothing is written before the end, so the first signal may end it as well as the second.
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let report = until_signals(stop, async {
        tokio::select! {
            report = comparing => report,
            () = stopped.cancelled() => Err(Failure::Other("stopped: no report was written".into())),
        }
    })
    .await?;
    bar.finish_and_clear();
    let text = report.clone().sign().map_err(|error| Failure::Other(error.to_string()))?;
    write(&arguments.report, &text)?;
    // The report is what counts; `status` can do without.
    let remembered = match app::open_stores(&loaded.settings) {
        Ok(stores) => remember(&*stores.store, &report, &arguments.report).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = remembered {
        tracing::warn!("`difylog status` will not show this validation: {error}");
    }
    if arguments.json {
        say_json!("{}", text.trim_end());
    } else {
        say!("{}", shown(&report, &arguments.report));
    }
    if report.passed {
        return Ok(());
    }
    Err(Failure::Other(format!("the sides differ: {} names the rows", arguments.report.display())))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    // It names records of every tenant.
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::Other(format!("report {}: {error}; choose another with --report", path.display())))
}

async fn remember(state: &dyn StateStore, report: &ValidationReport, path: &Path) -> Result<(), Failure> {
    let value = json!({
        "finished_at": report.finished_at,
        "passed": report.passed,
        "scope": report.scope,
        "sample": report.sample,
        "counts": report.counts,
        "report": path.display().to_string(),
    });
    let known = state.state(VALIDATION).await?.map(|entry| entry.version);
    // If another validation ends at the same moment, its outcome is as good.
    state.put_state(VALIDATION, &value, known).await?;
    Ok(())
}

fn shown(report: &ValidationReport, path: &Path) -> String {
    let mut totals = table(&["tenant", "kind", "rows", "documents", "days", "differing"]);
    for total in &report.totals {
        totals.add_row([
            total.tenant_id.0.to_string(),
            total.kind.0.to_string(),
            total.rows.to_string(),
            total.documents.to_string(),
            total.days.to_string(),
            total.days_looked_into.to_string(),
        ]);
    }
    let mut parts = vec![shown_lines(&report.plans), totals.to_string()];
    if !report.findings.is_empty() {
        let mut named = table(&["fault", "kind", "tenant", "id", "columns or reason"]);
        // What can be mended first: after a cleanup, documents without a row may be most of them.
        let mut findings: Vec<&Finding> = report.findings.iter().collect();
        findings.sort_by_key(|finding| matches!(finding.fault, RecordFault::Extra));
        for finding in findings.into_iter().take(SHOWN) {
            let detail = match &finding.fault {
                RecordFault::Different { columns } | RecordFault::Changed { columns } => columns.join(", "),
                RecordFault::Unreadable { reason } => reason.clone(),
                RecordFault::Copies { months } => months.join(", "),
                RecordFault::Missing | RecordFault::Extra => String::new(),
            };
            let tenant = finding.tenant_id.map_or_else(String::new, |tenant| tenant.0.to_string());
            let (kind, id) = (finding.kind.0.to_string(), finding.id.0.to_string());
            named.add_row([finding.fault.name().to_owned(), kind, tenant, id, detail]);
        }
        parts.push(named.to_string());
    }
    let classes: BTreeMap<&str, &str> =
        report.findings.iter().map(|finding| (finding.fault.name(), finding.fault.remedy())).collect();
    parts.extend(classes.into_iter().map(|(name, remedy)| format!("{name}: {remedy}")));
    parts.extend(report.unended.iter().map(ToString::to_string));
    let counts = &report.counts;
    parts.push(format!(
        "missing {}, extra {}, different {}, changed on the way {}, unreadable {}; no faults: {} documents ahead of rows that run, {} fuller than \
         Dify's Celery tasks write, {} with payloads that their ended rows lack or have cut by Dify, {} in several copies, {} settled at the second look",
        counts.missing,
        counts.extra,
        counts.different,
        counts.changed,
        counts.unreadable,
        counts.ahead,
        counts.fuller,
        counts.poorer,
        counts.copies,
        counts.settled
    ));
    let outcome = if report.passed { "passed" } else { "FAILED" };
    parts.push(format!("{outcome}; report: {}", path.display()));
    parts.join("\n")
}
