//! `stats`: the daily numbers of Dify's overview page, side by side.

use chrono_tz::Tz;
use clap::Args;
use serde_json::json;

use super::Failure;
use super::named::NameLookup;
use super::output::{say, say_json, table};
use super::scope::instant;
use crate::app;
use crate::config::Loaded;
use crate::domain::query::TimeRange;
use crate::domain::{AppId, TenantId, Timestamp};
use crate::query::{DailyQuery, interactions};

#[derive(Debug, Args)]
pub(super) struct StatsArguments {
    /// The tenant (workspace)
    #[arg(long)]
    tenant: TenantId,
    #[arg(long)]
    app: AppId,
    /// Where a day begins, an IANA name such as Asia/Shanghai
    #[arg(long, default_value = "UTC")]
    zone: Tz,
    /// Inclusive, such as 2025-12-01 (its first instant) or 2025-12-01T08:30:00Z
    #[arg(long, value_name = "DATE", value_parser = instant)]
    from: Option<Timestamp>,
    /// Exclusive
    #[arg(long, value_name = "DATE", value_parser = instant)]
    to: Option<Timestamp>,
    /// Only runs triggered from any of these
    #[arg(long, value_delimiter = ',', default_value = "app-run")]
    triggered_from: Vec<String>,
    /// JSON Lines instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn stats(arguments: StatsArguments, loaded: &Loaded) -> Result<(), Failure> {
    let service = app::open_named_logs(&loaded.settings)?;
    let query = DailyQuery {
        app_id: arguments.app,
        triggered_from: arguments.triggered_from.into_iter().map(Into::into).collect(),
        created: TimeRange { from: arguments.from, until: arguments.to },
        zone: arguments.zone,
    };
    let names = NameLookup::new(&service).of_tenant(arguments.tenant, [arguments.app]).await;
    if let Some(heading) = names.heading(arguments.tenant, arguments.app).filter(|_| !arguments.json) {
        say!("{heading}");
    }
    let mut shown = table(&["date", "runs", "users", "tokens", "runs per user"]);
    for day in service.tenant(arguments.tenant).daily(&query).await? {
        if arguments.json {
            let mut line = json!({
                "date": day.date.to_string(), "runs": day.runs, "terminal_count": day.users,
                "token_count": day.tokens.to_string(), "interactions": interactions(&day),
            });
            names.add_to(&mut line, arguments.tenant, arguments.app);
            say_json!("{line}");
        }
        shown.add_row([
            day.date.to_string(),
            day.runs.to_string(),
            day.users.to_string(),
            day.tokens.to_string(),
            format!("{:.2}", interactions(&day)),
        ]);
    }
    if !arguments.json {
        say!("{shown}");
    }
    Ok(())
}
