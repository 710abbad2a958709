//! `dev`, `worker`, `setup` and `check`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::output::{part, say};
use super::signals::stop_on_signals;
use crate::amqp;
use crate::app::{self, Readers, Stores};
use crate::config::{self, ConfigError, Loaded, Settings};
use crate::domain::{printable, printable_lines};
use crate::http::api::{ApiKey, Entry, Right, ServeSettings};

#[derive(Debug, Args)]
pub(super) struct DevArguments {
    /// Where everything is kept, instead of the folders that the settings name (below data/ by default). Other commands
    /// find it with the same `DIFYLOG__STORE__SQLITE__DIR=FOLDER/sqlite` and `DIFYLOG__PAYLOADS__DIR=FOLDER/payloads`
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

impl DevArguments {
    pub(super) fn overrides(&self) -> Vec<(&'static str, String)> {
        let mut overrides = vec![("store.kind", "sqlite".into())];
        if let Some(data) = &self.data {
            let below = |name: &str| data.join(name).to_string_lossy().into_owned();
            overrides.extend([
                ("store.sqlite.dir", below("sqlite")),
                ("payloads.dir", below("payloads")),
                ("migrate.rejects_dir", below("rejects")),
                ("backup.dir", below("backups")),
            ]);
        }
        overrides
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

/// Runs a worker, and the API over what it stores, in one process.
pub(super) async fn dev(loaded: Loaded) -> Result<(), Failure> {
    let mut settings = loaded.settings;
    let Stores { store, .. } = app::open_stores(&settings)?;
    store.install().await?;
    store.close().await;
    drop(store);
    let mut entry = None;
    if settings.serve.keys.is_empty() && settings.serve.keys_file.is_none() {
        entry = Some(introduce(&mut settings.serve));
    }
    Box::pin(run_worker(settings, true, entry)).await
}

/// Gives the API a key of this start, which is kept nowhere, and prints it with a link that signs in with it.
fn introduce(serve: &mut ServeSettings) -> Entry {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            // Writing into a text does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    let key = hex(&rand::random::<[u8; 24]>());
    let sha256 = hex(&Sha256::digest(&key));
    let rights = vec![Right::Read, Right::Delete, Right::Operate];
    serve.keys.push(ApiKey {
        name: "dev".into(),
        sha256,
        tenants: Vec::new(),
        admin: true,
        apps: None,
        rights,
        expires: None,
    });
    let scheme = if serve.tls.is_some() { "https" } else { "http" };
    let token = hex(&rand::random::<[u8; 24]>());
    // The link is for this machine, whatever else is listened on.
    let port = serve.listen.rsplit_once(':').map_or("8089", |(_, port)| port);
    say!("Log explorer, signed in by this link once: {scheme}://127.0.0.1:{port}/ui/enter?token={token}");
    say!("API: {scheme}://{}/docs, with a key for every tenant until this process ends:", serve.listen);
    say!("  KEY={key}");
    say!("  curl -H \"Authorization: Bearer $KEY\" {scheme}://{}/v1/tenants/$TENANT/runs", serve.listen);
    Entry { token, key }
}

pub(super) async fn worker(loaded: Loaded) -> Result<(), Failure> {
    Box::pin(run_worker(loaded.settings, false, None)).await
}

async fn run_worker(settings: Settings, with_api: bool, entry: Option<Entry>) -> Result<(), Failure> {
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    // The second signal gives back at once what the first lets finish.
    let _signals = stop_on_signals(stop.clone(), abort.clone())?;
    // Whichever of the two ends, the other ends in order.
    let serving = async {
        if !with_api {
            return Ok(());
        }
        let served = app::run_serve(settings.clone(), entry, stop.clone()).await;
        stop.cancel();
        served
    };
    let working = async {
        let worked = app::run_worker(settings.clone(), stop.clone(), abort).await;
        stop.cancel();
        worked
    };
    let (worked, served) = tokio::join!(working, serving);
    Ok(worked.and(served)?)
}

pub(super) async fn setup(arguments: &SetupArguments, loaded: &Loaded) -> Result<(), Failure> {
    let Stores { store, payloads, .. } = app::open_stores(&loaded.settings)?;
    for line in store.install().await? {
        say!("store: {}", printable(&line));
    }
    if arguments.compact {
        for line in store.compact().await? {
            say!("store: {}", printable(&line));
        }
    }
    store.catch_up().await?;
    payloads.probe().await.map_err(|error| Failure::App(app::AppError::Payloads(error.to_string())))?;
    say!("payloads: ok");
    for line in amqp::set_up(&loaded.settings.amqp).await? {
        say!("broker: {}", printable(&line));
    }
    Ok(())
}

pub(super) async fn check(
    arguments: &CheckArguments,
    load: impl FnOnce() -> Result<Loaded, ConfigError>,
) -> Result<(), Failure> {
    if arguments.defaults {
        part(config::DEFAULTS);
        return Ok(());
    }
    let loaded = load()?;
    say!("# settings in force, secrets masked\n{}", loaded.shown);
    let Readers { store, payloads } = app::open_readers(&loaded.settings)?;
    let payload_store = async {
        payloads.probe().await.map_err(|error| error.to_string())?;
        let warnings = app::payload_warnings(&loaded.settings, &payloads, &*store, None).await?;
        Ok(warnings.into_iter().map(|warning| format!("WARNING: {warning}")).collect())
    };
    let mut reports = vec![
        report("store", store.check().await.map_err(|error| error.to_string())),
        report("payloads", payload_store.await),
        report("broker", amqp::check(&loaded.settings.amqp).await.map_err(|error| error.to_string())),
    ];
    reports.extend(app::check_places(&loaded.settings).await.into_iter().map(|(what, outcome)| report(what, outcome)));
    // Without names, a worker and an API do without it; a site that says where it is wants to know.
    if app::knows_postgres(&loaded.settings) {
        reports.push(report("PostgreSQL", app::check_postgres(&loaded.settings).await));
    }
    if reports.iter().all(|ok| *ok) { Ok(()) } else { Err(Failure::Unreachable) }
}

/// Prints the outcome of one test of a connection; returns whether it is well.
fn report(what: &str, outcome: Result<Vec<String>, String>) -> bool {
    match outcome {
        Ok(lines) => {
            say!("ok      {what}");
            for line in lines {
                say!("        {}", printable(&line));
            }
            true
        }
        Err(problem) => {
            say!("FAILED  {what}: {}", printable_lines(&problem));
            false
        }
    }
}
