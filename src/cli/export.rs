//! `export`: every record of a tenant as JSON Lines on standard output, of any number, in constant memory.

use std::pin::Pin;

use clap::{Args, ValueEnum};
use futures::{Stream, TryStreamExt as _};

use super::Failure;
use super::logs::line;
use super::output::{JsonLines, has_ended};
use super::scope::instant;
use crate::app;
use crate::config::Loaded;
use crate::domain::query::{Direction, TimeRange};
use crate::domain::{AppId, Document, TenantId, Timestamp};
use crate::query::{NodeQuery, QueryError, RunQuery};

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    what: What,
    /// The tenant (workspace)
    #[arg(long)]
    tenant: TenantId,
    #[arg(long)]
    app: Option<AppId>,
    /// Inclusive, such as 2025-12-01 (its first instant) or 2025-12-01T08:30:00Z
    #[arg(long, value_name = "DATE", value_parser = instant)]
    from: Option<Timestamp>,
    /// Exclusive
    #[arg(long, value_name = "DATE", value_parser = instant)]
    to: Option<Timestamp>,
    /// The full texts of truncated payloads
    #[arg(long)]
    full: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    Runs,
    Nodes,
    Logs,
}

pub(super) async fn export(arguments: ExportArguments, loaded: &Loaded) -> Result<(), Failure> {
    let (service, _) = app::open_logs(&loaded.settings)?;
    let logs = service.tenant(arguments.tenant);
    let (app_id, created) = (arguments.app, TimeRange { from: arguments.from, until: arguments.to });
    let mut documents: Pin<Box<dyn Stream<Item = Result<Document, QueryError>> + Send>> = match arguments.what {
        What::Runs => {
            let query = RunQuery { app_id, created, ..RunQuery::default() };
            Box::pin(logs.export(&query, Direction::Ascending))
        }
        What::Nodes => {
            let query = NodeQuery { app_id, created, ..NodeQuery::default() };
            Box::pin(logs.export(&query, Direction::Ascending))
        }
        What::Logs => Box::pin(logs.export_app_logs(app_id, created)),
    };
    let mut out = JsonLines::default();
    while let Some(document) = documents.try_next().await? {
        let document = if arguments.full { logs.full(document).await? } else { document };
        out.push(&line(&document)?);
        if has_ended() {
            break;
        }
    }
    out.flush();
    Ok(())
}
