//! `dev`, `worker`, `setup` and `check`.

use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::amqp;
use crate::app::{self, Readers, Stores};
use crate::config::{self, ConfigError, Loaded, Settings};

#[derive(Debug, Args)]
pub(super) struct DevArguments {
    /// Where the SQLite files and the payloads go
    #[arg(long, default_value = "difylog-data", value_name = "FOLDER")]
    data: PathBuf,
}

impl DevArguments {
    pub(super) fn overrides(&self) -> Vec<(&'static str, String)> {
        vec![
            ("store.kind", "sqlite".into()),
            ("store.sqlite.dir", self.data.join("sqlite").to_string_lossy().into_owned()),
            ("payloads.dir", self.data.join("payloads").to_string_lossy().into_owned()),
        ]
    }
}

#[derive(Debug, Args)]
pub(super) struct SetupArguments {
    /// SQLite: also give the space of removed records back to the disk, and make the search index anew without them. Takes
    /// as much free disk as the largest month file, and keeps writers away meanwhile
    #[arg(long)]
    compact: bool,
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// Print every key with its default and meaning, and stop
    #[arg(long)]
    defaults: bool,
}

pub(super) async fn dev(loaded: &Loaded) -> Result<(), Failure> {
    let Stores { store, .. } = app::open_stores(&loaded.settings)?;
    store.install().await?;
    drop(store);
    run_worker(loaded.settings.clone()).await
}

pub(super) async fn worker(loaded: Loaded) -> Result<(), Failure> {
    run_worker(loaded.settings).await
}

async fn run_worker(settings: Settings) -> Result<(), Failure> {
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let signals = {
        let (stop, abort) = (stop.clone(), abort.clone());
        async move {
            for token in [stop, abort] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                token.cancel();
            }
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        result = app::run_worker(settings, stop, abort) => Ok(result?),
        () = signals => Ok(()),
    }
}

pub(super) async fn setup(arguments: &SetupArguments, loaded: &Loaded) -> Result<(), Failure> {
    let Stores { store, payloads, .. } = app::open_stores(&loaded.settings)?;
    for line in store.install().await? {
        println!("store: {line}");
    }
    if arguments.compact {
        for line in store.compact().await? {
            println!("store: {line}");
        }
    }
    store.catch_up().await?;
    payloads.probe().await.map_err(|error| Failure::App(app::AppError::Payloads(error.to_string())))?;
    println!("payloads: ok");
    for line in amqp::set_up(&loaded.settings.amqp).await? {
        println!("broker: {line}");
    }
    Ok(())
}

pub(super) async fn check(
    arguments: &CheckArguments,
    load: impl FnOnce() -> Result<Loaded, ConfigError>,
) -> Result<(), Failure> {
    if arguments.defaults {
        print!("{}", config::DEFAULTS);
        return Ok(());
    }
    let loaded = load()?;
    println!("# settings in force, secrets masked\n{}", loaded.shown);
    let Readers { store, payloads } = app::open_readers(&loaded.settings)?;
    let payload_store = async {
        payloads.probe().await.map_err(|error| error.to_string())?;
        let warnings = app::payload_warnings(&loaded.settings, &payloads, &*store, None).await?;
        Ok(warnings.into_iter().map(|warning| format!("WARNING: {warning}")).collect())
    };
    let reports = [
        report("store", store.check().await.map_err(|error| error.to_string())),
        report("payloads", payload_store.await),
        report("broker", amqp::check(&loaded.settings.amqp).await.map_err(|error| error.to_string())),
    ];
    if reports.iter().all(|ok| *ok) { Ok(()) } else { Err(Failure::Unreachable) }
}

/// Prints the outcome of one test of a connection; answers whether it is well.
fn report(what: &str, outcome: Result<Vec<String>, String>) -> bool {
    match outcome {
        Ok(lines) => {
            println!("ok      {what}");
            for line in lines {
                println!("        {line}");
            }
            true
        }
        Err(problem) => {
            println!("FAILED  {what}: {problem}");
            false
        }
    }
}
