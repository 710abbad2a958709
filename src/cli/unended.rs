//! `runs unended`: what never ended, over all tenants and apps.

use clap::Args;
use serde_json::json;

use super::Failure;
use super::output::{say, say_json, table};
use crate::app::{self, Readers};
use crate::config::Loaded;
use crate::domain::query::{Content, Scan, TimeRange};
use crate::domain::{Kind, Record, RunStatus, TenantId};
use crate::telemetry::system_clock;

/// Runs asked of the store at a time.
const PAGE: usize = 500;

#[derive(Debug, Args)]
#[command(after_help = "\
A run whose process died stays `running` in Dify's tables and here. `difylog cleanup-pg --unended-older-than DAYS` lets go of
the rows in PostgreSQL; deleting the runs over the API removes them here.")]
pub(super) struct UnendedArguments {
    /// Only runs that began so many days ago or earlier
    #[arg(long, value_name = "DAYS")]
    older_than: Option<u32>,
    /// Only runs of this tenant; can be given several times
    #[arg(long = "tenant", value_name = "UUID")]
    tenants: Vec<TenantId>,
    /// How many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// JSON Lines instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &UnendedArguments, loaded: &Loaded) -> Result<(), Failure> {
    let Readers { store, .. } = app::open_readers(&loaded.settings)?;
    let until = arguments.older_than.map(|days| system_clock()().days_before(days));
    let mut scan = Scan {
        tenants: arguments.tenants.clone(),
        created: TimeRange { from: None, until },
        statuses: RunStatus::OPEN.map(Into::into).into(),
        content: Content::Light,
        ..Scan::all(Kind::WorkflowRun, PAGE)
    };
    let mut shown = table(&["run", "tenant", "app", "status", "since"]);
    let mut left = arguments.limit as usize;
    while left > 0 {
        let page = store.scan(&scan).await?;
        let Some(last) = page.last() else { break };
        scan.after = Some(last.cursor());
        for document in page.iter().take(left) {
            let Record::Run(run) = &document.record else { continue };
            let [id, tenant, app] = [run.id.to_string(), run.tenant_id.to_string(), run.app_id.to_string()];
            let since = run.created_at.to_string();
            if arguments.json {
                let status = run.status.as_str();
                say_json!(
                    "{}",
                    json!({"id": id, "tenant_id": tenant, "app_id": app, "status": status, "since": since})
                );
            } else {
                shown.add_row([id, tenant, app, run.status.as_str().to_owned(), since]);
            }
        }
        left -= page.len().min(left);
    }
    if !arguments.json {
        say!("{shown}");
    }
    Ok(())
}
