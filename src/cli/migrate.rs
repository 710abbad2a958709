//! `migrate`: rows of Dify's PostgreSQL into the store.

use std::io::IsTerminal as _;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::output::{complain, say, say_json, shown_lines, table};
use super::recopy::RecopySource;
use super::scope::{KindName, instant};
use super::signals::{stop_on_signals, stopped};
use crate::app::{self, AppError, MigrationRun};
use crate::backfill::{MigrationReport, Progress, Start, Tally, Task};
use crate::config::Loaded;
use crate::domain::query::TimeRange;
use crate::domain::{Kind, TenantId, Timestamp, printable};
use crate::postgres::RowSelection;

/// Between two looks at the counters, on a terminal; elsewhere a line comes every 30 of them.
const TICK: Duration = Duration::from_millis(500);
const LINE_EVERY: u32 = 30;

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct MigrateArguments {
    /// Only rows of this tenant; can be given several times
    #[arg(long = "tenant-id", value_name = "UUID")]
    tenants: Vec<TenantId>,
    /// Only rows created at this instant (UTC) or later, such as 2025-01-01 or 2025-01-01T08:30:00
    #[arg(long, value_name = "DATE", value_parser = instant)]
    from: Option<Timestamp>,
    /// Only rows created before this instant (UTC)
    #[arg(long, value_name = "DATE", value_parser = instant)]
    to: Option<Timestamp>,
    /// What to copy; everything if it is left out
    #[arg(long = "kind", value_enum, value_delimiter = ',', value_name = "KIND,…")]
    kinds: Vec<KindName>,
    /// Rows of a chunk, instead of `migrate.batch_size`
    #[arg(long, value_name = "ROWS")]
    batch_size: Option<NonZeroU32>,
    /// Chunks in flight, instead of `migrate.concurrency`
    #[arg(long, value_name = "CHUNKS")]
    concurrency: Option<NonZeroUsize>,
    /// Rows a second at most
    #[arg(long, value_name = "ROWS")]
    rate: Option<NonZeroU32>,
    /// Read, decode and count everything, say what would be copied and what would not; write nothing anywhere
    #[arg(long, conflicts_with_all = ["resume", "restart", "follow"])]
    dry_run: bool,
    /// Go on where an earlier attempt ended; fail if there was none. Without it and --restart, go on if there was one
    #[arg(long, conflicts_with = "restart")]
    resume: bool,
    /// Begin with the first row again; what is stored already stays, and is not doubled
    #[arg(long)]
    restart: bool,
    /// After the copy, go on with rows that are new, have changed or have not ended, until stopped
    #[arg(long)]
    follow: bool,
    /// Compare every row with its document, and copy those that differ over it, whatever the revision says: what changed
    /// after its end, what was changed on its way. A row that only lacks payloads that its document has is no such row
    #[arg(long, conflicts_with_all = ["resume", "restart", "follow", "dry_run"])]
    changed: bool,
    /// The same for the rows that a report of `difylog validate` names as missing, different or changed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["changed", "resume", "restart", "follow", "dry_run"])]
    from_report: Option<PathBuf>,
    /// With --changed or --from-report: copy rows, too, that were erased from the store, as by the API
    #[arg(long)]
    lift_tombstones: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

const AFTER_HELP: &str = "\
The same tenants, --from and --to are the same migration: it goes on where it was, whatever ended it. Workers may run at
the same time on Elasticsearch or OpenSearch: whichever snapshot of a record is newer stays. On SQLite, stop the worker
first: RabbitMQ keeps its messages.

A row that has ended and is changed afterwards is not copied again by --follow or --restart: its revision is the same.
--changed and --from-report copy it over its document. Such a document is erased first, in just the revision that was
compared, so a live message that comes in between wins if it is newer.

Rows that cannot be copied are named in migrate.rejects_dir, one JSON object a line. Where migrate.dify_storage_dir or
migrate.dify_s3 is set, the full texts of payloads that Dify truncated are copied as well.";

impl MigrateArguments {
    /// Returns which rows are to be copied over their documents; `None`: a migration from the first row to the last.
    fn recopied(&self) -> Result<Option<RecopySource>, Failure> {
        if self.lift_tombstones && !self.changed && self.from_report.is_none() {
            return Err(Failure::Other("--lift-tombstones needs --changed or --from-report FILE".into()));
        }
        let scope = || RecopySource::Changed {
            tenants: self.tenants.clone(),
            created: TimeRange { from: self.from, until: self.to },
            kinds: self.kinds(),
        };
        Ok(match &self.from_report {
            Some(path) => Some(RecopySource::Report(path.clone())),
            None => self.changed.then(scope),
        })
    }

    fn kinds(&self) -> Vec<Kind> {
        let asked_for = |kind: &Kind| self.kinds.is_empty() || self.kinds.iter().any(|name| Kind::from(*name) == *kind);
        Kind::ALL.into_iter().filter(asked_for).collect()
    }

    pub(super) const fn lifts_tombstones(&self) -> bool {
        self.lift_tombstones
    }

    fn task(&self) -> Result<Task, Failure> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            return Err(Failure::Other("--from must be before --to".into()));
        }
        let start = match (self.resume, self.restart) {
            (true, _) => Start::Resume,
            (_, true) => Start::Restart,
            _ => Start::Continue,
        };
        Ok(Task {
            selection: RowSelection {
                tenants: self.tenants.clone(),
                created: TimeRange { from: self.from, until: self.to },
                ids: None,
                changed_since: None,
            },
            kinds: self.kinds.iter().copied().map(Kind::from).collect(),
            rate: self.rate,
            start,
            follow: self.follow,
            dry_run: self.dry_run,
        })
    }
}

pub(super) async fn run(arguments: MigrateArguments, loaded: Loaded) -> Result<(), Failure> {
    let task = arguments.task()?;
    let mut settings = loaded.settings;
    settings.migrate.batch_size = arguments.batch_size.unwrap_or(settings.migrate.batch_size);
    settings.migrate.concurrency = arguments.concurrency.unwrap_or(settings.migrate.concurrency);
    let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
    let _signals = stop_on_signals(stop.clone(), abandon.clone())?;
    let begin = Instant::now();
    let run = app::open_migration(settings, task, stop, abandon.clone()).await?;
    for (kind, plan, progress) in run.migration.plans() {
        let rows = progress.total.load(Ordering::Relaxed);
        complain!("{kind}: {}; about {rows} rows", printable(&plan.clone()));
    }
    let watching = tokio::spawn(watch(&run, !arguments.json));
    if let Some(source) = arguments.recopied()? {
        watching.abort();
        let shown = super::recopy::run(&arguments, &run, source, abandon).await;
        run.close(shown.is_err()).await;
        return shown.and_then(|(text, failure)| super::recopy::end(&text, failure, arguments.json));
    }
    let outcome = tokio::select! {
        outcome = run.migration.run() => outcome,
        () = abandon.cancelled() => Err(crate::backfill::MigrateError::Refused(
            "ended at once; what was kept stays, and the same command goes on from there".into(),
        )),
    };
    watching.abort();
    let shown = outcome.map(|report| (show(&arguments, &run, &report, begin.elapsed()), report.complete));
    run.close(shown.is_err()).await;
    let (shown, is_complete) = shown.map_err(AppError::from)?;
    if arguments.json {
        say_json!("{shown}");
    } else {
        say!("{shown}");
    }
    // Following has no other end than a stop.
    if is_complete || arguments.follow { Ok(()) } else { Err(stopped()) }
}

/// Bars on a terminal, lines elsewhere; nothing but lines if the report is for a program.
fn watch(run: &MigrationRun, bars: bool) -> impl Future<Output = ()> + use<> {
    let kinds: Vec<_> = run.migration.plans().map(|(kind, _, progress)| (kind, progress)).collect();
    let stats = Arc::clone(&run.stats);
    let bars = (bars && std::io::stderr().is_terminal()).then(|| progress_bars(&kinds));
    async move {
        let mut line = 0;
        loop {
            tokio::time::sleep(TICK).await;
            let held = stats.is_breaker_open().then_some("the store takes nothing; holding");
            if let Some(bars) = &bars {
                for ((_, progress), bar) in kinds.iter().zip(bars) {
                    update(bar, progress, held);
                }
                continue;
            }
            line += 1;
            if line % LINE_EVERY == 0 {
                for (kind, progress) in &kinds {
                    let [done, total, rejected] = counts(progress);
                    tracing::info!(%kind, done, about = total, rejected, held, "migrating");
                }
            }
        }
    }
}

fn counts(progress: &Progress) -> [u64; 3] {
    [&progress.done, &progress.total, &progress.rejected].map(|counter| counter.load(Ordering::Relaxed))
}

fn progress_bars(kinds: &[(Kind, Arc<Progress>)]) -> Vec<ProgressBar> {
    let template = "{prefix:14} {bar:30} {pos}/{len} rows  {per_sec}  {eta} left  {msg}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bars = MultiProgress::new();
    let add = |(kind, progress): &(Kind, Arc<Progress>)| {
        let bar = bars.add(ProgressBar::new(counts(progress)[1]));
        bar.set_style(style.clone());
        bar.set_prefix(kind.as_str());
        bar
    };
    kinds.iter().map(add).collect()
}

fn update(bar: &ProgressBar, progress: &Progress, held: Option<&str>) {
    let [done, total, rejected] = counts(progress);
    bar.set_length(total.max(done));
    bar.set_position(done);
    bar.set_message(match (held, rejected) {
        (Some(held), _) => held.to_owned(),
        (None, 0) => String::new(),
        (None, rejected) => format!("{rejected} rejected"),
    });
}

fn show(arguments: &MigrateArguments, run: &MigrationRun, report: &MigrationReport, took: Duration) -> String {
    let value = report_json(arguments, run, report, took);
    if arguments.json { value.to_string() } else { report_text(arguments, run, report, took) }
}

fn report_json(arguments: &MigrateArguments, run: &MigrationRun, report: &MigrationReport, took: Duration) -> Value {
    let counter = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let kinds: serde_json::Map<_, _> =
        report.kinds.iter().map(|(kind, tally)| (kind.as_str().to_owned(), json!(tally))).collect();
    let [reading, preparing, throttled, waiting] = run.migration.spent().seconds();
    json!({
        "migration": run.migration.id().to_string(),
        "dry_run": arguments.dry_run,
        "complete": report.complete,
        "kinds": kinds,
        "seconds": took.as_secs_f64(),
        "stored": counter(&run.stats.stored),
        "superseded": counter(&run.stats.superseded) + counter(&run.stats.collapsed),
        "spent": {"reading": reading, "preparing": preparing, "waiting_for_rate": throttled,
            "waiting_for_store": waiting},
        "unknown_columns": run.migration.unknown_columns(),
        "rejects": run.migration.rejects_path().map(|path| path.display().to_string()),
    })
}

fn report_text(arguments: &MigrateArguments, run: &MigrationRun, report: &MigrationReport, took: Duration) -> String {
    let copied = if arguments.dry_run { "would be copied" } else { "copied" };
    let mut shown = table(&["kind", "rows", copied, "rejected", "full texts", "missing", "truncated", "bytes"]);
    let mut rows = 0;
    let mut notes = Vec::new();
    for (kind, tally) in &report.kinds {
        let Tally { read, copied, rejected, full_texts, missing_objects, truncated, row_bytes, .. } = tally;
        rows += read;
        shown
            .add_row(std::iter::once(kind.to_string()).chain(
                [read, copied, rejected, full_texts, missing_objects, truncated, row_bytes].map(u64::to_string),
            ));
        if let Some(since) = &tally.unended_since {
            notes.push(format!("{kind}: {} have not ended, the oldest since {since}", tally.unended));
        }
        notes.extend(tally.reasons.iter().map(|(reason, count)| format!("{kind}: {count} rejected: {reason}")));
        notes.extend(tally.cleaned.iter().map(|(rule, count)| format!("{kind}: {count} values changed: {rule}")));
    }
    notes.extend_from_slice(run.migration.unknown_columns());
    let seconds = took.as_secs_f64();
    let [reading, preparing, throttled, waiting] = run.migration.spent().seconds();
    let all = (reading + preparing + throttled + waiting).max(f64::MIN_POSITIVE);
    notes.push(format!(
        "{rows} rows in all, {seconds:.1} s for this attempt; its chunks spent {:.0} % reading, {:.0} % preparing, \
         {:.0} % held to --rate, {:.0} % waiting for the store",
        reading / all * 100.0,
        preparing / all * 100.0,
        throttled / all * 100.0,
        waiting / all * 100.0
    ));
    if let Some(path) = run.migration.rejects_path().filter(|path| path.exists()) {
        notes.push(format!("rejected rows are named in {}", path.display()));
    }
    if arguments.dry_run {
        notes.push("dry run: nothing was written".into());
    } else if report.complete {
        notes.push(format!("migration {} is complete", run.migration.id()));
    } else {
        notes.push(format!("migration {} was stopped; the same command goes on", run.migration.id()));
    }
    format!("{shown}\n{}", shown_lines(&notes))
}
