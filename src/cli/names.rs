//! `names`: what workspaces, apps and accounts are called, carried into the store or forgotten there.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Failure;
use super::output::{say, say_json};
use crate::app::{self, AppError, Stores};
use crate::backfill::names;
use crate::config::Loaded;
use crate::domain::TenantId;

#[derive(Debug, Subcommand)]
pub(super) enum NamesCommand {
    /// Copy the names of workspaces, their apps and members from PostgreSQL into the store. What Dify has deleted keeps its name
    /// there. Answers show these names where PostgreSQL has none, with `serve.keep_names`
    Carry(CarryArguments),
    /// Remove a workspace's names from the store
    Forget(ForgetArguments),
}

#[derive(Debug, Args)]
pub(super) struct CarryArguments {
    /// Only these tenants (workspaces); may be repeated
    #[arg(long = "tenant", value_name = "UUID")]
    tenants: Vec<TenantId>,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ForgetArguments {
    /// The tenant (workspace)
    #[arg(long, value_name = "UUID")]
    tenant: TenantId,
}

pub(super) async fn run(command: NamesCommand, loaded: &Loaded) -> Result<(), Failure> {
    let Stores { store, .. } = app::open_stores(&loaded.settings)?;
    match command {
        NamesCommand::Carry(arguments) => {
            store.check().await.map_err(AppError::from)?;
            let carried = app::carry_names(&loaded.settings, &*store, &arguments.tenants).await?;
            let names::CarriedNames { workspaces, apps, accounts, renewed } = carried;
            if arguments.json {
                let counts = json!({
                    "workspaces": workspaces, "apps": apps, "accounts": accounts, "renewed": renewed,
                });
                say_json!("{counts}");
            } else {
                say!(
                    "{workspaces} workspaces, {apps} apps and {accounts} members; {renewed} workspaces had something new"
                );
            }
        }
        NamesCommand::Forget(arguments) => {
            let had_any = names::forget(&*store, arguments.tenant).await.map_err(AppError::from)?;
            say!("{}", if had_any { "removed" } else { "the store has no names of this workspace" });
        }
    }
    store.close().await;
    Ok(())
}
