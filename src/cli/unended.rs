//! `runs unended`: what never ended, over all tenants and apps.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use super::Failure;
use super::named::NameLookup;
use super::output::{ListCell, say, say_json, table};
use crate::app::{self, Readers};
use crate::config::Loaded;
use crate::domain::query::{Content, Scan, TimeRange};
use crate::domain::{AppId, Kind, Record, RunStatus, TenantId};
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
    let lookup = NameLookup::new(&app::open_named_logs(&loaded.settings)?);
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
        let mut wanted = BTreeMap::<TenantId, Vec<AppId>>::new();
        for document in page.iter().take(left) {
            if let Record::Run(run) = &document.record {
                wanted.entry(run.tenant_id).or_default().push(run.app_id);
            }
        }
        let names = lookup.of(wanted.into_iter().collect()).await;
        for document in page.iter().take(left) {
            let Record::Run(run) = &document.record else { continue };
            let [id, tenant, app] = [run.id.to_string(), run.tenant_id.to_string(), run.app_id.to_string()];
            let (status, since) = (run.status.as_str(), run.created_at.to_string());
            if arguments.json {
                let mut row = json!({"id": id, "tenant_id": tenant, "app_id": app, "status": status, "since": since});
                names.add_to(&mut row, run.tenant_id, run.app_id);
                say_json!("{row}");
                continue;
            }
            let beside = |id: String, name: Option<&str>| ListCell::lines(name.into_iter().chain([&*id]));
            let tenant = beside(tenant, names.tenant(run.tenant_id));
            let app = beside(app, names.app(run.tenant_id, run.app_id));
            shown.add_row([id.into(), tenant, app, status.into(), since.into()]);
        }
        left -= page.len().min(left);
    }
    if !arguments.json {
        say!("{shown}");
    }
    Ok(())
}
