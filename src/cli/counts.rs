//! `counts`: how much is stored, as a table or as JSON.

use clap::Args;

use super::Failure;
use super::output::{say, say_json, table};
use crate::app::{self, Readers};
use crate::config::Loaded;

#[derive(Debug, Args)]
pub(super) struct CountsArguments {
    /// JSON Lines instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &CountsArguments, loaded: &Loaded) -> Result<(), Failure> {
    let Readers { store, .. } = app::open_readers(&loaded.settings)?;
    let mut shown = table(&["month", "kind", "documents"]);
    for count in store.counts().await? {
        if arguments.json {
            let line = serde_json::json!({
                "month": count.month.to_string(), "kind": count.kind, "documents": count.documents
            });
            say_json!("{line}");
        }
        shown.add_row([count.month.to_string(), count.kind.to_owned(), count.documents.to_string()]);
    }
    if !arguments.json {
        say!("{shown}");
    }
    Ok(())
}
