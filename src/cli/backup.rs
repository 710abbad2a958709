//! `backup create|list|restore|verify|delete`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Failure;
use super::output::{ListCell, say, say_json, table};
use crate::app::{self, AppError};
use crate::backup::manifest::{Manifest, Manifests};
use crate::backup::{Backup, BackupError, Differences, MonthCheck, Named, VerifyOutcome};
use crate::config::{Loaded, Settings};
use crate::domain::Month;
use crate::store::copies::BackupId;
use crate::store::payload::PayloadSettings;

#[derive(Debug, Subcommand)]
pub(super) enum BackupCommand {
    /// Copy every month that was written to since the last backup, and read the copies back
    Create(CreateArguments),
    /// Show the backups there are
    List(BackupListArguments),
    /// Make a store out of a backup, where it has none of the months
    Restore(BackupRestoreArguments),
    /// Compare the store, or the copies themselves, with a backup
    Verify(VerifyArguments),
    /// Remove a backup, and the copies that no other one needs
    Delete(DeleteArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Writing and reading go on meanwhile. Elasticsearch and OpenSearch make snapshots in \
                        backup.repository; SQLite's month files are copied into backup.dir.")]
pub(super) struct CreateArguments {
    /// The manifest as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct BackupListArguments {
    /// The manifests as JSON Lines
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "A restore that was cut off goes on with the same command.")]
pub(super) struct BackupRestoreArguments {
    /// Name of the backup, or "latest"
    backup: String,
    /// Another place than the configured store: a directory of SQLite, or a prefix of indices. Its full texts get a place
    /// of their own, which is told
    #[arg(long, value_name = "DIR|PREFIX")]
    into: Option<String>,
    /// Only this month, such as 2026-11; repeatable
    #[arg(long, value_name = "MONTH")]
    month: Vec<Month>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The exit code is 1 if anything of the backup is missing from the store, is different, or is damaged. \
                        What was written since the backup is counted, and is no fault."
)]
pub(super) struct VerifyArguments {
    /// Name of the backup, or "latest"
    backup: String,
    /// Another store than the configured one: a directory of SQLite, or a prefix of indices
    #[arg(long = "in", value_name = "DIR|PREFIX", conflicts_with = "copies")]
    at: Option<String>,
    /// Read the copies instead of the store
    #[arg(long)]
    copies: bool,
    /// JSON Lines instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DeleteArguments {
    /// Name of the backup
    backup: BackupId,
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        Self::App(error.into())
    }
}

pub(super) async fn run(command: BackupCommand, loaded: &Loaded) -> Result<(), Failure> {
    let settings = &loaded.settings;
    match command {
        BackupCommand::Create(CreateArguments { json }) => {
            let backup = app::open_backup(settings, None)?;
            let manifest = closing(&backup, backup.create()).await?;
            if json { print_json(&manifest) } else { print_manifests(&[manifest]) }
        }
        BackupCommand::List(BackupListArguments { json }) => {
            let manifests = Manifests(&app::open_vault(settings)?).all().await?;
            if json { manifests.iter().for_each(print_json) } else { print_manifests(&manifests) }
        }
        BackupCommand::Restore(BackupRestoreArguments { backup, into, month }) => {
            let manifest = find(settings, &backup).await?;
            let at = into.as_deref().map_or_else(|| settings.clone(), |into| app::settings_at(settings, into));
            let backup = app::open_backup(&at, Some(&manifest.source))?;
            closing(&backup, backup.restore(&manifest, &month)).await?;
            say_restored(&manifest, into.as_deref(), (at.payloads != settings.payloads).then_some(&at.payloads));
        }
        BackupCommand::Verify(arguments) => verify(&arguments, settings).await?,
        BackupCommand::Delete(DeleteArguments { backup: id }) => {
            let manifest = find(settings, &id.to_string()).await?;
            let backup = app::open_backup(settings, Some(&manifest.source))?;
            closing(&backup, backup.delete(&id)).await?;
            say!("backup {id} is removed");
        }
    }
    Ok(())
}

/// Leaves the store tidy, however the work ends.
async fn closing<T>(backup: &Backup, work: impl Future<Output = Result<T, BackupError>>) -> Result<T, Failure> {
    let done = work.await;
    backup.store.close().await;
    Ok(done?)
}

/// `apart`: where the full texts of the restored store lie, if not in the configured place.
fn say_restored(manifest: &Manifest, into: Option<&str>, apart: Option<&PayloadSettings>) {
    let at = into.map(|into| format!(" --in {into}")).unwrap_or_default();
    say!("restored; `difylog backup verify {}{at}` compares", manifest.id.0);
    if let Some(payloads) = apart {
        let place = match &payloads.s3 {
            Some(s3) => format!("payloads.s3.prefix = {:?}", s3.prefix),
            None => format!("payloads.dir = {:?}", payloads.dir.display().to_string()),
        };
        say!("its full texts lie apart from those of the configured store: a site over it needs {place}");
    }
}

async fn find(settings: &Settings, name: &str) -> Result<Manifest, Failure> {
    let vault = app::open_vault(settings)?;
    if name == "latest" {
        let newest = Manifests(&vault).all().await?.pop();
        return newest
            .ok_or_else(|| Failure::Other("there is no backup yet: `difylog backup create` makes one".into()));
    }
    let id = name.parse::<BackupId>().map_err(|error| AppError::Other(format!("{name}: {error}")));
    Ok(Manifests(&vault).get(&id.map_err(|error| Failure::Other(error.to_string()))?).await?)
}

async fn verify(arguments: &VerifyArguments, settings: &Settings) -> Result<(), Failure> {
    let manifest = find(settings, &arguments.backup).await?;
    let at = arguments.at.as_deref().map_or_else(|| settings.clone(), |at| app::settings_at(settings, at));
    let backup = app::open_backup(&at, Some(&manifest.source))?;
    let checks = if arguments.copies {
        closing(&backup, backup.verify_copies(&manifest)).await?
    } else {
        closing(&backup, backup.verify(&manifest)).await?
    };
    print_checks(&checks, arguments.json);
    let failed = checks.iter().filter(|check| !check.outcome.holds()).count();
    if failed == 0 { Ok(()) } else { Err(Failure::Other(format!("{failed} months do not hold what the backup holds"))) }
}

fn print_json(manifest: &Manifest) {
    say_json!("{}", json!(manifest));
}

fn print_manifests(manifests: &[Manifest]) {
    let mut shown = table(&["backup", "began", "of", "months", "copied anew", "documents", "payloads"]);
    for manifest in manifests {
        let anew = manifest.months.iter().filter(|copy| copy.copied_by == manifest.id).count();
        let payloads: u64 = manifest.months.iter().map(|copy| copy.contents.payloads).sum();
        let absent: u64 = manifest.months.iter().map(|copy| copy.contents.absent_payloads).sum();
        let payloads = if absent == 0 { payloads.to_string() } else { format!("{payloads}, {absent} absent") };
        let of = match &manifest.source {
            crate::backup::manifest::BackupSource::Sqlite => "sqlite".to_owned(),
            crate::backup::manifest::BackupSource::Elastic { prefix } => format!("elastic {prefix}"),
        };
        shown.add_row([
            manifest.id.0.to_string(),
            manifest.began.0.to_string(),
            of,
            manifest.months.len().to_string(),
            anew.to_string(),
            manifest.documents().to_string(),
            payloads,
        ]);
    }
    say!("{shown}");
}

fn print_checks(checks: &[MonthCheck], json: bool) {
    if json {
        for check in checks {
            say_json!("{}", line(check));
        }
        return;
    }
    let mut shown = table(&["month", "documents", "outcome"]);
    for check in checks {
        let outcome = ListCell::lines(words(&check.outcome).lines());
        shown.add_row([ListCell::from(check.month.to_string()), ListCell::from(check.documents.to_string()), outcome]);
    }
    say!("{shown}");
}

fn words(outcome: &VerifyOutcome) -> String {
    match outcome {
        VerifyOutcome::Equal => "equal".to_owned(),
        VerifyOutcome::Damaged => "DAMAGED: the copy is not what the manifest says".to_owned(),
        VerifyOutcome::Differs(found) => {
            let Differences { newer, added, missing, different, absent_payloads, absent } = found;
            let counts = [
                (*newer, "newer"),
                (*added, "added"),
                (missing.count, "MISSING"),
                (different.count, "DIFFERENT"),
                (*absent_payloads, "PAYLOADS ABSENT"),
            ];
            let mut said: Vec<String> =
                counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
            said.extend(names("missing", missing));
            said.extend(names("different", different));
            said.extend(absent.iter().map(|object| format!("absent: {object}")));
            said.join("\n")
        }
    }
}

fn names<'n>(what: &'n str, named: &'n Named) -> impl Iterator<Item = String> + 'n {
    named.first.iter().map(move |key| format!("{what}: {} {} of tenant {}", key.kind, key.id, key.tenant_id))
}

fn line(check: &MonthCheck) -> Value {
    let named = |named: &Named| {
        let first = named.first.iter().map(|key| {
            json!({ "kind": key.kind.to_string(), "tenant_id": key.tenant_id.to_string(), "id": key.id.to_string() })
        });
        json!({ "count": named.count, "first": first.collect::<Vec<_>>() })
    };
    let outcome = match &check.outcome {
        VerifyOutcome::Equal => json!("equal"),
        VerifyOutcome::Damaged => json!("damaged"),
        VerifyOutcome::Differs(found) => json!({
            "newer": found.newer,
            "added": found.added,
            "missing": named(&found.missing),
            "different": named(&found.different),
            "absent_payloads": found.absent_payloads,
            "absent": found.absent,
        }),
    };
    let holds = check.outcome.holds();
    json!({ "month": check.month.to_string(), "documents": check.documents, "holds": holds, "outcome": outcome })
}
