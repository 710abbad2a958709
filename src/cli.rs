//! The command line: roles as subcommands, arguments to settings, errors to exit codes.

mod backup;
mod cleanup;
mod counts;
mod dlq;
mod export;
mod logs;
mod migrate;
mod named;
mod names;
mod output;
mod panics;
mod publish;
mod recopy;
mod restore;
mod retention;
mod roles;
mod rollback;
mod scope;
mod search;
mod serve;
mod signals;
mod stats;
mod status;
mod unended;
mod validate;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::app::AppError;
use crate::backfill::LifeError;
use crate::config::{self, ConfigError, Environment, Loaded};
use crate::telemetry;

/// Takes Dify's workflow logs off PostgreSQL: from RabbitMQ into SQLite, Elasticsearch or OpenSearch.
#[derive(Debug, Parser)]
#[command(name = "difylog", version, after_help = AFTER_HELP)]
struct Arguments {
    /// TOML file with settings; the keys are documented by `difylog check --defaults`.
    #[arg(long, global = true, env = "DIFYLOG_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    role: Role,
}

const AFTER_HELP: &str = "\
Settings come from defaults, then --config FILE, then environment variables: DIFYLOG__SECTION__KEY for any key, and
AMQP_URL and ELASTICSEARCH_HOSTS, _USERNAME, _PASSWORD, … as Dify's operators know them.

Exit codes:
  0  done
  1  failed, or stopped before the end; the message says what to do
  2  wrong arguments
  3  wrong settings; the message names the keys
  4  a server, an address or the store's folder cannot be used, a part of a running role has ended, or serve has no key";

/// How long the end of the process waits for threads that read or compress.
const LAST_THREADS: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
enum Role {
    /// Run a worker on SQLite and the API over it: no configuration, no search engine; prints a key
    Dev(roles::DevArguments),
    /// Run a worker: consume, store, ack. Start as many as you like
    Worker,
    /// Install or upgrade what the store and the broker need: templates, folders, queues
    Setup(roles::SetupArguments),
    /// Show the settings in force, secrets masked, and try every connection
    Check(roles::CheckArguments),
    /// Publish events: native ones from a file or standard input, captured messages, or made-up traffic
    Publish(publish::PublishArguments),
    /// Look at dead letters, replay or purge them
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// Copy Dify's rows from PostgreSQL into the store, while Dify runs; can be killed and resumed at any time
    Migrate(migrate::MigrateArguments),
    /// Compare PostgreSQL with the store, row by row where they differ, and write a report for cleanup-pg
    Validate(validate::ValidateArguments),
    /// Delete from PostgreSQL what a fresh report covers and is proved to be in the store
    CleanupPg(cleanup::CleanupArguments),
    /// Write documents of the store back into PostgreSQL, where rows are absent
    RestorePg(restore::RestoreArguments),
    /// Take back out of the store what a migration wrote
    Rollback(rollback::RollbackArguments),
    /// Remove what is past its days
    #[command(subcommand)]
    Retention(retention::RetentionCommand),
    /// Copy the store, look at the copies, and make a store out of them
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Serve the stored logs over HTTP; start as many as you like
    Serve,
    /// List the runs of an app, or show one
    #[command(subcommand)]
    Runs(logs::RunsCommand),
    /// List the node executions of a run, or show one
    #[command(subcommand)]
    Nodes(logs::NodesCommand),
    /// List the logs of an app, as Dify's log page does
    Logs(logs::LogsArguments),
    /// Find runs or node executions by text
    Search(search::SearchArguments),
    /// Runs, users and tokens of an app per day
    Stats(stats::StatsArguments),
    /// Write every record of a tenant as JSON Lines
    Export(export::ExportArguments),
    /// Carry the names of workspaces, apps and accounts into the store, for the time when PostgreSQL is gone
    #[command(subcommand)]
    Names(names::NamesCommand),
    /// Count what is stored, per month and kind
    Counts(counts::CountsArguments),
    /// Look at everything: versions, months and their sizes, migrations, the last validation, queues
    Status(status::StatusArguments),
}

/// Why a command failed, and with which exit code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    App(#[from] AppError),
    /// The report was printed already; only the code is left to say.
    #[error("")]
    Unreachable,
    #[error("{0}")]
    Other(String),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Config(_) => 3,
            Self::App(AppError::Migrate(error)) if !error.is_of_a_server() => 1,
            Self::App(AppError::Backup(error)) if !error.is_of_a_server() => 1,
            Self::App(AppError::Life(LifeError::Running(_) | LifeError::Removal(_))) | Self::Other(_) => 1,
            Self::App(_) | Self::Unreachable => 4,
        }
    }
}

impl From<crate::amqp::AmqpError> for Failure {
    fn from(error: crate::amqp::AmqpError) -> Self {
        Self::App(error.into())
    }
}

impl From<crate::store::StoreError> for Failure {
    fn from(error: crate::store::StoreError) -> Self {
        Self::App(error.into())
    }
}

impl From<crate::query::QueryError> for Failure {
    /// A server that cannot be asked is one thing, a question that cannot be answered another.
    fn from(error: crate::query::QueryError) -> Self {
        match error {
            crate::query::QueryError::Store(_) | crate::query::QueryError::Directory(_) => Self::App(error.into()),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// Parses the arguments, runs the role, and returns the exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    panics::install();
    // Each client and each month that is read takes files; the soft limit is often low for the sake of old programs only.
    // Where it cannot be raised, less is done at once.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain!("difylog: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(arguments));
    // A question that is no longer waited for may still take a thread.
    runtime.shutdown_timeout(LAST_THREADS);
    let outcome = outcome.and_then(|()| match output::failure() {
        Some(problem) => Err(Failure::Other(problem)),
        None => Ok(()),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                output::complain!("difylog: {text}");
            }
            ExitCode::from(failure.code())
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let load =
        |overrides: &[(&str, String)]| config::load(arguments.config.as_deref(), &Environment::of_process(), overrides);
    match arguments.role {
        Role::Dev(dev) => Box::pin(roles::dev(start_logging(load(&dev.overrides())?)?)).await,
        Role::Worker => Box::pin(roles::worker(start_logging(load(&[])?)?)).await,
        Role::Setup(arguments) => roles::setup(&arguments, &start_logging(load(&[])?)?).await,
        Role::Check(check) => roles::check(&check, || load(&[])).await,
        Role::Publish(publish) => publish::publish(publish, &start_logging(load(&[])?)?).await,
        Role::Dlq(command) => dlq::run(command, &start_logging(load(&[])?)?).await,
        Role::Migrate(migrate) => Box::pin(migrate::run(migrate, start_logging(load(&[])?)?)).await,
        Role::Validate(arguments) => validate::run(arguments, &start_logging(load(&[])?)?).await,
        Role::CleanupPg(arguments) => cleanup::run(arguments, &start_logging(load(&[])?)?).await,
        Role::RestorePg(arguments) => restore::run(arguments, &start_logging(load(&[])?)?).await,
        Role::Rollback(arguments) => rollback::run(arguments, &start_logging(load(&[])?)?).await,
        Role::Retention(command) => retention::run(command, &start_logging(load(&[])?)?).await,
        Role::Backup(command) => backup::run(command, &start_logging(load(&[])?)?).await,
        Role::Serve => serve::serve(start_logging(load(&[])?)?).await,
        Role::Runs(command) => logs::runs(command, &start_logging(load(&[])?)?).await,
        Role::Nodes(command) => logs::nodes(command, &start_logging(load(&[])?)?).await,
        Role::Logs(arguments) => logs::logs(arguments, &start_logging(load(&[])?)?).await,
        Role::Search(arguments) => search::search(arguments, &start_logging(load(&[])?)?).await,
        Role::Stats(arguments) => stats::stats(arguments, &start_logging(load(&[])?)?).await,
        Role::Export(arguments) => export::export(arguments, &start_logging(load(&[])?)?).await,
        Role::Names(command) => names::run(command, &start_logging(load(&[])?)?).await,
        Role::Counts(arguments) => counts::run(&arguments, &start_logging(load(&[])?)?).await,
        Role::Status(arguments) => status::run(&arguments, &start_logging(load(&[])?)?).await,
    }
}

fn start_logging(loaded: Loaded) -> Result<Loaded, Failure> {
    let log = &loaded.settings.log;
    // The broker's client logs whole messages that come back; what matters of them is logged by us.
    let filter = format!("{},{}", log.filter, crate::amqp::LOG_DIRECTIVE);
    telemetry::install_logging(log.format, &filter)
        .map_err(|problem| Failure::Config(ConfigError::Invalid(format!("log.filter: {problem}"))))?;
    Ok(loaded)
}
